"""The table of the README: a row for each claim, with its figure and a verdict."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.claims.contribution_orders import BLOCK_INFLUENCE, HELDOUT
from benchmarks.claims.contribution_orders import OURS as OUR_ORDER
from benchmarks.claims.contribution_removals import RANDOM as RANDOM_ORDER
from benchmarks.claims.contribution_removals import RECOVERED, REMOVED
from benchmarks.claims.edits import ADVISED, RANDOM
from benchmarks.claims.payoff_searches import NSGA2, OURS, REFERENCE
from benchmarks.evidence.contribution import (
    EFFECT_FILES,
    LEAST_AGREEMENT,
    REMOVAL_FILES,
    RESNET,
    RULER,
    groups_of,
)
from benchmarks.evidence.costs import ratios
from benchmarks.evidence.criterion import (
    LEAD_EPOCHS,
    TOP_HALF,
    kinds_of_networks,
    means,
    untouched_pools,
    verdict_words,
)
from benchmarks.evidence.diagnosis import (
    FALSE_ALARMS,
    NAMED,
    all_groups,
    defects_are_named,
    false_alarms,
)
from benchmarks.evidence.diagnosis import FILE as DIAGNOSIS_FILE
from benchmarks.evidence.edits import FILE as EDITS_FILE
from benchmarks.evidence.edits import GOOD_SHARE, RUNS_SHARE, better_share
from benchmarks.evidence.law import verdicts as paper_verdicts
from benchmarks.evidence.markdown import percent, table, verdict
from benchmarks.evidence.payoff import half_is_enough, mean_regret, payoffs, searches_near
from benchmarks.evidence.pruning import family_over_all, max_drop_groups
from benchmarks.result_files import is_measured, read_result

BLOCK_INFLUENCE_CRITERION, HELDOUT_STEP = "Block Influence", "held-out step"
"""What two criteria are called in the effects of single removals."""

PROMISED = 0.95
"""Share of networks in which ``--max-drop`` promises to hold."""

KEPT = 0.8
"""Share of the ideal rate that workers must keep."""

Row = tuple[str, str, str]
"""Claim, figure and verdict."""


def summary() -> Iterator[str]:
    """Yield the lines between the README's marks."""
    rows = [
        _paper(),
        *_criterion(),
        *_payoff(),
        *_diagnosis(),
        *_edits(),
        *_costs(),
        *_contribution(),
        _pruning(),
        _max_drop(),
        _workers(),
    ]
    yield from list(table(("claim", "figure", "verdict"), rows, text_columns=3))[1:]
    yield from ("", "All tables, also where we lose: [docs/evidence.md](docs/evidence.md).")


def _paper() -> Row:
    agreeing, others = paper_verdicts()
    return (
        "The law is what He & Su (PNAS 2023) say it is",
        f"{len(agreeing)} of {len(agreeing) + len(others)} of their claims came out the same",
        f"not so: {', '.join(others)}" if others else "agrees",
    )


def _criterion() -> Iterator[Row]:
    pools = untouched_pools()
    for which, key, prefix in (
        ("all architectures", "all", ""),
        ("the better half of them", "top_half", TOP_HALF),
    ):
        yield (
            f"After {' / '.join(LEAD_EPOCHS)} epochs the design score ranks {which} as long "
            "training does",
            f"Spearman {means('design_score', key)}, validation accuracy "
            f"{means('validation_accuracy', key)}; {len(pools)} pools of {kinds_of_networks()} on "
            "which nothing was chosen",
            f"against validation accuracy: {' / '.join(verdict_words(pools, prefix))}",
        )


def _payoff() -> Iterator[Row]:
    results = payoffs()
    regrets = [
        f"{arm} {regret:.2f} ({near} of {searches})"
        for arm in (OURS, REFERENCE, "TPE, Hyperband", NSGA2, "random")
        for regret in (mean_regret(results, arm),)
        if regret is not None
        for near, searches in (searches_near(results, arm),)
    ]
    half = mean_regret(results, OURS, "0.5")
    yield (
        f"The search needs half of the processor time of {REFERENCE}",
        f"points below the best known at equal time, mean over {len(results)} searches (within "
        f"half a point): {', '.join(regrets)}; ours after half of the time "
        f"{'-' if half is None else f'{half:.2f}'}",
        _holds(half_is_enough(results)),
    )


def _costs() -> Iterator[Row]:
    separation, analysis = read_result("separation.json"), read_result("analysis.json")
    wide = separation["wide"]
    bars = [*(row["met"] for row in separation["against_textbook"].values()), wide["met"]]
    bars.append(wide["peak_met"])
    yield (
        "D is faster than in the textbook form",
        f"{' / '.join(ratios(separation))} times at 100 / 1,000 / 3,000 features "
        f"({separation['meta']['threads']} threads)",
        f"{sum(bars)} of {len(bars)} acceptances met",
    )
    row = analysis["time"]["10"]
    yield (
        f"`analyze` costs at most {row['acceptance']} times two plain forward passes",
        f"{row['ratio']:.2f} times, for a ResNet-18 with intervals and nulls, on training data "
        f"alone; contributions, which need held-out data, come on top",
        "met" if row["met"] else "missed",
    )


