"""Nodes of a plan, and the traversal that costs, reports and modules are built on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Generic, NamedTuple, TypeVar

from resnet_factory.layers import Layer, axes_text
from resnet_factory.layers.registry import word_of

Value = TypeVar("Value")
Say = Callable[["Layer | int"], str]
"""Writes a layer or a number in a plan's text."""


@dataclass(frozen=True, slots=True)
class Chain:
    """children[-1](… children[0](x)). A child without a name adds nothing to its children's names."""

    children: tuple[tuple[str, Node], ...] = ()

    def items(self, prefix: str) -> Iterator[tuple[str, Node]]:
        """Yield the child nodes with their dotted names, in state-dict order."""
        for name, child in self.children:
            yield dotted(prefix, name), child

    def headings(self, say: Say) -> Iterator[str]:
        """Yield the heading of each child in a plan's text; empty for none."""
        return ("" for _ in self.children)

    def changed(self, change: Callable[[Node], Node]) -> Chain:
        """Return a chain with transformed children."""
        return Chain(tuple((name, change(child)) for name, child in self.children))

    def walked(self, walk: Walk[Value], value: Value, name: str) -> Value:
        """Pass a value through this node; see `Walk`."""
        return walk.chain(self, value, name)


IDENTITY = Chain()
"""Returns its input."""

SUM, PRODUCT, CONCAT, SELECT = "sum", "product", "concat", "select"
"""The joins of parallel branches."""


@dataclass(frozen=True, slots=True)
class Parallel:
    """Parallel branches over the same map x, joined into one map.

    - sum: branches[0](x) + branches[1](x) + …; a residual is the sum of a body and a shortcut.
    - product: branches[0](x) * branches[1](x) * …; a gate is the product of an empty chain and
      the gate's layers.
    - concat: the outputs concatenated as channels. With `split`, each branch reads its part of the channels
      instead of all. Each of the first `cascade` branches also adds the previous branch's output to its input
      (Res2Net, Gao et al. 2019, eq. 1).
    - select: sum_i w_i * x_i over `parts` equal parts of x's channels; branches[1] computes the logits of the
      weights from the sum of the parts, and branches[0] is empty. The weights are a softmax over the parts,
      in each of `groups` groups; a sigmoid if there is one part (split attention, Zhang et al. 2020, eq. 3;
      selective kernels, Li et al. 2019, eq. 5).

    The branches of a concatenation are named by their index; others add nothing to their layers' names.
    """

    branches: tuple[Chain, ...]
    join: str
    split: bool = False
    cascade: int = 0
    parts: int = 1
    groups: int = 1

    def items(self, prefix: str) -> Iterator[tuple[str, Chain]]:
        """Yield the branches with their dotted names, in state-dict order."""
        for i, branch in enumerate(self.branches):
            yield dotted(prefix, str(i)) if self.join == CONCAT else prefix, branch

    def headings(self, say: Say) -> Iterator[str]:
        """Yield the heading of each branch in a plan's text; empty for a branch that is x itself."""
        identity = ["" if branch.children else " (identity)" for branch in self.branches]
        first, rest = "factor", "* factor"
        if self.join == CONCAT:
            how = (" split" if self.split else "") + (f" linked={say(self.cascade)}" if self.cascade else "")
            yield from (f"branch {i}{how}{note}" for i, note in enumerate(identity))
            return
        if self.join == SUM:
            first, rest = "body", "+ shortcut"
        elif self.join == SELECT:
            first, rest = "", f"select {say(self.parts)} parts, {say(self.groups)} groups"
        elif self.gates:
            first, rest = "", "x *"
        yield first
        yield from (rest + note * (self.join == SUM) for note in identity[1:])

    def changed(self, change: Callable[[Node], Node]) -> Parallel:
        """Return the same join with transformed branches."""
        return replace(self, branches=tuple(branch.changed(change) for branch in self.branches))

    def walked(self, walk: Walk[Value], value: Value, name: str) -> Value:
        """Pass a value through this node; see `Walk`."""
        return walk.parallel(self, value, name)

    @property
    def gates(self) -> bool:
        """Return whether this is a product of x itself and the factors that the other branches compute."""
        return self.join == SELECT or (self.join == PRODUCT and not self.branches[0].children)

    def entering(self, channels: int, branch: int) -> int:
        """Return the number of input channels of a branch when the node has `channels`."""
        if self.split:
            return channels // len(self.branches)
        return channels // self.parts if self.join == SELECT and branch else channels

    def leaving(self, ends: Sequence[int]) -> int:
        """Return the number of output channels when the branches have `ends`."""
        if self.join == SELECT:
            return ends[1] // self.parts
        return sum(ends) if self.join == CONCAT else ends[0]


