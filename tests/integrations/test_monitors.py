"""The law in the loops of Lightning and Transformers: logged there, and the training unchanged."""

from __future__ import annotations

import csv
import json
import sys
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from shutil import rmtree
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import Trainer, TrainerCallback, TrainingArguments

import designer
from designer import LawMonitor, LawRow, LightningLawMonitor, TrainerLawMonitor
from designer.analysis.recorder import scalars_of
from designer.errors import InvalidInputError
from tests.support.helpers import labelled, small_mlp

TRAIN, HELDOUT = labelled(60), labelled(45, seed=1)

LOADED = DataLoader(TensorDataset(TRAIN.inputs, TRAIN.labels), batch_size=30)
"""Training data whose iterations draw random numbers."""


def network() -> nn.Sequential:
    """Return a network whose training draws random numbers."""
    return small_mlp().insert(1, nn.Dropout(0.2))


def same_weights(some: nn.Module, other: nn.Module) -> bool:
    """True if two modules have the same parameters and buffers to the bit."""
    pairs = zip(some.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def measured_alone(row: LawRow, model: nn.Module) -> bool:
    """True if a look at the model says the same, but for the score, which knows earlier rows."""
    alone = LawMonitor(model, LOADED, HELDOUT)(row.epoch)
    return replace(row, design_score=None) == replace(alone, design_score=None)


class Module(pl.LightningModule):
    """A network without a ``forward`` of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        self.log("val", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def fit(
    *callbacks: pl.Callback,
    epochs: int = 3,
    logger: CSVLogger | None = None,
    options: dict[str, Any] | None = None,
    **resumed: Any,
) -> tuple[Module, pl.Trainer]:
    """Train with validation, before which Lightning validates once to see that it runs."""
    torch.manual_seed(0)
    module = Module()
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=list(callbacks),
        logger=logger or False,
        log_every_n_steps=1,
        num_sanity_val_steps=1,
        enable_checkpointing=any(isinstance(each, ModelCheckpoint) for each in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        **options or {},
    )
    train, heldout = (TensorDataset(data.inputs, data.labels) for data in (TRAIN, HELDOUT))
    loader = DataLoader(train, batch_size=20, shuffle=True)
    trainer.fit(module, loader, DataLoader(heldout, batch_size=20), **resumed)
    return module, trainer


def test_lightning_trains_to_the_same_weights_and_logs_each_epoch(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    monitor = LightningLawMonitor(LOADED, HELDOUT, module="net", file=tmp_path / "law.jsonl")
    watched, trainer = fit(monitor, logger=logger)
    assert same_weights(watched, fit()[0])
    assert [row.epoch for row in monitor.rows] == [0, 1, 2]
    assert measured_alone(monitor.rows[-1], watched.net)
    logged = scalars_of(monitor.rows[-1])
    assert "law/design_score" in logged
    assert {tag: float(trainer.callback_metrics[tag]) for tag in logged} == pytest.approx(logged)
    with Path(logger.log_dir, "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["law/rho"]]
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2]
    assert [float(row["separation/2"]) for row in rows] == pytest.approx(
        [row.separation[2] for row in monitor.rows]
    )
    lines = (tmp_path / "law.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1, 2]


def test_lightning_continues_the_rows_of_a_checkpoint_and_may_stop_by_them(tmp_path: Path) -> None:
    first = LightningLawMonitor(TRAIN, HELDOUT, module="net")
    fit(first, epochs=2)[1].save_checkpoint(tmp_path / "last.ckpt")
    second = LightningLawMonitor(TRAIN, HELDOUT, module="net")
    stopping = EarlyStopping("law/design_score", mode="max", min_delta=2, patience=1)
    fit(second, stopping, epochs=9, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert second.rows[:2] == first.rows
    assert [row.epoch for row in second.rows] == [0, 1, 2, 3]


def test_lightning_looks_after_every_second_epoch() -> None:
    monitor = LightningLawMonitor(TRAIN, module="net", every=2)
    fit(monitor, epochs=3)
    assert [row.epoch for row in monitor.rows] == [1]


@pytest.mark.parametrize(
    ("options", "every"), [({"check_val_every_n_epoch": 2}, 1), ({"val_check_interval": 0.5}, 2)]
)
def test_lightning_warns_of_callbacks_that_would_act_before_the_law_is_logged(
    options: dict[str, Any], every: int, tmp_path: Path
) -> None:
    def monitor() -> LightningLawMonitor:
        return LightningLawMonitor(TRAIN, HELDOUT, module="net", every=every)

    stopping = EarlyStopping("law/design_score", mode="max", strict=False)
    with pytest.warns(UserWarning, match=r"^EarlyStopping reads .*check_on_train_epoch_end=True"):
        fit(monitor(), stopping, epochs=1, options=options)
    keeping = ModelCheckpoint(tmp_path / "late", monitor="law/design_score")
    with (
        suppress(MisconfigurationException),  # for want of a number
        pytest.warns(UserWarning, match=r"^ModelCheckpoint reads .*save_on_train_epoch_end=True"),
    ):
        fit(monitor(), keeping, epochs=1, options=options)
    in_time = monitor()
    stopping = EarlyStopping(
        "law/design_score", mode="max", strict=False, check_on_train_epoch_end=True
    )
    keeping = ModelCheckpoint(
        tmp_path / "in_time",
        monitor="law/design_score",
        save_on_train_epoch_end=True,
        every_n_epochs=every,
        save_top_k=-1,
    )
    fit(in_time, stopping, keeping, epochs=4, options=options)  # without a warning
    scores = sorted(float(score) for score in keeping.best_k_models.values())
    assert scores == pytest.approx(sorted(row.design_score or 0 for row in in_time.rows))


def test_lightning_refuses_what_it_cannot_measure_before_it_trains() -> None:
    with pytest.raises(InvalidInputError, match="a part of Module, which has net, got 'model'"):
        fit(LightningLawMonitor(TRAIN, module="model"))
    sharded: Any = SimpleNamespace(strategy=type("FSDPStrategy", (), {})())
    with pytest.raises(InvalidInputError, match="such as ddp, got FSDPStrategy"):
        LightningLawMonitor(TRAIN).on_fit_start(sharded, Module())
    with pytest.raises(InvalidInputError, match="Expected `every` of at least 1 epoch, got 0"):
        LightningLawMonitor(TRAIN, every=0)


class Classifier(nn.Module):
    """A network that the Trainer can train: it gives the loss if it gets labels."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, inputs: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.net(inputs)
        if labels is None:
            return {"logits": logits}
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class Reported(TrainerCallback):
    """Keeps what an integration of ``report_to`` gets."""

    def __init__(self) -> None:
        self.logs: list[dict[str, float]] = []

    def on_log(self, *_states: object, **others: Any) -> None:
        self.logs.append(dict(others["logs"]))


def hugging_face(folder: Path, *, epochs: int = 3, save: str = "no") -> Trainer:
    """Return a trainer of a fresh network; it logs the loss after every epoch."""
    torch.manual_seed(0)
    pairs = zip(TRAIN.inputs, TRAIN.labels, strict=True)
    return Trainer(
        Classifier(),
        TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=epochs,
            per_device_train_batch_size=20,
            logging_strategy="epoch",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
            save_strategy=save,
        ),
        train_dataset=[{"inputs": x, "labels": y} for x, y in pairs],
        callbacks=[Reported()],
    )


