"""Which outputs of a model the classes of its data are, where the data lack some of its classes.

The labels of a source are numbered in the order of the classes that occur in it, which is right for
networks that are built for these data.  A model that is there already may know more classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from designer.data.dataset import Dataset, LabelledTensors
from designer.errors import DesignerError
from designer.probing.calling import call_model, class_tensor
from designer.probing.probes import TRACED_SAMPLES, probing
from designer.results.layers import ReportWarning

NAMED = 5
"""How many missing classes a warning names."""


def with_labels_of_outputs(model: nn.Module, data: Dataset) -> Dataset:
    """Return the data with outputs of a model as labels, where the data lack some of its classes.

    Classes that are named by whole numbers, all of them outputs of the model, keep these numbers.
    For others nobody knows which are missing, so that there is only a warning.

    Args:
        model: any module; data for one that gives no logits (n, K) are returned as they are.
        data: data for the model, with labels that are positions among the classes that occur.
    """
    numbers = _numbers_of(data.class_names)
    if numbers == list(range(data.num_classes)):
        return data
    outputs = _outputs_of(model, data)
    if outputs <= data.num_classes:
        return data
    if not numbers or numbers[-1] >= outputs:
        return replace(data, warnings=(*data.warnings, _renumbered(data.class_names, outputs)))
    table = torch.tensor(numbers)
    return replace(
        data,
        train=_numbered(data.train, table),
        validation=_numbered(data.validation, table),
        test=_numbered(data.test, table),
        class_names=tuple(map(str, range(outputs))),
        warnings=(*data.warnings, _lacking(numbers, outputs)),
    )


def _numbered(part: LabelledTensors, table: Tensor) -> LabelledTensors:
    """Return one part with the numbers in a table (K,) as labels."""
    return replace(part, labels=table[part.labels])


def _numbers_of(names: Sequence[str]) -> list[int]:
    """Return whole numbers from 0 on that rise from class to class; empty for other names."""
    names = [name.removesuffix(".0") for name in names]
    if not all(name.isascii() and name.isdigit() for name in names):
        return []
    numbers = list(map(int, names))
    return numbers if numbers == sorted(set(numbers)) else []


@torch.no_grad()
def _outputs_of(model: nn.Module, data: Dataset) -> int:
    """Return how many logits a model gives per sample; 0 if it gives none, or cannot run."""
    few = data.train.at(slice(TRACED_SAMPLES)).inputs
    try:
        with probing(model) as probe:
            output = class_tensor(call_model(model, probe.prepared(few)), data.num_classes)
    except DesignerError:  # what is wrong is said where the model is measured
        return 0
    return output.shape[1] if output is not None and output.ndim == 2 else 0


def _lacking(numbers: Sequence[int], outputs: int) -> ReportWarning:
    missing = sorted(set(range(outputs)) - set(numbers))
    more = " and others" if len(missing) > NAMED else ""
    return ReportWarning(
        "classes_missing",
        f"The model gives {outputs:,} logits, but the data have {len(numbers)} classes and lack "
        f"{', '.join(map(str, missing[:NAMED]))}{more}: each label is taken for the output of its "
        f"number, and nothing is known of the classes that are missing.",
    )


def _renumbered(names: Sequence[str], outputs: int) -> ReportWarning:
    return ReportWarning(
        "classes_renumbered",
        f"The model gives {outputs:,} logits, but the data have {len(names)} classes, which are "
        f"taken for outputs in the order of their names ('{names[-1]}' for output "
        f"{len(names) - 1}): if the data lack a class of the model, accuracy and cross-entropy are "
        f"wrong, so give the outputs, whole numbers from 0 on, as labels.",
    )
