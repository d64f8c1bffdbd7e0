"""A real Chromium for the tests of the HTML page."""

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
"""Names of the program, in the order in which they are looked for."""

OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Options that keep Chromium from everything but showing the page."""

TIMEOUT = 60_000
"""Milliseconds to wait for anything on a page; two seconds are enough unless others use the CPU."""

DRAWN = "document.documentElement.dataset.drawn || document.documentElement.dataset.failed"
"""JavaScript that is true as soon as the page has drawn its charts or failed to."""


@dataclass
class Tab:
    """A browser tab with one page, and everything that the page logged and requested."""

    page: Page
    """The page as Playwright sees it."""
    messages: list[str] = field(default_factory=list)
    """Errors and warnings on the console, dialogs, and uncaught exceptions."""
    requests: list[str] = field(default_factory=list)
    """Addresses that the page requested, its own first."""

    def count(self, selector: str) -> int:
        """Return how many elements match a CSS selector."""
        return self.page.locator(selector).count()

    def marks(self, chart: str, name: str) -> int:
        """Return how many marks of one name a chart really shows: those with any extent."""
        shapes = f"#chart-{chart} g.{name}_marks > *"
        return int(
            self.page.evaluate(
                "s => [...document.querySelectorAll(s)].filter(e => e.getBBox().width + "
                "e.getBBox().height > 0).length",
                shapes,
            )
        )

    def data(self, name: str) -> Any:
        """Return a data attribute of the page's root; ``drawn`` counts the charts."""
        return self.page.evaluate("n => document.documentElement.dataset[n]", name)


def executable() -> str:
    """Return the path of Chromium: ``CHROMIUM`` in the environment, else the system's."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    assert path, (
        "Chromium is not installed. Run `make browser`, or set the environment variable CHROMIUM "
        "to the path of one."
    )
    return path


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium, and end it with the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=list(OPTIONS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_tab(
    browser: Browser, path: Path, *, width: int = 1280, scheme: Any = "light"
) -> Iterator[Tab]:
    """Open a page in a context of its own and wait until its charts are drawn.

    Args:
        browser: a running Chromium.
        path: the page.
        width: width of the window in pixels.
        scheme: ``light`` or ``dark``.
    """
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    try:
        tab = Tab(context.new_page())
        tab.page.set_default_timeout(TIMEOUT)
        _record(tab)
        tab.page.goto(path.as_uri())
        if tab.count("#charts"):
            tab.page.wait_for_function(DRAWN)
        yield tab
    finally:
        context.close()


def _record(tab: Tab) -> None:
    """Note down from now on what the page logs and requests."""
    messages = tab.messages
    tab.page.on(
        "console",
        lambda message: (
            messages.append(message.text) if message.type in {"error", "warning"} else None
        ),
    )
    tab.page.on("pageerror", lambda error: messages.append(str(error)))
    tab.page.on("dialog", lambda dialog: messages.append(f"dialog: {dialog.message}"))
    tab.page.on("request", lambda request: tab.requests.append(request.url))
