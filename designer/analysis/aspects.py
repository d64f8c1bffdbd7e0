"""What networks are compared in, besides accuracy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from designer.choices import Measure
from designer.results.comparison import ComparedNetwork
from designer.results.layers import LayerReport
from designer.results.ranges import Measured


def lacks_directions(network: ComparedNetwork, layer: LayerReport) -> bool:
    """Return True if class directions are missing at a layer, which makes D smaller there.

    A prediction residual loses nothing by it.
    """
    return network.measure == Measure.SEPARATION and layer.rank < layer.full_rank


@dataclass(frozen=True)
class Aspect:
    """A quantity in which one network can be better than others."""

    what: str
    """Name of the quantity."""
    value: Callable[[ComparedNetwork], Measured]
    """Returns the quantity of a network; None if it is not known."""
    higher_is_better: bool
    """True if more of it is better."""
    praise: str
    """What the best network does, as a predicate."""
    number_format: str = ".2f"
    """Format of the quantity."""
    needs_same_data: bool = False
    """True if it cannot be compared between networks that saw different data, or were measured on
    different features."""
    needs_same_part: bool = False
    """True if it cannot be compared between different held-out parts of the same data either."""
    needs_positive: bool = False
    """True if it says nothing where no network is above zero."""
    of_law: bool = True
    """True if it is made of D."""


def _last_heldout(network: ComparedNetwork) -> Measured:
    return network.layers[-1].separation_heldout if _whole_at_the_end(network) else None


def _total_reduction(network: ComparedNetwork) -> Measured:
    return network.law.total_reduction if _whole_at_the_end(network) else None


def _whole_at_the_end(network: ComparedNetwork) -> bool:
    """Return True if D behind the last block counts all class directions."""
    return bool(network.layers) and not lacks_directions(network, network.layers[-1])


PERPLEXITY = "held-out perplexity"
"""What decides between language models, in the place of accuracy."""

ASPECTS = (
    Aspect(
        what=PERPLEXITY,
        value=lambda network: network.perplexity,
        higher_is_better=False,
        praise="predicts held-out text best (lowest perplexity)",
        needs_same_data=True,
        needs_same_part=True,
        of_law=False,
    ),
    Aspect(
        what="parameters",
        value=lambda network: network.parameters,
        higher_is_better=False,
        praise="has the fewest parameters",
        number_format=",.0f",
        of_law=False,
    ),
    Aspect(
        what="operations",
        value=lambda network: network.flops,
        higher_is_better=False,
        praise="needs the fewest operations",
        number_format=",.0f",
        of_law=False,
    ),
    Aspect(
        what="held-out separation at the end",
        value=_last_heldout,
        higher_is_better=False,
        praise="separates held-out data best at its last layer (smallest D)",
        needs_same_data=True,
        needs_same_part=True,
    ),
    Aspect(
        what="uniformity of the law",
        value=lambda network: network.law.uniformity,
        higher_is_better=True,
        praise="shares the work most equally among its layers",
        needs_positive=True,
    ),
    Aspect(
        what="total reduction of D",
        value=_total_reduction,
        higher_is_better=True,
        praise="reduces D most from input to last layer on training data",
        needs_same_data=True,
        needs_positive=True,
    ),
)
"""What networks are compared in, besides accuracy."""
