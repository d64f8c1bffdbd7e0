"""Evidence for what blocks contribute: effects of single removals, removals of several blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.claim import Figures
from benchmarks.claims.contribution_criteria import CRITERIA, RULERS
from benchmarks.claims.contribution_effects import EFFECTS
from benchmarks.claims.contribution_orders import BLOCK_INFLUENCE, GREEDY, HELDOUT, OURS
from benchmarks.claims.contribution_removals import FITTED, RANDOM, RECOVERED, REMOVED
from benchmarks.evidence.markdown import percent, table
from benchmarks.evidence.published_layer_pruning import published
from benchmarks.result_files import is_measured, read_result

EFFECT_FILES = ("contribution_effects.json", "contribution_effects_small.json")
REMOVAL_FILES = (
    "contribution_removals_20.json",
    "contribution_removals_56.json",
    "contribution_removals_small.json",
)

RULER = "cross-entropy"
"""The ruler that decides whether a block is needed."""

RESNET = "ResNet-56"

LEAST_AGREEMENT = 0.75
"""What Spearman's correlation with the accuracy lost has to reach on ``RESNET``."""

BEHIND_WHOLE, AHEAD_OF_INFLUENCE, BEFORE_TRAINING = 0.015, 0.02, 0.65
"""What removing 8 of 25 blocks of ``RESNET`` has to reach: at most so far behind the whole network
that trained as well, at least so far ahead of Block Influence, and at least so much accuracy before
any training."""

TOLERANCE = 0.005
"""How far contribution may be behind the best order."""

STATES = {
    REMOVED: "as it is",
    FITTED: "fitted",
    RECOVERED: "recovered",
}
"""The states of a network without blocks, in words."""


def effects() -> Iterator[str]:
    """Yield the agreement of all criteria with the effects of single removals."""
    groups = groups_of(EFFECT_FILES)
    if groups:
        yield from _effects(groups)


def removals() -> Iterator[str]:
    """Yield removals in the order of each criterion, and what others have."""
    groups = groups_of(REMOVAL_FILES)
    if groups:
        yield from _removals(groups)
        yield from published(groups)


def groups_of(files: Sequence[str]) -> list[Figures]:
    """Return the groups of all networks, each over all its data sets, from files that exist."""
    return [
        group
        for file in filter(is_measured, files)
        for group in read_result(file)["groups"]
        if group["data"] == "all"
    ]


# --- single removals ---


def _effects(groups: Sequence[Figures]) -> Iterator[str]:
    yield from (
        "",
        "**What does a block do?** Spearman's correlation of every criterion with the true effect "
        "of removing each block alone, on test data that no criterion looks at: accuracy lost and "
        "rise of the cross-entropy, before and after a short recovery "
        "(`python -m benchmarks.run contribution`). ResNet-20 and ResNet-56 were trained by "
        "others; their images were JPEGs here, which costs ten points, and they recover for one "
        "epoch over 2,000 images. The small networks are those of the pruning tables and a plain "
        "CNN, on three data sets. Intervals are over the blocks of a pretrained network, and over "
        "the small networks of a kind. A criterion is any good where it leaves the interval of "
        "random orders. Separation, cross-entropy and accuracy are contributions by three rulers.",
        *(f"\n{line}" for line in _missing(groups)),
    )
    for state, words in STATES.items():
        measured = [group for group in groups if state in group["spearman"]]
        for effect in EFFECTS if measured else ():
            name = "the accuracy lost" if effect == EFFECTS[0] else "the rise of the cross-entropy"
            yield from ("", f"With {name}, {words}:")
            yield from _agreements(measured, state, effect)
    yield from ("", agreement_verdict(groups), "", agreement_losses(groups))


