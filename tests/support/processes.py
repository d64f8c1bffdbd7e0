"""Run ``designer`` in processes that start quickly, and may be killed."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from designer.cli.main import main

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "designer.cli.commands",
        "designer.report.html",
        "designer.search.search",
        "altair",
        "optuna.storages._rdb.storage",
        "designer.report.views.search",
        "optuna.samplers._tpe.sampler",
        "scipy.stats",
        "sklearn.metrics",
        "sqlalchemy.dialects.sqlite",
        "torch._dynamo",
    ]
)
"""All that a search imports on its way, which takes longer than a small search itself."""


def start_command(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> ForkServerProcess:
    """Start ``designer`` in a process of its own, forked from one that has loaded everything.

    Args:
        arguments: the words after ``designer``.
        log: file that gets all its output.
        environment: variables that are added to the environment.
    """
    process = _CONTEXT.Process(target=_run, args=(list(arguments), log, dict(environment or {})))
    process.start()
    return process


def _run(arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
    with log.open("w") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    os.environ.update(environment)
    main(arguments)
