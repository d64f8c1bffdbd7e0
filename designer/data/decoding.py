"""Run a function on many rows in processes beside this one, as a DataLoader decodes images."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from types import FrameType
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from designer.data.limits import decoding_workers
from designer.errors import DataError
from designer.interrupts import SIGNALS, inherited_by_children_as_blocked

Result = TypeVar("Result")

WAITING = 2
"""Results of each process that wait to be fetched."""


class _Results(TorchDataset[Any], Generic[Result]):
    """The results of a function, by the rows that it is called with; a ``DataError`` is one."""

    def __init__(self, function: Callable[[Sequence[int]], Result]) -> None:
        self._function = function

    def __getitem__(self, rows: Sequence[int]) -> Result | DataError:
        try:
            return self._function(rows)
        except DataError as error:  # raised here, it would come with the traceback of the process
            return error


def in_decoding_processes(
    function: Callable[[Sequence[int]], Result], parts: Sequence[Sequence[int]]
) -> Iterator[Result]:
    """Yield the result of a function for each part, in order, however many processes there are.

    The processes are started here and end with the iteration, also if it is broken off.

    Args:
        function: is called with a part; it is pickled where processes are not forked.
        parts: positions of rows.

    Raises:
        DataError: if the function raises it.
    """
    workers = min(decoding_workers(), len(parts)) if len(parts) > 1 else 0
    with (
        warnings.catch_warnings(),
        inherited_by_children_as_blocked() if workers else nullcontext(),
    ):
        warnings.simplefilter("ignore")  # of more processes than cores, which the user asked for
        loader: DataLoader[Any] = DataLoader(
            _Results(function),
            batch_size=None,
            sampler=parts,
            num_workers=workers,
            collate_fn=_unchanged,
            worker_init_fn=_leave_signals_to_parent,
            prefetch_factor=WAITING if workers else None,
            generator=torch.Generator(),  # else the seed of the processes would be drawn globally
        )
        results = iter(loader)
    try:
        for result in results:
            if isinstance(result, DataError):
                raise result
            yield result
    finally:
        if workers:  # a traceback may keep the iterator alive, and with it the processes
            results._shutdown_workers()  # type: ignore[attr-defined]


def _unchanged(result: Any) -> Any:
    return result


def _leave_signals_to_parent(_worker: int) -> None:
    """Let the parent decide what a signal means, which the terminal sends to all its processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_next_time)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _end_next_time(number: int, _frame: FrameType | None) -> None:
    """Ignore the first SIGTERM; Python sends two to processes that are left when it ends."""
    signal.signal(number, signal.SIG_DFL)
