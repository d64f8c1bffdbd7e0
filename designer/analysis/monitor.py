"""Follow the law during training, in any training loop: one row per call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from torch import nn

from designer.analysis.recorder import LawRecorder, scalars_of
from designer.data.batches import LabelledData
from designer.errors import InvalidInputError
from designer.results.layers import LawRow


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
        self._model = model
        self._recorder = LawRecorder(
            train,
            heldout,
            blocks=blocks,
            file=file,
            measure=measure,
            features=features,
            batch_size=batch_size,
            seed=seed,
        )
        self._writer = _writer(tensorboard)

    @property
    def rows(self) -> list[LawRow]:
        """All rows so far."""
        return self._recorder.rows

    def __call__(self, epoch: int | None = None) -> LawRow:
        """Measure the model as it is now.

        Args:
            epoch: epoch of the row; by default the number of rows so far.

        Raises:
            InvalidInputError: as ``designer.profile``.
        """
        row = self._recorder(self._model, len(self.rows) if epoch is None else epoch)
        if self._writer is not None:
            for tag, value in scalars_of(row).items():
                self._writer.add_scalar(tag, value, row.epoch)
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
