"""The HTML page in a real browser: what it draws, what it requests, and who can read it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

import designer
from designer.report.figures.thinning import MOST_TRIALS
from designer.report.html import html_report
from designer.report.views.search import search_view
from designer.results.layers import Curve
from designer.results.search import SearchResult
from tests.support.browser import Tab, chromium, open_tab
from tests.support.paths import FILES
from tests.support.sample_reports import (
    chance,
    deep,
    named,
    numberless,
    search_result,
    single_trial,
    trial_row,
    typical,
)

MAX_BYTES = 2_000_000
"""Most bytes of a page."""

QUICK: dict[str, Any] = {"trials": 4, "epochs": 3, "confirm": 1, "confirm_seeds": 2}

SERIOUS = {"serious", "critical"}

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "</script><script>alert(3)</script>",
    "{{ 7 * 7 }} ${alert(4)} datum['x'] a.b[c]",
    "javascript:alert(5)",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def usual(folder: Path) -> Path:
    """Return the page of a typical study."""
    path = folder / "usual.html"
    path.write_text(html_report(search_view(typical())), encoding="utf-8")
    return path


def page_of(result: SearchResult, folder: Path) -> Path:
    path = folder / "report.html"
    path.write_text(html_report(search_view(result)), encoding="utf-8")
    return path


def check_clean(tab: Tab, path: Path) -> None:
    """Check that nothing went wrong, that only the page itself was requested, and all charts."""
    assert tab.messages == []
    assert tab.requests == [path.as_uri()]
    charts = tab.count(".chart")
    assert str(charts) == (tab.data("drawn") or "0")
    assert tab.count(".chart svg") == charts
    assert path.stat().st_size < MAX_BYTES


def check_fits(tab: Tab) -> None:
    width = tab.page.evaluate("document.documentElement.scrollWidth")
    assert width <= tab.page.evaluate("document.documentElement.clientWidth")


def faults(tab: Tab) -> list[str]:
    """Return the serious faults of accessibility that axe-core reports."""
    violations = Axe().run(tab.page).response["violations"]
    return [
        f"{violation['id']}: {violation['nodes'][0]['html'][:200]}"
        for violation in violations
        if violation["impact"] in SERIOUS
    ]


FILLS = "s => [...document.querySelectorAll('#chart-trials ' + s)].map(e => e.getAttribute('fill'))"


def check_shades(tab: Tab) -> None:
    """Check that the legend has every colour of a trial once."""
    used = tab.page.evaluate(FILLS, "g.trials_marks > path")
    named = tab.page.evaluate(FILLS, "g.role-legend-symbol path")
    assert len(set(named)) == len(named)
    assert set(used) == set(named)


def check_charts(tab: Tab, result: SearchResult) -> None:
    """Check that every number of the result has its mark."""
    for network in result.recommendations:
        layers = len(network.layers) + 1
        assert tab.marks(f"curve-{network.rank}", "training") == layers
        assert tab.marks(f"curve-{network.rank}", "heldout") == layers
        assert tab.marks(f"residuals-{network.rank}", "residuals") == layers
        shares = sum(layer.share is not None for layer in network.layers)
        assert tab.marks(f"shares-{network.rank}", "bars") == shares
        assert tab.marks(f"architecture-{network.rank}", "slabs") == layers
        points = len(network.emergence) * layers
        assert tab.marks(f"emergence-{network.rank}", "epochs") == points
    complete = [row for row in result.trials if row.state == "complete"]
    assert tab.marks("trials", "trials") == len(complete)
    check_shades(tab)


def check_click(tab: Tab, result: SearchResult) -> None:
    """Check that a click on a point shows the curve and numbers of its trial; so does the list."""
    select = tab.page.locator("#trial")
    before = select.input_value()
    curves = {str(row.number): row.curve for row in result.trials if row.curve is not None}
    points = tab.page.locator("#chart-trials g.trials_marks > path")
    for i in range(points.count()):
        points.nth(i).click(force=True)
        if select.input_value() != before:
            break
    after = select.input_value()
    assert after != before
    curve = curves[after]
    assert curve is not None
    drawn = "#chart-trial-curve g.training_marks > path"
    tab.page.wait_for_function(
        "([s, n]) => document.querySelectorAll(s).length === n", arg=[drawn, len(curve.blocks)]
    )
    row = next(row for row in result.trials if str(row.number) == after)
    numbers = tab.page.locator("#trial-figures").inner_text()
    assert f"{row.parameters:,} parameters" in numbers
    select.select_option(before)
    assert tab.page.locator("#trial-figures").inner_text() != numbers


class TestRealRuns:
    @pytest.mark.parametrize("data", ["digits", "mnist"])
    def test_everything_is_drawn(self, data: str, browser: Browser, tmp_path: Path) -> None:
        source = "digits" if data == "digits" else str(FILES / "mnist_550.npz")
        size = None if data == "digits" else 10
        result = designer.search("mlp", source, out=tmp_path, image_size=size, **QUICK)
        assert all(network.emergence for network in result.recommendations)
        path = page_of(result, tmp_path)
        with open_tab(browser, path) as tab:
            check_clean(tab, path)
            check_charts(tab, result)
            check_click(tab, result)
            check_fits(tab)
            assert faults(tab) == []
        with open_tab(browser, path, width=390, scheme="dark") as tab:
            check_clean(tab, path)
            check_charts(tab, result)
            check_fits(tab)
            assert faults(tab) == []


def test_hovering_shows_the_layer(browser: Browser, usual: Path) -> None:
    with open_tab(browser, usual) as tab:
        tab.page.locator("#chart-curve-1 g.touch_marks > line").nth(2).hover(force=True)
        tooltip = tab.page.locator("#vg-tooltip-element.visible")
        tooltip.wait_for()
        text = tooltip.inner_text()
        assert "blocks.1" in text
        assert "7.358" in text


def many(count: int) -> SearchResult:
    """Return a study of ``count`` trials of deep networks, of which 100 have curves."""
    first = typical().recommendations
    rows = []
    for i in range(count):
        row = trial_row(i)
        rows.append(
            replace(
                row,
                spec={**row.spec, "widths": [16 + (i * 8 * j) % 240 for j in range(1, 13)]},
                parameters=5000 + 37 * i,
                score=0.3 + 0.6 * ((i * 7919) % count) / count,
                validation_accuracy=0.4 + 0.55 * ((i * 104_729) % count) / count,
                curve=curve(12) if i % (count // 100) == 0 else None,
            )
        )
    return search_result(first, tuple(rows))


def curve(depth: int) -> Curve:
    values = tuple(20 * 0.6**i for i in range(depth + 1))
    return Curve(("input", *(f"blocks.{i}" for i in range(depth))), values, values)


AWKWARD: dict[str, Callable[[], SearchResult]] = {
    "empty": search_result,
    "single trial": single_trial,
    "all failed": lambda: search_result(trials=tuple(trial_row(i, "failed") for i in range(4))),
    "nan": numberless,
    "64 layers": deep,
    "at chance": chance,
    "5,000 trials": lambda: many(5000),
}


@pytest.mark.parametrize("kind", AWKWARD)
def test_awkward_studies_are_readable(kind: str, browser: Browser, folder: Path) -> None:
    result = AWKWARD[kind]()
    path = page_of(result, folder)
    view = search_view(result)
    with open_tab(browser, path, width=390) as tab:
        check_clean(tab, path)
        check_fits(tab)
        shown = tab.page.inner_text("body")
        assert tab.page.inner_text("h1") == view.title
        assert view.headline in shown
        assert not re.search(r"\b(nan|inf|None|undefined|NaN|Infinity)\b", shown)
        points = [row for row in result.trials if row.state == "complete" and row.parameters]
        if kind not in {"nan"}:
            assert tab.marks("trials", "trials") == min(len(points), MOST_TRIALS)
        for network in result.recommendations:
            assert tab.marks(f"architecture-{network.rank}", "slabs") == len(network.layers) + 1


def hostile() -> SearchResult:
    """Return a network for each hostile name, which stands wherever a name from outside may."""
    kinds = [named(name) for name in HOSTILE]
    networks = [
        replace(
            kind.recommendations[0],
            rank=rank,
            trial=rank,
            emergence=(hostile_curve(name, 1), hostile_curve(name, 9)),
        )
        for rank, (name, kind) in enumerate(zip(HOSTILE, kinds, strict=True), 1)
    ]
    trials = [
        replace(kind.trials[0], number=rank, parameters=1000 * rank, curve=hostile_curve(name))
        for rank, (name, kind) in enumerate(zip(HOSTILE, kinds, strict=True), 1)
    ]
    criterion = {name: rank for kind in kinds for name, rank in kind.criterion.items()}
    warnings = [warning for kind in kinds for warning in kind.warnings]
    return replace(
        kinds[0],
        recommendations=tuple(networks),
        trials=tuple(trials),
        criterion=criterion,
        warnings=tuple(warnings),
    )


def hostile_curve(name: str, epoch: int | None = None) -> Curve:
    return replace(curve(2), blocks=("input", name, name), epoch=epoch)


class TestHostileNames:
    def test_are_text_and_run_nothing(self, browser: Browser, folder: Path) -> None:
        path = page_of(hostile(), folder)
        with open_tab(browser, path) as tab:
            check_clean(tab, path)
            assert HOSTILE[0] in tab.page.inner_text("h1")
            warned = tab.page.inner_text(".warnings")
            headings = " ".join(tab.page.locator("h2").all_inner_texts())
            for rank, name in enumerate(HOSTILE, 1):
                assert name in warned
                assert name in headings
                tab.page.locator(f"#chart-curve-{rank} g.touch_marks > line").nth(1).hover(
                    force=True
                )
                tooltip = tab.page.locator("#vg-tooltip-element.visible", has_text=name)
                tooltip.wait_for()
                tab.page.select_option("#trial", str(rank))
            assert tab.count("img") == 0
            assert tab.count("script") == 3
            assert tab.messages == []

    def test_are_values_in_the_specifications(self) -> None:
        text = html_report(search_view(hostile()))
        (embedded,) = re.findall(
            r'<script type="application/json" id="charts">(.*?)</script>', text
        )
        assert not re.search("[<>&\u2028\u2029]", embedded)
        values = 0
        for chart in json.loads(embedded)["charts"]:
            rows = chart["spec"].pop("datasets", {}).values()
            values += sum(json.dumps(name)[1:-1] in json.dumps(list(rows)) for name in HOSTILE)
            for expression in expressions(chart["spec"]):
                assert not any(json.dumps(name)[1:-1] in expression for name in HOSTILE)
        assert values > len(HOSTILE)


def expressions(spec: Any) -> Iterator[str]:
    """Yield everything in a specification that names a field or is evaluated."""
    if isinstance(spec, dict):
        for key, value in spec.items():
            if key in {"field", "expr", "test", "filter", "labelExpr", "signal"}:
                yield json.dumps(value)
            yield from expressions(value)
    elif isinstance(spec, list):
        for value in spec:
            yield from expressions(value)


def test_the_policy_forbids_scripts_from_outside(browser: Browser, usual: Path) -> None:
    with open_tab(browser, usual) as tab:
        tab.page.evaluate(
            "() => { const s = document.createElement('script'); s.textContent = "
            "'window.ran = true'; document.body.append(s); "
            "new Image().src = 'http://127.0.0.1/x'; }"
        )
        assert tab.page.evaluate("() => window.ran === undefined")
        assert any("Content Security Policy" in message for message in tab.messages)


def test_tables_are_there_without_scripts(browser: Browser, usual: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(usual.as_uri())
    shown = page.content()
    assert "The charts need JavaScript" in shown
    assert page.locator("details table").count() == page.locator("figure").count() + 3
    context.close()


def test_is_readable_in_print(browser: Browser, usual: Path) -> None:
    """Print is light even on a dark screen, and without parts that only a screen can use."""
    with open_tab(browser, usual, scheme="dark") as tab:
        tab.page.emulate_media(media="print", color_scheme="dark")
        background = tab.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        assert background == "rgb(255, 255, 255)"
        assert not tab.page.locator("nav").is_visible()
        assert tab.page.locator("#chart-curve-1 svg").is_visible()


def test_colours_follow_the_scheme(browser: Browser, usual: Path) -> None:
    line = "#chart-curve-1 g.training_marks > path"
    with open_tab(browser, usual) as tab:
        mark = tab.page.locator(line).first
        light = mark.evaluate("e => getComputedStyle(e).fill")
        tab.page.emulate_media(color_scheme="dark")
        assert mark.evaluate("e => getComputedStyle(e).fill") != light


def test_curves_are_kept_for_the_best_alone() -> None:
    text = html_report(search_view(many(300)))
    assert "one of the 100 best" in text


def test_every_network_has_its_charts() -> None:
    view = search_view(typical())
    names = [figure.name for section in view.sections for figure in section.figures]
    assert len(names) == len(set(names))
    assert {"curve-1", "curve-2", "curve-3", "trials", "agreement"} <= set(names)
