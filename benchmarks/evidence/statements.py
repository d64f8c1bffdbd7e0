"""What the product claims: for each claim a figure, a verdict, the command and the full table.

The first of them make the table of the README, all of them the page of the evidence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import fmean

from benchmarks.claim import Figures
from benchmarks.claims.contribution_networks import FULL, LONG, PRETRAINED, Recovery
from benchmarks.claims.contribution_orders import BLOCK_INFLUENCE, HELDOUT, OURS
from benchmarks.claims.contribution_removals import FITTED, RECOVERED, REMOVED
from benchmarks.claims.contribution_removals import RANDOM as RANDOM_ORDER
from benchmarks.claims.edits import ADVISED, RANDOM
from benchmarks.claims.payoff_searches import NSGA2, REFERENCE
from benchmarks.claims.payoff_searches import OURS as OUR_SEARCH
from benchmarks.evidence import peers, pretrained, receptive_field
from benchmarks.evidence.contribution import (
    EFFECT_FILES,
    LEAST_AGREEMENT,
    REMOVAL_FILES,
    RESNET,
    RULER,
    TOLERANCE,
    groups_of,
)
from benchmarks.evidence.contribution_gpu import REMOVAL_FILE as MORE_TRAINING
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
from benchmarks.evidence.gpu import gpu_statement
from benchmarks.evidence.language import language_statements
from benchmarks.evidence.law import verdicts as paper_verdicts
from benchmarks.evidence.markdown import percent, table, verdict
from benchmarks.evidence.max_drop import FILE as MAX_DROP_FILE
from benchmarks.evidence.max_drop import groups as max_drop_groups
from benchmarks.evidence.payoff import half_in_words, mean_regret, payoffs, searches_near
from benchmarks.evidence.scaling import TRIALS_PER_HOUR
from benchmarks.evidence.statement import Page, Statement, holds
from benchmarks.evidence.zoo import FILE as ZOO_FILE
from benchmarks.evidence.zoo import RIGHT_SHARE, totals_by_library
from benchmarks.result_files import is_measured, read_result
from designer.measures.law import HOLDS_FROM

BLOCK_INFLUENCE_CRITERION, HELDOUT_STEP = "Block Influence", "held-out step"
"""What two criteria are called in the effects of single removals."""

FOLLOWS = -0.95
"""Largest r of a network that follows the law, as in the paper."""

NEAR_BEST = 0.05
"""How far a correlation may be behind that of the best criterion."""

PROMISED = 0.95
"""Share of networks in which ``--max-drop`` promises to hold."""

KEPT = 0.8
"""Share of the ideal rate that workers must keep."""

IN_TABLE = {REFERENCE: "TPE with MedianPruner", "TPE, Hyperband": "TPE with Hyperband"}
"""Searches whose names hold a comma."""

IN_WORDS = {HELDOUT: "held-out steps", BLOCK_INFLUENCE: "Block Influence"}
"""Orders whose names are those of options."""

IN_README = 12
"""Rows of the table of the README."""


def statements() -> list[Statement]:
    """Return all claims, those that matter most first."""
    return [
        _paper(),
        *_criterion(),
        *_payoff(),
        *_diagnosis(),
        *_edits(),
        *_contribution(),
        *_max_drop(),
        *_costs(),
        _workers(),
        *_zoo(),
        *language_statements(),
        *_small_effects(),
        *(_removals_of(group, FULL) for group in groups_of((MORE_TRAINING,))),
        *_pretrained(),
        *_peers(),
        *_receptive_field(),
        *gpu_statement(),
        _looks(),
        _residual(),
        _plain_loop(),
    ]


def summary() -> Iterator[str]:
    """Yield the lines between the README's marks."""
    rows = [(s.sentence, s.figure, s.verdict) for s in statements()[:IN_README]]
    yield from list(table(("claim", "figure", "verdict"), rows, text_columns=3))[1:]
    yield from (
        "",
        "Everything that was measured, also where we lose: [the evidence](docs/evidence.md).",
    )


def _paper() -> Statement:
    agreeing, others = paper_verdicts()
    return Statement(
        "The law is what He & Su (PNAS 2023) say it is",
        f"{len(agreeing)} of {len(agreeing) + len(others)} of their claims were reproduced"
        + (f", all but {' and '.join(others)}" if others else ""),
        "mostly agrees" if others else "agrees",
        "paper",
        Page.LAW,
        "law",
    )