def _missing(groups: Sequence[Figures]) -> list[str]:
    """Return a sentence per criterion that does not exist for some network."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for group in groups:
        for name, reason in group["missing"].items():
            reasons.setdefault((name, reason), []).append(group["family"])
    return [
        f"There is no {name} for {' and '.join(families)}: {reason}."
        for (name, reason), families in reasons.items()
    ]


def _agreements(groups: Sequence[Figures], state: str, effect: str) -> Iterator[str]:
    columns = [f"{group['family']} ({group['networks']})" for group in groups]
    columns_of = [group["spearman"][state][effect] for group in groups]
    rows = [[name, *(_agreement(of.get(name)) for of in columns_of)] for name in CRITERIA]
    low_high = [group["chance"] for group in groups]
    rows.append(["random orders", *(f"{low:.2f} to {high:.2f}" for low, high in low_high)])
    yield from table(("criterion (networks)", *columns), rows)


def _agreement(figure: Figures | None) -> str:
    if figure is None or figure["mean"] is None:
        return "-"
    low, high = figure["interval"]
    return f"{figure['mean']:.2f}" + ("" if low is None else f" ({low:.2f} to {high:.2f})")


def agreement_verdict(groups: Sequence[Figures]) -> str:
    """Return a sentence on ``RESNET``, or on the first network if it was not measured."""
    group = next((g for g in groups if g["family"] == RESNET), groups[0])
    by_name = group["spearman"][REMOVED]["accuracy"]
    rulers = ", ".join(f"{by_name[ruler]['mean']:.2f} by {ruler}" for ruler in RULERS)
    reached = "met" if by_name[RULER]["mean"] >= LEAST_AGREEMENT else "MISSED"
    others = ", ".join(
        f"{name} {by_name[name]['mean']:.2f}"
        for name in CRITERIA
        if name not in RULERS and name in by_name and by_name[name]["mean"] is not None
    )
    return (
        f"So in {group['family']} contribution agrees with the accuracy lost by {rulers} (asked "
        f"for: {LEAST_AGREEMENT} by {RULER}, {reached}); others: {others}."
    )


def agreement_losses(groups: Sequence[Figures]) -> str:
    """Return where another criterion agrees better than contribution does."""
    losses = []
    for group in groups:
        for state, by_effect in group["spearman"].items():
            for effect, by_name in by_effect.items():
                means = {n: row["mean"] for n, row in by_name.items() if row["mean"] is not None}
                best = max(means, key=lambda name: means[name])
                if best not in RULERS and RULER in means:
                    losses.append(
                        f"{group['family']}, {effect}, {STATES[state]}: {best} "
                        f"{means[best]:.2f} against {means[RULER]:.2f}"
                    )
    if not losses:
        return "No other criterion is ahead of contribution in any column."
    return f"Another criterion is ahead of contribution by {RULER} in: {'; '.join(losses)}."


# --- removals of several ---


def _removals(groups: Sequence[Figures]) -> Iterator[str]:
    yield from (
        "",
        "**Which blocks can go, by what they contribute?** Test accuracy in percent with several "
        "blocks gone in the order of each criterion (`python -m benchmarks.run contribution "
        "--removals`): as they are, after what follows was fitted as the product does it, and "
        "after the same recovery from there. Contribution is measured again after each removal, "
        "the other orders come from one measurement. In brackets the difference that contribution "
        "makes, with its 95 % interval: over five recoveries of a pretrained network (two epochs "
        "over 4,000 images, SGD at 0.02 with momentum 0.9, cosine, flips), or over the small "
        "networks of a kind; orders that were recovered from once have no interval. Random is the "
        "mean of several choices.",
    )
    for group in groups:
        yield from order_table(group)
    yield from ("", *resnet_verdict(groups), "", removal_losses(groups), *greedy_verdict(groups))


def order_table(group: Figures) -> Iterator[str]:
    """Yield the accuracies of one kind of network, a row for each order."""
    counts = [k for k, removed in group["removed"].items() if len(removed["accuracy"]) > 1]
    cells = [(k, state) for k in counts for state in STATES]
    yield from ("", f"*{group['family']}*, {group['blocks']} blocks that can go:")
    columns = [f"{k} gone, {STATES[state]}" for k, state in cells]
    orders = dict.fromkeys(
        name for removed in group["removed"].values() for name in removed["accuracy"]
    )
    rows = [
        [name, *(_accuracy(group["removed"][k], name, state) for k, state in cells)]
        for name in orders
    ]
    rows.append(["whole network", *(_whole(group, state) for _, state in cells)])
    yield from table(("order", *columns), rows)


def _accuracy(removed: Figures, name: str, state: str) -> str:
    if name not in removed["accuracy"]:
        return ""
    cell = f"{100 * removed['accuracy'][name][state]['mean']:.1f}"
    ahead = removed["lead"].get(name)
    return cell if ahead is None else f"{cell} ({in_points(ahead[state])})"


def _whole(group: Figures, state: str) -> str:
    whole = group["whole"]["after"]["mean"] if state == RECOVERED else group["whole"]["before"]
    return f"{100 * whole:.1f}"


def in_points(ahead: Figures) -> str:
    """Return a difference of accuracies in points, with its interval if there is one."""
    low, high = ahead["interval"]
    mean = f"{100 * ahead['mean']:+.1f}"
    return mean if low is None else f"{mean}: {100 * low:+.1f} to {100 * high:+.1f}"


def resnet_verdict(groups: Sequence[Figures]) -> Iterator[str]:
    """Yield sentences on 8 and 12 of the blocks of ``RESNET``, if it was measured."""
    for group in groups:
        for k in ("8", "12") if group["family"] == RESNET else ():
            if k in group["removed"]:
                yield resnet_sentence(group, k)


def resnet_sentence(group: Figures, k: str) -> str:
    """Return what ``RESNET`` reaches with k of its blocks gone."""
    removed = group["removed"][k]
    lead = {name: by_state[RECOVERED] for name, by_state in removed["lead"].items()}
    before = removed["accuracy"][OURS][FITTED]["mean"]
    goals = [
        (
            f"{in_points(removed['minus_whole'])} points compared with the whole network that "
            f"trained as well",
            removed["minus_whole"]["mean"] >= -BEHIND_WHOLE,
        ),
        (
            f"{in_points(lead[BLOCK_INFLUENCE])} compared with Block Influence",
            lead[BLOCK_INFLUENCE]["mean"] >= AHEAD_OF_INFLUENCE,
        ),
        (
            f"{in_points(lead[RANDOM])} compared with random choices",
            (lead[RANDOM]["interval"][0] or -1) > 0,
        ),
        (f"{percent(before)} before any training", before >= BEFORE_TRAINING),
    ]
    parts = ", ".join(f"{words} ({'met' if met else 'MISSED'})" for words, met in goals)
    return (
        f"With {k} of {group['blocks']} blocks of {group['family']} gone, contribution leaves "
        f"{percent(removed['accuracy'][OURS][RECOVERED]['mean'])} after recovery: {parts}. "
        f"Held-out steps differ by {in_points(lead[HELDOUT])}."
    )


def removal_losses(groups: Sequence[Figures]) -> str:
    """Return where another order is further ahead of contribution than ``TOLERANCE``."""
    losses = [
        f"{name} by {-100 * by_state[RECOVERED]['mean']:.1f} points ({group['family']}, {k} gone)"
        for group in groups
        for k, removed in group["removed"].items()
        for name, by_state in removed["lead"].items()
        if by_state[RECOVERED]["mean"] < -TOLERANCE
    ]
    if not losses:
        return "After recovery no order is more than half a point ahead of contribution."
    return f"After recovery these are more than half a point ahead of it: {'; '.join(losses)}."


def greedy_verdict(groups: Sequence[Figures]) -> Iterator[str]:
    """Yield a sentence on greedy ablation and its cost, if it was measured."""
    for group in groups:
        if GREEDY not in group["passes"]:
            continue
        leads = [
            f"{in_points(removed['lead'][GREEDY][RECOVERED])} points with {k} gone"
            for k, removed in group["removed"].items()
        ]
        ratio = group["passes"][GREEDY] / group["passes"][OURS]
        yield from (
            "",
            f"In the {group['family']} contribution differs from greedy ablation by "
            f"{' and '.join(leads)}, and decides {ratio:,.0f} times faster.",
        )