def test_the_trainer_trains_to_the_same_weights_and_logs_each_epoch(tmp_path: Path) -> None:
    plain = hugging_face(tmp_path)
    plain.train()
    trainer = hugging_face(tmp_path)
    monitor = TrainerLawMonitor(trainer, LOADED, HELDOUT)
    trainer.add_callback(monitor)
    trainer.train()
    assert isinstance(trainer.model, nn.Module)
    assert isinstance(plain.model, nn.Module)
    assert same_weights(trainer.model, plain.model)
    assert [row.epoch for row in monitor.rows] == [1, 2, 3]
    assert measured_alone(monitor.rows[-1], trainer.model)
    history = trainer.state.log_history
    laws = [log for log in history if "law/rho" in log]
    assert [(log["epoch"], log["step"]) for log in laws] == [(1, 3), (2, 6), (3, 9)]
    assert laws[-1] == {**scalars_of(monitor.rows[-1]), "epoch": 3, "step": 9}
    assert [log["loss"] for log in history if "loss" in log] == [
        log["loss"] for log in plain.state.log_history if "loss" in log
    ]
    (reported,) = [c for c in trainer.callback_handler.callbacks if isinstance(c, Reported)]
    assert [log["law/rho"] for log in reported.logs if "law/rho" in log] == [
        log["law/rho"] for log in laws
    ]


