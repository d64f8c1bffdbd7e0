"""Make the README's pictures from a real search on the bundled digits.

``python docs/picture.py docs`` (or ``make picture``) writes ``report.svg``, the report as the
terminal shows it, and ``charts.svg``, the charts of its page.
"""

from __future__ import annotations

import io
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from rich.console import Console

import designer
from designer.report.pictures import PictureFormat, picture
from designer.report.terminal import print_report
from designer.report.views.search import search_view

COMMAND = "designer search --data digits --trials 30 --epochs 10"


def main(folder: str) -> None:
    """Run the search and write the pictures to ``folder``."""
    with tempfile.TemporaryDirectory() as run:
        result = designer.search("mlp", "digits", trials=30, epochs=10, out=run)
    view = search_view(result)
    console = Console(record=True, width=108, file=io.StringIO(), force_terminal=True)
    print_report(replace(view, notes=(), command=COMMAND), console)
    console.save_svg(str(Path(folder, "report.svg")), title=COMMAND)
    Path(folder, "charts.svg").write_bytes(picture(view, PictureFormat.SVG))


if __name__ == "__main__":
    main(sys.argv[1])
