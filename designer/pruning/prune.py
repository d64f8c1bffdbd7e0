"""The whole of pruning: propose, cut, recover, verify, decide, and compare with what else there is.

The model that is passed in is never changed: all work is done on copies.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from designer.analysis.passes import PassProgress
from designer.errors import InvalidInputError, ModelError, first_line
from designer.measures.proportions import beats_chance
from designer.models.surgery import Removal
from designer.probing.calling import call_model, unwrap
from designer.probing.untouched import device_of
from designer.pruning.evaluation import correct_mask
from designer.pruning.how_many import fewest_for, most_within
from designer.pruning.options import (
    RecoveryOptions,
    RemovalRequest,
    criterion_of,
    measured_criteria,
)
from designer.pruning.propose import Proposal, propose
from designer.pruning.removable import Removable, names_left, removable_blocks
from designer.pruning.removal_trials import PrunedCandidate, RemovalTrials
from designer.pruning.report import Build, Summary
from designer.pruning.splits import Data, Splits, splits_of
from designer.results.pruning import PruningReport

FEW = 5
"""Samples with which blocks are tried."""


@dataclass(frozen=True, eq=False)
class PruningResult:
    """The smaller model, and the report on it."""

    model: nn.Module
    """In eval mode, with the precision and on the device of the original."""
    report: PruningReport
    removals: tuple[Removal, ...] = ()
    """What it takes to make its structure from the original's."""
    _compared: Callable[[PassProgress], PruningReport] | None = field(default=None, repr=False)

    def with_baselines(self, progress: PassProgress | None = None) -> PruningResult:
        """The same with the two baselines in the report, which take longer than the pruning."""
        if self._compared is None:
            return self
        return replace(self, report=self._compared(progress or _ignore), _compared=None)


def prune(
    model: nn.Module,
    data: Data = "digits",
    *,
    remove: int | Sequence[str] | None = None,
    max_drop: float | None = None,
    target_params: float | None = None,
    criterion: str = "best",
    blocks: Sequence[str] | None = None,
    narrower: bool = False,
    epochs: int = RecoveryOptions.epochs,
    learning_rate: float = RecoveryOptions.learning_rate,
    batch_size: int = RecoveryOptions.batch_size,
    soft_targets: bool = False,
    baselines: bool = False,
    scratch_epochs: int = RecoveryOptions.scratch_epochs,
    build: Build | None = None,
    seed: int = 0,
    progress: PassProgress | None = None,
) -> PruningResult:
    """Remove the blocks that a trained classifier does not need.

    Args:
        model: any module that gives logits (n, K); left exactly as it was.
        data: in the form that the model takes: a ``Dataset``, the name of one, or (train,
            heldout[, test]), each (inputs, labels). Blocks are judged on training and held-out
            data, decisions are made on held-out data, and the test data are only reported on.
        remove: how many blocks, or the names of those.
        max_drop: the most blocks whose removal costs no more held-out accuracy than this, with
            95 % confidence; 0.01 is one point.
        target_params: the fewest blocks without which no more than this share of the parameters
            is left. Exactly one of the three must be given.
        criterion: which blocks go first: ``heldout``, ``train``, ``block-influence``,
            ``ablation``, ``last``, ``random``, or ``best``: ``heldout`` or ``block-influence``,
            whichever leaves more validation accuracy; the report names the one that did.
        blocks: names of submodules, see ``designer.profile``.
        narrower: whether blocks that contribute too little for their width also lose the output
            units that the class directions do not use.
        epochs: of recovery at the most; 0 for none.
        learning_rate: of recovery, and of the baselines.
        batch_size: samples per training step.
        soft_targets: whether half of the targets are the whole network's outputs.
        baselines: whether to train a network of the same size from scratch and to remove as many
            blocks greedily, for comparison; ``with_baselines`` does it later.
        scratch_epochs: of the network from scratch.
        build: makes the whole network anew for a seed; by default its layers are reset.
        seed: of everything random.
        progress: called with what is being done.

    Raises:
        InvalidInputError: on malformed data or arguments, more blocks than there are, a model at
            chance.
        ModelError: where the model raises, or none of its blocks can be removed.
    """
    wish = RemovalRequest(_names_or_count(remove), max_drop, target_params)
    kind = criterion_of(criterion)
    how = RecoveryOptions(
        epochs,
        learning_rate,
        batch_size,
        soft_targets=soft_targets,
        seed=seed,
        scratch_epochs=scratch_epochs,
    )
    whole, like = _whole(model)
    parts = splits_of(data).to(device_of(whole))
    _check_model(whole, parts)
    shown = progress or _ignore
    found = removable_blocks(whole, parts.train.inputs[:FEW], blocks)
    _check_removable(found)
    _check_asked(wish.remove, found)
    proposals: list[Proposal] = []
    for one in measured_criteria(kind):
        seen = proposals[0].seen if proposals else None
        proposals.append(
            propose(whole, found, parts, one, blocks=blocks, seed=seed, progress=shown, seen=seen)
        )
    trials = RemovalTrials(whole, parts, how, max_drop, shown)
    candidate = _decided(wish, [one.order for one in proposals], trials, whole, parts)
    if narrower and candidate is not None:
        left = names_left(found, candidate.trial.removed, blocks)
        candidate = trials.narrowed(candidate, left)
    summary = Summary(
        whole=whole,
        kind=type(unwrap(model)).__name__,
        parts=parts,
        how=how,
        wish=wish,
        found=found,
        proposal=_taken(proposals, candidate),
        trials=trials,
        blocks=blocks,
        build=build,
    )
    result = PruningResult(
        model=copy.deepcopy(whole if candidate is None else candidate.cut.model).to(like).eval(),
        report=summary.report(candidate),
        removals=() if candidate is None else candidate.cut.removals,
        _compared=None if candidate is None else partial(summary.compared, candidate),
    )
    return result.with_baselines(shown) if baselines else result


