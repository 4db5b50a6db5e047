"""Paths from the input of a plan's node to its output: the longest, the shortest, and shortcuts.

A path takes one branch of each join, and goes on from a tap where its map is read. It bypasses gates, whose
layers are on no path. Branches of a cascade count as parallel. The length of a path is its number of layers
with weights (convolution and linear layers).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from resnet_factory.layers import Layer
from resnet_factory.planning.nodes import (
    CONCAT,
    DENSE,
    SUM,
    LeafNode,
    Node,
    Parallel,
    Read,
    Walk,
    parallel_nodes,
)


class PathJoin(NamedTuple):
    """A sum, product or concatenation of parallel branches, gates excluded."""

    name: str
    """Dotted name of its node."""
    sums: bool
    """True where the branches are added."""
    passes: bool
    """True where a branch has no layer with weights, so that its input reaches the join unweighted."""


def counts_on_path(layer: Layer) -> bool:
    """Return whether a layer is a convolution or linear layer with weights."""
    return layer.counted and layer.params() > 0


def main_path(node: Node, prefix: str = "") -> tuple[LeafNode, ...]:
    """Return the layers of the longest path; on ties the first, with a body before its shortcut."""
    return _LongestPath().through(node, _Path(), prefix).leaves


def path_depth(node: Node) -> int:
    """Return the number of layers with weights on the longest path (He et al. 2015, table 1)."""
    return _LongestPath().through(node, _Path()).length


def shortest_path_depth(node: Node) -> int:
    """Return the number of layers with weights on the shortest path: 0 if the input can pass unchanged."""
    return _ShortestPath().through(node, 0)


def path_widths(node: Node, channels: int) -> list[int]:
    """Return the channels after each layer with weights on the longest path, joins included."""
    return _PathWidths().through(node, (channels, []))[1]


def path_joins(node: Node, prefix: str = "") -> Iterator[PathJoin]:
    """Yield every join of branches below `node`, outer ones first, except gates and their contents."""
    for name, inner in parallel_nodes(node, prefix):
        passes = len(inner.branches) > 1 and not all(map(path_depth, inner.branches))
        yield PathJoin(name, inner.join == SUM, passes)


class _Path(NamedTuple):
    length: int = 0
    leaves: tuple[LeafNode, ...] = ()


class _LongestPath(Walk[_Path]):
    def layer(self, layer: Layer, value: _Path, name: str) -> _Path:
        return _Path(value.length + counts_on_path(layer), (*value.leaves, LeafNode(name, layer)))

    def entry(self, node: Parallel, branch: int, value: _Path, ends: list[_Path], name: str) -> _Path:
        if node.source(branch) == DENSE:
            return max((value, *ends), key=lambda path: path.length)
        return super().entry(node, branch, value, ends, name)

    def join(self, node: Parallel, value: _Path, ends: list[_Path], name: str) -> _Path:
        return value if node.gates else max(ends, key=lambda path: path.length)

    def read(self, node: Read, value: _Path, name: str) -> _Path:
        # A part of a module may read what was tapped before it.
        return self.taps.get(node.of, value)


class _ShortestPath(Walk[int]):
    def layer(self, layer: Layer, value: int, name: str) -> int:
        return value + counts_on_path(layer)

    def entry(self, node: Parallel, branch: int, value: int, ends: list[int], name: str) -> int:
        if node.source(branch) == DENSE:
            return min(value, *ends)
        return super().entry(node, branch, value, ends, name)

    def join(self, node: Parallel, value: int, ends: list[int], name: str) -> int:
        return value if node.gates else min(ends)

    def read(self, node: Read, value: int, name: str) -> int:
        return self.taps.get(node.of, value)


class PathChannelCount(Walk[int]):
    """The number of channels after each node."""

    def layer(self, layer: Layer, value: int, name: str) -> int:
        """Return the number of output channels of a layer."""
        return layer.out_channels

    def entry(self, node: Parallel, branch: int, value: int, ends: list[int], name: str) -> int:
        """Return the number of input channels of a branch."""
        return node.entering(value, branch, ends)

    def join(self, node: Parallel, value: int, ends: list[int], name: str) -> int:
        """Return the number of output channels of a join."""
        return node.leaving(ends)


Widths = tuple[int, list[int]]
"""Channels, and those after each layer with weights on the path."""


class _PathWidths(Walk[Widths]):
    def layer(self, layer: Layer, value: Widths, name: str) -> Widths:
        after = layer.out_channels
        return after, [*value[1], after] if counts_on_path(layer) else value[1]

    def entry(self, node: Parallel, branch: int, value: Widths, ends: list[Widths], name: str) -> Widths:
        channels = node.entering(value[0], branch, [end for end, _ in ends])
        if node.source(branch) == DENSE:
            return channels, max((value[1], *(path for _, path in ends)), key=len)
        return channels, super().entry(node, branch, value, ends, name)[1]

    def join(self, node: Parallel, value: Widths, ends: list[Widths], name: str) -> Widths:
        after = node.leaving([channels for channels, _ in ends])
        path = value[1] if node.gates else max((path for _, path in ends), key=len)
        if node.join == CONCAT and len(path) > len(value[1]):
            path = [*path[:-1], after]
        return after, path

    def read(self, node: Read, value: Widths, name: str) -> Widths:
        return self.taps.get(node.of, value)
