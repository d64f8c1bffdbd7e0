"""Edits of the blocks that a report names, tried with other blocks instead."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

from benchmarks.claims.one_candidate import OneCandidate
from designer.models.given_trial import GivenTrial, NotAllowed
from designer.results.search import TriedEdit
from designer.search.candidates import spec_values
from designer.search.confirmation import ConfirmedCandidate
from designer.search.edits import trials
from designer.search.edits.order import Wish, in_order, suggested
from designer.search.study.records import spec_key
from search_spaces import Edit


class MovedAdvice:
    """Tries what the reports of one search suggest for single blocks with other blocks.

    Of the edits of the same kind it draws one whose network differs from those that the edits of
    the named blocks give, each such network with the same probability and at most once. A block
    keeps its edit where there is none.

    Args:
        candidate: the space of the search.
        seed: seed of the draw.
        moved: False to leave everything in its place, and only note what could be moved.
    """

    def __init__(self, candidate: OneCandidate, seed: int, *, moved: bool = True) -> None:
        self._candidate, self._seed, self._moved = candidate, seed, moved
        self._movable: set[tuple[tuple[str, ...], Wish]] = set()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let searches of this process try edits in this order as long as the context lasts."""
        with patch.object(trials, "in_order", self.ordered):
            yield

    def ordered(self, edits: Iterable[Edit], network: ConfirmedCandidate) -> list[Edit]:
        """Return the edits of a network in the order of its report, moved if that is wanted."""
        offered = list(edits)
        moves = self._moves(offered, network)
        self._movable |= {(network.candidate.edits, wish) for wish in moves}
        ordered = in_order(offered, network)
        if not self._moved:
            return ordered
        moved = [moves.get((edit.kind, edit.block), edit) for edit in ordered]
        return [edit for place, edit in enumerate(moved) if edit not in moved[:place]]

    def could_be_moved(self, tried: Sequence[TriedEdit]) -> bool:
        """Return whether one of the edits that were trained could have been moved."""
        trained = {(row.before, (row.kind, row.block)) for row in tried if row.runs}
        return not trained.isdisjoint(self._movable)

    def _moves(self, offered: Sequence[Edit], network: ConfirmedCandidate) -> dict[Wish, Edit]:
        """Return the edits that are tried in place of those that the report suggests."""
        chance = random.Random(f"{self._seed} {spec_key(network.spec)}")
        current = spec_key(network.spec)
        results = {
            (edit.kind, edit.block): (result, edit)
            for edit in offered
            if edit.block is not None and (result := self._result(edit)) not in (None, current)
        }
        wishes = [wish for wish in dict.fromkeys(suggested(network)) if wish in results]
        taken = {results[wish][0] for wish in wishes}
        moves: dict[Wish, Edit] = {}
        for wish in wishes:
            others = {
                result: edit
                for result, edit in results.values()
                if edit.kind == wish[0] and result not in taken
            }
            if others:
                drawn = chance.choice(list(others))
                taken.add(drawn)
                moves[wish] = others[drawn]
        return moves

    def _result(self, edit: Edit) -> str | None:
        """Return the network that an edit gives; None if the space refuses it."""
        try:
            return spec_key(spec_values(self._candidate.suggest(GivenTrial(edit.params))))
        except NotAllowed:
            return None
