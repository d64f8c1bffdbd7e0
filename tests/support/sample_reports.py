"""Search results of every shape, made up for the tests of reports."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from designer.results.contribution import Contribution, Effect
from designer.results.diagnosis import Finding, FindingKind
from designer.results.layers import (
    InputReport,
    LawSummary,
    LayerReport,
    MeanSd,
    PairedChange,
    ReportWarning,
)
from designer.results.measured import LawStatus, Verdict
from designer.results.search import (
    REPORT_SCHEMA,
    DataSummary,
    RankAgreement,
    Recommendation,
    SearchResult,
    StudySummary,
    TrialCounts,
    TrialRow,
    TriedEdit,
)

COMMAND = (
    "designer search --data digits --space mlp --trials 8 --epochs 10 --seed 0 --batch-size 64"
)
"""The command of every sample except those from ``named``."""

SENTENCES = {
    Verdict.OK: "keep",
    Verdict.LOW: "narrow: the step is small for the width, on training and on held-out data",
    Verdict.HIGH: "insert: the step is 2.6 times the mean step, which two layers could share",
    Verdict.NEGATIVE: "remove: D rises here, which undoes separation",
    Verdict.DEGENERATE: "widen: only 5 of 9 class directions are left",
    Verdict.UNCERTAIN: "measure again: a share from 0.31 to 2.40 allows more than one verdict",
    Verdict.PREPARES: "keep: it prepares what later layers need: without it cross-entropy rises by "
    "1.60 nats and accuracy falls by 21.0 points",
    Verdict.IDLE: "remove: without it cross-entropy changes by 0.01 (-0.02 to 0.03) nats and "
    "accuracy by 0.1 (-0.5 to 0.6) points; removing it would save 4,160 parameters (20.8 %)",
}
"""An advice for each verdict; "insert" is one of earlier versions."""

KEEP_HIGH = "keep: the step is 2.6 times the mean step"
"""What is said of a block of verdict high since then."""

OVER_DEEP = Finding(
    FindingKind.OVER_DEEP,
    "Block 2 of 16, 'blocks.1', is within 3 points of the best nearest-class-mean accuracy on "
    "held-out data (95.2 and 97.6 %). 14 blocks lie behind it; from 6 on they are too many.",
    "Train a shallower network anew: 2 blocks would do by this measure. Do not just remove "
    "blocks: as it is trained, the network needs 3 of these 14.",
)

TRIED = (
    TriedEdit(
        trial=5,
        before=(),
        edit="half the width",
        kind="half the width",
        block=None,
        parameters_before=40_970,
        parameters=14_410,
        flops=28_000,
        accuracy=MeanSd(0.961, 0.002, 3),
        change=PairedChange(0.001, (-0.004, 0.006), 3),
        runs=3,
        kept=True,
        reason="65% smaller",
    ),
    TriedEdit(
        trial=5,
        before=("half the width",),
        edit="without blocks.1",
        kind="without this block",
        block="blocks.1",
        parameters_before=14_410,
        parameters=10_250,
        flops=20_000,
        accuracy=MeanSd(0.938, None, 1),
        change=PairedChange(-0.021, None, 1),
        runs=1,
        reason="2.3 points below the best before it",
    ),
    TriedEdit(
        trial=5,
        before=("half the width",),
        edit="half the blocks",
        kind="half the blocks",
        block=None,
        parameters_before=14_410,
        reason="depth 1 is outside of 2 to 12",
    ),
)
"""An edit that was kept, one of what it led to that was not, and one that was not possible."""

TRIED_IDLE = "accuracy -2.1 points, not kept"
"""What came of removing the idle block."""

RATE_TOO_LOW = Finding(
    FindingKind.RATE_TOO_LOW,
    "After the first third of the epochs, when the rate goes down, the training loss, which was "
    "still falling, only falls from 1.15 to 1.06 nats, to 92 %; from 80 % on the training is not "
    "at its end.",
    "Train with 3 times the learning rate.",
    tried=True,
    outcome="three times the learning rate, accuracy +1.0 points (+0.4 to +1.6), kept",
)

TOO_NARROW = Finding(
    FindingKind.TOO_NARROW,
    "Class directions are lost in block 'blocks.1' (5 of 9 at width 6).",
    "Make it 4 times as wide, or leave it out, and train anew.",
)

HOSTILE = (
    "<script>alert(1)</script>",
    "[red]x[/red]",
    "a|b",
    "a\\|b",
    "`code`",
    "*bold* __too__ ~~gone~~ $x$",
    "![i](http://x.y/z.png)",
    "# heading",
    "- item",
    "1. one",
    "&amp;",
    "two\nlines",
    "\x1b[31mred\x1b[0m",
)
"""Names that Markdown, HTML or a terminal could take for more than text."""


def layer(
    name: str, step: float | None, mean: float, verdict: Verdict, before: float
) -> LayerReport:
    """Return a block with a step from D = ``before``, where the mean step is ``mean``."""
    share = None if step is None else step / mean
    return LayerReport(
        name=name,
        width=64,
        separation=None if step is None else before * math.exp(-step),
        separation_heldout=None if step is None else before * math.exp(-step) * 1.25,
        separation_null=1234.5,
        step=step,
        share=share,
        interval=None if share is None else (share - 0.25, share + 0.25),
        verdict=verdict,
        advice=SENTENCES[verdict],
    )


def network(rank: int, steps: dict[str, tuple[float | None, Verdict]]) -> Recommendation:
    """Return a recommendation whose blocks take these steps from D = 20."""
    known = [step for step, _ in steps.values() if step is not None]
    total, before, layers = sum(known), 20.0, []
    for name, (step, verdict) in steps.items():
        layers.append(layer(name, step, total / len(known) if known else 1, verdict, before))
        before = layers[-1].separation or before
    return Recommendation(
        rank=rank,
        spec={
            "widths": [64] * len(steps),
            "normalisation": "batch",
            "activation": "relu",
            "learning_rate": 0.001 * rank,
        },
        parameters=20_000 // rank,
        flops=40_000 // rank,
        learning_rate=0.001 * rank,
        score=0.9 / rank,
        validation_accuracy=MeanSd(0.98 - rank / 100, 0.004, 3),
        test_accuracy=MeanSd(0.97 - rank / 100, 0.005, 3),
        law=LawSummary(
            rho=0.61,
            half_life=1.4,
            r=-0.987,
            uniformity=0.91,
            total_reduction=total,
            status=LawStatus.HOLDS,
            reason="r is -0.987.",
        ),
        layers=tuple(layers),
        reason="Most accurate of the confirmed candidates on validation data.",
        roles=("most accurate",) if rank == 1 else (),
        input=InputReport(64, 20.0, 21.5, 1300.0, 0.85),
        trial=rank,
    )


def trial_row(number: int, state: str = "complete") -> TrialRow:
    """Return a trial whose score and accuracy grow with its number."""
    complete = state == "complete"
    return TrialRow(
        number=number,
        state=state,
        spec={"widths": [64, 32], "normalisation": "none", "learning_rate": 0.003},
        parameters=6000 + number if complete else None,
        flops=12_000 if complete else None,
        learning_rate=0.003,
        score=0.5 + number / 1000 if complete else None,
        heldout_separation=0.6 if complete else None,
        accuracy_above_chance=0.7 if complete else None,
        adherence=0.9 if complete else None,
        validation_accuracy=0.7 + number / 10_000 if complete else None,
        train_accuracy=0.99 if complete else None,
        training_loss=3.2 if complete else None,
        law=None,
        epochs=10,
        seconds=1.5,
        reason="" if complete else "The loss became nan in epoch 1.",
    )


def search_result(
    recommendations: tuple[Recommendation, ...] = (),
    trials: tuple[TrialRow, ...] = (),
    warnings: tuple[ReportWarning, ...] = (),
) -> SearchResult:
    """Return the result of a search on digits with these parts."""
    states = [row.state for row in trials]
    return SearchResult(
        schema=REPORT_SCHEMA,
        study=StudySummary(
            space="mlp",
            data="digits",
            seed=0,
            trials=TrialCounts(*(states.count(s) for s in ("complete", "pruned", "failed"))),
            epochs=10,
            objective="design",
            seconds=123.4,
            dataset=DataSummary("digits", "abc", (1, 8, 8), 10, 1077, 360, 360, 0.103),
            confirmation={"candidates": 5, "epochs": 30, "seeds": 3},
            score_explanation="The design score says how well the blocks separate.",
            settings={"data_source": "digits", "space": "mlp", "trials": 8, "batch_size": 64},
            versions={"python": "3.12.1", "equisep-designer": "0.1.0"},
        ),
        recommendations=recommendations,
        criterion={
            "design_score": RankAgreement(0.71, len(trials), (0.42, 0.88)),
            "depth": RankAgreement(None, len(trials), None),
        },
        trials=trials,
        warnings=warnings,
        command=COMMAND,
    )


def typical() -> SearchResult:
    """Return three recommendations with every verdict, and eight trials in every state."""
    first = network(
        1,
        {
            "blocks.0": (0.8, Verdict.OK),
            "blocks.1": (0.2, Verdict.LOW),
            "blocks.2": (2.1, Verdict.HIGH),
            "blocks.3": (-0.3, Verdict.NEGATIVE),
            "blocks.4": (1.2, Verdict.UNCERTAIN),
        },
    )
    second = network(2, {"blocks.0": (1.0, Verdict.OK), "blocks.1": (1.1, Verdict.OK)})
    third = network(
        3,
        {
            "blocks.0": (0.9, Verdict.OK),
            "blocks.1": (None, Verdict.DEGENERATE),
            "blocks.2": (0.9, Verdict.OK),
        },
    )
    rows = (*map(trial_row, range(6)), trial_row(6, "pruned"), trial_row(7, "failed"))
    warning = ReportWarning("failed_trials", "1 trial failed. The last reason: Its loss diverged.")
    return search_result((first, second, third), rows, (warning,))


def contribution(rise: float, points: float, half: float = 0.1) -> Contribution:
    """Return a contribution whose cross-entropy rises, and whose accuracy changes, by so much.

    Both have an interval of ``half`` on either side, in nats and in percent.
    """
    accuracy = Effect(points / 100, (points / 100 - half / 10, points / 100 + half / 10))
    return Contribution(
        stand_in="what it receives",
        separation=Effect(rise / 2, (rise / 2 - half, rise / 2 + half)),
        cross_entropy=Effect(rise, (rise - half, rise + half)),
        accuracy=accuracy,
    )


def contributing() -> SearchResult:
    """Return ``typical`` with contributions: blocks that are needed, idle, not clear, not tried.

    Two networks have findings, and no block has an advice that only earlier versions gave.
    """
    result = typical()
    first, second, third = result.recommendations
    verdicts = (Verdict.OK, Verdict.IDLE, Verdict.HIGH, Verdict.PREPARES, Verdict.UNCERTAIN)
    effects = ((0.4, -5.0), (0.0, 0.1), (0.6, -9.0), (1.6, -21.0), (0.05, -0.5))
    judged = tuple(
        replace(
            layer,
            verdict=verdict,
            advice=KEEP_HIGH if verdict is Verdict.HIGH else SENTENCES[verdict],
            parameters=4160,
            contribution=contribution(*effect, half=0.05 if verdict is Verdict.IDLE else 0.2),
        )
        for layer, verdict, effect in zip(first.layers, verdicts, effects, strict=True)
    )
    untried = replace(second.layers[1], contribution_reason="The block gives no floating tensor.")
    tried = replace(second.layers[0], contribution=contribution(0.9, -12.0))
    reason = "It was not asked for."
    refused = tuple(replace(layer, contribution_reason=reason) for layer in third.layers)
    judged = (judged[0], replace(judged[1], outcome=TRIED_IDLE), *judged[2:])
    networks = (
        replace(
            first, layers=judged, diagnosis=(OVER_DEEP, RATE_TOO_LOW), edits=("half the width",)
        ),
        replace(second, layers=(tried, untried)),
        replace(third, layers=refused, diagnosis=(TOO_NARROW,)),
    )
    return replace(result, recommendations=networks, tried=TRIED)


def single_trial() -> SearchResult:
    """Return one recommendation from one trial, confirmed with one seed."""
    only = network(1, {"blocks.0": (1.0, Verdict.OK), "blocks.1": (1.2, Verdict.OK)})
    only = replace(
        only, validation_accuracy=MeanSd(0.9, None, 1), test_accuracy=MeanSd(0.88, None, 1)
    )
    return search_result((only,), (trial_row(0),))


def numberless() -> SearchResult:
    """Return a result in which every number is None or NaN."""
    nan = math.nan
    spoilt = LayerReport(
        "blocks.0", 8, nan, None, nan, nan, None, (nan, nan), Verdict.DEGENERATE, "widen: it"
    )
    recommendation = replace(
        network(1, {"blocks.0": (None, Verdict.DEGENERATE)}),
        score=nan,
        validation_accuracy=MeanSd(nan, None, 1),
        test_accuracy=None,
        law=LawSummary(nan, None, nan, None, nan, LawStatus.DEGENERATE),
        layers=(spoilt,),
        input=InputReport(8, nan, None, None, None),
    )
    row = replace(trial_row(0), score=nan, validation_accuracy=nan)
    result = search_result((recommendation,), (row,))
    return replace(result, criterion={"depth": RankAgreement(nan, 0, (nan, nan))})


def deep() -> SearchResult:
    """Return a network of 64 layers with the widest numbers that occur."""
    steps: dict[str, tuple[float | None, Verdict]] = {
        f"blocks.{i}": (12.34 if i % 2 else -11.34, tuple(Verdict)[i % len(Verdict)])
        for i in range(64)
    }
    narrow = network(1, steps)
    layers = tuple(
        replace(block, width=16_384, interval=(-12.5, 123.5), separation=345.67)
        for block in narrow.layers
    )
    wide = replace(narrow, layers=layers, parameters=123_456_789)
    return search_result((wide,), (trial_row(0),))


def chance() -> SearchResult:
    """Return a candidate that is not recommended, because its accuracy is at chance."""
    reason = "Not recommended: its validation accuracy of 0.101 is at chance (0.103)."
    candidate = replace(network(1, {"blocks.0": (0.1, Verdict.LOW)}), roles=(), reason=reason)
    return search_result((candidate,), (trial_row(0),))


def named(name: str) -> SearchResult:
    """Return a result with ``name`` wherever a name from outside may stand."""
    result = typical()
    first = result.recommendations[0]
    blocks = (replace(first.layers[0], name=name), *first.layers[1:])
    spoilt = replace(
        first, layers=(replace(blocks[0], verdict=Verdict.LOW, advice="narrow: it"), *blocks[1:])
    )
    spoilt = replace(spoilt, spec={**first.spec, "activation": name})
    return replace(
        result,
        study=replace(
            result.study,
            data=name,
            space=name,
            settings={**result.study.settings, "data_source": name},
        ),
        recommendations=(spoilt,),
        criterion={name: RankAgreement(0.5, 9, (0.1, 0.9))},
        trials=(replace(trial_row(0), spec={"activation": name}),),
        warnings=(ReportWarning("failed_trials", name),),
        command=f"designer search --data {name}",
    )


SAMPLES: dict[str, Callable[[], SearchResult]] = {
    "typical": typical,
    "contributing": contributing,
    "empty": search_result,
    "single_trial": single_trial,
    "all_failed": lambda: search_result(trials=tuple(trial_row(i, "failed") for i in range(4))),
    "numberless": numberless,
    "deep": deep,
    "many_trials": lambda: search_result(
        trials=tuple(trial_row(i, "pruned" if i % 3 else "complete") for i in range(500))
    ),
    "chance": chance,
}
"""Results of every shape, by name."""
