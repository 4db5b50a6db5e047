"""Paths from the input of a plan's node to its output: the longest, the shortest, and where a map passes by.

A path goes through one branch wherever paths are joined by a sum or a concatenation. It goes past a gate: a
gate's layers weigh what passes and are on no path. Branches in a cascade count as side by side. Lengths are
counted in layers with weights to multiply with (convolution and linear layers).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from resnet_factory.layers import Layer
from resnet_factory.planning.nodes import Branches, Chain, Gate, Leaf, Node, Residual, Select, join


class Join(NamedTuple):
    """A sum or concatenation of parallel branches."""

    name: str
    """Of the node that it is in."""
    sums: bool
    """True where the branches are added, false where they are concatenated."""
    passes: bool
    """True where a branch has no layer with weights, so that its input reaches the join unweighted."""


def weighted(layer: Layer) -> bool:
    """Return whether a layer is a convolution or linear layer with weights."""
    return layer.counted and layer.params() > 0


def main_path(node: Node, prefix: str = "") -> tuple[Leaf, ...]:
    """The layers of the longest path; of equally long ones the first, a body before its shortcut."""
    match node:
        case Layer():
            return (Leaf(prefix, node),)
        case Chain(children=children):
            return tuple(leaf for name, child in children for leaf in main_path(child, join(prefix, name)))
        case Gate() | Select():
            return ()
        case _:
            return max((main_path(child, name) for name, child in branches(node, prefix)), key=_length)


def depth(node: Node) -> int:
    """Layers with weights on the longest path: the number in a ResNet's name (He et al. 2015, table 1)."""
    return _length(main_path(node))


def shortest(node: Node) -> int:
    """Layers with weights on the shortest path: 0 where the input can reach the output unchanged."""
    match node:
        case Layer():
            return int(weighted(node))
        case Chain(children=children):
            return sum(shortest(child) for _, child in children)
        case Gate() | Select():
            return 0
        case _:
            return min(shortest(child) for _, child in branches(node, ""))


def widths(node: Node, channels: int) -> list[int]:
    """The channels after each layer with weights on the longest path; those joined after a branch's last."""
    match node:
        case Layer():
            return [node.out_channels] if weighted(node) else []
        case Chain(children=children):
            found: list[int] = []
            for _, child in children:
                found += widths(child, channels)
                channels = out_channels(child, channels)
            return found
        case Residual(body=body, shortcut=shortcut):
            return max(widths(body, channels), widths(shortcut, channels), key=len)
        case Branches(branches=chains, split=split):
            share = channels // len(chains) if split else channels
            longest = max((widths(chain, share) for chain in chains), key=len)
            return [*longest[:-1], out_channels(node, channels)] if longest else []
        case _:
            return []


def joins(node: Node, prefix: str = "") -> Iterator[Join]:
    """Every sum and concatenation below `node`, outer ones first; those inside gates are left out."""
    match node:
        case Chain(children=children):
            for name, child in children:
                yield from joins(child, join(prefix, name))
        case Residual() | Branches():
            inner = list(branches(node, prefix))
            passes = len(inner) > 1 and any(not depth(child) for _, child in inner)
            yield Join(prefix, isinstance(node, Residual), passes)
            for name, child in inner:
                yield from joins(child, name)


def branches(node: Residual | Branches, prefix: str) -> Iterator[tuple[str, Chain]]:
    """The parallel branches of a node, each with the prefix of its layers' names."""
    if isinstance(node, Residual):
        yield prefix, node.body
        yield prefix, node.shortcut
    else:
        for i, branch in enumerate(node.branches):
            yield join(prefix, str(i)), branch


def out_channels(node: Node, channels: int) -> int:
    """Channels that leave `node` when `channels` arrive."""
    match node:
        case Layer():
            return node.out_channels
        case Chain(children=children):
            for _, child in children:
                channels = out_channels(child, channels)
            return channels
        case Residual(body=body):
            return out_channels(body, channels)
        case Gate():
            return channels
        case Select(parts=parts):
            return channels // parts
        case Branches(branches=chains, split=split):
            share = channels // len(chains) if split else channels
            return sum(out_channels(chain, share) for chain in chains)


def _length(path: tuple[Leaf, ...]) -> int:
    return sum(weighted(leaf.layer) for leaf in path)