def _diagnosis() -> Iterator[Row]:
    if not is_measured(DIAGNOSIS_FILE):
        return
    groups = all_groups()
    named = [f"{name} {groups[name]['named']} of {groups[name]['networks']}" for name in NAMED]
    wrong = false_alarms(groups)
    yield (
        "The diagnosis names what is wrong with a network, and is silent on healthy ones",
        f"named: {', '.join(named)}; {wrong:.1%} of the blocks of healthy networks to change",
        f"{_holds(defects_are_named(groups))}; {_holds(wrong <= FALSE_ALARMS)}",
    )


def _edits() -> Iterator[Row]:
    if not is_measured(EDITS_FILE):
        return
    whole = read_result(EDITS_FILE)["groups"]["all"]
    advised, level = whole["arms"][ADVISED], whole["runs_until_level"]
    yield (
        "Edits that a search tries and keeps are better on test data, too, and the report says "
        "what to try first",
        f"{advised['better']} of {advised['changed']} networks, which end with "
        f"{advised['size']:.0%} of their parameters and "
        f"{100 * advised['test_change']['mean']:+.1f} points; {level[ADVISED]:.1f} runs where "
        f"random order takes {level[RANDOM]:.1f}",
        f"{_holds(better_share(whole) >= GOOD_SHARE)}; {_holds(level['ratio'] <= RUNS_SHARE)}",
    )


def _holds(holds: bool) -> str:
    return "holds" if holds else "does not hold"


def _contribution() -> Iterator[Row]:
    """Yield rows on the pretrained ResNet-56."""
    effects = [g for g in groups_of(EFFECT_FILES) if g["family"] == RESNET]
    for group in effects:
        by_name = group["spearman"][REMOVED]["accuracy"]
        names = (RULER, BLOCK_INFLUENCE_CRITERION, HELDOUT_STEP)
        yield (
            f"What a block contributes says what its removal costs (pretrained {RESNET})",
            "Spearman with the accuracy lost: "
            + ", ".join(f"{name} {by_name[name]['mean']:.2f}" for name in names),
            "holds" if by_name[RULER]["mean"] >= LEAST_AGREEMENT else "does not hold",
        )
    for group in groups_of(REMOVAL_FILES):
        if group["family"] != RESNET:
            continue
        counts = list(group["removed"])
        orders = (OUR_ORDER, BLOCK_INFLUENCE, HELDOUT, RANDOM_ORDER)
        figures = [
            f"{name} "
            + " / ".join(
                percent(group["removed"][k]["accuracy"][name][RECOVERED]["mean"]) for k in counts
            )
            for name in orders
        ]
        leads = [group["removed"][k]["lead"][n][RECOVERED] for k in counts for n in orders[1:]]
        yield (
            f"Pruning by contribution keeps most (pretrained {RESNET}, {' / '.join(counts)} of "
            f"{group['blocks']} blocks gone, trained for two short epochs)",
            f"{', '.join(figures)}; whole network {percent(group['whole']['after']['mean'])}",
            f"against all others: {' / '.join(dict.fromkeys(map(verdict, leads)))}",
        )


def _pruning() -> Row:
    plain = family_over_all("pruning_mlp.json", "plain MLP")
    removed = plain["removed"]["4"]
    accuracy = {name: percent(value) for name, value in removed["accuracy"].items()}
    leads = {name: verdict(lead) for name, lead in removed["heldout_minus"].items()}
    return (
        "Held-out steps tell the blocks that can go (4 of 10, plain perceptrons)",
        f"accuracy {accuracy['heldout']}, Block Influence {accuracy['block-influence']}, random "
        f"{accuracy['random']}; whole network {percent(plain['whole'])}",
        f"against Block Influence: {leads['block-influence']}; random: {leads['random']}",
    )


def _max_drop() -> Row:
    groups = max_drop_groups()
    within, networks = (sum(group[name] for group in groups) for name in ("within", "networks"))
    return (
        "`--max-drop 0.01` holds on test data",
        f"in {within} of {networks} networks; measured before the default order and the repair "
        f"of residual blocks were what they are",
        "holds" if within >= PROMISED * networks else "does not hold",
    )


def _workers() -> Row:
    cores, rows = read_result("scaling_cores.json"), read_result("scaling_workers.json")["rows"]
    most = max(row["workers"] for row in rows)
    kept = [f"{row['of_ideal']:.0%} ({row['storage']})" for row in rows if row["workers"] == most]
    return (
        f"Workers keep at least {KEPT:.0%} of the ideal rate",
        f"2 on {cores['meta']['machine']['cores']} cores finish {cores['ratio']:.2f} times the "
        f"trials per hour of one; {most} that sleep keep {', '.join(kept)}",
        "holds" if all(row["of_ideal"] >= KEPT for row in rows) else "does not hold",
    )
