"""Claims on what blocks contribute, and on which can go."""

from __future__ import annotations

from statistics import fmean

from benchmarks.claim import Figures
from benchmarks.claims.contribution_networks import FULL, LONG, PRETRAINED, Recovery
from benchmarks.claims.contribution_orders import BLOCK_INFLUENCE, HELDOUT, OURS
from benchmarks.claims.contribution_removals import FITTED, RANDOM, RECOVERED, REMOVED
from benchmarks.evidence import language, max_drop, zoo
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
from benchmarks.evidence.markdown import AHEAD, verdict
from benchmarks.evidence.statement import Page, Statement, holds, marked, verdict_of

BLOCK_INFLUENCE_CRITERION, HELDOUT_STEP = "Block Influence", "held-out step"
"""What two criteria are called in the effects of single removals."""

PROMISED = 0.95
"""Share of networks in which ``--max-drop`` promises to hold."""

IN_WORDS = {HELDOUT: "held-out steps", BLOCK_INFLUENCE: "Block Influence"}
"""Orders whose names are those of options."""


def contributing() -> Statement:
    """Return how well contribution agrees with what removing a block costs."""
    groups = groups_of(EFFECT_FILES)
    resnet = next(group for group in groups if group["family"] == RESNET)
    of_resnet = _agreements(resnet, REMOVED)
    small = {
        group["family"]: _agreements(group, FITTED)
        for group in groups
        if group["family"] not in PRETRAINED
    }
    return Statement(
        "knowing what a block is needed for",
        "A block's contribution predicts what removing it costs",
        (
            f"Spearman with the accuracy lost, pretrained {RESNET}: contribution "
            f"{of_resnet[RULER]:.2f}, Block Influence {of_resnet[BLOCK_INFLUENCE_CRITERION]:.2f}, "
            f"held-out step {of_resnet[HELDOUT_STEP]:.2f} ({LEAST_AGREEMENT} wanted)",
            marked(
                "small networks, contribution / Block Influence / held-out step: "
                + ", ".join(f"{family} {_three(by_name)}" for family, by_name in small.items()),
                met=all(by_name[RULER] >= LEAST_AGREEMENT for by_name in small.values()),
            ),
        ),
        verdict_of(*(by[RULER] >= LEAST_AGREEMENT for by in (of_resnet, *small.values()))),
        ("contribution",),
        (Page.BLOCKS,),
    )


def _agreements(group: Figures, state: str) -> dict[str, float]:
    """Return Spearman of each criterion with the accuracy lost."""
    rows = group["spearman"][state]["accuracy"]
    return {name: float(row["mean"]) for name, row in rows.items() if row and row["mean"]}


def _three(by_name: dict[str, float]) -> str:
    names = (RULER, BLOCK_INFLUENCE_CRITERION, HELDOUT_STEP)
    return " / ".join(f"{by_name[name]:.2f}" for name in names)


def removing() -> Statement:
    """Return how much accuracy the orders of removal keep."""
    groups = groups_of(REMOVAL_FILES)
    pretrained = [
        *((group, LONG) for group in groups if group["family"] == RESNET),
        *((group, FULL) for group in groups_of((MORE_TRAINING,))),
    ]
    behind = {g["family"]: _behind_best(g) for g in groups if g["family"] not in PRETRAINED}
    return Statement(
        "choosing blocks to remove",
        "Removing blocks by contribution keeps more accuracy than other orders do",
        (
            f"test accuracy of {RESNET} in % with {' / '.join(_counts(pretrained[0][0]))} of "
            f"{pretrained[0][0]['blocks']} blocks gone, "
            + "; ".join(_resnet(group, recovery) for group, recovery in pretrained),
            marked(
                "small networks, points behind the best of all orders in hindsight (at most "
                f"{100 * TOLERANCE:.1f} wanted) / ahead of random choices: "
                + ", ".join(
                    f"{family} {_points(best)} / {_points(random)}"
                    for family, (best, random) in behind.items()
                ),
                met=all(best <= TOLERANCE for best, _ in behind.values()),
            ),
        ),
        verdict_of(
            *(word == AHEAD for group, _ in pretrained for word in _verdicts(group)),
            *(best <= TOLERANCE for best, _ in behind.values()),
        ),
        ("contribution --removals",),
        (Page.PRUNING,),
        "pruning",
    )


