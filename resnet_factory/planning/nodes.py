"""Nodes of a plan, and the traversal that costs, reports and modules are built on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Generic, NamedTuple, Self, TypeVar

from resnet_factory.layers import Layer

Value = TypeVar("Value")
Say = Callable[["Layer | int"], str]
"""Writes a layer or a number in a plan's text."""


@dataclass(frozen=True, slots=True)
class Chain:
    """children[-1](… children[0](x)). A child without a name adds nothing to its children's names."""

    children: tuple[tuple[str, Node], ...] = ()
    taps: bool = False
    """Whether maps are tapped among its children, as a module of its own: they are known up to its end."""

    def items(self, prefix: str) -> Iterator[tuple[str, Node]]:
        """Yield the child nodes with their dotted names, in state-dict order."""
        for name, child in self.children:
            yield dotted_node_name(prefix, name), child

    def headings(self, say: Say) -> Iterator[str]:
        """Yield the heading of each child in a plan's text; empty for none."""
        return ("" for _ in self.children)

    def changed(self, change: Callable[[Node], Node]) -> Chain:
        """Return a chain with transformed children."""
        return Chain(tuple((name, change(child)) for name, child in self.children), self.taps)

    def walked(self, walk: Walk[Value], value: Value, name: str) -> Value:
        """Pass a value through this node; see `Walk`."""
        return walk.owner(self, value, name) if self.taps else walk.chain(self, value, name)


IDENTITY = Chain()
"""Returns its input."""

SUM, PRODUCT, CONCAT, SELECT = "sum", "product", "concat", "select"
"""The joins of parallel branches."""

INPUT, PREVIOUS, CASCADE, DENSE = "input", "previous", "cascade", "dense"
"""The possible inputs of a branch."""


@dataclass(frozen=True, slots=True)
class Parallel:
    """Parallel branches over the same map x, joined into one map.

    - sum: branches[0](x) + branches[1](x) + …; a residual is the sum of a body and a shortcut.
    - product: branches[0](x) * branches[1](x) * …; a gate is the product of an empty chain and
      the gate's layers. A term or a factor of one channel, or of one position, applies to all.
    - concat: the outputs concatenated as channels.
    - select: sum_i w_i * x_i over `parts` equal parts of x's channels; branches[1] computes the logits of the
      weights from the sum of the parts, and branches[0] is empty. The weights are a softmax over the parts,
      in each of `groups` groups; a sigmoid if there is one part (split attention, Zhang et al. 2020, eq. 3;
      selective kernels, Li et al. 2019, eq. 5).

    The input of a branch is x or, with `split`, its part of the channels of x. Each of the first `linked`
    branches, except the very first, reads instead:

    - previous: the output of the branch before it (VoVNet, Lee et al. 2019, fig. 2b).
    - cascade: the sum of its input and the output of the branch before it (Res2Net, Gao et al. 2019, eq. 1).
    - dense: its input and the outputs of all branches before it, concatenated (Huang et al. 2017, eq. 2).

    The branches of a concatenation that is not `inline` are modules named by their index; others add nothing
    to their layers' names.
    """

    branches: tuple[Chain, ...]
    join: str
    split: bool | tuple[int, ...] = False
    """True for equal parts, or the number of channels of each branch."""
    reads: str = INPUT
    linked: int = 0
    parts: int = 1
    groups: int = 1
    inline: bool = False

    @property
    def indexed(self) -> bool:
        """Return whether the branches are modules of their own, named by their index."""
        return self.join == CONCAT and not self.inline

    def items(self, prefix: str) -> Iterator[tuple[str, Chain]]:
        """Yield the branches with their dotted names, in state-dict order."""
        for i, branch in enumerate(self.branches):
            yield dotted_node_name(prefix, str(i)) if self.indexed else prefix, branch

    def headings(self, say: Say) -> Iterator[str]:
        """Yield the heading of each branch in a plan's text; empty for a branch that is x itself."""
        if self.gates:
            yield ""
            word = f"select {say(self.parts)} parts, {say(self.groups)} groups"
            yield from [word if self.join == SELECT else "x *"] * (len(self.branches) - 1)
            return
        first, rest = {SUM: ("body", "+ shortcut"), PRODUCT: ("factor", "* factor")}.get(self.join, ("", ""))
        word = "linked" if self.reads == CASCADE else self.reads
        link = f" {word}={say(self.linked)}" if self.linked else ""
        for i, branch in enumerate(self.branches):
            part = f" split={say(self.split[i])}" if isinstance(self.split, tuple) else " split" * self.split
            note = " (identity)" if not branch.children and (i or self.join == CONCAT) else ""
            start = f"branch {i}" if self.join == CONCAT else rest if i else first
            yield start + part + link + note * (self.join != PRODUCT)

    def changed(self, change: Callable[[Node], Node]) -> Parallel:
        """Return the same join with transformed branches."""
        return replace(self, branches=tuple(branch.changed(change) for branch in self.branches))

    def walked(self, walk: Walk[Value], value: Value, name: str) -> Value:
        """Pass a value through this node; see `Walk`."""
        return walk.parallel(self, value, name)

    @property
    def gates(self) -> bool:
        """Return whether this is a product of x itself and the factors that the other branches compute."""
        plain = not (self.split or self.linked or self.branches[0].children)
        return self.join == SELECT or (self.join == PRODUCT and plain)

    @property
    def shortcut(self) -> bool:
        """Return whether this is the sum of a body and a shortcut, both of x."""
        return self.join == SUM and len(self.branches) == 2 and not (self.split or self.linked)

    def source(self, branch: int) -> str:
        """Return what a branch reads: its input, or one of PREVIOUS, CASCADE and DENSE."""
        return self.reads if 0 < branch < self.linked else INPUT

    def share(self, channels: int, branch: int) -> int:
        """Return the number of channels of a branch's part of x when x has `channels`."""
        if isinstance(self.split, tuple):
            return self.split[branch]
        if self.split:
            return channels // len(self.branches)
        return channels // self.parts if self.join == SELECT and branch else channels

    def entering(self, channels: int, branch: int, ends: Sequence[int]) -> int:
        """Return the number of input channels of a branch after branches of `ends` output channels."""
        source, share = self.source(branch), self.share(channels, branch)
        if source == PREVIOUS:
            return ends[-1]
        return share + sum(ends) if source == DENSE else share

    def leaving(self, ends: Sequence[int]) -> int:
        """Return the number of output channels when the branches have `ends`."""
        if self.join == SELECT:
            return ends[1] // self.parts
        if self.join in (SUM, PRODUCT):
            return next((channels for channels in ends if channels != 1), 1)
        return sum(ends) if self.join == CONCAT else ends[0]


