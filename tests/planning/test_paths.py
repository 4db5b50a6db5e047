"""Longest and shortest paths and joins of random plans, against every path written out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from strategies import structured_models

import resnet_factory as rf
from resnet_factory.layers import Conv, Linear
from resnet_factory.planning.nodes import Chain, Node, Parallel, Read, Tap
from resnet_factory.planning.paths import main_path, path_depth, path_joins, path_widths, shortest_path_depth

Paths = frozenset[tuple[str, ...]]
"""Ways from the input, as the names of their layers with weights."""


def every_path(node: Node, name: str) -> Paths:
    """Each way through `node`."""
    return ways_after(node, name, frozenset({()}), {})


def ways_after(node: Node, name: str, ways: Paths, taps: dict[tuple[str, str], Paths]) -> Paths:
    """Each way to the output of `node`, given those to its input and to the maps with names."""
    match node:
        case Chain(children=children):
            for key, child in children:
                ways = ways_after(child, ".".join(filter(None, (name, key))), ways, taps)
            return ways
        case Tap(of=of):
            taps[name, of] = ways
            return ways
        case Read(of=of):
            return taps.get((name, of), ways)
        case Parallel(branches=branches, join=join):
            ends: list[Paths] = []
            for i, branch in enumerate(branches):
                entry = ways
                if 0 < i < node.linked and node.reads == "previous":
                    entry = ends[-1]
                elif 0 < i < node.linked and node.reads == "dense":
                    entry = ways.union(*ends)
                below = f"{name}.{i}" if join == "concat" and not node.inline else name
                ends.append(ways_after(branch, below, entry, taps))
            return ways if gate(node) else frozenset().union(*ends)
        case _:
            weighs = isinstance(node, (Conv, Linear))
            return frozenset((*way, name) for way in ways) if weighs else ways


def gate(node: Parallel) -> bool:
    """Whether the first factor of a product is its input."""
    plain = node.branches[0] == Chain() and not node.split and not node.linked
    return node.join == "select" or (node.join == "product" and plain)


def every_join(node: Node) -> Iterator[tuple[bool, bool]]:
    """Each sum and concatenation outside of gates: whether it is a sum, whether a branch is weightless."""
    match node:
        case Chain(children=children):
            for _, child in children:
                yield from every_join(child)
        case Parallel(branches=branches) if not gate(node):
            weightless = [not any(every_path(branch, "")) for branch in branches]
            yield node.join == "sum", len(branches) > 1 and any(weightless)
            for branch in branches:
                yield from every_join(branch)


@given(structured_models())
@settings(max_examples=150)
def test_of_all_paths_the_longest_and_the_shortest(data: dict[str, Any]) -> None:
    plan = rf.plan(rf.read(data | {"depths": [1]}))
    for node in (plan.stem, plan.stages[0].blocks[0].node, plan.head):
        paths = list(every_path(node, ""))
        assert path_depth(node) == max(map(len, paths))
        assert shortest_path_depth(node) == min(map(len, paths))
        assert len(path_widths(node, plan.in_channels)) == path_depth(node)
        longest = tuple(leaf.name for leaf in main_path(node) if isinstance(leaf.layer, (Conv, Linear)))
        assert longest in paths
        assert len(longest) == path_depth(node)
        assert [(join.sums, join.passes) for join in path_joins(node)] == list(every_join(node))
    # A network is its parts in a row.
    parts = [plan.stem, *(stage.node for stage in plan.stages), plan.head]
    assert path_depth(plan.root) == sum(map(path_depth, parts))


@pytest.mark.parametrize("name", ["plain20", "resnet50", "res2net50_26w_4s", "skresnet50", "resnext50_32x4d"])
def test_the_number_in_the_name(name: str) -> None:
    number = int(
        "".join(digit for digit in name.removesuffix("_32x4d").split("_")[0] if digit.isdigit())[-2:]
    )
    assert path_depth(rf.plan(rf.compose(name)).root) == number
