"""Training runs: seeded, isolated, and honest about failure."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from designer.choices import Augmentation
from designer.data.dataset import LabelledTensors
from designer.errors import InvalidInputError, TrialFailed
from designer.training.trainer import (
    Schedule,
    TrainingHistory,
    accuracy,
    build_seeded,
    correct_answers,
    memory_exhaustion_as_failure,
    single_threaded,
    train,
)
from tests.support.helpers import DEVICES, gaussian_classes, labelled, small_mlp

DATA = labelled(64)


def weights_of(model: nn.Module) -> list[float]:
    """Return all weights and buffers in a row."""
    return torch.cat([t.double().flatten().cpu() for t in model.state_dict().values()]).tolist()


def trained(seed: int = 0, *, model: nn.Module | None = None, **options: Any) -> nn.Module:
    """Return a model after a short run."""
    model = small_mlp() if model is None else model
    train(
        model, DATA, **{"epochs": 2, "learning_rate": 1e-2, "batch_size": 16, **options}, seed=seed
    )
    return model


class Raises(nn.Module):
    """A model that raises in its forward pass."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.error = error

    def forward(self, _x: Tensor) -> Tensor:
        raise self.error


# --- seeds ---


@pytest.mark.parametrize("device", DEVICES)
def test_a_run_lowers_the_loss_and_learns(device: str) -> None:
    model = small_mlp().to(device)
    easy = LabelledTensors(*gaussian_classes(64, spread=0.3, dtype=torch.float32))
    data = easy.to(torch.device(device))
    history = train(model, data, epochs=15, learning_rate=1e-2, seed=0, batch_size=16)
    assert len(history.losses) == 15
    assert history.losses[-1] < 0.5 * history.losses[0]
    assert history.summed_loss == pytest.approx(sum(history.losses))
    assert accuracy(model, data) > 0.95


def test_the_same_seed_gives_the_same_model() -> None:
    assert weights_of(trained(seed=3)) == weights_of(trained(seed=3))


def test_another_seed_gives_another_batch_order() -> None:
    assert weights_of(trained(seed=3)) != weights_of(trained(seed=4))


def test_weights_depend_on_their_seed_alone() -> None:
    def build(seed: int) -> list[float]:
        return weights_of(
            build_seeded(lambda: nn.Linear(5, 3), seed=seed, device=torch.device("cpu"))
        )

    torch.rand(3)
    assert build(1) == build(1)
    assert build(1) != build(2)


def test_torchs_generator_is_left_as_it_was() -> None:
    before = torch.get_rng_state()
    build_seeded(lambda: nn.Linear(5, 3), seed=1, device=torch.device("cpu"))
    trained()
    assert torch.equal(torch.get_rng_state(), before)


def with_dropout() -> nn.Module:
    """Build a model that draws random numbers while it trains."""
    return nn.Sequential(small_mlp(), nn.Dropout(0.5))


def test_a_run_with_dropout_depends_on_its_seed_alone() -> None:
    first = weights_of(trained(model=with_dropout()))
    torch.rand(1)  # somebody else draws a number
    assert weights_of(trained(model=with_dropout())) == first


def test_a_run_with_dropout_leaves_torchs_generator_as_it_was() -> None:
    before = torch.get_rng_state()
    trained(model=with_dropout())
    assert torch.equal(torch.get_rng_state(), before)


def test_each_epoch_sees_every_sample_once_in_a_new_order() -> None:
    epochs: list[list[float]] = [[]]

    class Watcher(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            epochs[-1].extend(x[:, 0].tolist())
            return super().forward(x)

    trained(model=Watcher(5, 3), on_epoch=lambda *_: epochs.append([]))
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(DATA.inputs[:, 0].tolist())
    assert epochs[0] != epochs[1]


# --- failure ---


def test_divergence_is_a_failed_trial() -> None:
    model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3))
    with pytest.raises(TrialFailed, match=r"loss became (nan|inf) in epoch \d at .* 1e\+30"):
        trained(model=model, learning_rate=1e30, epochs=5)