def test_the_trainer_goes_on_from_a_checkpoint_with_the_epochs_of_its_history(
    tmp_path: Path,
) -> None:
    first = hugging_face(tmp_path, save="epoch")
    first.add_callback(TrainerLawMonitor(first, TRAIN, every=2))
    first.train()
    second = hugging_face(tmp_path, epochs=4)
    monitor = TrainerLawMonitor(second, TRAIN, every=2)
    second.add_callback(monitor)
    second.train(resume_from_checkpoint=True)
    assert [row.epoch for row in monitor.rows] == [4]
    assert [log["epoch"] for log in second.state.log_history if "law/rho" in log] == [2, 4]


def test_scores_of_a_resumed_training_count_the_epochs_before_it(tmp_path: Path) -> None:
    def scores(epochs: int, *, resume: bool) -> list[float | None]:
        trainer = hugging_face(tmp_path, save="epoch", epochs=epochs)
        monitor = TrainerLawMonitor(trainer, TRAIN, HELDOUT)
        trainer.add_callback(monitor)
        trainer.train(resume_from_checkpoint=resume)
        return [row.design_score for row in monitor.rows]

    whole = scores(4, resume=False)
    rmtree(tmp_path / "checkpoint-12")
    rmtree(tmp_path / "checkpoint-9")
    assert scores(4, resume=True) == whole[2:]


def test_the_trainer_refuses_a_sharded_model() -> None:
    sharded: Any = SimpleNamespace(is_fsdp_enabled=True, is_deepspeed_enabled=False)
    with pytest.raises(InvalidInputError, match="got one with FSDP or DeepSpeed"):
        TrainerLawMonitor(sharded, TRAIN)


@pytest.mark.parametrize(
    ("home", "missing", "message"),
    [
        (
            "lightning",
            ("lightning", "lightning.pytorch", "pytorch_lightning"),
            r"lightning\.pytorch or .*pip install 'equisep-designer\[lightning\]'",
        ),
        (
            "transformers",
            ("transformers",),
            r"transformers, but .*pip install 'equisep-designer\[transformers\]'",
        ),
    ],
)
def test_a_library_that_is_missing_is_named_with_its_command(
    monkeypatch: pytest.MonkeyPatch, home: str, missing: tuple[str, ...], message: str
) -> None:
    nothing: Any = None
    for name in missing:
        monkeypatch.setitem(sys.modules, name, nothing)
    monkeypatch.delitem(sys.modules, f"designer.integrations.{home}")
    with pytest.raises(InvalidInputError, match=f"^Expected the package {message}"):
        import_module(f"designer.integrations.{home}")


def test_names_that_need_a_library_are_offered_but_not_imported_with_a_star() -> None:
    assert designer.LightningLawMonitor is LightningLawMonitor
    assert {"LightningLawMonitor", "TrainerLawMonitor"}.isdisjoint(designer.__all__)