Node = Layer | Chain | Parallel


class Walk(Generic[Value]):
    """A traversal of a plan's nodes in the order of the data flow, with a value that each layer updates.

    A subclass defines the value (a size, a receptive field, lines of text, a feature map) by its update in a
    layer and in a join: `layer` and `join`. It may also define the input of each branch: `entry`.
    """

    def layer(self, layer: Layer, value: Value, name: str) -> Value:
        """Return the value after a layer."""
        raise NotImplementedError

    def entry(self, node: Parallel, branch: int, value: Value, ends: list[Value], name: str) -> Value:
        """Return the input value of a branch, given the node's and those after the previous branches."""
        return value

    def join(self, node: Parallel, value: Value, ends: list[Value], name: str) -> Value:
        """Return the value after a parallel node, given its input and the outputs of its branches."""
        raise NotImplementedError

    def chain(self, chain: Chain, value: Value, name: str) -> Value:
        """Return the value after the last child of a chain."""
        for inner, child in chain.items(name):
            value = self.through(child, value, inner)
        return value

    def parallel(self, node: Parallel, value: Value, name: str) -> Value:
        """Return the value after a parallel node."""
        ends: list[Value] = []
        for i, (inner, branch) in enumerate(node.items(name)):
            ends.append(self.through(branch, self.entry(node, i, value, ends, inner), inner))
        return self.join(node, value, ends, name)

    def through(self, node: Node, value: Value, name: str = "") -> Value:
        """Return the value after `node`, whose dotted name is `name`."""
        return self.layer(node, value, name) if isinstance(node, Layer) else node.walked(self, value, name)


class Leaf(NamedTuple):
    """One layer of a plan; its dotted name is its state-dict prefix, report row and error prefix."""

    name: str
    layer: Layer


def dotted(prefix: str, name: str) -> str:
    """Return the dotted name of a child; a child without a name has its parent's."""
    return f"{prefix}.{name}" if prefix and name else prefix or name


def leaves(node: Node, prefix: str = "", *, shortcuts_first: bool = False) -> Iterator[Leaf]:
    """Yield every layer below `node`: children in order, a sum's branches in order or in reverse order."""
    if isinstance(node, Layer):
        yield Leaf(prefix, node)
        return
    inner = list(node.items(prefix))
    if shortcuts_first and isinstance(node, Parallel) and node.join == SUM:
        inner.reverse()
    for name, child in inner:
        yield from leaves(child, name, shortcuts_first=shortcuts_first)


def parallels(node: Node, prefix: str = "") -> Iterator[tuple[str, Parallel]]:
    """Yield every join of branches below `node`, with its dotted name: outer ones first, gates left out."""
    if isinstance(node, Layer) or (isinstance(node, Parallel) and node.gates):
        return
    if isinstance(node, Parallel):
        yield prefix, node
    for name, child in node.items(prefix):
        yield from parallels(child, name)


def words(part: Layer | int) -> str:
    """Return a layer or a number as a plan's text writes it."""
    return describe(part) if isinstance(part, Layer) else str(part)


def text_of(node: Node, prefix: str = "", depth: int = 0, say: Say = words) -> Iterator[str]:
    """Yield the plan as lines: a dotted name and a layer each, structure by indentation."""
    indent = "  " * depth
    if isinstance(node, Layer):
        yield f"{indent}{prefix}: {say(node)}"
        return
    for heading, (name, child) in zip(node.headings(say), node.items(prefix), strict=True):
        if heading:
            yield f"{indent}{prefix}: {heading}"
        yield from text_of(child, name, depth + bool(heading), say)


def describe(layer: Layer) -> str:
    """`conv2d 3 -> 64 kernel=7 stride=2 padding=3`: a layer in one line, defaults left out."""
    kind, fixed = word_of(layer)
    if kind == "conv2d":
        kind = f"conv{layer.dims}d"
    channels = str(layer.channels)
    if layer.out_channels != layer.channels or layer.counted:
        channels += f" -> {layer.out_channels}"
    given = [
        f"{entry.name}={axes_text(getattr(layer, entry.name))}"
        for entry in fields(layer)
        if entry.name not in ("channels", "dims", "to", *fixed)
        and getattr(layer, entry.name) != entry.default
    ]
    return " ".join([kind, channels, *given])
