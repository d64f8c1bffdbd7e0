"""Tell what flows past what from the graph that autograd records.

Let a node be one recorded operation, and a source the node of one input:

=========  ==========================================================================
symbol     meaning
=========  ==========================================================================
v          node of autograd's graph; "output" is the node that computed the logits
a(v)       number of paths from the source to v
b(v)       number of paths from v to the output
a(v) b(v)  number of paths from the source to the output that pass through v
=========  ==========================================================================

All that the output learns of the source passes through v exactly where a(v) b(v) = a(output); such
a node is called a cut. A residual block with a shortcut, for example::

    input ──> stem ──┬──> conv ──> relu ──> add ──> head ──> output
                     └───────────────────────┘

    v          stem  conv  relu  add  head
    a(v)          1     1     1    2     2
    b(v)          2     1     1    1     1
    a(v) b(v)     2     1     1    2     2     a(output) = 2: stem, add and head are cuts

A model of several inputs has a source for each. A node is a cut if it is one for any of them:
otherwise an input that every layer receives, such as the adjacency matrix of a graph network,
would flow past all layers but the last.

The counts are exact: they are Python integers, which have no upper limit, and a network of many
residual blocks has 2^blocks paths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any


class Flow:
    """What flows past what, from several sources to one output.

    Without any path, as in a graph that the model breaks with ``detach``, nothing is known to flow
    past anything: every node counts as a cut and as on a path.

    Args:
        output: node of autograd's graph that computed the output; None if there is none.
        sources: nodes of inputs, in groups. The first group of which a node is in the graph counts:
            a model may round its floating input to tokens, so that no path begins at the input.
    """

    def __init__(self, output: Any, sources: Iterable[Collection[Any]]) -> None:
        self._order = [] if output is None else topological_order(output)
        self._place = {node: i for i, node in enumerate(self._order)}
        """Places of the nodes in topological order, from the output backwards."""
        known = ([node for node in group if node in self._place] for group in sources)
        first: Sequence[Any] = next((group for group in known if group), ())
        to_output = _paths_to_output(self._order)
        self._flows = [_Paths(source, self._order, to_output) for source in dict.fromkeys(first)]

    def is_cut(self, node: Any) -> bool:
        """True if all paths from any source to the output pass through a node."""
        return not self._flows or any(paths.all_through(node) for paths in self._flows)

    def is_cut_together(self, nodes: Collection[Any]) -> bool:
        """True if all paths from any source to the output pass through one of some nodes."""
        return not self._flows or any(
            any(map(paths.any_through, nodes)) and not self.leads_past(nodes, paths.source)
            for paths in self._flows
        )

    def on_path(self, node: Any) -> bool:
        """True if any path from a source to the output passes through a node."""
        return not self._flows or any(paths.any_through(node) for paths in self._flows)

    def merges_at(self, node: Any, later: Any) -> bool:
        """True if ``later`` is a cut downstream of ``node``, so that it gathers what ``node`` gave
        and what flowed past it."""
        known = node in self._place and later in self._place
        if not known or self._place[later] > self._place[node]:
            return False
        return not self._flows or any(
            paths.any_through(node) and paths.all_through(later) for paths in self._flows
        )

    def leads_past(self, nodes: Collection[Any], source: Any) -> bool:
        """True if any path from a source to the output avoids all of some nodes, or if there is no
        graph."""
        if not self._order:
            return True
        reached = {self._order[0]} - set(nodes)
        for node in self._order:
            if node in reached:
                reached.update(f for f, _ in node.next_functions if f is not None)
                reached.difference_update(nodes)
        return source in reached


class _Paths:
    """Numbers of paths a(v) b(v) from one source to the output."""

    def __init__(self, source: Any, order: Sequence[Any], to_output: Mapping[Any, int]) -> None:
        self.source = source
        from_source: Counter[Any] = Counter()  # a(v)
        for node in reversed(order):
            from_source[node] = int(node is source) + sum(
                from_source[following]
                for following, _ in node.next_functions
                if following is not None
            )
        self._through = {node: from_source[node] * to_output[node] for node in order}
        # all paths pass through the output
        self._total = from_source[order[0]]

    def all_through(self, node: Any) -> bool:
        return self._through.get(node, 0) == self._total

    def any_through(self, node: Any) -> bool:
        return self._through.get(node, 0) > 0


def _paths_to_output(order: Sequence[Any]) -> Mapping[Any, int]:
    """Return b(v) of each node, which are in topological order from the output backwards."""
    to_output: Counter[Any] = Counter(order[:1])
    for node in order:
        for following, _ in node.next_functions:
            if following is not None:
                to_output[following] += to_output[node]
    return to_output


def topological_order(output: Any) -> list[Any]:
    """Return all nodes from the output backwards, each before those that it depends on.

    Deep networks have more nodes in a row than Python allows nested calls, hence the stack.
    """
    done: set[Any] = set()
    order: list[Any] = []
    stack = [(output, False)]
    while stack:
        node, expanded = stack.pop()
        if expanded:  # all that it depends on is in the order already
            order.append(node)
        elif node not in done:
            done.add(node)
            stack.append((node, True))
            stack += [(n, False) for n, _ in node.next_functions if n is not None and n not in done]
    return order[::-1]