@dataclass(frozen=True, slots=True)
class MarkNode:
    """Base class of nodes without layers: places where a map is named, or where a named one is read."""

    of: str
    """The name of the map, unique at this place among those of its owner."""

    def items(self, prefix: str) -> Iterator[tuple[str, Node]]:
        """Yield nothing."""
        return iter(())

    def headings(self, say: Say) -> Iterator[str]:
        """Yield nothing."""
        return iter(())

    def changed(self, change: Callable[[Node], Node]) -> Self:
        """Return this node."""
        return self


@dataclass(frozen=True, slots=True)
class Tap(MarkNode):
    """Returns its input x, which a `Read` later in the same module gives again."""

    def walked(self, walk: Walk[Value], value: Value, name: str) -> Value:
        """Pass a value through this node; see `Walk`."""
        return walk.tap(self, value, name)


@dataclass(frozen=True, slots=True)
class Read(MarkNode):
    """Returns the map of a `Tap` earlier in the same module, whatever its own input."""

    def walked(self, walk: Walk[Value], value: Value, name: str) -> Value:
        """Pass a value through this node; see `Walk`."""
        return walk.read(self, value, name)


Node = Layer | Chain | Parallel | Tap | Read


class Walk(Generic[Value]):
    """A traversal of a plan's nodes in the order of the data flow, with a value that each layer updates.

    A subclass defines the value (a size, a receptive field, lines of text, a feature map) by its update in a
    layer and in a join: `layer` and `join`. It may also define the input of each branch, `entry`, and the
    value after a named map is read, `read`, where that is not the value at its tap.
    """

    @cached_property
    def taps(self) -> dict[str, Value]:
        """The values at the taps so far, of the module whose children are walked now."""
        return {}

    def layer(self, layer: Layer, value: Value, name: str) -> Value:
        """Return the value after a layer."""
        raise NotImplementedError

    def entry(self, node: Parallel, branch: int, value: Value, ends: list[Value], name: str) -> Value:
        """Return the input value of a branch, given the node's and those after the previous branches."""
        return ends[-1] if node.source(branch) == PREVIOUS else value

    def join(self, node: Parallel, value: Value, ends: list[Value], name: str) -> Value:
        """Return the value after a parallel node, given its input and the outputs of its branches."""
        raise NotImplementedError

    def tap(self, node: Tap, value: Value, name: str) -> Value:
        """Note the value at a tap and return it."""
        self.taps[node.of] = value
        return value

    def read(self, node: Read, value: Value, name: str) -> Value:
        """Return the value after a read."""
        return self.taps[node.of]

    def owner(self, chain: Chain, value: Value, name: str) -> Value:
        """Return the value after a chain that is a module with taps of its own."""
        outer, self.taps = self.taps, {}
        value = self.chain(chain, value, name)
        self.taps = outer
        return value

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


class LeafNode(NamedTuple):
    """One layer of a plan; its dotted name is its state-dict prefix, report row and error prefix."""

    name: str
    layer: Layer


def dotted_node_name(prefix: str, name: str) -> str:
    """Return the dotted name of a child; a child without a name has its parent's."""
    return f"{prefix}.{name}" if prefix and name else prefix or name


def leaves(node: Node, prefix: str = "", *, shortcuts_first: bool = False) -> Iterator[LeafNode]:
    """Yield every layer below `node`: children in order, a sum's branches in order or in reverse order."""
    if isinstance(node, Layer):
        yield LeafNode(prefix, node)
        return
    inner = list(node.items(prefix))
    if shortcuts_first and isinstance(node, Parallel) and node.join == SUM:
        inner.reverse()
    for name, child in inner:
        yield from leaves(child, name, shortcuts_first=shortcuts_first)


def names_of_read_nodes(node: Node) -> Iterator[str]:
    """Yield the name of each map that is read below `node`, modules with taps of their own left out."""
    if isinstance(node, Read):
        yield node.of
    elif not isinstance(node, Layer) and not getattr(node, "taps", False):
        for _, child in node.items(""):
            yield from names_of_read_nodes(child)


def parallel_nodes(node: Node, prefix: str = "") -> Iterator[tuple[str, Parallel]]:
    """Yield every join of branches below `node`, with its dotted name: outer ones first, gates left out."""
    if isinstance(node, Layer) or (isinstance(node, Parallel) and node.gates):
        return
    if isinstance(node, Parallel):
        yield prefix, node
    for name, child in node.items(prefix):
        yield from parallel_nodes(child, name)
