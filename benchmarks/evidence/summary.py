"""The table of the README: a row for each claim, with its figure and a verdict."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.evidence.costs import ratios
from benchmarks.evidence.criterion import (
    LEAD_EPOCHS,
    TOP_HALF,
    kinds_of_networks,
    means,
    untouched_pools,
    verdict_words,
)
from benchmarks.evidence.law import verdicts as paper_verdicts
from benchmarks.evidence.markdown import percent, table, verdict
from benchmarks.evidence.payoff import (
    budgets,
    mean_regret,
    mean_seconds,
    payoffs,
    ranking,
    searches_near,
)
from benchmarks.evidence.pruning import SCRATCH, family_over_all, max_drop_groups
from benchmarks.result_files import read_result

PROMISED = 0.95
"""Share of networks in which ``--max-drop`` promises to hold."""

KEPT = 0.8
"""Share of the ideal rate that workers must keep."""

Row = tuple[str, str, str]
"""Claim, figure and verdict."""


def summary() -> Iterator[str]:
    """Yield the lines between the README's marks."""
    rows = [_paper(), *_criterion(), *_payoff(), *_costs(), *_pruning(), _max_drop(), _workers()]
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
    end, arms = budgets(results)[-1], ranking(results)
    names = {
        "designer": "design score",
        "designer, pruned": "design score, pruned",
        "median": "TPE with MedianPruner",
        "hyperband": "TPE with Hyperband",
        "random": "random",
    }
    regrets = [
        f"{name} {mean_regret(results, arm, end):.2f} "
        f"({searches_near(results, arm)[0]} of {searches_near(results, arm)[1]})"
        for arm, name in names.items()
    ]
    yield (
        f"The search finds a better network in {end} epochs of training",
        "points below the best known (searches within half a point): " + ", ".join(regrets),
        f"rank {arms.index('designer') + 1} of {len(arms)}; pruned: rank "
        f"{arms.index('designer, pruned') + 1}",
    )
    cost = mean_seconds(results, "designer, pruned") / mean_seconds(results, "median")
    looks = read_result("looks.json")
    now = " / ".join(f"{looks[space]['look']:.0%}" for space in ("mlp", "cnn"))
    before = " / ".join(f"{looks[space]['profile']:.0%}" for space in ("mlp", "cnn"))
    yield (
        "Pruning on the design score costs no more time",
        f"{cost:.1f} times the processor time of TPE with MedianPruner for as many epochs, "
        f"measured when every look took {before} of an epoch (perceptrons / CNNs); today {now}",
        "holds" if cost <= 1 else "does not hold",
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


def _pruning() -> Iterator[Row]:
    plain = family_over_all("pruning_mlp.json", "plain MLP")
    removed, cost = plain["removed"]["4"], plain["to_decide"]
    accuracy = {name: percent(value) for name, value in removed["accuracy"].items()}
    leads = {name: verdict(lead) for name, lead in removed["heldout_minus"].items()}
    greedy = "greedy, 5 epochs"
    yield (
        "Held-out steps tell the blocks that can go (4 of 10, plain perceptrons)",
        f"accuracy {accuracy['heldout']}, Block Influence {accuracy['block-influence']}, random "
        f"{accuracy['random']}; whole network {percent(plain['whole'])}",
        f"against Block Influence: {leads['block-influence']}; random: {leads['random']}",
    )
    yield (
        "Held-out steps do as well as greedy ablation and a network trained from scratch",
        f"greedy ablation {accuracy[greedy]} at {cost[greedy] / cost['heldout']:,.0f} times the "
        f"cost of deciding, from scratch {accuracy[SCRATCH]}",
        f"against greedy ablation: {leads[greedy]}; from scratch: {leads[SCRATCH]}",
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