def _points(share: float) -> str:
    return f"{round(100 * share, 1) + 0.0:.1f}"  # not -0.0


def _resnet(group: Figures, recovery: Recovery) -> str:
    """Return the accuracies without several blocks after a recovery, by order."""
    figures = [
        f"{IN_WORDS.get(name, name)} "
        + " / ".join(
            _points(group["removed"][k]["accuracy"][name][RECOVERED]["mean"])
            for k in _counts(group)
        )
        for name in (OURS, BLOCK_INFLUENCE, HELDOUT, RANDOM)
    ]
    words = _verdicts(group)
    return (
        f"after {recovery.epochs} epochs over {recovery.images:,} images: {', '.join(figures)}, "
        f"whole network {_points(group['whole']['after']['mean'])} (ahead in "
        f"{words.count(AHEAD)} of {len(words)} comparisons)"
    )


def _counts(group: Figures) -> list[str]:
    return [k for k, removed in group["removed"].items() if len(removed["accuracy"]) > 1]


def _verdicts(group: Figures) -> list[str]:
    """Return how contribution stands beside every other order, after recovery."""
    leads = [
        group["removed"][k]["lead"][name][RECOVERED]
        for k in _counts(group)
        for name in (BLOCK_INFLUENCE, HELDOUT, RANDOM)
    ]
    return [verdict(lead) for lead in leads]


def _behind_best(group: Figures) -> tuple[float, float]:
    """Return how far contribution is behind the best order and ahead of random, after recovery."""
    leads = [removed["lead"] for removed in group["removed"].values()]
    behind = [-min(by[RECOVERED]["mean"] for by in lead.values()) for lead in leads]
    random = [lead[RANDOM][RECOVERED]["mean"] for lead in leads]
    return fmean(behind), fmean(random)


def bounding() -> Statement:
    """Return in how many networks the bound on the loss of accuracy holds, and what went."""
    groups = max_drop.groups()
    within, networks = (sum(group[name] for group in groups) for name in ("within", "networks"))
    gone, blocks = (
        sum(group[name] * group["networks"] for group in groups) / networks
        for name in ("removed", "blocks")
    )
    families = dict.fromkeys(group["family"] for group in groups)
    return Statement(
        "bounding what pruning costs",
        "`--max-drop 0.01` loses at most one point of test accuracy",
        (
            f"in {within} of {networks} networks ({', '.join(families)}; {PROMISED:.0%} wanted), "
            f"from which {gone:.1f} of {blocks:.1f} blocks went on average",
        ),
        holds(within >= PROMISED * networks),
        ("max_drop",),
        (Page.PRUNING,),
    )


def transformers() -> Statement:
    """Return which layers of transformers can go."""
    return Statement(
        "pruning transformers",
        "In transformers contribution chooses layers as well as Block Influence and angular "
        "distance do",
        (
            marked(language.figure(), met=language.is_level()),
            marked(language.encoder_figure(), met=language.encoder_holds()),
            marked(language.speed_figure(), met=language.is_faster()),
        ),
        verdict_of(language.is_level(), language.encoder_holds(), language.is_faster()),
        ("language",),
        (Page.PRUNING,),
    )


def models() -> Statement:
    """Return in how many models of others blocks are found."""
    totals = zoo.totals_by_library()["all"]
    right, wrong, everything = (
        totals[key] for key in ("right", "wrong_without_warning", "architectures")
    )
    return Statement(
        "reading models of others",
        "Blocks are found in widely used models",
        (
            f"right in {right} of {everything} architectures of torchvision, timm and "
            f"transformers, and wrong without a warning in {wrong}",
            f"a block can be removed in {totals['removable']}, and {totals['running']} then still "
            "run",
        ),
        holds(right >= zoo.RIGHT_SHARE * everything and not wrong),
        ("zoo",),
        (Page.BLOCKS,),
    )
