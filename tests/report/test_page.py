"""The HTML page in a real browser: what it draws, what it asks for, who can read it."""

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
from designer.report.html import html_report
from designer.report.views.search import report_view
from designer.results.layers import Curve
from designer.results.search import SearchResult
from tests.report.test_report import (
    chance,
    deep,
    named,
    numberless,
    search_result,
    single_trial,
    trial_row,
    typical,
)
from tests.support.browser import Opened, chromium, opened
from tests.support.paths import FILES

DATA = FILES

LIMIT = 2_000_000
"""Bytes of a page."""

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
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def usual(folder: Path) -> Path:
    """The page of a usual study."""
    path = folder / "usual.html"
    path.write_text(html_report(report_view(typical())), encoding="utf-8")
    return path


def page_of(result: SearchResult, folder: Path) -> Path:
    path = folder / "report.html"
    path.write_text(html_report(report_view(result)), encoding="utf-8")
    return path


def check_clean(seen: Opened, path: Path) -> None:
    """Nothing went wrong, nothing but the page itself was asked for, all charts are there."""
    assert seen.messages == []
    assert seen.requests == [path.as_uri()]
    charts = seen.count(".chart")
    assert str(charts) == (seen.data("drawn") or "0")
    assert seen.count(".chart svg") == charts
    assert path.stat().st_size < LIMIT


def check_fits(seen: Opened) -> None:
    width = seen.page.evaluate("document.documentElement.scrollWidth")
    assert width <= seen.page.evaluate("document.documentElement.clientWidth")


def faults(seen: Opened) -> list[str]:
    """What axe-core finds that is serious."""
    found = Axe().run(seen.page).response["violations"]
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found if one["impact"] in SERIOUS
    ]


FILLS = "s => [...document.querySelectorAll('#chart-trials ' + s)].map(e => e.getAttribute('fill'))"


def check_shades(seen: Opened) -> None:
    """The legend names every shade of a trial once."""
    used = seen.page.evaluate(FILLS, "g.trials_marks > path")
    named = seen.page.evaluate(FILLS, "g.role-legend-symbol path")
    assert len(set(named)) == len(named)
    assert set(used) == set(named)


def check_charts(seen: Opened, result: SearchResult) -> None:
    """Every figure of the result has its mark."""
    for one in result.recommendations:
        taps = len(one.layers) + 1
        assert seen.marks(f"curve-{one.rank}", "training") == taps
        assert seen.marks(f"curve-{one.rank}", "heldout") == taps
        assert seen.marks(f"residuals-{one.rank}", "residuals") == taps
        shares = sum(layer.share is not None for layer in one.layers)
        assert seen.marks(f"shares-{one.rank}", "bars") == shares
        assert seen.marks(f"architecture-{one.rank}", "slabs") == taps
        moments = len(one.emergence) * taps
        assert seen.marks(f"emergence-{one.rank}", "moments") == moments
    complete = [row for row in result.trials if row.state == "complete"]
    assert seen.marks("trials", "trials") == len(complete)
    check_shades(seen)


def check_click(seen: Opened, result: SearchResult) -> None:
    """A click on the point of a trial shows its curve and says which it is; so does the list."""
    select = seen.page.locator("#trial")
    before = select.input_value()
    curves = {str(row.number): row.curve for row in result.trials if row.curve is not None}
    points = seen.page.locator("#chart-trials g.trials_marks > path")
    for i in range(points.count()):
        points.nth(i).click(force=True)
        if select.input_value() != before:
            break
    after = select.input_value()
    assert after != before
    curve = curves[after]
    assert curve is not None
    drawn = "#chart-trial-curve g.training_marks > path"
    seen.page.wait_for_function(
        "([s, n]) => document.querySelectorAll(s).length === n", arg=[drawn, len(curve.blocks)]
    )
    row = next(row for row in result.trials if str(row.number) == after)
    said = seen.page.locator("#trial-figures").inner_text()
    assert f"{row.parameters:,} parameters" in said
    select.select_option(before)
    assert seen.page.locator("#trial-figures").inner_text() != said


class TestRealRuns:
    @pytest.mark.parametrize("data", ["digits", "mnist"])
    def test_of_a_search(self, data: str, browser: Browser, tmp_path: Path) -> None:
        source = "digits" if data == "digits" else str(DATA / "mnist_550.npz")
        size = None if data == "digits" else 10
        result = designer.search("mlp", source, out=tmp_path, image_size=size, **QUICK)
        assert all(one.emergence for one in result.recommendations)
        path = page_of(result, tmp_path)
        with opened(browser, path) as seen:
            check_clean(seen, path)
            check_charts(seen, result)
            check_click(seen, result)
            check_fits(seen)
            assert faults(seen) == []
        with opened(browser, path, width=390, scheme="dark") as seen:
            check_clean(seen, path)
            check_charts(seen, result)
            check_fits(seen)
            assert faults(seen) == []


def test_the_layer_is_told_on_hover(browser: Browser, usual: Path) -> None:
    with opened(browser, usual) as seen:
        seen.page.locator("#chart-curve-1 g.touch_marks > line").nth(2).hover(force=True)
        told = seen.page.locator("#vg-tooltip-element.visible")
        told.wait_for()
        text = told.inner_text()
        assert "blocks.1" in text
        assert "7.358" in text