def _criterion() -> Iterator[Statement]:
    pools = untouched_pools()
    halves = [
        f"{which} {means('design_score', key)}, of validation accuracy "
        f"{means('validation_accuracy', key)}"
        for which, key in (("all", "all"), ("the better half", "top_half"))
    ]
    ahead = [" / ".join(verdict_words(pools, prefix)) for prefix in ("", TOP_HALF)]
    yield Statement(
        f"After {' / '.join(LEAD_EPOCHS)} epochs the design score ranks architectures better than "
        "validation accuracy does",
        f"Spearman with the accuracy after long training, over {'; over '.join(halves)}; "
        f"{len(pools)} pools of {kinds_of_networks()}, not used for tuning",
        f"{ahead[0]}; in the better half {ahead[1]}",
        "criterion",
        Page.SCORE,
        "leads",
    )


def _payoff() -> Iterator[Statement]:
    results = payoffs()
    regrets = [
        f"{IN_TABLE.get(arm, arm)} {regret:.2f} ({near})"
        for arm in (OUR_SEARCH, REFERENCE, "TPE, Hyperband", NSGA2, "random")
        for regret in (mean_regret(results, arm),)
        if regret is not None
        for near, _ in (searches_near(results, arm),)
    ]
    half = mean_regret(results, OUR_SEARCH, "0.5")
    yield Statement(
        f"The search needs half the processor time of {IN_TABLE[REFERENCE]}",
        f"points of test accuracy below the best known at equal time (and how many of "
        f"{searches_near(results, OUR_SEARCH)[1]} searches came within half a point of it): "
        f"{', '.join(regrets)}; designer at half the time "
        f"{'-' if half is None else f'{half:.2f}'}",
        half_in_words(results),
        "payoff",
        Page.SEARCH,
        "payoff",
    )


def _diagnosis() -> Iterator[Statement]:
    if not is_measured(DIAGNOSIS_FILE):
        return
    groups = all_groups()
    named = [
        f"{words} {groups[name]['named']} of {groups[name]['networks']}"
        for name, words in NAMED.items()
    ]
    wrong = false_alarms(groups)
    yield Statement(
        "The diagnosis names what is wrong with a network, and is silent on healthy ones",
        f"planted defects named: {', '.join(named)}; in healthy networks it advises changing "
        f"{wrong:.1%} of the blocks (target {FALSE_ALARMS:.0%})",
        f"{holds(defects_are_named(groups))}; {holds(wrong <= FALSE_ALARMS)}",
        "diagnosis",
        Page.ADVICE,
    )


def _edits() -> Iterator[Statement]:
    if not is_measured(EDITS_FILE):
        return
    whole = read_result(EDITS_FILE)["groups"]["all"]
    advised, level = whole["arms"][ADVISED], whole["runs_until_level"]
    yield Statement(
        "Edits that a search keeps improve networks on test data, too, and the report says what "
        "to try first",
        f"{advised['better']} of {advised['changed']} networks improved, to "
        f"{advised['size']:.0%} of their parameters and "
        f"{100 * advised['test_change']['mean']:+.1f} points; {level[ADVISED]:.1f} training runs "
        f"to get as far as random order gets in {level[RANDOM]:.1f}",
        f"{holds(better_share(whole) >= GOOD_SHARE)}; {holds(level['ratio'] <= RUNS_SHARE)}",
        "edits",
        Page.ADVICE,
    )


# --- blocks and pruning ---


def _contribution() -> Iterator[Statement]:
    """Yield what holds for the pretrained ResNet-56, and for small networks."""
    effects, removals = groups_of(EFFECT_FILES), groups_of(REMOVAL_FILES)
    yield from (_effects_of(group) for group in effects if group["family"] == RESNET)
    yield from (_removals_of(group) for group in removals if group["family"] == RESNET)
    small = [group for group in removals if group["family"] not in PRETRAINED]
    if small:
        yield _small_removals(small)


def _effects_of(group: Figures) -> Statement:
    by_name = group["spearman"][REMOVED]["accuracy"]
    names = (BLOCK_INFLUENCE_CRITERION, HELDOUT_STEP)
    return Statement(
        f"A block's contribution predicts what removing it costs (pretrained {RESNET}, CIFAR-10)",
        f"Spearman with the accuracy lost: contribution (in {RULER}) "
        f"{by_name[RULER]['mean']:.2f}, "
        + ", ".join(f"{name} {by_name[name]['mean']:.2f}" for name in names)
        + f" (target {LEAST_AGREEMENT})",
        holds(by_name[RULER]["mean"] >= LEAST_AGREEMENT),
        "contribution",
        Page.BLOCKS,
    )


