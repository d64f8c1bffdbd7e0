"""Evidence for what blocks contribute where a GPU trains on all images, and what it costs there."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.claim import Figures
from benchmarks.claims.contribution_criteria import CRITERIA
from benchmarks.claims.contribution_effects import EFFECTS
from benchmarks.claims.contribution_networks import FULL
from benchmarks.claims.contribution_removals import REMOVED
from benchmarks.evidence.contribution import RESNET, order_table, resnet_sentence
from benchmarks.result_files import is_measured, read_result

EFFECT_FILE = "contribution_effects_56_gpu.json"
REMOVAL_FILE = "contribution_removals_56_gpu.json"
COST_FILES = ("contribution_cost.json", "gpu_contribution.json")
"""On a processor, and on a GPU."""


def removals_on_a_gpu() -> Iterator[str]:
    """Yield the removals after a longer training on more images, single removals, and the cost."""
    if not all(map(is_measured, (EFFECT_FILE, REMOVAL_FILE, *COST_FILES))):
        return
    group = read_result(REMOVAL_FILE)["groups"][0]
    yield (
        f"\n**Does it hold with more training?** The same {RESNET} on an "
        f"{read_result(COST_FILES[1])['card']['name']} (`python -m benchmarks.run contribution "
        f"--removals --all-images --device cuda`): recovery, and the training of the whole network "
        f"beside it, take {FULL.epochs} epochs over {FULL.images:,} images, all that the file has "
        "beside those that are held out. What was asked for after two short epochs is compared "
        "with this, too."
    )
    yield from order_table(group)
    yield from ("", *(resnet_sentence(group, k) for k in ("8", "12")), "", _effects(), "", _cost())


def _effects() -> str:
    by_name = read_result(EFFECT_FILE)["groups"][0]["spearman"][REMOVED][EFFECTS[0]]
    known = [name for name in CRITERIA if by_name.get(name, {}).get("mean") is not None]
    ranked = sorted(known, key=lambda name: -by_name[name]["mean"])
    figures = ", ".join(f"{name} {by_name[name]['mean']:.2f}" for name in ranked)
    return (
        "Spearman's correlation with the accuracy lost by single removals, with all criteria "
        f"measured on these images: {figures} (`python -m benchmarks.run contribution "
        "--all-images --device cuda`)."
    )


def _cost() -> str:
    return (
        "What that costs: "
        f"{cost_figure()} (`python -m benchmarks.run gpu --part contribution`, also with "
        "`--device cpu`)."
    )


def cost_figure() -> str:
    """Return what all contributions of a network cost, on a processor and on a GPU."""
    rows = _costs()
    row = rows[0]
    times = [
        f"{row['ratio']:.0f} on {where}"
        for row, where in zip(rows, ("a processor", "a GPU"), strict=True)
    ]
    return (
        f"contributions of the {row['blocks']} blocks of a {row['network']}, in forward passes "
        f"over the {row['samples']:,} samples: {', '.join(times)} (at most {row['acceptance']} "
        "wanted)"
    )


def costs_are_met() -> list[bool]:
    """Return if contributions cost no more than wanted, on a processor and on a GPU."""
    return [row["met"] for row in _costs()]


def _costs() -> list[Figures]:
    return [read_result(file)["parts"]["contribution"] for file in COST_FILES]
