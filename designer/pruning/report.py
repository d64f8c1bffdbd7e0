"""The report on what was removed: the networks side by side, and what that says in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn

from designer.analysis.passes import PassProgress
from designer.analysis.profile import profile
from designer.errors import InvalidInputError
from designer.measures.proportions import drop_of, proportion
from designer.models.size import size_of_model
from designer.pruning.baselines import from_scratch, greedy
from designer.pruning.evaluation import correct_mask, latency_ratio
from designer.pruning.options import RecoveryOptions, RemovalRequest
from designer.pruning.propose import Proposal
from designer.pruning.removable import Removable, names_left
from designer.pruning.removal_trials import PrunedCandidate, RemovalTrials
from designer.pruning.splits import Splits
from designer.results.analysis import DataUsed, ModelSummary
from designer.results.layers import Curve, LawSummary, ReportWarning
from designer.results.measured import SeparationProfile, measured
from designer.results.provenance import versions
from designer.results.pruning import PRUNING_SCHEMA, NetworkFigures, PruningReport

Build = Callable[[int], nn.Module]
"""Makes the whole network anew, with the weights of a seed."""


@dataclass(frozen=True, eq=False)
class Summary:
    """All that the report is made from."""

    whole: nn.Module
    kind: str
    parts: Splits
    how: RecoveryOptions
    wish: RemovalRequest
    found: Sequence[Removable]
    proposal: Proposal
    trials: RemovalTrials
    blocks: Sequence[str] | None
    build: Build | None

    def compared(self, candidate: PrunedCandidate, progress: PassProgress) -> PruningReport:
        """The report with the two baselines in it."""
        scratch = from_scratch(
            candidate.cut.model,
            candidate.cut.removals,
            self.parts,
            self.how,
            self.how.scratch_epochs,
            self.build,
            progress,
        )
        pool = [one for one in self.found if one.can_go]
        count = len(candidate.trial.removed)
        taken, epochs = greedy(self.whole, pool, count, self.parts, self.how, progress)
        removed = candidate.trial.removed
        return self.report(
            candidate,
            self._figures("from scratch", scratch, self.how.scratch_epochs, removed),
            self._figures("greedy ablation", taken.model, epochs, taken.names),
            scratch_is=_standing(correct_mask(scratch, self.parts.validation), candidate.right),
        )

    def report(
        self,
        candidate: PrunedCandidate | None,
        *baselines: NetworkFigures,
        scratch_is: str = "",
    ) -> PruningReport:
        """Everything, in plain numbers.

        Args:
            candidate: the smaller network, if there is one.
            baselines: to show beside it.
            scratch_is: how good the one from scratch is beside it.
        """
        removed = () if candidate is None else candidate.trial.removed
        networks = [self._figures("original", self.whole, 0, ())]
        if candidate is not None:
            made = candidate.cut.model
            networks.append(self._figures("pruned", made, candidate.epochs, removed))
        networks += baselines
        seen = self.proposal.seen
        return PruningReport(
            schema=PRUNING_SCHEMA,
            model=ModelSummary(
                name=self.kind,
                weights=None,
                kind=self.kind,
                parameters=networks[0].parameters,
                accuracy=measured(seen.accuracy),
                accuracy_heldout=measured(seen.accuracy_heldout),
            ),
            data=DataUsed(
                name=self.parts.name,
                train=len(self.parts.train),
                heldout=len(self.parts.validation),
                heldout_part="validation",
                num_classes=self.parts.num_classes,
                chance=self.parts.chance,
                fingerprint=self.parts.fingerprint,
            ),
            criterion=str(self.proposal.criterion),
            request=self.wish.record(),
            blocks=tuple(replace(one, removed=one.name in removed) for one in self.proposal.blocks),
            removed=removed,
            fitted=() if candidate is None else candidate.cut.fitted,
            narrowed={} if candidate is None else candidate.narrowed,
            networks=tuple(networks),
            trials=tuple(self.trials.done),
            conclusion=" ".join(
                self._nothing()
                if candidate is None
                else _conclusion(networks, len(self.found), scratch_is)
            ),
            warnings=tuple(self._warnings()),
            settings=asdict(self.how),
            versions=versions(),
        )

    def _figures(
        self, name: str, network: nn.Module, epochs: int, removed: tuple[str, ...]
    ) -> NetworkFigures:
        mask = correct_mask(network, self.parts.validation)
        drop = drop_of(self.trials.right, mask)
        size = size_of_model(network, self.parts.train.inputs[:1])
        seen = self._inside(network, removed)
        inputs = self.parts.validation.inputs
        return NetworkFigures(
            name=name,
            blocks=len(self.found) - len(removed),
            parameters=size.parameters,
            flops=size.flops,
            latency=None if network is self.whole else latency_ratio(self.whole, network, inputs),
            validation_accuracy=proportion(mask),
            test_accuracy=None
            if self.parts.test is None
            else proportion(correct_mask(network, self.parts.test)),
            drop=drop.value,
            drop_bound=drop.bound,
            epochs=epochs,
            law=None if seen is None else LawSummary.of(seen.law),
            removed=removed,
            curve=None if seen is None else Curve.of(seen),
        )

    def _inside(self, network: nn.Module, removed: tuple[str, ...]) -> SeparationProfile | None:
        """None where no blocks are left to look at."""
        if network is self.whole:
            return self.proposal.seen
        left = names_left(self.found, removed, self.blocks)
        try:
            return profile(
                network,
                self.parts.train,
                self.parts.validation,
                blocks=left,
                permutations=0,
                resamples=0,
            )
        except InvalidInputError:
            return None

    def _nothing(self) -> Iterator[str]:
        """Why no block goes, and what would have let one."""
        allowed = 100 * (self.wish.max_drop or 0)
        yield (
            f"Nothing is removed: without any block it cannot be ruled out that validation "
            f"accuracy drops by more than {allowed:g} {'point' if allowed == 1 else 'points'}."
        )
        if self.trials.done:
            nearest = min(self.trials.done, key=lambda one: one.drop_bound)
            yield (
                f"The least that is sure is {100 * nearest.drop_bound:.1f}, without "
                f"{', '.join(nearest.removed)}."
            )

    def _warnings(self) -> Iterator[ReportWarning]:
        samples = len(self.parts.validation)
        none_differs: Tensor = torch.ones(samples, dtype=torch.bool)
        least = drop_of(none_differs, none_differs).bound
        if self.wish.max_drop is not None and least > self.wish.max_drop:
            yield ReportWarning(
                "few_heldout_samples",
                f"With {samples:,} validation samples a drop of less than {100 * least:.1f} points "
                f"cannot be ruled out with 95 % confidence; give more, or allow more.",
            )


def _standing(scratch: Tensor, pruned: Tensor) -> str:
    """How good one network is beside another, with 95 % confidence, from the validation samples
    (n,) that each is right on."""
    if drop_of(scratch, pruned).bound < 0:
        return "is not as good"
    if drop_of(pruned, scratch).bound < 0:
        return "is better"
    return "would have been as good within the noise"


def _conclusion(networks: Sequence[NetworkFigures], blocks: int, scratch_is: str) -> Iterator[str]:
    by_name = {one.name: one for one in networks}
    original, pruned = by_name["original"], by_name["pruned"]
    yield (
        f"{len(pruned.removed)} of {blocks} blocks removed: "
        f"{100 * pruned.parameters / original.parameters:.0f} % of the parameters and "
        f"{100 * pruned.flops / max(original.flops, 1):.0f} % of the operations are left; "
        f"validation accuracy {100 * pruned.validation_accuracy.value:.1f} % ({_change(pruned)})."
    )
    scratch = by_name.get("from scratch")
    if scratch is not None:
        epochs = f"{scratch.epochs} {'epoch' if scratch.epochs == 1 else 'epochs'}"
        theirs = 100 * scratch.validation_accuracy.value
        yield (
            f"A network of this size, trained from scratch for {epochs}, {scratch_is} "
            f"({theirs:.1f} %)."
        )


def _change(pruned: NetworkFigures) -> str:
    points = 100 * (pruned.drop or 0.0)
    said = "unchanged"
    if abs(points) >= 0.05:
        said = f"{points:.1f} points lost" if points > 0 else f"{-points:.1f} points gained"
    most = max(100 * (pruned.drop_bound or 0.0), 0)
    return f"{said}, no more than {most:.1f} lost with 95 % confidence"
