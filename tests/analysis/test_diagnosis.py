"""What is wrong with a network as a whole, on made-up profiles on both sides of each threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from torch import nn

from designer.analysis.advice import layer_reports
from designer.analysis.analyze import analyze
from designer.analysis.diagnosis import (
    GOOD_ENOUGH,
    SURPLUS_BLOCKS,
    UNDERFIT_GAP,
    at_chance,
    diagnose,
    whole_comes_first,
)
from designer.analysis.training_runs import (
    DIVERGED,
    LOSS_LEFT,
    MIN_EPOCHS,
    SEED_SPREAD,
    SPREAD_ERRORS,
    STALLED,
    TrainingRuns,
)
from designer.errors import TrialFailed
from designer.measures.law import MEMORISED_GAP
from designer.results.contribution import BlockContribution, Contribution, Effect
from designer.results.diagnosis import WHOLE_FIRST, Finding, FindingKind
from designer.results.measured import SeparationProfile, Verdict
from designer.training.trainer import TrainingHistory
from tests.support.helpers import draws_around, labelled, profile_of, values_of_steps
from tests.support.networks.parts import seeded

SOUND = [1.0, 1.0, 1.0, 1.0]
"""Steps of four blocks that share the work equally."""

SAMPLES = 500
"""Held-out samples of every profile that is made up here."""


def profile_with(
    steps: Sequence[float] = SOUND,
    *,
    sd: float = 1e-3,
    accuracy: float = 0.97,
    accuracy_heldout: float = 0.9,
    seed: int = 0,
    **options: Any,
) -> SeparationProfile:
    """Return a profile of a network that is right on nearly all data, unless told otherwise."""
    values = values_of_steps(steps)
    profile = profile_of(
        values, values, resampled=draws_around(values, sd, seed=seed), chance=0.1, **options
    )
    return replace(profile, accuracy=accuracy, accuracy_heldout=accuracy_heldout, chance_train=0.1)


def dense(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.Tanh())


def kinds(findings: Sequence[Finding]) -> list[FindingKind]:
    return [finding.kind for finding in findings]


def only(findings: Sequence[Finding]) -> Finding:
    """Return the single finding."""
    (finding,) = findings
    return finding


def test_nothing_is_wrong_with_a_sound_network() -> None:
    assert diagnose([profile_with()]) == ()
    runs = TrainingRuns(losses=(LOSSES_OF_A_GOOD_RATE,) * 2, accuracies=(0.9, 0.91))
    assert diagnose([profile_with(), profile_with(seed=1)], normalised=False, runs=runs) == ()


def test_no_finding_was_tried_yet() -> None:
    assert not only(diagnose([profile_with([0.5, -1.0])])).tried


# --- D does not clearly fall ---


@pytest.mark.parametrize(
    ("steps", "sd", "sound"),
    [
        ([-0.5, 1.0], 0.01, True),
        ([-0.5, 0.4], 0.01, False),  # it rises
        ([-0.5, 0.6], 0.02, True),  # the fall of 0.1 has an error of 0.03
        ([-0.5, 0.6], 0.08, False),  # the fall of 0.1 has an error of 0.11
    ],
)
def test_d_has_to_fall_clearly(steps: list[float], sd: float, sound: bool) -> None:
    findings = diagnose([profile_with(steps, sd=sd)])
    assert kinds(findings) == [FindingKind.NOT_SOUND] * (not sound)


@pytest.mark.parametrize(
    ("normalised", "evidence", "advice"),
    [
        (True, "it is likelier not trained far enough", "Train with 3 times the learning rate"),
        (False, "no normalisation, which is the likelier reason", "Add normalisation behind"),
        (None, "Whether it has normalisation is not known", "Add normalisation if there is none"),
    ],
)
def test_the_likelier_reason_is_named(normalised: bool | None, evidence: str, advice: str) -> None:
    finding = only(diagnose([profile_with([0.5, -1.0])], normalised=normalised))
    assert "log D changes by 0.50 nats, with a 95 % interval from 0.50 to 0.50" in finding.evidence
    assert evidence in finding.evidence
    assert finding.advice.startswith(advice)


@pytest.mark.parametrize(
    ("gap", "advice"),
    [
        (UNDERFIT_GAP - 0.001, "Add normalisation behind every layer, and train with 3 times"),
        (UNDERFIT_GAP + 0.001, "Add normalisation behind every layer; if that is not enough"),
        (float("nan"), "Add normalisation behind every layer; if that is not enough"),
    ],
)
def test_a_network_may_be_neither_normalised_nor_trained_far_enough(
    gap: float, advice: str
) -> None:
    profile = profile_with([0.5, -1.0], accuracy=0.8, accuracy_heldout=0.8 - gap)
    finding = only(diagnose([profile], normalised=False))
    assert finding.advice.startswith(advice)
    assert ("held-out accuracy is 5.9 points" in finding.evidence) == (gap < UNDERFIT_GAP)


def test_without_resamples_the_fall_itself_decides() -> None:
    rising = profile_of(values_of_steps([0.5, -1.0]))
    assert "changes by 0.50 nats, and not below 0" in only(diagnose([rising])).evidence
    assert diagnose([profile_of(values_of_steps([0.5, -0.4]))]) == ()


def test_a_network_that_loses_its_classes_on_the_way_is_not_sound() -> None:
    lost = profile_of([4.0, 5.0, *[float("nan")] * 8], [4.0, 5.0, *[float("nan")] * 8])
    finding = only(diagnose([lost], normalised=False))
    assert finding.kind is FindingKind.NOT_SOUND
    assert finding.evidence.startswith("Behind block 'block2' all class means coincide")
    assert finding.advice.startswith("Add normalisation")
    assert whole_comes_first([lost])


@pytest.mark.parametrize(("part", "name"), [(0, "training"), (1, "held-out")])
def test_a_sample_with_nan_is_no_fault_of_the_other_part_or_of_the_training(
    part: int, name: str
) -> None:
    data, heldout = labelled(60), labelled(30, seed=1)
    (data, heldout)[part].inputs[3, 1] = float("nan")
    model = seeded(lambda: nn.Sequential(dense(5, 8), dense(8, 8), nn.Linear(8, 3)))
    result = analyze(model, data, heldout, resamples=20)
    (message,) = (w.message for w in result.warnings if w.code == "non_finite")
    assert message.startswith(f"On {name} data the features contain NaN or infinity from 'input'")
    assert not any("class means coincide" in finding.evidence for finding in result.diagnosis)


@pytest.mark.parametrize(
    ("losses", "short"),
    [
        ((2.0, 1.0), True),
        ((2.0,), True),
        ((2.0, 0.1), False),
        ((2.0,) * MIN_EPOCHS, False),
        ((), False),
    ],
)
def test_few_epochs_with_much_loss_left_are_too_few(losses: tuple[float, ...], short: bool) -> None:
    runs = TrainingRuns(losses=(losses, losses) if losses else (), accuracies=(0.9, 0.9))
    findings = diagnose([profile_with()], runs=runs)
    assert (FindingKind.NOT_SOUND in kinds(findings)) == short
    if short:
        assert f"trained for {len(losses)} epoch" in findings[0].evidence


def test_depth_is_not_judged_where_d_does_not_fall() -> None:
    steps = [0.5, *[-0.2] * 8]
    accuracies = [0.3, *[0.8] * 9]
    rising = profile_of(values_of_steps(steps), values_of_steps(steps), accuracies=accuracies)
    assert kinds(diagnose([rising])) == [FindingKind.NOT_SOUND]


@pytest.mark.parametrize("bad", [0.0, float("nan")])
def test_nothing_is_said_of_a_d_that_does_not_exist(bad: float) -> None:
    assert diagnose([profile_of([4.0, bad, 8.0], [4.0, bad, 8.0])]) == ()


# --- learning rate ---


def losses(third: float, last: float, first: float = 2.0, epochs: int = 12) -> tuple[float, ...]:
    """Return losses that fall evenly in the first third of the epochs, and evenly to the last."""
    decay = epochs // 3 - 1
    fall, rest = np.linspace(first, third, decay + 1), np.linspace(third, last, epochs - decay)
    return (*fall.tolist(), *rest[1:].tolist())


LOSSES_OF_A_GOOD_RATE = losses(third=1.0, last=0.3)


@pytest.mark.parametrize(
    ("run", "named"),
    [
        (losses(1.0, STALLED - 0.01), False),
        (losses(1.0, STALLED), True),
        (losses(0.21, LOSS_LEFT * 2.0), False),  # it stalls, as it has come to its end
        (losses(0.21, LOSS_LEFT * 2.0 + 0.001), True),
        (losses(1.0, 0.9, epochs=MIN_EPOCHS - 1), False),
        (losses(1.0, 0.9, epochs=MIN_EPOCHS), True),
    ],
)
def test_a_rate_is_too_low_if_the_loss_stalls_far_from_its_end(
    run: tuple[float, ...], named: bool
) -> None:
    findings = diagnose([profile_with()], runs=TrainingRuns(losses=(run,), accuracies=(0.9,)))
    assert (FindingKind.RATE_TOO_LOW in kinds(findings)) == named
    if named:
        assert only(findings).advice == "Train with 3 times the learning rate."
        assert f"from {run[len(run) // 3 - 1]:.2f} to {run[-1]:.2f} nats" in findings[0].evidence


@pytest.mark.parametrize(
    ("at_half", "named"), [(1.5, True), (1.34, True), (1.33, False), (1.0, False)]
)
def test_a_rate_is_not_too_low_where_the_loss_has_come_to_rest(at_half: float, named: bool) -> None:
    """Noisy labels leave a loss at which every training comes to rest."""
    run = (2.0, 1.7, at_half, 1.2, 1.0, *[0.95] * 10)
    findings = diagnose([profile_with()], runs=TrainingRuns(losses=(run,), accuracies=(0.9,)))
    assert (FindingKind.RATE_TOO_LOW in kinds(findings)) == named


def test_the_losses_of_all_seeds_decide() -> None:
    runs = TrainingRuns(losses=(losses(1.0, 0.95), losses(1.0, 0.5)), accuracies=(0.9, 0.9))
    assert diagnose([profile_with()], runs=runs) == ()


FEW_POINTS = SPREAD_ERRORS * (0.5 * 0.5 / SAMPLES) ** 0.5
"""What seeds of an accuracy of a half may differ by, because the samples are few: 9 points."""


@pytest.mark.parametrize(
    ("accuracies", "named"),
    [
        ((0.95, 0.95 - SEED_SPREAD + 0.001, 0.95), False),
        ((0.95, 0.95 - SEED_SPREAD - 0.001, 0.95), True),
        ((0.5 + FEW_POINTS - 0.003, 0.5, 0.5), False),  # further apart than ``SEED_SPREAD``
        ((0.5 + FEW_POINTS + 0.003, 0.5, 0.5), True),
        ((0.60,), False),
    ],
)
def test_a_rate_is_too_high_if_seeds_end_far_apart(
    accuracies: tuple[float, ...], named: bool
) -> None:
    findings = diagnose([profile_with()], runs=TrainingRuns(accuracies=accuracies))
    assert kinds(findings) == [FindingKind.RATE_TOO_HIGH] * named


def test_a_rate_is_too_high_if_a_run_diverges() -> None:
    with pytest.raises(TrialFailed) as caught:
        TrainingHistory((2.3, float("nan"))).check(0.3)
    diverged = TrainingRuns(accuracies=(0.9, 0.9), failures=(str(caught.value),))
    finding = only(diagnose([profile_with()], runs=diverged))
    assert finding.kind is FindingKind.RATE_TOO_HIGH
    assert finding.evidence == "Of 3 runs 1 diverged."
    assert finding.advice == "Train with a third of the learning rate."
    killed = replace(diverged, failures=("Memory ran out: the architecture is too large.",))
    assert diagnose([profile_with()], runs=killed) == ()


@pytest.mark.parametrize(("left", "high"), [(0.3, False), (0.05, True)])
def test_seeds_that_end_far_apart_after_too_short_a_training_say_nothing_of_the_rate(
    left: float, high: bool
) -> None:
    """Seeds that have hardly begun to learn differ most, and a lower rate makes that worse."""
    runs = TrainingRuns(losses=((2.0, 1.5, 2.0 * left),) * 2, accuracies=(0.9, 0.5))
    expected = FindingKind.RATE_TOO_HIGH if high else FindingKind.NOT_SOUND
    assert only(diagnose([profile_with()], runs=runs)).kind is expected
    rising = [profile_with([0.5, -1.0])]
    unsound, *others = diagnose(rising, normalised=True, runs=runs)
    assert unsound.advice == "Train 3 times as long."  # a higher rate may be wrong as well
    assert kinds(others) == [FindingKind.RATE_TOO_HIGH] * high
    diverged = replace(runs, failures=(f"{DIVERGED} nan in epoch 1.",))
    assert FindingKind.RATE_TOO_HIGH in kinds(diagnose(rising, runs=diverged))


def test_a_run_that_diverges_outweighs_a_loss_that_stalls() -> None:
    both = TrainingRuns((losses(1.0, 0.9),), (0.9,), (f"{DIVERGED} nan in epoch 1.",))
    unsound, rate = diagnose([profile_with([0.5, -1.0])], normalised=True, runs=both)
    assert (unsound.kind, rate.kind) == (FindingKind.NOT_SOUND, FindingKind.RATE_TOO_HIGH)
    assert unsound.advice == "Train 3 times as long."  # and not at a higher rate


def test_nothing_is_said_of_the_rate_of_a_network_at_chance() -> None:
    idle = TrainingRuns(losses=(losses(2.0, 2.0),), accuracies=(0.1,))
    guessing = profile_with(accuracy=0.1, accuracy_heldout=0.1)
    assert diagnose([guessing], runs=idle) == ()


# --- depth ---


def deep(*accuracies: float, **options: Any) -> SeparationProfile:
    """Return a profile with these nearest-class-mean accuracies behind the blocks."""
    return profile_with([0.3] * len(accuracies), accuracies=[0.4, *accuracies], **options)


PLATEAU = (0.9,) * SURPLUS_BLOCKS
BELOW = 0.9 - GOOD_ENOUGH


@pytest.mark.parametrize(
    ("accuracies", "enough"),
    [
        ((0.6, BELOW + 0.001, *PLATEAU), 2),
        ((0.6, BELOW - 0.001, *PLATEAU), None),
        ((0.89, *PLATEAU), 1),
        ((0.89, *PLATEAU[1:]), None),
        ((0.89, *(0.5,) * SURPLUS_BLOCKS), 1),  # it gets worse behind the first block
        ((0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9), None),  # every block is of use
    ],
)
def test_a_network_is_over_deep_if_many_blocks_lie_behind_a_good_one(
    accuracies: tuple[float, ...], enough: int | None
) -> None:
    findings = diagnose([deep(*accuracies)])
    assert kinds(findings) == [FindingKind.OVER_DEEP] * (enough is not None)
    if enough is not None:
        start = f"Block {enough} of {len(accuracies)}, 'block{enough}', is within 3 points"
        assert findings[0].evidence.startswith(start)
        blocks = "1 block" if enough == 1 else f"{enough} blocks"
        assert f"Train a shallower network anew: {blocks} would do" in findings[0].advice


def test_the_mean_over_seeds_decides_on_depth() -> None:
    early, late = deep(0.9, *PLATEAU), deep(0.8, *PLATEAU, seed=1)
    assert kinds(diagnose([early])) == [FindingKind.OVER_DEEP]
    assert diagnose([early, late]) == ()


def record(block: int, rise: float | None) -> BlockContribution:
    """Return a record of a block without which cross-entropy rises by this much."""
    effect = None if rise is None else Effect(rise, (rise - 0.01, rise + 0.01))
    contribution = None if effect is None else Contribution("nothing", None, effect, None)
    return BlockContribution(f"block{block}", "", contribution)


@pytest.mark.parametrize(
    ("rises", "advice"),
    [
        ([1.0, *[0.0] * 6], "it surely needs none of those blocks that were left out alone."),
        ([1.0, *[0.0] * 4, 0.5, 0.5], "Do not just remove blocks: as it is trained, the network "
         "needs 2 of these 6."),
        ([None] * 7, "Whether the network as it is trained needs those blocks was not measured."),
        ([], "Whether the network as it is trained needs those blocks was not measured."),
    ],
)  # fmt: skip
def test_advice_on_depth_is_not_advice_to_remove_blocks(
    rises: list[float | None], advice: str
) -> None:
    records = [record(i, rise) for i, rise in enumerate(rises, start=1)]
    assert only(diagnose([deep(0.9, *PLATEAU)], records)).advice.endswith(advice)


def test_nothing_is_said_of_depth_without_heldout_data_or_at_chance() -> None:
    steps = [0.3] * 8
    bare = profile_of(values_of_steps(steps), accuracies=[float("nan")] * 9)
    assert diagnose([bare]) == ()
    assert diagnose([profile_with(steps, accuracies=[0.1] * 9)]) == ()


# --- width ---


def test_a_block_that_loses_class_directions_is_too_narrow() -> None:
    narrow = profile_with(ranks=[9, 9, 5, 5, 9], widths=[64, 48, 6, 48, 48])
    finding = only(diagnose([narrow]))
    assert finding.kind is FindingKind.TOO_NARROW
    # the block behind it has no more directions to keep
    assert finding.evidence == ("Class directions are lost in block 'block2' (5 of 9 at width 6).")
    assert "4 times as wide" in finding.advice


def test_every_block_that_loses_directions_is_named() -> None:
    finding = only(diagnose([profile_with(ranks=[9, 8, 8, 5, 9])]))
    assert "'block1' (8 of 9" in finding.evidence
    assert "'block3' (5 of 9" in finding.evidence
    assert "block2" not in finding.evidence


def test_the_seed_with_the_fewest_directions_counts() -> None:
    seeds = [profile_with(), profile_with(ranks=[9, 9, 8, 9, 9], seed=1)]
    assert kinds(diagnose(seeds)) == [FindingKind.TOO_NARROW]


def test_pooled_features_hide_directions() -> None:
    pooled = replace(profile_with(ranks=[9, 9, 5, 9, 9]), features="pool")
    assert diagnose([pooled]) == ()


def of_maps(channels: Sequence[int], positions: Sequence[int], **options: Any) -> SeparationProfile:
    """Return a profile of flat maps; the third block loses class directions."""
    widths = [c * p for c, p in zip(channels, positions, strict=True)]
    profile = profile_with(ranks=[9, 9, 9, 6, 6], widths=widths, **options)
    layers = tuple(
        replace(layer, positions=p) for layer, p in zip(profile.layers, positions, strict=True)
    )
    return replace(profile, layers=layers)


@pytest.mark.parametrize(
    ("channels", "positions", "told"),
    [
        ([1, 8, 8, 8, 8], [64, 64, 16, 1, 1], False),  # the maps alone shrink
        ([1, 8, 8, 16, 16], [64, 64, 16, 1, 1], False),  # and channels are added
        ([1, 8, 8, 6, 6], [64, 64, 16, 1, 1], True),  # channels are lost, too
        ([1, 8, 8, 6, 6], [64, 64, 16, 16, 16], True),
    ],
)
def test_an_untrained_network_is_not_told_to_widen_where_its_maps_shrink(
    channels: list[int], positions: list[int], *, told: bool
) -> None:
    chance = {"accuracy": 0.1, "accuracy_heldout": 0.1}
    untrained = of_maps(channels, positions, **chance)
    assert (FindingKind.TOO_NARROW in kinds(diagnose([untrained]))) is told
    trained = of_maps(channels, positions)
    assert FindingKind.TOO_NARROW in kinds(diagnose([trained]))
    unknown = replace(
        untrained, layers=tuple(replace(layer, positions=None) for layer in untrained.layers)
    )
    assert FindingKind.TOO_NARROW in kinds(diagnose([unknown]))


# --- memorising ---


@pytest.mark.parametrize(("excess", "named"), [(-0.01, False), (0.01, True)])
def test_a_gap_between_training_and_heldout_accuracy_is_memorising(
    excess: float, named: bool
) -> None:
    gap = MEMORISED_GAP + excess
    findings = diagnose([profile_with(accuracy=1.0, accuracy_heldout=1.0 - gap)])
    assert kinds(findings) == [FindingKind.MEMORISING] * named
    if named:
        assert "31 points more often on training than on held-out data" in findings[0].evidence


def test_models_without_logits_are_not_called_memorising() -> None:
    nan = float("nan")
    assert diagnose([profile_with(accuracy=nan, accuracy_heldout=nan)]) == ()


# --- advice on single blocks ---


def test_there_is_no_advice_on_blocks_of_a_network_that_is_not_sound() -> None:
    for report in layer_reports([profile_with([0.5, -1.5, 0.4])]):
        assert report.advice == WHOLE_FIRST
    verdicts = [report.verdict for report in layer_reports([profile_with([0.5, -1.5, 0.4])])]
    assert verdicts == [Verdict.UNCERTAIN, Verdict.NEGATIVE, Verdict.UNCERTAIN]


def test_an_idle_block_of_a_network_that_is_not_sound_is_no_advice_either() -> None:
    records = [record(i, 0.0) for i in range(1, 4)]
    reports = layer_reports([profile_with([0.5, -1.5, 0.4])], records)
    assert {report.verdict for report in reports} == {Verdict.IDLE}
    assert {report.advice for report in reports} == {WHOLE_FIRST}


@pytest.mark.parametrize(
    ("training", "heldout"), [(0.1, 0.1), (1.0, 0.1)], ids=["untrained", "of random labels"]
)
def test_there_is_no_advice_on_blocks_of_a_network_at_chance(
    training: float, heldout: float
) -> None:
    guessing = profile_with(accuracy=training, accuracy_heldout=heldout, ranks=[9, 9, 5, 9, 9])
    assert at_chance([guessing])
    assert {report.advice for report in layer_reports([guessing])} == {WHOLE_FIRST}


def test_other_findings_leave_the_advice_on_blocks() -> None:
    narrow = profile_with(ranks=[9, 9, 5, 9, 9])
    assert layer_reports([narrow])[1].advice == "widen: only 5 of 9 class directions are left"
