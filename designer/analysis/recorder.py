"""Measure the law during training on fixed data: one row per look, kept and appended to a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from operator import index
from pathlib import Path

from torch import nn

from designer.analysis.options import AnalysisOptions
from designer.analysis.profile import profile_with_options
from designer.data.batches import LabelledData
from designer.errors import InvalidInputError
from designer.measures.score import design_score
from designer.results.layers import LawRow, LawSummary
from designer.results.measured import SeparationProfile, measured

ACCURACY_HELDOUT = "accuracy/heldout"
"""Tag that loggers show the accuracy on held-out data under."""


class LawRecorder:
    """Measure models on fixed data, and keep a row for each look.

    Args:
        train: a fixed sample of the training data; see ``designer.profile``.
        heldout: a fixed sample of held-out data.
        blocks: names of submodules; by default the blocks that are found.
        file: file that every row is appended to as a line of JSON.
        measure: ``separation`` or ``residual``.
        features: ``flatten``, ``pool`` or ``project``; see ``designer.profile``.
        batch_size: samples per forward pass for data in memory.
        seed: seed of the label permutation and of projections.

    Attributes:
        rows: all rows so far.

    Raises:
        InvalidInputError: if an option is out of its range, or the file cannot be written.
    """

    def __init__(
        self,
        train: LabelledData,
        heldout: LabelledData | None = None,
        *,
        blocks: Sequence[str] | None = None,
        file: str | Path | None = None,
        measure: str = "separation",
        features: str | None = None,
        batch_size: int | None = None,
        seed: int = 0,
    ) -> None:
        self._train, self._heldout, self._blocks = train, heldout, blocks
        self._options = AnalysisOptions(
            measure=measure,
            features=features,
            batch_size=batch_size,
            seed=seed,
            permutations=1,
            resamples=0,
        )
        self._file = None if file is None else _writable(Path(file))
        self.rows: list[LawRow] = []
        self._before: dict[int, float] = {}
        self._rows_before = 0

    def resume(self, accuracies: Mapping[int, float]) -> None:
        """Begin another training, or the rest of one that was interrupted.

        Args:
            accuracies: held-out accuracies after epochs that were trained before, which the design
                score averages over as if there were rows of them.
        """
        self._before, self._rows_before = dict(accuracies), len(self.rows)

    def __call__(self, model: nn.Module, epoch: int) -> LawRow:
        """Measure a model as it is now; it is left exactly as it was.

        Args:
            model: any module.
            epoch: epoch of the row, an integer. An epoch that is not behind the last one begins
                another training, whose design scores know nothing of the rows before.

        Raises:
            InvalidInputError: as ``designer.profile``, and if the epoch is no integer.
        """
        epoch = _integer(epoch)
        profile = profile_with_options(
            model, self._train, self._heldout, self._blocks, self._options
        )
        row = _row(profile, self._accuracies_before(epoch), epoch)
        self.rows.append(row)
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(asdict(row), allow_nan=False) + "\n")
        return row

    def _accuracies_before(self, epoch: int) -> list[float]:
        """Return the held-out accuracies of this training before an epoch, in order."""
        rows = _of_this_training(self.rows[self._rows_before :], epoch)
        first = rows[0].epoch if rows else epoch
        before = [self._before[e] for e in sorted(self._before) if e < first]
        known = [row.accuracy_heldout for row in rows if row.accuracy_heldout is not None]
        return before + known


def check_every(every: int) -> None:
    """Raise ``InvalidInputError`` unless a number of epochs from look to look is at least 1."""
    if every < 1:
        raise InvalidInputError(f"Expected `every` of at least 1 epoch, got {every}.")


def scalars_of(row: LawRow) -> dict[str, float]:
    """Return the numbers of a row by the tags that loggers show them under.

    Numbers that do not exist are left out.
    """
    figures = {
        "law/rho": row.law.rho,
        "law/uniformity": row.law.uniformity,
        "law/total_reduction": row.law.total_reduction,
        "law/design_score": row.design_score,
        "accuracy/train": row.accuracy,
        ACCURACY_HELDOUT: row.accuracy_heldout,
        **_by_block("separation", row.blocks, row.separation),
        **_by_block("separation_heldout", row.blocks, row.separation_heldout or ()),
    }
    return {tag: value for tag, value in figures.items() if value is not None}


def _integer(epoch: object) -> int:
    """Return an integer of any type, such as one of NumPy, as Python's own."""
    try:
        return index(epoch)  # type: ignore[arg-type]
    except TypeError:
        raise InvalidInputError(
            f"Expected an epoch that is an integer, got {type(epoch).__name__} {epoch}."
        ) from None


def _of_this_training(rows: Sequence[LawRow], epoch: int) -> list[LawRow]:
    """Return the last rows whose epochs rise up to ``epoch``: those of the same training."""
    last: list[LawRow] = []
    for row in reversed(rows):
        if row.epoch >= epoch:
            break
        last.insert(0, row)
        epoch = row.epoch
    return last


def _row(profile: SeparationProfile, accuracies: Sequence[float], epoch: int) -> LawRow:
    scored = profile.law_heldout is not None and profile.measure == "separation"
    return LawRow(
        epoch=epoch,
        blocks=tuple(layer.name for layer in profile.layers),
        separation=tuple(map(measured, profile.values)),
        separation_heldout=tuple(map(measured, profile.values_heldout))
        if profile.law_heldout
        else None,
        law=LawSummary.of(profile.law),
        law_heldout=None if profile.law_heldout is None else LawSummary.of(profile.law_heldout),
        design_score=measured(design_score(profile, accuracies).value) if scored else None,
        accuracy=measured(profile.accuracy),
        accuracy_heldout=measured(profile.accuracy_heldout),
    )


def _by_block(
    tag: str, blocks: Sequence[str], values: Sequence[float | None]
) -> dict[str, float | None]:
    return {f"{tag}/{name}": value for name, value in zip(blocks, values, strict=False)}


def _writable(file: Path) -> Path:
    """Return the file, with its folders, once rows can be appended to it."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8"):
            return file
    except OSError as error:
        raise InvalidInputError(
            f"Expected a file that rows can be appended to, but '{file}' cannot be written: "
            f"{error.strerror}."
        ) from error