def _names_or_count(remove: int | Sequence[str] | None) -> int | tuple[str, ...] | None:
    if remove is None or isinstance(remove, int):
        return remove
    return (remove,) if isinstance(remove, str) else tuple(remove)


def _whole(model: nn.Module) -> tuple[nn.Module, torch.dtype]:
    """A copy to work on, in float32, and the precision of the original."""
    inner = unwrap(model)
    kinds = {p.dtype for p in inner.parameters() if p.is_floating_point()}
    like = kinds.pop() if len(kinds) == 1 else torch.float32
    copied = _copied(inner)
    for parameter in copied.parameters():
        parameter.grad = None
        parameter.requires_grad_(parameter.is_floating_point())
    return copied.float().eval(), like


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:  # whatever the user's model holds
        raise ModelError(
            f"Expected a model that can be copied, but copying {type(model).__name__} raised "
            f"{type(error).__name__}: {first_line(error)}."
        ) from error


@torch.no_grad()
def _check_model(model: nn.Module, parts: Splits) -> None:
    """A classifier that is right more often than by chance."""
    output = call_model(model, parts.train.inputs[:2])
    if not isinstance(output, Tensor) or output.ndim != 2 or output.shape[1] < parts.num_classes:
        found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ModelError(
            f"Expected a classifier that gives logits (n, {parts.num_classes}), got {found}."
        )
    mask = correct_mask(model, parts.validation)
    accuracy = float(mask.float().mean())
    if not beats_chance(accuracy, len(mask), parts.chance):
        raise InvalidInputError(
            f"Expected a trained model, got one that is right on {100 * accuracy:.1f} % of the "
            f"held-out data, which is no better than chance ({100 * parts.chance:.1f} %): there "
            f"is nothing to keep; train it first, or give its weights, its data and its scaling."
        )


def _check_removable(found: Sequence[Removable]) -> None:
    if not any(one.can_go for one in found):
        reasons = "; ".join(f"'{one.name}': {one.reason}" for one in found[:3])
        more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
        raise ModelError(f"Expected blocks that can be removed, found none: {reasons}{more}.")


def _decided(
    wish: RemovalRequest,
    orders: Sequence[Sequence[Removable]],
    trials: RemovalTrials,
    whole: nn.Module,
    parts: Splits,
) -> PrunedCandidate | None:
    """The smaller network; None where nothing may be removed."""
    if wish.max_drop is not None:
        return most_within(orders, trials)
    if wish.target_params is not None:
        most = int(wish.target_params * sum(p.numel() for p in whole.parameters()))
        choices = _reaching(orders, whole, parts, most)
    else:
        choices = [_asked_for(wish.remove, order) for order in orders]
    return trials.recovered(trials.best_of(choices))


def _reaching(
    orders: Sequence[Sequence[Removable]], whole: nn.Module, parts: Splits, most: int
) -> list[list[Removable]]:
    """The fewest blocks of each order that reach a size, of those orders that do."""
    choices, failure = [], None
    for order in orders:
        try:
            choices.append(fewest_for(order, whole, parts, most))
        except InvalidInputError as error:
            failure = error
    if failure is not None and not choices:
        raise failure
    return choices


def _taken(proposals: Sequence[Proposal], candidate: PrunedCandidate | None) -> Proposal:
    """The one that was followed, the first where none or all were."""
    removed = () if candidate is None else candidate.trial.removed
    return next((one for one in proposals if one.begins_with(removed)), proposals[0])


def _check_asked(remove: int | tuple[str, ...] | None, found: Sequence[Removable]) -> None:
    """So many blocks, or those of these names, can go."""
    known = {one.name: one for one in found}
    if isinstance(remove, int):
        most = sum(one.can_go for one in found)
        if remove > most:
            raise InvalidInputError(
                f"Expected at most {most} blocks to remove, since {most} of {len(found)} can go, "
                f"got {remove}."
            )
        return
    for name in remove or ():
        if name not in known:
            raise InvalidInputError(f"Expected blocks among {', '.join(known)}, got '{name}'.")
        if not known[name].can_go:
            raise InvalidInputError(
                f"Expected blocks that can be removed, got '{name}': {known[name].reason}."
            )


def _asked_for(remove: int | tuple[str, ...] | None, order: Sequence[Removable]) -> list[Removable]:
    """So many blocks at the front of the order, or those of these names."""
    if isinstance(remove, int):
        return list(order[:remove])
    return [one for one in order if one.name in (remove or ())]


def _ignore(_what: str, _done: int, _total: int) -> None:
    pass
