"""Follow the law while the Hugging Face ``Trainer`` trains: a callback that logs where it does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designer.analysis.recorder import ACCURACY_HELDOUT, LawRecorder, check_every, scalars_of
from designer.data.batches import LabelledData
from designer.errors import InvalidInputError
from designer.integrations.optional import load_optional
from designer.results.layers import LawRow

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState
    from transformers.training_args import TrainingArguments
else:
    TrainerCallback = load_optional(("transformers",), "TrainerCallback", "transformers")


class TrainerLawMonitor(TrainerCallback):
    """Measure a model after its training epochs, and log the law where its trainer logs.

    ::

        monitor = TrainerLawMonitor(trainer, train, heldout)
        trainer.add_callback(monitor)
        trainer.train()
        print(monitor.rows[-1].law.uniformity)

    Weights, gradients and random states stay as they are: the training is the same with it and
    without it. The numbers are logged by ``Trainer.log``, so that everything in ``report_to`` gets
    them, and ``trainer.state.log_history`` keeps them, also over a resumed run, whose design scores
    count the accuracies of the epochs before. Where several processes train, the first of them
    measures.

    Args:
        trainer: the trainer that this callback is added to.
        train: a fixed sample of the training data; see ``designer.profile``.
        heldout: a fixed sample of held-out data.
        every: number of epochs from one look to the next.
        blocks: names of submodules; by default the blocks that are found.
        file: file that every row is appended to as a line of JSON.
        measure: ``separation`` or ``residual``.
        features: ``flatten``, ``pool`` or ``project``; see ``designer.profile``.
        batch_size: samples per forward pass for data in memory.
        seed: seed of the label permutation and of projections.

    Raises:
        InvalidInputError: if an option is out of its range, the file cannot be written, or the
            model is sharded by FSDP or DeepSpeed.
    """

    def __init__(
        self,
        trainer: Trainer,
        train: LabelledData,
        heldout: LabelledData | None = None,
        *,
        every: int = 1,
        blocks: Sequence[str] | None = None,
        file: str | Path | None = None,
        measure: str = "separation",
        features: str | None = None,
        batch_size: int | None = None,
        seed: int = 0,
    ) -> None:
        check_every(every)
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            raise InvalidInputError(
                "Expected a trainer under which every process has the whole model, got one with "
                "FSDP or DeepSpeed."
            )
        self._trainer, self._every = trainer, every
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
        """All rows of this process; their epochs count from 1, as the trainer's logs do."""
        return self._recorder.rows

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002 - the trainer passes it
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002 - the trainer passes it
        **kwargs: Any,  # noqa: ARG002 - the trainer passes them
    ) -> None:
        """Begin a training with what a checkpoint that it resumes has logged of earlier epochs."""
        logged = [log for log in state.log_history if ACCURACY_HELDOUT in log]
        self._recorder.resume({_epoch(log["epoch"]): log[ACCURACY_HELDOUT] for log in logged})

    def on_epoch_end(
        self,
        args: TrainingArguments,  # noqa: ARG002 - the trainer passes it
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Measure the model, and log what was measured."""
        epoch = _epoch(state.epoch or 0)
        if epoch % self._every or not state.is_world_process_zero:
            return
        should_log = control.should_log
        self._trainer.log(scalars_of(self._recorder(kwargs["model"], epoch)))
        control.should_log = should_log  # a log clears it, and the loss would not be logged


def _epoch(trained: float) -> int:
    """Return the number of an epoch from 1; `max_steps` may end within one."""
    return math.ceil(trained - 1e-6)
