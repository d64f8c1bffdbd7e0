"""The command that a result file stores, and how it is run again on another machine."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.claim import CLAIMS
from benchmarks.result_files import ADDRESS
from designer.errors import InvalidInputError

RUNNER = "benchmarks.run"

OLD_PROGRAMS = {
    "benchmarks.paper": "paper",
    **{f"benchmarks.bench_{claim}": claim for claim in CLAIMS if claim != "paper"},
}
"""The programs that older result files name, and the claims they became."""

SOURCES = {
    "mnist": "mnist.npz",
    "fashion": "fashion_mnist_subset.npz",
    "cifar": "cifar10_subset.npz",
    "models": "models",
    "pool": "fashion_mlp.jsonl",
    "table": "nas_bench_macro_cifar10.json",
    "published": "naslib_zero_cost_nasbench201.json",
    "storage": ADDRESS,
}
"""What stored commands call the data that are not bundled, by the option that says where they
are."""

RESULT_OPTION = "--json"
RESUMED_OPTION = "--runs"
KEPT_OPTIONS = ("--pool-out", RESUMED_OPTION)
"""Options that name a file which a run writes besides its result; the last one lets a run that was
stopped go on."""


@dataclass(frozen=True)
class StoredCommand:
    """A claim and the arguments that it was run with."""

    claim: str
    arguments: tuple[str, ...]
    """The arguments, without the option that names the result file."""

    def here(self, sources: Mapping[str, str], kept: Path) -> list[str]:
        """Return the arguments for this machine.

        Args:
            sources: where data are, by the keys of ``SOURCES``; those left out are taken by the
                names that were stored.
            kept: the folder for files that a run writes besides its result.

        Raises:
            InvalidInputError: if the command needs the address of a database and has none.
        """
        places = {SOURCES[name]: place for name, place in sources.items()}
        arguments = [_placed(argument, places) for argument in self.arguments]
        if ADDRESS in arguments:
            raise InvalidInputError("The command needs a database; give --storage ADDRESS.")
        for i, argument in enumerate(arguments[:-1]):
            if argument in KEPT_OPTIONS:
                arguments[i + 1] = str(kept / arguments[i + 1])
        return arguments

    def resumed_file(self, kept: Path) -> Path | None:
        """Return the file in a folder that lets a stopped run go on; None if it has none."""
        if RESUMED_OPTION not in self.arguments:
            return None
        return kept / self.arguments[self.arguments.index(RESUMED_OPTION) + 1]


def stored_command(line: str) -> StoredCommand:
    """Return the claim and the arguments of a stored command line, also of the old form.

    Raises:
        InvalidInputError: if the line runs none of the claims.
    """
    words = shlex.split(line)
    if words[:3] == ["python", "-m", RUNNER] and words[3:]:
        claim, arguments = words[3], words[4:]
    else:
        claim, arguments = OLD_PROGRAMS.get("".join(words[2:3]), ""), words[3:]
    if claim not in CLAIMS:
        raise InvalidInputError(f"Expected a command that runs a claim, got '{line}'.")
    return StoredCommand(claim, tuple(_without_result_option(arguments)))


def _without_result_option(arguments: Iterable[str]) -> Iterable[str]:
    words = iter(arguments)
    for word in words:
        if word == RESULT_OPTION:
            next(words, None)
        elif not word.startswith(f"{RESULT_OPTION}="):
            yield word


def _placed(argument: str, places: Mapping[str, str]) -> str:
    """Return an argument with the stored name of a source, alone or after "=", replaced."""
    before, equals, value = argument.rpartition("=")
    return f"{before}{equals}{places.get(value, value)}"