def test_non_finite_inputs_are_a_failed_trial() -> None:
    bad = LabelledTensors(DATA.inputs.clone(), DATA.labels)
    bad.inputs[3, 0] = float("nan")
    with pytest.raises(TrialFailed, match="became nan in epoch 1"):
        train(small_mlp(), bad, epochs=3, learning_rate=1e-3, seed=0)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
    ],
)
def test_memory_that_runs_out_is_a_failed_trial(error: BaseException) -> None:
    with pytest.raises(TrialFailed, match=r"Memory ran out") as caught:
        trained(model=Raises(error))
    assert caught.value.__cause__ is error


def test_memory_that_really_runs_out_is_a_failed_trial() -> None:
    with pytest.raises(TrialFailed, match="Memory ran out"), memory_exhaustion_as_failure():
        torch.empty(2**60)


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 shapes"), ValueError("no"), KeyboardInterrupt()]
)
def test_other_errors_pass_through(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        trained(model=Raises(error))
    assert caught.value is error


def test_a_callback_may_end_the_run() -> None:
    epochs: list[int] = []

    def stop(epoch: int, _model: nn.Module) -> None:
        epochs.append(epoch)
        if epoch == 2:
            raise KeyError

    with pytest.raises(KeyError):
        trained(epochs=9, on_epoch=stop)
    assert epochs == [1, 2]


# --- augmentation ---


IMAGES = LabelledTensors(torch.arange(1.0, 40 * 64 + 1).reshape(40, 1, 8, 8), torch.arange(40) % 3)


def batches_seen(augmentation: Augmentation, *, seed: int = 0, epochs: int = 2) -> list[Tensor]:
    """Return what a model receives of ``IMAGES`` in training, batch by batch."""
    batches: list[Tensor] = []
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    model.register_forward_hook(lambda _m, inputs, _o: batches.append(inputs[0]))
    train(
        model,
        IMAGES,
        epochs=epochs,
        learning_rate=1e-3,
        seed=seed,
        batch_size=16,
        augmentation=augmentation,
    )
    return batches


def test_a_run_without_augmentation_is_what_it_would_be_without_the_option() -> None:
    assert weights_of(trained(augmentation=Augmentation.NONE)) == weights_of(trained())
    order = torch.randperm(40, generator=torch.Generator().manual_seed(5))
    assert torch.equal(batches_seen(Augmentation.NONE, seed=5)[0], IMAGES.inputs[order[:16]])


def test_augmentation_leaves_the_batch_order_as_it_is() -> None:
    plain, flipped = batches_seen(Augmentation.NONE), batches_seen(Augmentation.FLIP)
    for before, after in zip(plain, flipped, strict=True):
        assert torch.equal(after.sum(3), before.sum(3))
    assert not torch.equal(torch.cat(plain), torch.cat(flipped))


def test_augmentation_leaves_what_the_model_draws_as_it_is() -> None:
    drawn: dict[Augmentation, list[float]] = {}

    class Draws(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            drawn[kind].append(float(torch.rand(())))
            return super().forward(x.flatten(1))

    for kind in (Augmentation.NONE, Augmentation.FLIP_SHIFT):
        drawn[kind] = []
        train(Draws(64, 3), IMAGES, epochs=2, learning_rate=1e-3, seed=1, augmentation=kind)
    assert drawn[Augmentation.NONE] == drawn[Augmentation.FLIP_SHIFT]


def test_augmentation_follows_the_seed_and_differs_between_epochs() -> None:
    first = batches_seen(Augmentation.SHIFT, seed=1)
    again = batches_seen(Augmentation.SHIFT, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))

    def shown(batches: list[Tensor]) -> set[tuple[float, ...]]:
        return {tuple(image.flatten().tolist()) for batch in batches for image in batch}

    assert shown(first[:3]) != shown(first[3:])
    assert shown(first) != shown(batches_seen(Augmentation.SHIFT, seed=2))


def test_augmentation_leaves_the_training_data_as_they_are() -> None:
    before = IMAGES.inputs.clone()
    batches_seen(Augmentation.FLIP_SHIFT)
    assert torch.equal(IMAGES.inputs, before)


def test_flat_inputs_cannot_be_augmented() -> None:
    model = small_mlp()
    before = weights_of(model)
    with pytest.raises(InvalidInputError, match=r"Expected images .* got inputs of shape \(5,\)"):
        trained(model=model, augmentation=Augmentation.FLIP)
    assert weights_of(model) == before


# --- schedule ---


@pytest.mark.parametrize(
    ("schedule", "epochs", "expected"),
    [
        (Schedule.CONSTANT, 4, [1, 1, 1, 1]),
        (Schedule.STEP, 6, [1, 1, 0.1, 0.1, 0.01, 0.01]),
        (Schedule.STEP, 3, [1, 0.1, 0.01]),
        (Schedule.STEP, 1, [1]),
        (Schedule.STEP, 30, [1] * 10 + [0.1] * 10 + [0.01] * 10),
    ],
)
def test_learning_rate_over_the_epochs(
    schedule: Schedule, epochs: int, expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    optimizers: list[torch.optim.Adam] = []

    class Recorded(torch.optim.Adam):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            optimizers.append(self)

    monkeypatch.setattr(torch.optim, "Adam", Recorded)
    rates: list[float] = []
    trained(
        schedule=schedule,
        epochs=epochs,
        learning_rate=1e-3,
        on_epoch=lambda *_: rates.append(optimizers[0].param_groups[0]["lr"]),
    )
    assert rates == pytest.approx([1e-3 * factor for factor in expected])


# --- batches, modes, threads ---


@pytest.mark.parametrize(("n", "sizes"), [(33, [16, 16]), (34, [16, 16, 2]), (32, [16, 16])])
def test_a_last_batch_of_a_single_sample_is_left_out(n: int, sizes: list[int]) -> None:
    lengths: list[int] = []
    model = small_mlp()
    model.register_forward_hook(lambda _m, inputs, _o: lengths.append(len(inputs[0])))
    history = train(model, labelled(n), epochs=1, learning_rate=1e-3, seed=0, batch_size=16)
    assert lengths == sizes
    assert 0 < history.losses[0] < 10


def test_training_starts_each_epoch_in_training_mode() -> None:
    modes: list[bool] = []
    model = small_mlp()
    model.register_forward_hook(lambda m, *_: modes.append(m.training))

    def put_into_eval_mode(_epoch: int, trained_model: nn.Module) -> None:
        trained_model.eval()

    trained(model=model, on_epoch=put_into_eval_mode)
    assert modes == [True] * 8


def test_accuracy_is_the_share_of_correct_answers() -> None:
    model = nn.Linear(5, 3)
    expected = (model(DATA.inputs).argmax(1) == DATA.labels).double().mean()
    assert accuracy(model, DATA, batch_size=7) == pytest.approx(float(expected))


def test_correct_answers_are_a_mask_over_the_samples() -> None:
    model = nn.Linear(5, 3)
    expected = model(DATA.inputs).argmax(1) == DATA.labels
    assert torch.equal(correct_answers(model, DATA, batch_size=7), expected)
    assert 0 < int(expected.sum()) < len(DATA)


def test_accuracy_leaves_the_data_as_they_are_where_the_first_layer_works_in_place() -> None:
    before = DATA.inputs.clone()
    accuracy(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(5, 3)), DATA)
    assert torch.equal(DATA.inputs, before)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("make", [small_mlp, lambda: nn.Sequential(Raises(RuntimeError("no")))])
def test_accuracy_leaves_the_modes_as_they_were(
    make: Callable[[], nn.Module], training: bool
) -> None:
    model = make().train(training)
    with suppress(RuntimeError):
        accuracy(model, DATA)
    assert [m.training for m in model.modules()] == [training] * len(list(model.modules()))


def test_accuracy_leaves_a_frozen_block_frozen() -> None:
    model = small_mlp().train()
    model[0].eval()
    before = [m.training for m in model.modules()]
    accuracy(model, DATA)
    assert [m.training for m in model.modules()] == before


def test_accuracy_looks_in_eval_mode_and_without_gradients() -> None:
    model = small_mlp().train()
    statistics = [b.clone() for b in model.buffers()]
    modes = []
    model.register_forward_hook(lambda m, _i, out: modes.append((m.training, out.requires_grad)))
    accuracy(model, DATA)
    assert modes == [(False, False)]
    assert all(torch.equal(a, b) for a, b in zip(statistics, model.buffers(), strict=True))


@pytest.mark.parametrize("raises", [False, True])
def test_threads_are_restored(raises: bool) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(KeyError) if raises else nullcontext(), single_threaded():
            assert torch.get_num_threads() == 1
            if raises:
                raise KeyError
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_an_empty_history() -> None:
    assert TrainingHistory(()).summed_loss == 0