def _removals_of(group: Figures, recovery: Recovery = LONG) -> Statement:
    counts = [k for k, removed in group["removed"].items() if len(removed["accuracy"]) > 1]
    orders = (OURS, BLOCK_INFLUENCE, HELDOUT, RANDOM_ORDER)
    figures = [
        f"{IN_WORDS.get(name, name)} "
        + " / ".join(
            percent(group["removed"][k]["accuracy"][name][RECOVERED]["mean"]) for k in counts
        )
        for name in orders
    ]
    leads = [group["removed"][k]["lead"][n][RECOVERED] for k in counts for n in orders[1:]]
    return Statement(
        f"Pruning by contribution keeps most ({RESNET}, {' / '.join(counts)} of {group['blocks']} "
        f"blocks gone, then {recovery.epochs} epochs over {recovery.images:,} images)",
        f"{', '.join(figures)}; whole network {percent(group['whole']['after']['mean'])}",
        _over_all([verdict(lead) for lead in leads]),
        "contribution",
        Page.PRUNING,
        "pruning" if recovery == LONG else "",
    )


def _over_all(verdicts: Sequence[str]) -> str:
    """Return how often each verdict was given; "against all others ahead" if there is one."""
    if len(set(verdicts)) == 1:
        return f"against all others {verdicts[0]}"
    times = Counter(verdicts)
    return ", ".join(f"{word} in {n} of {len(verdicts)}" for word, n in times.items())


def _small_removals(groups: Sequence[Figures]) -> Statement:
    """Return how far contribution is behind the best of all orders in small networks."""
    behind = {group["family"]: _behind_best(group) for group in groups}
    figures = [
        f"{family} {100 * mean:.1f} ({100 * random:.1f})"
        for family, (mean, random) in behind.items()
    ]
    return Statement(
        "In small networks no order of removal is much better than contribution",
        f"points behind the best of all orders in hindsight, target {100 * TOLERANCE:.1f} (and by "
        f"how much random choice trails contribution): {', '.join(figures)}",
        holds(all(mean <= TOLERANCE for mean, _ in behind.values())),
        "contribution",
        Page.PRUNING,
    )


def _behind_best(group: Figures) -> tuple[float, float]:
    """Return how far contribution is behind the best order and ahead of random, after recovery."""
    leads = [removed["lead"] for removed in group["removed"].values()]
    behind = [-min(by[RECOVERED]["mean"] for by in lead.values()) for lead in leads]
    random = [lead[RANDOM_ORDER][RECOVERED]["mean"] for lead in leads]
    return fmean(behind), fmean(random)


def _max_drop() -> Iterator[Statement]:
    if not is_measured(MAX_DROP_FILE):
        return
    groups = max_drop_groups()
    within, networks = (sum(group[name] for group in groups) for name in ("within", "networks"))
    families = dict.fromkeys(group["family"] for group in groups)
    yield Statement(
        "`--max-drop 0.01` loses at most one point of test accuracy",
        f"in {within} of {networks} networks ({', '.join(families)}; target {PROMISED:.0%})",
        holds(within >= PROMISED * networks),
        "max_drop",
        Page.PRUNING,
    )


def _zoo() -> Iterator[Statement]:
    if not is_measured(ZOO_FILE):
        return
    totals = totals_by_library()["all"]
    right, wrong, everything = (
        totals[key] for key in ("right", "wrong_without_warning", "architectures")
    )
    yield Statement(
        "Blocks are found in widely used models",
        f"right in {right} of {everything} architectures of torchvision, timm and transformers, "
        f"wrong without a warning in {wrong}; a block can be removed in {totals['removable']}, "
        f"and {totals['running']} still run",
        holds(right >= RIGHT_SHARE * everything and not wrong),
        "zoo",
        Page.BLOCKS,
    )


# --- costs ---


def _costs() -> Iterator[Statement]:
    separation, analysis = read_result("separation.json"), read_result("analysis.json")
    wide = separation["wide"]
    bars = [*(row["met"] for row in separation["against_textbook"].values()), wide["met"]]
    bars.append(wide["peak_met"])
    targets = [str(row["acceptance"]) for row in separation["against_textbook"].values()]
    yield Statement(
        "D is computed faster than by the textbook formula",
        f"{' / '.join(ratios(separation))} times as fast (targets {' / '.join(targets)}) at 100 / "
        f"1,000 / 3,000 features; the others are time and memory at 65,536",
        f"{sum(bars)} of {len(bars)} targets met",
        "separation",
        Page.COSTS,
    )
    row = analysis["time"]["10"]
    yield Statement(
        f"`analyze` costs at most {row['acceptance']} times two plain forward passes (processor)",
        f"{row['ratio']:.2f} times, for a ResNet-18 and training data alone; contributions, which "
        "need held-out data, come on top",
        "met" if row["met"] else "missed",
        "analysis",
        Page.COSTS,
    )


