"""Find out which blocks of a model can be removed, how, and why the others cannot.

A block can go if the rest of the model can live with what the block receives instead of what it
gives.  That holds if both have the same shape, or if the next layer that everything passes
through is linear (a ``Linear`` or a convolution) and can be fitted to the other width.  Nothing is
concluded from the code of the model: every block is tried, alone, on a few samples.

1. *Watch.*  One forward pass is traced with autograd.  It shows which modules run when, the shape
   of the model's output, its operations, and what flows past what.
2. *Rule out.*  Some blocks stay whatever is put in their place: those that run several times, stand
   in several places, give several tensors and are in no list, or have no weights of their own.
3. *Collect the parts.*  In a flat row of layers a block is a layer together with the norm,
   activation and dropout behind it; all of them are removed together.
4. *Choose a stand-in.*  It gives zeros if the block's output is added to what flows past it, since
   x + 0 = x; else it gives the block's input.  If code looks into the block, so that a stand-in
   would break it, or if the block gives several tensors, which no stand-in could tell apart, the
   block is deleted from the list that holds it.
5. *Find the consumers.*  These are the layers behind the block that everything passes through and
   that can be fitted again (see ``fits``).  The first of them hides the removal from the rest of
   the model if it gives what it gave before.
6. *Try.*  The model runs without the block.  The block stays if the model raises, if its output
   changes shape, if it would need more operations, or if fitting the first consumer would cost
   more parameters than the block has.
7. *Put back.*  The model is afterwards as it was.

Example: four blocks of a perceptron, each a ``Linear`` and a ReLU, and a head::

    block 0   6 -> 12   goes: the layer of block 1 is fitted to 6 inputs instead of 12
    block 1  12 ->  2   stays: the layer of block 2, fitted to 12 inputs instead of 2, would grow
                        by 10 x 40 = 400 parameters, and only 12 x 2 + 2 = 26 would be freed
    block 2   2 -> 40   goes: the layer of block 3 is fitted to 2 inputs instead of 40
    block 3  40 ->  6   goes: the head is fitted to 40 inputs instead of 6

If all were 6 -> 6, each could go without any fitting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from designer.errors import ModelError, first_line
from designer.models.least_squares import FIT_WIDTH, fitted_width
from designer.models.size import size_of_model
from designer.models.surgery import Form, Removal, Way, form_of, name_after, places_of
from designer.probing.calling import (
    Inputs,
    arguments,
    first_tensor,
    map_tensors,
    submodules,
    tensors_of,
)
from designer.probing.hidden import channel_axis
from designer.probing.probes import taps_of
from designer.probing.spans import call_of, is_added, parts_of, takers_of
from designer.probing.tracing import Call, Tap, trace_forward
from designer.probing.untouched import untouched
from designer.pruning.fits import FitFinder, LayerFit
from designer.pruning.forward_passes import handed, received, without

FEW = 5
"""Samples that blocks are tried on."""

UNFITTED = ", and no layer behind it can be fitted to that"
"""Follows how a block goes if nothing can do instead what it did."""


@dataclass(frozen=True)
class Removable:
    """One block of a model: how it can be removed, or why it must stay."""

    name: str
    """Name of the block, as in profiles and reports."""
    kind: str
    """Class of the block."""
    place: int
    """Its place in running order, from 0."""
    removals: tuple[Removal, ...]
    """What removes its parts; empty if it must stay."""
    fits: tuple[LayerFit, ...]
    """The layers behind it, in running order, that can be fitted again."""
    refit: bool
    """True if the first consumer must be fitted, because the width changes."""
    reason: str
    """How it goes, or why it must stay."""

    @property
    def consumers(self) -> tuple[str, ...]:
        """Names of the layers behind it, in running order, that everything passes through."""
        return tuple(fit.layer for fit in self.fits if fit.exact)

    @property
    def can_go(self) -> bool:
        """True if the block can be removed."""
        return bool(self.removals)


def removable_blocks(
    model: nn.Module, few: Inputs, blocks: Sequence[str] | None = None
) -> list[Removable]:
    """Return every block of a model in running order, also those that must stay.

    Args:
        model: unwrapped, in eval mode; left as it was.
        few: a few samples (n, ...), in the form that the model takes.
        blocks: names of submodules; by default those that ``designer.profile`` takes.

    Raises:
        InvalidInputError: if there are no blocks, or a named one is not there.
        ModelError: if the model raises.
    """
    with untouched(model):
        _, taps = taps_of(model, few, blocks)
        return _Tester(model, few, taps).test_all(taps)


def names_left(
    removables: Sequence[Removable], removed: Sequence[str], blocks: Sequence[str] | None
) -> list[str] | None:
    """Return the names that the blocks which are left have then.

    It is None for a model whose blocks are found.

    Args:
        removables: all blocks of the whole model.
        removed: names of those that are gone.
        blocks: the names that the caller asked for; None if blocks are to be found.
    """
    if blocks is None:
        return None
    removals = [r for block in removables if block.name in removed for r in block.removals]
    return [name_after(block.name, removals) for block in removables if block.name not in removed]


class _Stays(Exception):
    """The block must stay; the message says why."""


class _Tester:
    """Removes one block after the other from a model, and puts it back."""

    def __init__(self, model: nn.Module, few: Inputs, taps: Sequence[Tap]) -> None:
        self._model, self._few = model, few
        self._samples = len(tensors_of(few)[0])
        self._trace = trace_forward(model, few, flow=True)
        self._modules = submodules(model)
        self._runs = Counter(call.module for call in self._trace.calls)
        self._takers = takers_of(self._trace)
        self._owners = _owners(model)
        self._finder = FitFinder(self._trace, taps, self._owners)
        self._delete_from: set[nn.Module] = set()
        """Lists from which blocks have to be deleted, because code looks into one of them."""
        self._forms = {call.module: form_of(call.value) for call in self._trace.calls}
        self._output_shape = self._run().shape
        self._flops = self._count_flops()

    def test_all(self, taps: Sequence[Tap]) -> list[Removable]:
        """Test the block of every tap; blocks of one list all go in the same way.

        Deleting a block renumbers its list: a stand-in at place 1 would move to place 0, where the
        code may look into it.  So where one block of a list must be deleted, deletion comes first
        for all of them in a second round.
        """
        blocks = [self._test(tap, place) for place, tap in enumerate(taps)]
        removals = [removal for block in blocks for removal in block.removals]
        deleted = [removal.block for removal in removals if removal.way is Way.DELETE]
        if not deleted:
            return blocks
        self._delete_from = {self._parent(self._modules[name]) for name in deleted}
        return [self._test(tap, place) for place, tap in enumerate(taps)]

    def _test(self, tap: Tap, place: int) -> Removable:
        call = call_of(self._trace, *tap.entry)
        parts = parts_of(self._trace, tap)  # step 3
        block = partial(Removable, tap.name, tap.kind, place)
        why_not = self._ruled_out(call, parts)
        if why_not:
            return block((), (), refit=False, reason=why_not)
        fits = self._finder.fits_behind(parts)  # step 5
        consumers = tuple(fit.layer for fit in fits if fit.exact)
        reasons = []
        for way in self._ways(call):
            removals = self._removals(parts, way)
            try:
                refit = self._try(parts, removals, consumers)
            except Exception as error:  # noqa: BLE001 - the model is the user's and may raise anything
                reasons.append(self._reason(parts, error))
            else:
                how = _how(way, fits, refit=refit)
                return block(removals, fits, refit, how)
        # the first way is the natural one, so the user understands best why it fails
        return block((), (), refit=False, reason=reasons[0])

    # --- step 2: rule out ---

    def _ruled_out(self, call: Call, parts: list[Call]) -> str:
        """Return why the block cannot go, whatever is put in its place; empty if it may go."""
        runs = self._runs[call.module]
        # a stand-in would replace the module in all its runs, but each run is a block of its own
        if runs > 1:
            return f"it runs {runs} times with the same weights, so removing it once frees nothing"
        # a removal is written down by name, which has to name one place
        if len(places_of(self._model, call.module)) != 1:
            return "it stands in several places of the model"
        # a stand-in hands on one tensor, and cannot know what the others mean
        if self._forms.get(call.module) is None and not self._in_list(call):
            return "it gives more than one tensor, and what replaces it could give only one"
        if not any(True for part in parts for _ in part.module.parameters()):
            return "it has no weights, so removing it frees nothing"
        if not self._freed(parts):
            return "all its weights are tied to other layers, so removing it frees nothing"
        return ""

    def _freed(self, parts: Sequence[Call]) -> int:
        """Count the parameters that nothing but these parts uses."""
        inside = {module for part in parts for module in part.module.modules()}
        own = {p for module in inside for p in module.parameters(recurse=False)}
        return sum(p.numel() for p in own if self._owners[p] <= inside)

    # --- step 4: choose a stand-in ---

    def _ways(self, call: Call) -> Iterator[Way]:
        """Yield the ways to remove a block, the best first.

        A stand-in comes before deletion since it keeps the names of all other parts.
        """
        stand_in = Way.ZERO if is_added(self._trace, call, self._takers) else Way.PASS
        parent = self._parent(call.module)
        if self._forms.get(call.module) is None:
            yield Way.DELETE
            return
        if parent not in self._delete_from:
            yield stand_in
        # code that looks into its blocks has them in a ModuleList; a Sequential just calls its
        # parts in turn, and a stand-in can be called
        if isinstance(parent, nn.ModuleList):
            yield Way.DELETE
        if parent in self._delete_from:
            yield stand_in

    def _in_list(self, call: Call) -> bool:
        return isinstance(self._parent(call.module), nn.ModuleList | nn.Sequential)

    def _parent(self, module: nn.Module) -> nn.Module:
        return places_of(self._model, module)[0][0]

    def _removals(self, parts: Sequence[Call], way: Way) -> tuple[Removal, ...]:
        """Return the removal of the block in some way; norm and activation hand their input on."""
        first, *rest = parts
        form = self._forms.get(first.module) or Form()
        return (
            Removal(first.name, way, form, first.stream),
            *(Removal(part.name, Way.PASS, Form()) for part in rest),
        )

    # --- step 6: try ---

    def _try(
        self, parts: Sequence[Call], removals: Sequence[Removal], consumers: tuple[str, ...]
    ) -> bool:
        """Remove the block temporarily; return True if the first consumer has to be fitted.

        Raises:
            _Stays: if the block must stay.
            Exception: whatever the model raises without it.
        """
        first = call_of(self._trace, consumers[0], 0) if consumers else None
        dense = None if first is None else received(self._model, first.module, self._few)
        with without(self._model, removals):
            sparse = None if first is None else received(self._model, first.module, self._few)
            if first is None or dense is None or sparse is None or sparse.shape == dense.shape:
                self._check_rest()
                return False
            self._check_fit(first, dense, sparse, self._freed(parts))
            # once it is fitted it will give what it gave, so what is behind it is tried with that
            with handed(first.module, dense):
                self._check_rest(more=_growth(first, sparse) * 2 * _output_rows(first))
            return True

    def _check_fit(self, first: Call, dense: Tensor, sparse: Tensor, freed: int) -> None:
        """Check that the first consumer can be fitted to what it receives, and that it pays."""
        # least squares give weights for another number of channels, not for another map or number
        # of tokens
        if not _same_but_for_channels(first.module, dense, sparse):
            raise _Stays(
                f"'{first.name}', the next layer, would receive {self._shown(sparse)} instead of "
                f"{self._shown(dense)}"
            )
        width = fitted_width(first.module, sparse)
        if width > FIT_WIDTH:
            raise _Stays(
                f"'{first.name}', the next layer, would have to be fitted to {width:,} features, "
                f"and the most are {FIT_WIDTH:,}"
            )
        grown = _growth(first, sparse)
        if grown >= freed:
            raise _Stays(
                f"'{first.name}', fitted to it, would grow by {grown:,} parameters, and only "
                f"{freed:,} would be freed"
            )

    def _check_rest(self, *, more: int = 0) -> None:
        """Check that the output keeps its shape, and that the model needs no more operations.

        Removing a block that makes maps smaller can cost the layers behind it more operations than
        it saves. ``more`` operations are added for a layer that is not fitted yet.
        """
        if self._run().shape != self._output_shape:
            raise _Stays("the model's output changes shape")
        flops = self._count_flops() + more
        if flops > self._flops:
            now, then = (count // self._samples for count in (self._flops, flops))
            raise _Stays(f"without it the model would need {then:,} operations instead of {now:,}")

    def _count_flops(self) -> int:
        return size_of_model(self._model, map_tensors(self._few, torch.clone)).flops

    def _run(self) -> Tensor:
        args, named = arguments(map_tensors(self._few, torch.clone))
        with torch.no_grad():
            output = first_tensor(self._model(*args, **named))
        if output is None:
            raise ModelError("Expected the model to give a floating tensor, got none.")
        return output

    # --- words ---

    def _reason(self, parts: Sequence[Call], error: Exception) -> str:
        """Say why a block must stay.

        If the block changes the shape, the reason names the shapes and not what the model raised:
        an error about sizes deep in the model would not explain it.
        """
        takes, gives = parts[0].received, parts[-1].output
        message = str(error) if isinstance(error, _Stays) else ""
        if takes is None or gives is None or takes.shape[1:] == gives.shape[1:]:
            raised = f"without it the model raises {type(error).__name__} ({first_line(error)})"
            return message or raised
        shapes = f"it takes {self._shown(takes)} and gives {self._shown(gives)}"
        return f"{shapes}; {message}" if message else f"{shapes}, and what follows needs that shape"

    def _shown(self, tensor: Tensor) -> str:
        """Return a shape as text, with n for the number of samples."""
        rows, *others = tensor.shape
        times, rest = divmod(rows, self._samples)
        first = str(rows) if rest or not times else "n" if times == 1 else f"{times}n"
        return f"({', '.join([first, *map(str, others)])})"


def _owners(model: nn.Module) -> dict[Any, set[nn.Module]]:
    """Map each parameter to the modules that have it for their own."""
    owners: dict[Any, set[nn.Module]] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(parameter, set()).add(module)
    return owners


def _same_but_for_channels(layer: nn.Module, dense: Tensor, sparse: Tensor) -> bool:
    channels = channel_axis(layer) % dense.ndim
    return sparse.ndim == dense.ndim and all(
        sparse.shape[i] == dense.shape[i] for i in range(dense.ndim) if i != channels
    )


def _growth(layer: Call, x: Tensor) -> int:
    """Return by how many parameters a layer grows when it is fitted to ``x``."""
    weight: Any = layer.module.weight
    return len(weight) * fitted_width(layer.module, x) - int(weight.numel())


def _output_rows(layer: Call) -> int:
    """Return the rows or positions in what a layer gives for the samples."""
    return 0 if layer.output is None else layer.output.numel() // len(layer.module.weight)  # type: ignore[arg-type]


def _how(way: Way, fits: Sequence[LayerFit], *, refit: bool) -> str:
    if refit:
        consumer = next(fit.layer for fit in fits if fit.exact)
        return f"'{consumer}' is fitted to what it receives"
    return {
        Way.PASS: f"what it receives is handed on{'' if fits else UNFITTED}",
        Way.ZERO: "what flows past it goes on alone",
        Way.DELETE: "it is taken out of its list",
    }[way]
