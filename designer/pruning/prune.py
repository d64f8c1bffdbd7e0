"""Prune a trained classifier: remove the blocks that it does not need.

The steps, each in a file of its own: which blocks can go (``removable``), which go first
(``criteria``, ``propose``), how many (``how_many``, by ``removal_trials``: ``cut``, ``recover``,
``evaluation``), whether layers can be narrower (``narrow``), what the result is compared with
(``baselines``), and the ``report``.

The model that is passed in is never changed: all work is done on copies.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from designer.analysis.contribution import SAMPLES
from designer.analysis.options import AnalysisOptions
from designer.analysis.passes import PassProgress
from designer.analysis.pooled_contributions import contributions_or_reasons
from designer.analysis.profile import profile_with_options
from designer.choices import Criterion, choice
from designer.data.dataset import LabelledTensors
from designer.errors import InvalidInputError, ModelError, first_line
from designer.folders import write_all
from designer.measures.logits import OutputKind, output_kind
from designer.measures.proportions import accuracy_by_chance, beats_chance
from designer.models.pretrained import is_pretrained, pretrained_files, remade
from designer.models.surgery import Removal
from designer.probing.calling import (
    Inputs,
    call_model,
    check_has_values,
    check_rows,
    cloned,
    first_tensor,
    tensors_of,
    unwrap,
)
from designer.probing.probes import ends_in_sigmoid
from designer.probing.untouched import device_of
from designer.pruning.criteria import criteria_of
from designer.pruning.evaluation import KIND_SAMPLES, predictions_of
from designer.pruning.how_many import fewest_for, most_within
from designer.pruning.options import PruningOptions, RecoveryOptions, RemovalRequest
from designer.pruning.propose import Proposal, propose
from designer.pruning.removable import FEW, Removable, names_left, removable_blocks
from designer.pruning.removal_trials import PrunedCandidate, RemovalTrials
from designer.pruning.report import ReportBuilder
from designer.pruning.splits import PruningData, Splits, splits_of
from designer.results.pruning import PruningReport

if TYPE_CHECKING:
    from designer.pruning.options import Build


@dataclass(frozen=True, eq=False)
class PruningResult:
    """A smaller model, and the report on it."""

    model: nn.Module
    """In eval mode, with the precision and on the device of the original."""
    report: PruningReport
    """What was removed, why, and what it cost."""
    removals: tuple[Removal, ...] = ()
    """What makes the smaller model's structure from the original's."""
    _report_with_baselines: Callable[[PassProgress], PruningReport] | None = field(
        default=None, repr=False
    )
    _few: Inputs | None = field(default=None, repr=False)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a smaller model of transformers as its library does.

        Its configuration says how many layers are left, and ``from_pretrained`` gives the same
        outputs to the bit.

        Args:
            folder: created if it does not exist.

        Raises:
            ModelError: if the model is none of transformers, or no configuration says what is left.
            RunFolderError: if the folder cannot be written.
        """
        write_all({Path(folder) / name: file for name, file in self.pretrained_files().items()})

    def pretrained_files(self, origin: Path | None = None) -> dict[str, bytes]:
        """Return what ``save_pretrained`` writes, by the names of the files.

        Args:
            origin: folder that the whole model came from, whose tokenizer comes along.

        Raises:
            ModelError: if the model is none of transformers, or no configuration says what is left.
        """
        if not is_pretrained(self.model) or self._few is None:
            kind = type(self.model).__name__
            raise ModelError(f"Expected a model of transformers that was pruned, got {kind}.")
        return pretrained_files(remade(self.model, self.removals, self._few), origin)

    def with_baselines(self, progress: PassProgress | None = None) -> PruningResult:
        """Return the result with the two baselines in the report.

        Training them takes longer than the pruning. The result itself is returned if no block is
        removed, or the baselines are there already.

        Args:
            progress: called with what is being done, how much is done, and how much in all.
        """
        if self._report_with_baselines is None:
            return self
        report = self._report_with_baselines(progress or _ignore)
        return replace(self, report=report, _report_with_baselines=None)