def many(count: int) -> SearchResult:
    """A study of so many trials, the best of which have curves, of deep networks."""
    first = typical().recommendations
    rows = []
    for i in range(count):
        row = trial_row(i)
        spec = {"widths": [16 + (i * 8 * j) % 240 for j in range(1, 13)], **row.spec}
        rows.append(
            replace(
                row,
                spec={**spec, "widths": [16 + (i * 8 * j) % 240 for j in range(1, 13)]},
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
    view = report_view(result)
    with opened(browser, path, width=390) as seen:
        check_clean(seen, path)
        check_fits(seen)
        shown = seen.page.inner_text("body")
        assert seen.page.inner_text("h1") == view.title
        assert view.headline in shown
        assert not re.search(r"\b(nan|inf|None|undefined|NaN|Infinity)\b", shown)
        points = [row for row in result.trials if row.state == "complete" and row.parameters]
        if kind not in {"nan"}:
            assert seen.marks("trials", "trials") == len(points)
        for one in result.recommendations:
            assert seen.marks(f"architecture-{one.rank}", "slabs") == len(one.layers) + 1


def hostile() -> SearchResult:
    """A network for each hostile name, which stands wherever a name from outside may."""
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
    criterion = {name: one for kind in kinds for name, one in kind.criterion.items()}
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
        with opened(browser, path) as seen:
            check_clean(seen, path)
            assert HOSTILE[0] in seen.page.inner_text("h1")
            warned = seen.page.inner_text(".warnings")
            headings = " ".join(seen.page.locator("h2").all_inner_texts())
            for rank, name in enumerate(HOSTILE, 1):
                assert name in warned
                assert name in headings
                seen.page.locator(f"#chart-curve-{rank} g.touch_marks > line").nth(1).hover(
                    force=True
                )
                tooltip = seen.page.locator("#vg-tooltip-element.visible", has_text=name)
                tooltip.wait_for()
                seen.page.select_option("#trial", str(rank))
            assert seen.count("img") == 0
            assert seen.count("script") == 3
            assert seen.messages == []

    def test_are_values_in_the_specifications(self) -> None:
        text = html_report(report_view(hostile()))
        (embedded,) = re.findall(
            r'<script type="application/json" id="charts">(.*?)</script>', text
        )
        assert not re.search("[<>&\u2028\u2029]", embedded)
        values = 0
        for one in json.loads(embedded)["charts"]:
            rows = one["spec"].pop("datasets", {}).values()
            values += sum(json.dumps(name)[1:-1] in json.dumps(list(rows)) for name in HOSTILE)
            for expression in expressions(one["spec"]):
                assert not any(json.dumps(name)[1:-1] in expression for name in HOSTILE)
        assert values > len(HOSTILE)


def expressions(spec: Any) -> Iterator[str]:
    """Everything in a specification that is a field or is evaluated."""
    if isinstance(spec, dict):
        for key, value in spec.items():
            if key in {"field", "expr", "test", "filter", "labelExpr", "signal"}:
                yield json.dumps(value)
            yield from expressions(value)
    elif isinstance(spec, list):
        for value in spec:
            yield from expressions(value)


def test_the_policy_forbids_scripts_from_outside(browser: Browser, usual: Path) -> None:
    with opened(browser, usual) as seen:
        seen.page.evaluate(
            "() => { const s = document.createElement('script'); s.textContent = "
            "'window.ran = true'; document.body.append(s); "
            "new Image().src = 'http://127.0.0.1/x'; }"
        )
        assert seen.page.evaluate("() => window.ran === undefined")
        assert any("Content Security Policy" in message for message in seen.messages)


def test_tables_are_there_without_scripts(browser: Browser, usual: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(usual.as_uri())
    shown = page.content()
    assert "The charts need JavaScript" in shown
    assert page.locator("details table").count() == page.locator("figure").count() + 3
    context.close()


def test_is_readable_in_print(browser: Browser, usual: Path) -> None:
    """Light whatever the screen, and without what only a screen can do."""
    with opened(browser, usual, scheme="dark") as seen:
        seen.page.emulate_media(media="print", color_scheme="dark")
        background = seen.page.evaluate(
            "getComputedStyle(document.documentElement).backgroundColor"
        )
        assert background == "rgb(255, 255, 255)"
        assert not seen.page.locator("nav").is_visible()
        assert seen.page.locator("#chart-curve-1 svg").is_visible()


def test_colours_follow_the_scheme(browser: Browser, usual: Path) -> None:
    line = "#chart-curve-1 g.training_marks > path"
    with opened(browser, usual) as seen:
        mark = seen.page.locator(line).first
        light = mark.evaluate("e => getComputedStyle(e).fill")
        seen.page.emulate_media(color_scheme="dark")
        assert mark.evaluate("e => getComputedStyle(e).fill") != light


def test_curves_are_kept_for_the_best_alone() -> None:
    text = html_report(report_view(many(300)))
    assert "one of the 100 best" in text


def test_every_network_has_its_charts() -> None:
    view = report_view(typical())
    names = [figure.name for section in view.sections for figure in section.figures]
    assert len(names) == len(set(names))
    assert {"curve-1", "curve-2", "curve-3", "trials", "agreement"} <= set(names)
