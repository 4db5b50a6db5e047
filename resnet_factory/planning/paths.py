"""Paths from the input of a plan's node to its output: the longest, the shortest, and shortcuts.

A path takes one branch of each sum or concatenation. It bypasses gates, whose layers are on no path.
Branches of a cascade count as parallel. The length of a path is its number of layers with weights
(convolution and linear layers).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from resnet_factory.layers import Layer
from resnet_factory.planning.nodes import CONCAT, SUM, Leaf, Node, Parallel, Walk, parallels


class Join(NamedTuple):
    """A sum, product or concatenation of parallel branches, gates excluded."""

    name: str
    """Dotted name of its node."""
    sums: bool
    """True where the branches are added."""
    passes: bool
    """True where a branch has no layer with weights, so that its input reaches the join unweighted."""


def weighted(layer: Layer) -> bool:
    """Return whether a layer is a convolution or linear layer with weights."""
    return layer.counted and layer.params() > 0


def main_path(node: Node, prefix: str = "") -> tuple[Leaf, ...]:
    """Return the layers of the longest path; on ties the first, with a body before its shortcut."""
    return _LongestPath().through(node, (), prefix)


def depth(node: Node) -> int:
    """Return the number of layers with weights on the longest path (He et al. 2015, table 1)."""
    return _weighted_length(main_path(node))


def shortest(node: Node) -> int:
    """Return the number of layers with weights on the shortest path: 0 if the input can pass unchanged."""
    return _ShortestPath().through(node, 0)


def widths(node: Node, channels: int) -> list[int]:
    """Return the channels after each layer with weights on the longest path, joins included."""
    return _Widths().through(node, (channels, []))[1]


def joins(node: Node, prefix: str = "") -> Iterator[Join]:
    """Yield every join of branches below `node`, outer ones first, except gates and their contents."""
    for name, inner in parallels(node, prefix):
        passes = len(inner.branches) > 1 and not all(map(depth, inner.branches))
        yield Join(name, inner.join == SUM, passes)


def out_channels(node: Node, channels: int) -> int:
    """Return the number of output channels of `node` for `channels` input channels."""
    return _Channels().through(node, channels)


class _LongestPath(Walk[tuple[Leaf, ...]]):
    def layer(self, layer: Layer, value: tuple[Leaf, ...], name: str) -> tuple[Leaf, ...]:
        return (*value, Leaf(name, layer))

    def entry(
        self, node: Parallel, branch: int, value: tuple[Leaf, ...], ends: list[tuple[Leaf, ...]], name: str
    ) -> tuple[Leaf, ...]:
        return ()

    def join(
        self, node: Parallel, value: tuple[Leaf, ...], ends: list[tuple[Leaf, ...]], name: str
    ) -> tuple[Leaf, ...]:
        return value if node.gates else (*value, *max(ends, key=_weighted_length))


class _ShortestPath(Walk[int]):
    def layer(self, layer: Layer, value: int, name: str) -> int:
        return value + weighted(layer)

    def join(self, node: Parallel, value: int, ends: list[int], name: str) -> int:
        return value if node.gates else min(ends)


class _Channels(Walk[int]):
    def layer(self, layer: Layer, value: int, name: str) -> int:
        return layer.out_channels

    def entry(self, node: Parallel, branch: int, value: int, ends: list[int], name: str) -> int:
        return node.entering(value, branch)

    def join(self, node: Parallel, value: int, ends: list[int], name: str) -> int:
        return node.leaving(ends)


Widths = tuple[int, list[int]]
"""Channels, and those after each layer with weights on the path."""


class _Widths(Walk[Widths]):
    def layer(self, layer: Layer, value: Widths, name: str) -> Widths:
        after = layer.out_channels
        return after, [*value[1], after] if weighted(layer) else value[1]

    def entry(self, node: Parallel, branch: int, value: Widths, ends: list[Widths], name: str) -> Widths:
        return node.entering(value[0], branch), []

    def join(self, node: Parallel, value: Widths, ends: list[Widths], name: str) -> Widths:
        after = node.leaving([channels for channels, _ in ends])
        found = [] if node.gates else max((inner for _, inner in ends), key=len)
        if node.join == CONCAT and found:
            found = [*found[:-1], after]
        return after, [*value[1], *found]


def _weighted_length(path: tuple[Leaf, ...]) -> int:
    return sum(weighted(leaf.layer) for leaf in path)
