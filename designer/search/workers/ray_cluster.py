"""Join a Ray cluster, or start one on this machine for as long as a search.

Clusters of our own share nothing, so that many may begin on one machine at the same time. By
default Ray keeps one token in the home directory, which clusters that begin together replace under
each other's hands, and the address of the last one in a folder of all users.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from designer.data.dataset import Dataset
from designer.errors import InvalidInputError, first_line
from designer.interrupts import restoring_handlers
from designer.search.job import Job
from designer.search.options import SearchOptions

OBJECT_STORE_BYTES = 100 * 2**20
"""Memory of the object store of a cluster of our own, besides that for the data."""

CONNECT_SECONDS = 10.0
"""How long an address of a cluster may take to answer."""

LONGEST_FOLDER = 28
"""Characters of a folder in which Ray's sockets have room: 107 less what Ray and we add."""


def check_ray(address: str | None) -> None:
    """Raise ``InvalidInputError`` if Ray is not installed, or nobody listens at an address."""
    if importlib.util.find_spec("ray") is None:
        raise InvalidInputError(
            "Expected the package ray for --engine ray, but it is not installed; run: pip install "
            "'equisep-designer[ray]'."
        )
    host, _, port = (address or "").rpartition(":")
    if host and port.isdecimal() and "/" not in host:  # Ray itself would try for minutes
        try:
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        except OSError as error:
            raise InvalidInputError(
                f"Expected a Ray cluster at '{address}', but nobody answers there: "
                f"{first_line(error)}."
            ) from error


@contextmanager
def ray_cluster(job: Job) -> Iterator[None]:
    """Connect this process to Ray for as long as the context lasts.

    If the process is connected already, that cluster is used, and stays. If the options name an
    address, that cluster is joined as the environment says. Else one is started on this machine.

    Args:
        job: what the search is asked for.

    Raises:
        InvalidInputError: if Ray cannot be reached, or has not the GPUs for any worker.
    """
    with _unchanged_environment():
        import ray
    if ray.is_initialized():
        yield
        return
    with ExitStack() as stack:
        folder = None
        if job.options.address is None:
            own = tempfile.TemporaryDirectory(
                prefix="ray-",
                dir=_short_folder(),
                ignore_cleanup_errors=True,  # workers that end may still write into it
            )
            folder = stack.enter_context(own)
        stack.callback(_forget_token)
        stack.callback(ray.shutdown)
        _connect(job, folder)
        yield


def _connect(job: Job, folder: str | None) -> None:
    """Join the cluster that the options name, or start one that keeps its files in a folder.

    Args:
        job: what the search is asked for.
        folder: for a cluster of our own; None to join one.
    """
    import ray

    options = job.options
    settings: dict[str, Any] = {"address": options.address or "local"}
    if folder is not None:
        settings |= {
            "num_cpus": options.worker_count,  # of Ray's bookkeeping: it keeps no core free
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES + 2 * _bytes_of(job.data),
            "_system_config": {"worker_niceness": 0},  # 15 would let everything else go first
            "_temp_dir": folder,
        }
    # Ray answers SIGTERM by ending this process.
    with restoring_handlers(), _unchanged_environment():
        if folder is not None:
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # all of the cluster inherit it
        _forget_token()
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **settings)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InvalidInputError(
                f"Expected a Ray cluster at '{options.address or 'this machine'}', but: "
                f"{first_line(error)}."
            ) from error
    _check_gpus(options)


def _short_folder() -> str:
    """Return a folder for temporary files whose path is short enough for sockets in it."""
    folder = tempfile.gettempdir()
    return folder if len(folder) <= LONGEST_FOLDER else "/tmp"  # noqa: S108 - we add a folder


@contextmanager
def _unchanged_environment() -> Iterator[None]:
    """Restore the environment of this process afterwards; Ray sets variables for itself."""
    environment = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)


def _forget_token() -> None:
    """Let Ray read its token, and whether to use one, from the environment again.

    It reads them once in a process, but each cluster of ours has a token of its own, and a cluster
    that the user starts later must not be asked for ours.
    """
    from ray import _raylet

    internals: Any = _raylet
    if hasattr(internals, "AuthenticationTokenLoader"):  # older versions have no tokens
        internals.Config.initialize("")
        internals.AuthenticationTokenLoader.instance().reset_cache()


def _check_gpus(options: SearchOptions) -> None:
    """Raise ``InvalidInputError`` if a cluster of our own has not the GPUs that are asked for."""
    import ray

    gpus = ray.cluster_resources().get("GPU", 0.0)  # type: ignore[no-untyped-call]
    if options.address is None and gpus < options.gpus_per_worker:
        raise InvalidInputError(
            f"Expected {options.gpus_per_worker:g} GPUs per worker on this machine, but Ray finds "
            f"{gpus:g}; leave out --gpus-per-worker to train on the processor."
        )


def _bytes_of(data: Dataset) -> int:
    return sum(part.nbytes for part in (data.train, data.validation, data.test))