def _looks() -> Statement:
    result = read_result("looks.json")
    rows = {name: result[name] for name in ("mlp", "cnn")}
    return Statement(
        "A look inside between two epochs costs next to nothing",
        ", ".join(
            f"{row['look']:.1%} of an epoch in the space `{name}` (target {row['acceptance']:.0%})"
            for name, row in rows.items()
        ),
        " / ".join("met" if row["met"] else "missed" for row in rows.values()),
        "looks",
        Page.COSTS,
    )


def _workers() -> Statement:
    cores, rows = read_result("scaling_cores.json"), read_result("scaling_workers.json")["rows"]
    most = max(row["workers"] for row in rows)
    kept = [
        f"{row['of_ideal']:.0%} ({row['storage'].removeprefix('gRPC proxy, on ')})"
        for row in rows
        if row["workers"] == most
    ]
    return Statement(
        f"Workers keep at least {KEPT:.0%} of the ideal rate",
        f"2 on {cores['meta']['machine']['cores']} cores finish {cores['ratio']:.2f} times the "
        f"trials per hour of one; {most} that only sleep keep {', '.join(kept)}",
        holds(all(row["of_ideal"] >= KEPT for row in rows)),
        "scaling",
        Page.SCALING,
    )


def _plain_loop() -> Statement:
    rows = read_result("scaling_plain.json")["rows"]
    figures = [f"{row['networks']} {row['ratio']:.2f} times" for row in rows]
    return Statement(
        f"All measuring included, a search does {TRIALS_PER_HOUR} times the trials per hour of a "
        "plain Optuna loop",
        ", ".join(figures),
        holds(all(row["ratio"] >= TRIALS_PER_HOUR for row in rows)),
        "scaling",
        Page.SCALING,
    )


def _small_effects() -> Iterator[Statement]:
    """Yield how well contribution agrees with the effect of removing blocks of small networks."""
    groups = [g for g in groups_of(EFFECT_FILES) if g["family"] not in PRETRAINED]
    if not groups:
        return
    agreements = {group["family"]: _agreements(group) for group in groups}
    best = {family: max(by, key=by.__getitem__) for family, by in agreements.items()}
    figures = [
        f"{family} {by[RULER]:.2f} ({best[family]} {by[best[family]]:.2f}; {by[HELDOUT_STEP]:.2f})"
        for family, by in agreements.items()
    ]
    near = sum(by[RULER] >= by[best[f]] - NEAR_BEST for f, by in agreements.items())
    yield Statement(
        "In small networks, too, contribution predicts what a removal costs",
        "Spearman with the accuracy lost, by cross-entropy (by the best criterion; by held-out "
        f"steps): {', '.join(figures)}",
        f"within {NEAR_BEST} of the best criterion in {near} of {len(groups)} kinds of networks",
        "contribution",
        Page.BLOCKS,
    )


def _agreements(group: Figures) -> dict[str, float]:
    """Return Spearman of each criterion with the accuracy lost, after fitting what follows."""
    rows = group["spearman"][FITTED]["accuracy"]
    return {name: float(row["mean"]) for name, row in rows.items() if row}


def _residual() -> Statement:
    runs = read_result("residual.json")["runs"]
    laws = [run["after"]["law"] for run in runs]
    figures = [
        f"{words} {', '.join(f'{law[key]:.2f}' for law in laws)}"
        for key, words in (("r", "Pearson r"), ("uniformity", "uniformity"))
    ]
    return Statement(
        "The law holds for next characters, with a measure other than D",
        f"{'; '.join(figures)}, over {len(laws)} seeds",
        holds(all(law["r"] <= FOLLOWS and law["uniformity"] >= HOLDS_FROM for law in laws)),
        "residual",
        Page.LAW,
    )


# --- networks and tools of others ---


def _pretrained() -> Iterator[Statement]:
    if is_measured(pretrained.FILE):
        yield Statement(
            "The law holds over all blocks of networks that others trained (ResNet-20, ResNet-56)",
            pretrained.figure(),
            holds(pretrained.follows()),
            "pretrained",
            Page.LAW,
        )


def _peers() -> Iterator[Statement]:
    if is_measured(peers.FILE):
        yield Statement(
            "The report finds planted defects as often as other tools, with no more false alarms",
            peers.figure(),
            f"{holds(peers.names_most())}; {holds(peers.is_quietest())}",
            "peers",
            Page.ADVICE,
        )


def _receptive_field() -> Iterator[Statement]:
    if is_measured(receptive_field.FILE):
        yield Statement(
            "A CNN does as well without the convolutions that see nothing new of the image",
            receptive_field.figure(),
            " / ".join(receptive_field.verdicts()),
            "receptive_field",
            Page.ADVICE,
        )
