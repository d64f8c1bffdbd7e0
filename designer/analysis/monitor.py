"""Follow the law during training, in any training loop: one row per call."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from torch import nn

from designer.analysis.options import AnalysisOptions
from designer.analysis.profile import profile_with_options
from designer.data.batches import LabelledData
from designer.errors import InvalidInputError
from designer.measures.score import design_score
from designer.results.layers import LawRow, LawSummary
from designer.results.measured import SeparationProfile, measured


class ScalarWriter(Protocol):
    """The methods of TensorBoard's ``SummaryWriter`` that ``LawMonitor`` calls."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> Any:
        """Write one number under a tag, at an epoch."""

    def flush(self) -> Any:
        """Write everything to disk."""


class LawMonitor:
    """Measure a model between epochs; the model is left exactly as it was.

    ::

        with LawMonitor(model, train, heldout, file="law.jsonl") as monitor:
            for epoch in range(epochs):
                ...                      # train one epoch
                row = monitor(epoch)
                print(row.epoch, row.law.uniformity, row.design_score)

    Args:
        model: any module.
        train: a fixed sample of the training data; see ``designer.profile``.
        heldout: a fixed sample of held-out data.
        blocks: names of submodules; by default the blocks that are found.
        file: file that every row is appended to as a line of JSON.
        tensorboard: folder for TensorBoard's event files, or your own ``SummaryWriter``.
        measure: ``separation`` or ``residual``.
        features: ``flatten``, ``pool`` or ``project``; see ``designer.profile``.
        batch_size: samples per forward pass for data in memory.
        seed: seed of the label permutation and of projections.

    Attributes:
        rows: all rows so far.

    Raises:
        InvalidInputError: if an option is out of its range, the file cannot be written, or
            TensorBoard is not installed but asked for with a folder.
    """

    def __init__(
        self,
        model: nn.Module,
        train: LabelledData,
        heldout: LabelledData | None = None,
        *,
        blocks: Sequence[str] | None = None,
        file: str | Path | None = None,
        tensorboard: str | Path | ScalarWriter | None = None,
        measure: str = "separation",
        features: str | None = None,
        batch_size: int | None = None,
        seed: int = 0,
    ) -> None:
        self._model, self._train, self._heldout, self._blocks = model, train, heldout, blocks
        self._options = AnalysisOptions(
            measure=measure,
            features=features,
            batch_size=batch_size,
            seed=seed,
            permutations=1,
            resamples=0,
        )
        self._file = None if file is None else _writable(Path(file))
        self._writer = _writer(tensorboard)
        self.rows: list[LawRow] = []

    def __call__(self, epoch: int | None = None) -> LawRow:
        """Measure the model as it is now.

        Args:
            epoch: epoch of the row; by default the number of rows so far.

        Raises:
            InvalidInputError: as ``designer.profile``.
        """
        profile = profile_with_options(
            self._model, self._train, self._heldout, self._blocks, self._options
        )
        row = _row(profile, self.rows, len(self.rows) if epoch is None else epoch)
        self.rows.append(row)
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(asdict(row), allow_nan=False) + "\n")
        if self._writer is not None:
            _write_scalars(self._writer, row)
        return row

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.flush()


def _row(profile: SeparationProfile, earlier: Sequence[LawRow], epoch: int) -> LawRow:
    scored = profile.law_heldout is not None and profile.measure == "separation"
    accuracies = [row.accuracy_heldout for row in earlier if row.accuracy_heldout is not None]
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


def _write_scalars(writer: ScalarWriter, row: LawRow) -> None:
    figures = {
        "law/rho": row.law.rho,
        "law/uniformity": row.law.uniformity,
        "law/total_reduction": row.law.total_reduction,
        "law/design_score": row.design_score,
        "accuracy/train": row.accuracy,
        "accuracy/heldout": row.accuracy_heldout,
        **_by_block("separation", row.blocks, row.separation),
        **_by_block("separation_heldout", row.blocks, row.separation_heldout or ()),
    }
    for tag, value in figures.items():
        if value is not None:
            writer.add_scalar(tag, value, row.epoch)


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


def _writer(tensorboard: str | Path | ScalarWriter | None) -> ScalarWriter | None:
    if not isinstance(tensorboard, str | Path):
        return tensorboard
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InvalidInputError(
            f"Expected TensorBoard for '{tensorboard}', but it is not installed: "
            f"pip install tensorboard."
        ) from error
    writer: ScalarWriter = SummaryWriter(str(tensorboard))
    return writer