def prune(
    model: nn.Module,
    data: PruningData = "digits",
    *,
    remove: int | Sequence[str] | None = None,
    max_drop: float | None = None,
    target_params: float | None = None,
    criterion: str = "best",
    measure: str | None = None,
    blocks: Sequence[str] | None = None,
    narrower: bool = False,
    epochs: int = RecoveryOptions.epochs,
    recover_every: int | None = None,
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

    Exactly one of ``remove``, ``max_drop`` and ``target_params`` says how many blocks go.

    Args:
        model: any module that gives logits (n, K), or (n, tokens, K) where every token has a label,
            alone or as the first floating tensor or the ``logits`` among other outputs; left
            exactly as it was.
        data: in the form that the model takes: a ``Dataset``, the name of one, which is used as it
            comes (see ``load_dataset``, scaling ``none``), or (train, heldout[, test]), each in any
            form that ``designer.profile`` takes, such as (inputs, labels), a ``DataLoader`` or
            batches by name with ``labels``, which are kept in memory. Blocks are judged on training
            and held-out data, decisions are made on held-out data, and test data are only reported
            on.
        remove: how many blocks to remove, or their names.
        max_drop: remove as many blocks as possible while held-out accuracy drops by no more than
            this, with 95 % confidence; a fraction, 0.01 is one point. For a language model: while
            held-out perplexity rises by no more than this share, 0.05 is 5 %.
        target_params: remove the fewest blocks that leave at most this share of the parameters.
        criterion: which blocks go first: ``contribution``, ``heldout``, ``train``,
            ``block-influence``, ``ablation``, ``last``, ``random``, or ``best``, which tries the
            first, the second and ``block-influence`` and takes the one that leaves most validation
            accuracy once what is left is repaired; the report names it.
        measure: what is measured behind every block, ``separation`` or ``residual``. By default the
            residual for language models, see ``designer.profile``; for these, cross-entropy on
            held-out data decides wherever accuracy does for classes.
        blocks: names of submodules, see ``designer.profile``.
        narrower: True if blocks that contribute too little for their width also lose the output
            units that the class directions do not use.
        epochs: the most epochs of recovery; 0 for none.
        recover_every: recover after this many removals, each time; None to recover once, after all
            of them.
        learning_rate: learning rate of recovery and of the baselines.
        batch_size: samples per training step.
        soft_targets: True if half of the targets are the original network's outputs.
        baselines: True to train a network of the same size from scratch and to remove as many
            blocks greedily, for comparison; ``with_baselines`` can do this later.
        scratch_epochs: epochs of the network from scratch.
        build: builds the original network anew for a seed; by default its layers are reset.
        seed: seed of everything random.
        progress: called with what is being done, how much is done, and how much in all.

    Returns:
        The smaller model, or a copy of the original if no block may go, and the report.

    Raises:
        InvalidInputError: if data or arguments are malformed, more blocks are asked for than can
            go, the model is no better than chance, or it is clearly right about named data under
            another scaling.
        ModelError: if the model raises, cannot be copied, or none of its blocks can be removed.
    """
    options = PruningOptions(
        RemovalRequest(_count_or_names(remove), max_drop, target_params),
        choice(Criterion, criterion, "a criterion"),
        RecoveryOptions(
            epochs,
            learning_rate,
            batch_size,
            soft_targets=soft_targets,
            seed=seed,
            scratch_epochs=scratch_epochs,
            every=recover_every,
        ),
        blocks,
        narrower,
        build,
        measure,
    )
    result = prune_with(model, data, options, progress)
    return result.with_baselines(progress) if baselines else result


def _count_or_names(remove: int | Sequence[str] | None) -> int | tuple[str, ...] | None:
    if remove is None or isinstance(remove, int):
        return remove
    return (remove,) if isinstance(remove, str) else tuple(remove)


def prune_with(
    model: nn.Module,
    data: PruningData,
    options: PruningOptions,
    progress: PassProgress | None = None,
) -> PruningResult:
    """Prune as ``prune`` does, with its options as one object and without the baselines.

    Raises:
        InvalidInputError: if the data are malformed, more blocks are asked for than can go, or the
            model is no better than chance.
        ModelError: if the model raises, cannot be copied, or none of its blocks can be removed.
    """
    progress = progress or _ignore
    original, precisions = _working_copy(model)
    splits = splits_of(data, original, options.measure).to(device_of(original))
    _check_classifier(original, splits)
    removables = removable_blocks(original, splits.train.at(slice(FEW)).inputs, options.blocks)
    _check_removable(removables)
    _check_request(options.request, removables)

    proposals = _proposals(original, removables, splits, options, progress)
    trials = RemovalTrials(
        original,
        splits,
        options.recovery,
        options.request.max_drop,
        progress,
        removables,
        options.blocks,
    )
    candidate = _candidate(options.request, proposals, trials, original, splits)
    if options.narrower and candidate is not None:
        left = names_left(removables, candidate.trial.removed, options.blocks)
        candidate = trials.narrowed(candidate, left)

    builder = ReportBuilder(
        original,
        type(unwrap(model)).__name__,
        splits,
        options,
        removables,
        _followed(proposals, candidate),
        trials,
        candidate,
    )
    return _result(builder, precisions)


def _result(builder: ReportBuilder, precisions: Precisions) -> PruningResult:
    """Return the smaller network in the precision of the original, with the report."""
    candidate = builder.candidate
    network = builder.original if candidate is None else candidate.cut.model
    return PruningResult(
        model=_in_precisions(copy.deepcopy(network), precisions).eval(),
        report=builder.report(),
        removals=() if candidate is None else candidate.cut.removals,
        _report_with_baselines=None if candidate is None else builder.report_with_baselines,
        _few=builder.splits.train.at(slice(FEW)).inputs,
    )


# --- the model that is worked on ---


Precisions = dict[str, torch.dtype]
"""By the name of a floating tensor of the original: its precision."""


def _working_copy(model: nn.Module) -> tuple[nn.Module, Precisions]:
    """Return a copy in float32 and eval mode that can be trained, and the original's precisions."""
    inner = unwrap(model)
    precisions = {
        name: tensor.dtype
        for name, tensor in (*inner.named_parameters(), *inner.named_buffers())
        if tensor.is_floating_point()
    }
    copied = _copied(inner)
    # a model that is frozen as a whole was loaded for use; one that is frozen in parts stays so
    frozen = not any(parameter.requires_grad for parameter in copied.parameters())
    for parameter in copied.parameters():
        parameter.grad = None
        if frozen:
            parameter.requires_grad_(parameter.is_floating_point())
    return copied.float().eval(), precisions


def _in_precisions(model: nn.Module, precisions: Precisions) -> nn.Module:
    """Bring a model to the only precision of the original, or each tensor to that of its name."""
    kinds = set(precisions.values())
    if len(kinds) == 1:
        return model.to(kinds.pop())
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(precisions.get(name, torch.float32))
    return model


def _are_logits(output: Tensor, classes: int, *, tokens: bool) -> bool:
    """True if an output is (n, K), or (n, tokens, K); or one logit per sample for two classes."""
    if classes == 2 and not tokens and (output.ndim == 1 or output.shape[1:] == (1,)):
        return True
    return output.ndim == (3 if tokens else 2) and output.shape[-1] >= classes


def _gives_probability(model: nn.Module, data: LabelledTensors) -> bool:
    """True if a model gives one number per sample, which is a probability."""
    few = data.at(slice(KIND_SAMPLES)).inputs
    output = first_tensor(call_model(model, cloned(few)))
    if output is None or output.shape[1:] not in ((), (1,)):
        return False
    kind = output_kind(output.reshape(-1, 1))
    return kind is OutputKind.PROBABILITIES or ends_in_sigmoid(model, few, output)


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:  # whatever the user's model holds
        raise ModelError(
            f"Expected a model that can be copied, but copying {type(model).__name__} raised "
            f"{type(error).__name__}: {first_line(error)}."
        ) from error


@torch.no_grad()
def _check_classifier(model: nn.Module, splits: Splits) -> None:
    """Check that the model gives logits, and is right more often than by chance."""
    few = splits.train.at(slice(2))
    check_has_values(*model.parameters(), *model.buffers(), *tensors_of(few.inputs))
    answer = call_model(model, cloned(few.inputs))
    output, classes = first_tensor(answer), splits.num_classes
    if output is None or not _are_logits(output, classes, tokens=splits.tokens):
        shape = f"(n, {'tokens, ' if splits.tokens else ''}{classes})"
        kind = type(answer).__name__ if output is None else tuple(output.shape)
        raise ModelError(f"Expected a classifier that gives logits {shape}, got {kind}.")
    if _gives_probability(model, splits.train):
        raise ModelError(
            "Expected a classifier that gives logits, got one probability per sample: prune the "
            "model without its sigmoid, and put it back behind it."
        )
    check_rows(output, len(few))
    predicted, targets = predictions_of(model, splits.validation)
    accuracy = float((predicted == targets).float().mean())
    chance = accuracy_by_chance(predicted, targets)
    if not beats_chance(accuracy, len(targets), chance):
        raise InvalidInputError(
            f"Expected a trained model, got one that is right on {100 * accuracy:.1f} % of the "
            f"held-out data, which is no better than chance ({100 * chance:.1f} %): there "
            f"is nothing to keep; train it first, or name its weights, its data and its scaling."
        )


# --- which blocks go ---


def _check_removable(removables: Sequence[Removable]) -> None:
    """Check that any block can go."""
    if not any(block.can_go for block in removables):
        reasons = "; ".join(f"'{block.name}': {block.reason}" for block in removables[:3])
        more = f"; and {len(removables) - 3} more" if len(removables) > 3 else ""
        raise ModelError(f"Expected blocks that can be removed, found none: {reasons}{more}.")


def _check_request(request: RemovalRequest, removables: Sequence[Removable]) -> None:
    """Check that the requested number of blocks, or the blocks of these names, can go."""
    remove = request.remove
    by_name = {block.name: block for block in removables}
    if isinstance(remove, int):
        most = sum(block.can_go for block in removables)
        if remove > most:
            raise InvalidInputError(
                f"Expected at most {most} blocks to remove, since {most} of {len(removables)} can "
                f"go, got {remove}."
            )
        return
    for name in remove or ():
        if name not in by_name:
            raise InvalidInputError(f"Expected blocks among {', '.join(by_name)}, got '{name}'.")
        if not by_name[name].can_go:
            raise InvalidInputError(
                f"Expected blocks that can be removed, got '{name}': {by_name[name].reason}."
            )


def _proposals(
    original: nn.Module,
    removables: Sequence[Removable],
    splits: Splits,
    options: PruningOptions,
    progress: PassProgress,
) -> list[Proposal]:
    """Return a proposal per criterion that is tried; the network is measured only once."""
    seed, remove = options.recovery.seed, options.request.remove
    count = remove if isinstance(remove, int) else None
    measuring = AnalysisOptions(measure=splits.measure, permutations=0, seed=seed)
    data = (splits.train, splits.validation, options.blocks, measuring)
    known = profile_with_options(original, *data, progress)
    contributions = contributions_or_reasons(
        original, *data, known, samples=SAMPLES, progress=progress
    )
    return [
        propose(
            original,
            removables,
            splits,
            criterion,
            blocks=options.blocks,
            seed=seed,
            progress=progress,
            known_profile=known,
            contributions=contributions,
            count=count,
        )
        for criterion in criteria_of(options.criterion)
    ]


def _followed(proposals: Sequence[Proposal], candidate: PrunedCandidate | None) -> Proposal:
    """Return the proposal that was followed; the first if none or all were."""
    removed = () if candidate is None else candidate.trial.removed
    return next((p for p in proposals if p.begins_with(removed)), proposals[0])


def _candidate(
    request: RemovalRequest,
    proposals: Sequence[Proposal],
    trials: RemovalTrials,
    original: nn.Module,
    splits: Splits,
) -> PrunedCandidate | None:
    """Return the smaller network; None if no block may be removed."""
    orders = [proposal.order for proposal in proposals]
    if request.max_drop is not None:
        return most_within(orders, trials)
    if request.target_params is not None:
        most = int(request.target_params * sum(p.numel() for p in original.parameters()))
        choices = _reaching(orders, original, splits, most)
    else:
        choices = [_requested(request.remove, order) for order in orders]
    return trials.recovered(trials.best_of(choices))


def _reaching(
    orders: Sequence[Sequence[Removable]], original: nn.Module, splits: Splits, most: int
) -> list[list[Removable]]:
    """Return the fewest blocks that reach a size, of each order that does with so few."""
    choices, failure = [], None
    for order in orders:
        try:
            choices.append(fewest_for(order, original, splits, most))
        except InvalidInputError as error:
            failure = error
    if failure is not None and not choices:
        raise failure
    fewest = min(map(len, choices))
    return [choice for choice in choices if len(choice) == fewest]


def _requested(remove: int | tuple[str, ...] | None, order: Sequence[Removable]) -> list[Removable]:
    """Return the first ``remove`` blocks of an order, or the blocks of these names."""
    if isinstance(remove, int):
        return list(order[:remove])
    return [block for block in order if block.name in (remove or ())]


def _ignore(_name: str, _done: int, _total: int) -> None:
    pass
