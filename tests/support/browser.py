"""A real Chromium, and what it makes of a page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")

OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

PATIENCE = 60_000
"""Milliseconds to wait for what should be there in two seconds, on a busy machine."""

DRAWN = "document.documentElement.dataset.drawn || document.documentElement.dataset.failed"


@dataclass
class Opened:
    """A page that was opened, and all that went on meanwhile."""

    page: Page
    messages: list[str] = field(default_factory=list)
    """Errors and warnings on the console, and errors that nothing caught."""
    requests: list[str] = field(default_factory=list)

    def count(self, selector: str) -> int:
        return self.page.locator(selector).count()

    def marks(self, chart: str, name: str) -> int:
        """Marks of one kind in a chart that are really drawn."""
        shapes = f"#chart-{chart} g.{name}_marks > *"
        return int(
            self.page.evaluate(
                "s => [...document.querySelectorAll(s)].filter(e => e.getBBox().width + "
                "e.getBBox().height > 0).length",
                shapes,
            )
        )

    def data(self, name: str) -> Any:
        """What the page says of itself, such as how many charts it drew."""
        return self.page.evaluate("n => document.documentElement.dataset[n]", name)


def executable() -> str:
    """The system's Chromium."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    assert found, (
        "Expected Chromium to open pages with, found none; `make browser` installs it, or name "
        "one in the environment variable CHROMIUM."
    )
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=list(OPTIONS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: Browser, path: Path, *, width: int = 1280, scheme: Any = "light"
) -> Iterator[Opened]:
    """A page in a context of its own, drawn, with everything that it asks for noted down."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    try:
        seen = Opened(context.new_page())
        seen.page.set_default_timeout(PATIENCE)
        seen.page.on(
            "console",
            lambda said: (
                seen.messages.append(said.text) if said.type in {"error", "warning"} else None
            ),
        )
        seen.page.on("pageerror", lambda error: seen.messages.append(str(error)))
        seen.page.on("dialog", lambda dialog: seen.messages.append(f"dialog: {dialog.message}"))
        seen.page.on("request", lambda request: seen.requests.append(request.url))
        seen.page.goto(path.as_uri())
        if seen.count("#charts"):
            seen.page.wait_for_function(DRAWN)
        yield seen
    finally:
        context.close()
