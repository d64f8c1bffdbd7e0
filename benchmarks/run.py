"""Run one claim, or repeat a result file from the command that is stored in it.

    python -m benchmarks.run CLAIM [OPTIONS] [--json FILE]
    python -m benchmarks.run --repeat FILE [--mnist PATH] [--fashion PATH] [--storage ADDRESS] ...

``python -m benchmarks.run CLAIM --help`` shows the options of a claim.  A repeated file is replaced
when its run has ended; files that a run writes besides its result go to ``runs/benchmarks``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.claim import CLAIMS, claim_named
from benchmarks.command import Parser, output_file, run_and_exit, say
from benchmarks.result_files import command_line, write_result
from benchmarks.stored import SOURCES, StoredCommand, stored_command
from designer.errors import InvalidInputError

KEPT = Path(__file__).parents[1] / "runs" / "benchmarks"


def main(arguments: Sequence[str]) -> None:
    """Run a claim, or repeat a result file."""
    if arguments and arguments[0] in CLAIMS:
        claim, *rest = arguments
        measure(claim, options_of(claim, rest), command_line(claim, rest))
    else:
        repeat(_repeat_options(arguments))


def options_of(claim: str, arguments: Sequence[str]) -> argparse.Namespace:
    """Return the checked options of a claim; wrong use exits with code 2."""
    program = claim_named(claim)
    parser = Parser(
        f"benchmarks.run {claim}", description=(program.__doc__ or "").partition("\n")[0]
    )
    program.configure(parser)
    parser.add_argument("--json", type=output_file, help="result file to write")
    return parser.checked(arguments)


def measure(claim: str, options: argparse.Namespace, command: str) -> None:
    """Run a claim, print its figures, and write the result file if the options name one."""
    program = claim_named(claim)
    started = time.perf_counter()
    result = program.run(options)
    seconds = time.perf_counter() - started
    program.show(result)
    if options.json:
        write_result(options.json, result, command, result.earlier_seconds + seconds)


def repeat(options: argparse.Namespace) -> None:
    """Run the command of a result file again and replace the file."""
    command, seconds = read_command(options.repeat)
    line = command_line(command.claim, [*command.arguments, "--json", options.repeat.name])
    say(f"{line}\n{options.repeat.name} took {seconds:.0f} s last time")
    sources = {name: place for name in SOURCES if (place := getattr(options, name))}
    KEPT.mkdir(parents=True, exist_ok=True)
    arguments = [*command.here(sources, KEPT), "--json", str(options.repeat)]
    measure(command.claim, options_of(command.claim, arguments), line)
    if file := command.resumed_file(KEPT):  # so that the next repeat begins anew
        file.unlink(missing_ok=True)


def read_command(path: Path) -> tuple[StoredCommand, float]:
    """Return the command that a result file stores, and the seconds that it took.

    Raises:
        InvalidInputError: if the file is missing or is no result file.
    """
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))["meta"]
        return stored_command(meta["command"]), float(meta["seconds"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(
            f"Expected a result file in '{path}', but reading it failed: "
            f"{type(error).__name__} {error}."
        ) from error


def _repeat_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser("benchmarks.run", (__doc__ or "").partition("\n")[0])
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.usage = (
        "benchmarks.run CLAIM [OPTIONS] [--json FILE]\n       benchmarks.run --repeat FILE"
    )
    parser.epilog = "claims:\n" + "\n".join(f"  {name:11}{what}" for name, what in CLAIMS.items())
    parser.add_argument("--repeat", type=Path, required=True, help="result file to measure again")
    for option, name in SOURCES.items():
        parser.add_argument(f"--{option}", help=f"where '{name}' of the stored command is")
    if arguments and not arguments[0].startswith("-"):
        parser.error(f"expected a claim ({', '.join(CLAIMS)}), got '{arguments[0]}'")
    return parser.checked(arguments)


if __name__ == "__main__":
    run_and_exit(main)
