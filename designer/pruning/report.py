"""Report on what was removed: the networks side by side, and what that means in a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn

from designer.analysis.passes import PassProgress
from designer.analysis.profile import profile
from designer.analysis.warnings import bypass_warnings, coverage_warnings, unseen_warnings
from designer.data.dataset import LabelledTensors
from designer.errors import InvalidInputError
from designer.measures.proportions import drop_of, proportion
from designer.models.size import size_of_model
from designer.pruning.baselines import from_scratch, greedy
from designer.pruning.conclusion import changes_at_most, conclusion, may_change
from designer.pruning.evaluation import latency_ratio
from designer.pruning.options import PruningOptions
from designer.pruning.propose import Proposal
from designer.pruning.quality import Quality, quality_of
from designer.pruning.removable import FEW, Removable, names_left
from designer.pruning.removal_trials import PrunedCandidate, RemovalTrials
from designer.pruning.splits import Splits
from designer.results.analysis import DataUsed, ModelSummary
from designer.results.layers import Curve, LawSummary, ReportWarning
from designer.results.measured import SeparationProfile, measured, perplexity_of
from designer.results.provenance import versions
from designer.results.pruning import PRUNING_SCHEMA, NetworkFigures, PruningReport, RemovalTrial


@dataclass(frozen=True, eq=False)
class ReportBuilder:
    """Builds the report on a pruning, without or with the baselines."""

    original: nn.Module
    """The network before pruning, in eval mode, in float32."""
    kind: str
    """Its class."""
    splits: Splits
    """The data."""
    options: PruningOptions
    """What was asked for."""
    removables: Sequence[Removable]
    """All blocks of the original."""
    proposal: Proposal
    """The order that was followed."""
    trials: RemovalTrials
    """Everything that was tried."""
    candidate: PrunedCandidate | None
    """The smaller network; None if no block is removed."""

    def report(self) -> PruningReport:
        """Return the report on the original and the smaller network."""
        return self._report([])

    def report_with_baselines(self, progress: PassProgress) -> PruningReport:
        """Train the two baselines, which takes longer than the pruning, and report on them, too.

        Args:
            progress: called during their training.
        """
        candidate, recovery = self.candidate, self.options.recovery
        if candidate is None:
            return self.report()
        scratch = from_scratch(
            candidate.cut.model,
            candidate.cut.removals,
            self.splits,
            recovery,
            recovery.scratch_epochs,
            self.options.build,
            progress,
        )
        pool = [block for block in self.removables if block.can_go]
        removed = candidate.trial.removed
        ablated, epochs = greedy(self.original, pool, len(removed), self.splits, recovery, progress)
        baselines = [
            self._figures("from scratch", scratch, recovery.scratch_epochs, removed),
            self._figures("greedy ablation", ablated.model, epochs, ablated.names),
        ]
        standing = _standing(self._quality(scratch), candidate.quality)
        return self._report(baselines, standing)

    def _report(
        self, baselines: Sequence[NetworkFigures], scratch_standing: str = ""
    ) -> PruningReport:
        candidate = self.candidate
        networks = [*self._networks(), *baselines]
        return PruningReport(
            schema=PRUNING_SCHEMA,
            model=self._model(networks[0].parameters),
            data=self._data(),
            criterion=str(self.proposal.criterion),
            request=self.options.request.record(),
            blocks=tuple(
                replace(block, removed=block.name in self._removed)
                for block in self.proposal.blocks
            ),
            removed=self._removed,
            fitted=() if candidate is None else candidate.cut.fitted,
            narrowed={} if candidate is None else candidate.narrowed,
            networks=tuple(networks),
            trials=tuple(self.trials.done),
            conclusion=" ".join(
                (
                    *self._doubts(),
                    *(
                        self._why_nothing()
                        if candidate is None
                        else conclusion(networks, len(self.removables), scratch_standing)
                    ),
                )
            ),
            warnings=tuple(self._warnings(networks[0])),
            settings=asdict(self.options.recovery),
            versions=versions(),
        )

    @property
    def _removed(self) -> tuple[str, ...]:
        return () if self.candidate is None else self.candidate.trial.removed

    def _networks(self) -> Iterator[NetworkFigures]:
        yield self._figures("original", self.original, 0, ())
        if self.candidate is not None:
            model, epochs = self.candidate.cut.model, self.candidate.epochs
            yield self._figures("pruned", model, epochs, self._removed)

    def _model(self, parameters: int) -> ModelSummary:
        return ModelSummary(
            name=self.kind,
            weights=None,
            kind=self.kind,
            parameters=parameters,
            accuracy=measured(self.proposal.profile.accuracy),
            accuracy_heldout=measured(self.proposal.profile.accuracy_heldout),
            coverage=self.proposal.profile.coverage,
            embedding_parameters=self.proposal.profile.embedding_parameters,
            perplexity=measured(perplexity_of(self.proposal.profile.loss)),
            perplexity_heldout=measured(perplexity_of(self.proposal.profile.loss_heldout)),
        )

    def _data(self) -> DataUsed:
        return DataUsed(
            name=self.splits.name,
            train=len(self.splits.train),
            heldout=len(self.splits.validation),
            heldout_part="validation",
            num_classes=self.splits.num_classes,
            chance=self.splits.chance,
            fingerprint=self.splits.fingerprint,
        )

    def _figures(
        self, name: str, network: nn.Module, epochs: int, removed: tuple[str, ...]
    ) -> NetworkFigures:
        """Return size, time, accuracy and law of a network, compared with the original."""
        quality, original = self._quality(network), self.trials.quality
        drop, decisive = drop_of(original.correct, quality.correct), quality.drop_from(original)
        test = None if self.splits.test is None else self._quality(network, self.splits.test)
        few = self.splits.train.at(slice(FEW))  # norms that go by the batch need several samples
        size = size_of_model(network, few.inputs)
        separation = self._profile(network, removed)
        latency = (
            None
            if network is self.original
            else latency_ratio(self.original, network, self.splits.validation.inputs)
        )
        return NetworkFigures(
            name=name,
            blocks=len(self.removables) - len(removed),
            parameters=size.parameters,
            flops=size.flops // len(few),
            latency=latency,
            validation_accuracy=proportion(quality.correct),
            test_accuracy=None if test is None else proportion(test.correct),
            drop=drop.value,
            drop_bound=drop.bound,
            epochs=epochs,
            law=None if separation is None else LawSummary.of(separation.law),
            removed=removed,
            curve=None if separation is None else Curve.of(separation),
            validation_perplexity=measured(quality.perplexity),
            test_perplexity=None if test is None else measured(test.perplexity),
            perplexity_rise=measured(decisive.value) if quality.language else None,
            perplexity_rise_bound=measured(decisive.bound) if quality.language else None,
        )

    def _quality(self, network: nn.Module, data: LabelledTensors | None = None) -> Quality:
        """Return how well a network does, on validation data unless others are named."""
        data = self.splits.validation if data is None else data
        return quality_of(network, data, language=self.splits.language)

    def _profile(self, network: nn.Module, removed: tuple[str, ...]) -> SeparationProfile | None:
        """Return the separation in a network, or None if it has no blocks left."""
        if network is self.original:
            return self.proposal.profile
        try:
            return profile(
                network,
                self.splits.train,
                self.splits.validation,
                blocks=names_left(self.removables, removed, self.options.blocks),
                measure=self.splits.measure,
                permutations=0,
                resamples=0,
            )
        except InvalidInputError:
            return None

    def _why_nothing(self) -> Iterator[str]:
        """Say why no block is removed, and what would have to be allowed to remove one."""
        allowed, language = self.options.request.max_drop or 0, self.splits.language
        change = may_change(allowed, language=language)
        yield f"No block is removed: for every removal that was tried, {change}."
        if self.trials.done:
            best = min(self.trials.done, key=_bound)
            yield (
                f"The least harmful removal that was tried is that of {', '.join(best.removed)}: "
                f"{changes_at_most(best)}, with 95 % confidence."
            )

    def _doubts(self) -> Iterator[str]:
        """Say that accuracies mean little where too many held-out samples are known."""
        for leak in self.splits.leaks:
            if leak.spoils:
                yield f"{leak.finding}: accuracy there says little about new data."

    def _warnings(self, original: NetworkFigures) -> Iterator[ReportWarning]:
        """Warn of leaks, of blocks that are hardly the network, and of unfit validation data.

        With too few samples, hardly any network can meet ``max_drop``.
        """
        yield from (leak.warning() for leak in self.splits.leaks)
        if not self.proposal.profile.blocks_named:
            yield from coverage_warnings("the model", self.proposal.profile.coverage)
        yield from bypass_warnings(self.proposal.profile.bypassed)
        yield from unseen_warnings(self.proposal.profile.unseen_block)
        if not self.splits.language:  # tokens of one text are not independent
            yield from _known_validation(original)
        max_drop = self.options.request.max_drop
        if self.splits.language or max_drop is None or self.candidate is not None:
            return
        samples = len(self.trials.quality.correct)
        all_correct: Tensor = torch.ones(samples, dtype=torch.bool)
        least = drop_of(all_correct, all_correct).bound
        if least > max_drop:
            yield ReportWarning(
                "few_heldout_samples",
                f"With {samples:,} validation samples a drop of less than {100 * least:.1f} points "
                f"cannot be ruled out with 95 % confidence, unless the smaller network is right "
                f"where the original is wrong; give more samples, or allow a larger drop.",
            )


def _known_validation(original: NetworkFigures) -> Iterator[ReportWarning]:
    """Warn if the whole network is clearly better on validation than on test data."""
    validation, test = original.validation_accuracy, original.test_accuracy
    if test is None or validation.interval[0] <= test.interval[1]:
        return
    yield ReportWarning(
        "validation_known",
        f"The whole network is right on {100 * validation.value:.1f} % of the validation data, but "
        f"on {100 * test.value:.1f} % of the test data: it was probably trained on the validation "
        f"data, or chosen by them. They decided what is removed, so the smaller network may lose "
        f"more on new data; give held-out data that it was not trained on, in Python as "
        f"designer.prune(model, (train, heldout, test)).",
    )


def _bound(trial: RemovalTrial) -> float:
    """Return by how much a network may be worse, at most."""
    bound = trial.perplexity_rise_bound
    return trial.drop_bound if bound is None else bound


def _standing(scratch: Quality, pruned: Quality) -> str:
    """Say how good the network from scratch is beside the pruned one, with 95 % confidence."""
    if pruned.drop_from(scratch).bound < 0:
        return "is not as good"
    if scratch.drop_from(pruned).bound < 0:
        return "is better"
    return "is as good within the noise"
