"""Follow the law while Lightning trains: a callback that logs to every logger of the trainer."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from designer.analysis.recorder import LawRecorder, check_every, scalars_of
from designer.data.batches import LabelledData
from designer.errors import InvalidInputError
from designer.integrations.optional import load_optional
from designer.results.layers import LawRow
from designer.results.serialisation import law_rows_from_json, law_rows_to_json

if TYPE_CHECKING:
    from pytorch_lightning import Callback, LightningModule, Trainer
else:
    # Both packages hold the same classes twice: a callback must come from the one that trains.
    Callback = load_optional(("lightning.pytorch", "pytorch_lightning"), "Callback", "lightning")

SHARDED = frozenset({"FSDPStrategy", "DeepSpeedStrategy", "ModelParallelStrategy"})
"""Strategies under which no process has the whole model."""


class LightningLawMonitor(Callback):
    """Measure a model after its training epochs, and log the law to the trainer's loggers.

    ::

        monitor = LightningLawMonitor(train, heldout)
        trainer = Trainer(max_epochs=10, callbacks=[monitor])
        trainer.fit(module)
        print(monitor.rows[-1].law.uniformity)

    Weights, gradients and random states stay as they are: the training is the same with it and
    without it. The numbers are logged by ``LightningModule.log``, so that every logger gets them,
    and ``EarlyStopping`` and ``ModelCheckpoint`` can monitor them, such as ``law/design_score``.
    They are logged at the end of the training epoch; where the trainer validates within epochs or
    not after each, these callbacks act at the end of validation, when the number is that of an
    earlier epoch or missing, unless they get ``check_on_train_epoch_end=True`` or
    ``save_on_train_epoch_end=True``; a warning says so when the training begins.
    Where several processes train, the first of them measures. The rows go into checkpoints, and a
    resumed run continues them.

    Args:
        train: a fixed sample of the training data; see ``designer.profile``.
        heldout: a fixed sample of held-out data.
        module: name of the submodule to measure, such as ``net``, for a ``LightningModule``
            without a ``forward``; by default the whole module.
        every: number of epochs from one look to the next. If it is above 1, ``EarlyStopping`` needs
            ``strict=False``, since some epochs have no number to stop by, and ``ModelCheckpoint``
            needs ``every_n_epochs`` of the same number.
        blocks: names of submodules; by default the blocks that are found.
        file: file that every row is appended to as a line of JSON.
        measure: ``separation`` or ``residual``.
        features: ``flatten``, ``pool`` or ``project``; see ``designer.profile``.
        batch_size: samples per forward pass for data in memory.
        seed: seed of the label permutation and of projections.

    Raises:
        InvalidInputError: if an option is out of its range, the file cannot be written, or, once
            the training begins, there is no such submodule or the model is sharded.
    """

    def __init__(
        self,
        train: LabelledData,
        heldout: LabelledData | None = None,
        *,
        module: str | None = None,
        every: int = 1,
        blocks: Sequence[str] | None = None,
        file: str | Path | None = None,
        measure: str = "separation",
        features: str | None = None,
        batch_size: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_every(every)
        self._module, self._every = module, every
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

    @property
    def rows(self) -> list[LawRow]:
        """All rows so far; their epochs are Lightning's, which count from 0."""
        return self._recorder.rows

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that the model can be measured, before it is trained."""
        self._measured(pl_module)
        if type(trainer.strategy).__name__ in SHARDED:
            raise InvalidInputError(
                f"Expected a strategy under which every process has the whole model, such as ddp, "
                f"got {type(trainer.strategy).__name__}."
            )

    def on_train_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002 - the trainer passes it
    ) -> None:
        """Warn of callbacks that would act on the law before an epoch is measured."""
        for callback in trainer.callbacks if trainer.is_global_zero else ():  # type: ignore[attr-defined]
            if option := _option_to_act_in_time(callback, trainer):
                warnings.warn(
                    f"{type(callback).__name__} reads '{callback.monitor}' at the end of "
                    f"validation, when it is that of an earlier epoch or missing; give it "
                    f"{option}=True.",
                    stacklevel=2,
                )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the model, and log what was measured."""
        epoch = trainer.current_epoch
        if (epoch + 1) % self._every:
            return
        first = trainer.is_global_zero
        measured = self._recorder(self._measured(pl_module), epoch) if first else None
        row = cast("LawRow", trainer.strategy.broadcast(measured))
        if not first:
            self.rows.append(row)
        # the values are the same everywhere; without `sync_dist` Lightning would warn
        pl_module.log_dict(scalars_of(row), on_step=False, on_epoch=True, sync_dist=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows as a checkpoint holds them."""
        return {"rows": law_rows_to_json(self.rows)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the rows of a checkpoint."""
        self.rows[:] = law_rows_from_json(state_dict["rows"])

    def _measured(self, pl_module: LightningModule) -> nn.Module:
        """Return the module to measure."""
        try:
            return pl_module.get_submodule(self._module or "")
        except AttributeError as error:
            names = ", ".join(name for name, _ in pl_module.named_children())
            raise InvalidInputError(
                f"Expected `module` to name a part of {type(pl_module).__name__}, which has "
                f"{names}, got '{self._module}'."
            ) from error


def _option_to_act_in_time(callback: Any, trainer: Trainer) -> str:
    """Return the option by which a callback would act after a look at the law.

    Only Lightning itself knows when its callbacks act, and once its data are loaded.

    Args:
        callback: any callback of the trainer.
        trainer: about to train.

    Returns:
        Its name; empty for a callback that acts in time, or does not monitor the law.
    """
    if not str(getattr(callback, "monitor", "")).startswith("law/"):
        return ""
    saves = getattr(callback, "_should_save_on_train_epoch_end", None)
    if saves is not None:
        return "" if saves(trainer) else "save_on_train_epoch_end"
    stops = getattr(callback, "_check_on_train_epoch_end", True)
    return "" if stops else "check_on_train_epoch_end"
