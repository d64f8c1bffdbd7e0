"""Read the code blocks of a Markdown page and run them as a reader would, from top to bottom.

- A ``console`` block holds commands on lines that begin with ``$ `` (a line that ends with a
  backslash goes on in the next one) and, on all other lines, what they print.
- A ``python`` block is executed; all blocks of a page share their names. What it prints may follow
  in a block of plain text.
- A block with a title, as in ``python title="nets.py"``, is a file that the page tells to save.
- ``<!-- not run: REASON -->`` on the line before a block says why nothing runs it.
- In shown output, ``…`` stands for what was left out.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT

BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n)?"
    r"^```(?P<language>\w+)(?: title=\"(?P<title>[^\"\n]+)\")?\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)

PAGES = [ROOT / "docs" / "start.md", *sorted((ROOT / "docs" / "tutorials").glob("*.md"))]
"""Pages whose blocks are run."""

RUN = ("console", "python")
"""Languages of blocks that are run."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    title: str = ""
    """Name of the file that the page tells to save; empty if the block is no file."""
    reason: str = ""
    """Why it is not run; empty if it is."""

    @property
    def commands(self) -> list[str]:
        """Commands of a ``console`` block."""
        commands: list[str] = []
        continued = False
        for line in self.text.splitlines():
            if continued:
                commands[-1] += "\n" + line
            elif line.startswith("$ "):
                commands.append(line[2:])
            continued = line.endswith("\\") and (continued or line.startswith("$ "))
        return commands

    @property
    def shown(self) -> list[str]:
        """Lines of output that a ``console`` or ``text`` block shows, without the omissions."""
        lines = re.sub(r"\\\n", "", self.text).splitlines()
        return [line for line in lines if not line.startswith("$ ") and "…" not in line]


@dataclass
class PageRun:
    """Runs the blocks of one page in one folder."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables beside those of this process."""
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})
    """What the Python blocks have defined so far."""
    groups: list[int] = field(default_factory=list)
    """Process groups of the console blocks, which may leave processes in the background."""

    def run(self, block: Block) -> str:
        """Run a block, or save it if it is a file; return what it printed.

        Raises:
            AssertionError: if a command fails.
        """
        if block.title:
            (self.folder / block.title).write_text(block.text, encoding="utf-8")
            return ""
        return self.console(block) if block.language == "console" else self.python(block)

    def python(self, block: Block) -> str:
        """Execute a Python block; return what it printed."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block.text, "page", "exec"), self.names)
        return printed.getvalue()

    def console(self, block: Block) -> str:
        """Run the commands of a block in one shell; return what they printed, errors included."""
        programs = Path(sys.executable).parent
        script = "\n".join(["set -e -o pipefail", *block.commands])
        output = self.folder / ".output"  # a file: a process in the background would hold a pipe
        with output.open("w", encoding="utf-8") as file:
            process = subprocess.Popen(
                ["bash", "-c", script],
                cwd=self.folder,
                env={
                    **os.environ,
                    "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
                    "OMP_NUM_THREADS": "1",
                    **self.environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self.groups.append(process.pid)
            code = process.wait()
        printed = output.read_text(encoding="utf-8")
        output.unlink()
        assert code == 0, f"{script}\nended with {code}:\n{printed}"
        return printed

    def end(self) -> None:
        """End what the blocks left running in the background."""
        for group in self.groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page in order.

    Raises:
        AssertionError: if a fence was not recognised, for example an indented one.
    """
    text = page.read_text(encoding="utf-8")
    blocks = [
        Block(match["language"], match["text"], match["title"] or "", match["reason"] or "")
        for match in BLOCK.finditer(text)
    ]
    fences = len(re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE))
    assert fences == 2 * len(blocks), f"{page.name}: fences {fences}, blocks {len(blocks)}"
    return blocks


def run_page(page: Path, run: PageRun) -> Iterator[tuple[Block, str]]:
    """Run a page from top to bottom; yield each block that shows output, and what was printed.

    A ``text`` block shows what the Python block before it printed.
    """
    printed = ""
    for block in blocks_of(page):
        if block.reason:
            continue
        if block.title or block.language in RUN:
            printed = run.run(block)
        if block.language in ("console", "text"):
            yield block, printed


def without_numbers(line: str) -> str:
    """Return a line of output with its numbers, bars and spaces made equal."""
    line = re.sub(r"[▁▂▃▄▅▆▇█▏▎▍▌▋▊▉]+", "", line)
    return " ".join(re.sub(r"[-+]?\d[\d,.]*", "0", line).split())
