"""What a GPU changes: the same figures as on a processor, and how fast they are there.

    python -m benchmarks.run gpu [--quick] [--part NAME ...] [--device cuda|cpu] [--json FILE]

analysis    ``designer.analyze`` of a ResNet-50 and a ViT-B/16 of torchvision at 224 px against two
            plain forward passes, in float32 and in bfloat16 autocast
separation  D at widths of 65,536 and 1,000,000 against reading the features twice
contribution
            contributions of all blocks of a ResNet-56 against one forward pass over the samples
parity      D, contributions and a whole analysis against those on the processor
search      trials per hour of the spaces ``mlp`` and ``cnn``: a plain Optuna loop, a search, and
            training one by one, from CUDA graphs, and stacked

The parts do not depend on each other: one that fails leaves its error in the result, and the
figures so far are written after every part.  With ``--quick`` all are tiny, to try them on a
processor.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import traceback
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.claim import Figures, Result
from benchmarks.claims import (
    gpu_analysis,
    gpu_contribution,
    gpu_parity,
    gpu_search,
    gpu_separation,
)
from benchmarks.command import Parser, output_file, say, wide_console
from benchmarks.gpu_timing import SEED, Setting
from designer.training.devices import usable_device

PARTS: dict[str, Callable[[Setting], Figures]] = {
    "analysis": gpu_analysis.measure,
    "separation": gpu_separation.measure,
    "contribution": gpu_contribution.measure,
    "parity": gpu_parity.measure,
    "search": gpu_search.measure,
}
"""The parts, those first that can harm the others least."""


def configure(parser: Parser) -> None:
    """Add the claim's options."""
    parser.add_argument("--quick", action="store_true", help="tiny networks and data, one round")
    parser.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="torch device"
    )
    parser.add_argument("--profile", type=output_file, help="file that says where time goes")


def run(options: argparse.Namespace) -> Result:
    """Measure the parts, one after the other, each whatever happened to the others."""
    device = usable_device(options.device)
    setting = Setting(device, quick=options.quick, profile=options.profile)
    figures: Figures = {"card": card(device), "parts": {}}
    for name in options.part:
        started = time.perf_counter()
        part = outcome_of(PARTS[name], setting)
        figures["parts"][name] = {**part, "seconds": round(time.perf_counter() - started, 1)}
        say(f"{name}: {figures['parts'][name]['seconds']} s")
        if options.json:
            options.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return Result(options, figures, seeds=[SEED], about={"threads": torch.get_num_threads()})


def outcome_of(part: Callable[[Setting], Figures], setting: Setting) -> Figures:
    """Return the figures of a part as JSON takes them, or its error."""
    try:
        figures: Figures = without_infinities(part(setting))
    except Exception as error:  # noqa: BLE001 - the other parts are measured all the same
        say(traceback.format_exc())
        return {"error": f"{type(error).__name__}: {error}"[:500]}
    return figures


def without_infinities(value: Any) -> Any:
    """Return figures with None in the place of numbers that are nan or infinite."""
    if isinstance(value, dict):
        return {key: without_infinities(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_infinities(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def card(device: torch.device) -> Figures:
    """Return what the figures were measured on."""
    figures: Figures = {
        "device": device.type,
        "torch": torch.__version__,
        "matmul_precision": torch.get_float32_matmul_precision(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        figures |= {
            "name": properties.name,
            "gib": round(properties.total_memory / 2**30, 1),
            "capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        }
    return figures


def show(result: Result) -> None:
    """Print the figures as they are."""
    console = wide_console()
    console.print_json(data=result.figures["card"])
    for name, part in result.figures["parts"].items():
        console.print(f"{name}: {json.dumps(part)}", markup=False, highlight=False, soft_wrap=True)
