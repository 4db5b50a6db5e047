"""The plan: one network made explicit. Every number, report and module is a walk over it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import NamedTuple

from resnet_factory.config.schema import Init
from resnet_factory.layers import VOCABULARY, Layer


@dataclass(frozen=True, slots=True)
class Chain:
    """children[-1](… children[0](x)). A child without a name adds nothing to its children's names."""

    children: tuple[tuple[str, Node], ...] = ()


@dataclass(frozen=True, slots=True)
class Residual:
    """body(x) + shortcut(x)."""

    body: Chain
    shortcut: Chain


@dataclass(frozen=True, slots=True)
class Gate:
    """x * gate(x)."""

    gate: Chain


@dataclass(frozen=True, slots=True)
class Select:
    """sum_i w_i * x_i: `parts` equal parts of x's channels, weighted by what `gate` makes of their sum.

    The weights are a softmax over the parts, in each of `groups` groups; a sigmoid where there is one
    part (split attention, Zhang et al. 2020, eq. 3; selective kernels, Li et al. 2019, eq. 5).
    """

    gate: Chain
    parts: int
    groups: int = 1


@dataclass(frozen=True, slots=True)
class Branches:
    """Parallel chains, their outputs side by side as channels.

    With `split`, each reads its share of the channels instead of all. Of the first `linked` branches,
    each also adds what the one before it gave to its input (Res2Net, Gao et al. 2019, eq. 1).
    """

    branches: tuple[Chain, ...]
    split: bool = False
    linked: int = 0


Node = Layer | Chain | Residual | Gate | Select | Branches


class Leaf(NamedTuple):
    """One layer where it stands: its dotted name is the state-dict prefix, report row and error prefix."""

    name: str
    layer: Layer


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a stage: what repeats."""

    node: Chain
    kind: str = field(compare=False)
    in_channels: int
    out_channels: int
    stride: int
    residual: bool
    """Whether a shortcut is added at all (plain nets have none)."""
    projects: bool
    """Whether that shortcut has layers of its own."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks at one width; the first may shrink the map."""

    name: str
    blocks: tuple[Block, ...]
    transition: Chain = Chain()
    """Layers before the first block; most networks have none."""

    @property
    def runs(self) -> tuple[tuple[Block, int], ...]:
        """The blocks, and how often each is repeated in a row."""
        runs: list[tuple[Block, int]] = []
        for block in self.blocks:
            if runs and runs[-1][0] is block:
                runs[-1] = block, runs[-1][1] + 1
            else:
                runs.append((block, 1))
        return tuple(runs)

    @property
    def out_channels(self) -> int:
        """Channels that leave."""
        return self.blocks[-1].out_channels

    @property
    def node(self) -> Chain:
        """The stage as one chain, its blocks named by their index."""
        before = (("transition", self.transition),) if self.transition.children else ()
        return Chain(before + tuple((str(i), block.node) for i, block in enumerate(self.blocks)))


class Feature(NamedTuple):
    """A map that a backbone returns."""

    name: str
    channels: int
    stride: int
    """By how much it is smaller than the image."""


@dataclass(frozen=True, repr=False)
class Plan:
    """A whole network: stem, stages, head. Equal networks have equal plans, hashes and ids."""

    in_channels: int
    stem: Chain
    stages: tuple[Stage, ...]
    head: Chain
    name: str = field(default="", compare=False)
    image_size: int = field(default=224, compare=False)
    """The side of the images the network is meant for."""
    init: Init = field(default_factory=Init)
    features: tuple[Feature, ...] = ()
    """The maps a backbone returns, in order; a network without any returns what leaves its head."""
    whole: Plan | None = field(default=None, compare=False, repr=False)
    """The network a backbone was cut from: checkpoints hold what the backbone leaves out."""

    @property
    def root(self) -> Chain:
        """The network as one chain."""
        stages = tuple((stage.name, stage.node) for stage in self.stages)
        return Chain(self.stem.children + stages + self.head.children)

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """Every layer with its dotted name, in state-dict order."""
        return tuple(walk(self.root))

    @cached_property
    def id(self) -> str:
        """A short content hash: the same for equal plans, on every machine."""
        return content_hash("\n".join(text_of(self.root)), self)

    @cached_property
    def _hash(self) -> int:
        return hash((self.in_channels, self.stem, self.stages, self.head, self.init, self.features))

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        kinds = "+".join(dict.fromkeys(block.kind for stage in self.stages for block in stage.blocks))
        depths = "-".join(str(len(stage.blocks)) for stage in self.stages)
        blocks = f"{depths} blocks of {kinds}" if depths else "no blocks"
        return f"<Plan {self.name or 'unnamed'} {self.id}: {blocks}>"

    def __getstate__(self) -> dict[str, object]:
        # Hashes of text differ from process to process: a pickled plan must not carry one along.
        return {key: value for key, value in self.__dict__.items() if key != "_hash"}

    def __str__(self) -> str:
        head = f"{self.name or 'plan'} {self.id}: {self.in_channels} channels in"
        return "\n".join([head, *text_of(self.root)])


def join(prefix: str, name: str) -> str:
    """The dotted name of a child; a child without a name is its parent."""
    return f"{prefix}.{name}" if prefix and name else prefix or name


def walk(node: Node, prefix: str = "", *, shortcuts_first: bool = False) -> Iterator[Leaf]:
    """Every layer below `node`: children in order, a residual's body before its shortcut or after it."""
    match node:
        case Chain(children=children):
            for name, child in children:
                yield from walk(child, join(prefix, name), shortcuts_first=shortcuts_first)
        case Residual(body=body, shortcut=shortcut):
            for part in (shortcut, body) if shortcuts_first else (body, shortcut):
                yield from walk(part, prefix, shortcuts_first=shortcuts_first)
        case Gate(gate=gate) | Select(gate=gate):
            yield from walk(gate, prefix, shortcuts_first=shortcuts_first)
        case Branches(branches=branches):
            for i, branch in enumerate(branches):
                yield from walk(branch, join(prefix, str(i)), shortcuts_first=shortcuts_first)
        case Layer():
            yield Leaf(prefix, node)


def content_hash(text: str, plan: Plan) -> str:
    """The id of a plan whose layers read `text`; of `plan` only what is not said by layers counts."""
    lines = [text, *(f"-> {feature.name}" for feature in plan.features)]
    if plan.init != Init():
        lines.append(repr(plan.init))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def words(part: Layer | int) -> str:
    """How a layer or a number reads in a plan's text."""
    return describe(part) if isinstance(part, Layer) else str(part)


def text_of(
    node: Node, prefix: str = "", depth: int = 0, say: Callable[[Layer | int], str] = words
) -> Iterator[str]:
    """The plan as lines: a dotted name and a layer each, structure by indentation."""
    indent = "  " * depth
    match node:
        case Chain(children=children):
            for name, child in children:
                yield from text_of(child, join(prefix, name), depth, say)
        case Residual(body=body, shortcut=shortcut):
            yield f"{indent}{prefix}: body"
            yield from text_of(body, prefix, depth + 1, say)
            yield f"{indent}{prefix}: + shortcut" + ("" if shortcut.children else " (identity)")
            yield from text_of(shortcut, prefix, depth + 1, say)
        case Gate(gate=gate):
            yield f"{indent}{prefix}: x *"
            yield from text_of(gate, prefix, depth + 1, say)
        case Select(gate=gate, parts=parts, groups=groups):
            yield f"{indent}{prefix}: select {say(parts)} parts, {say(groups)} groups"
            yield from text_of(gate, prefix, depth + 1, say)
        case Branches(branches=branches, split=split, linked=linked):
            how = (" split" if split else "") + (f" linked={say(linked)}" if linked else "")
            for i, branch in enumerate(branches):
                yield f"{indent}{prefix}: branch {i}{how}" + ("" if branch.children else " (identity)")
                yield from text_of(branch, join(prefix, str(i)), depth + 1, say)
        case Layer():
            yield f"{indent}{prefix}: {say(node)}"


def describe(layer: Layer) -> str:
    """`conv2d 3 -> 64 kernel=7 stride=2 padding=3`: a layer in one line, defaults left out."""
    kind, fixed = _KINDS.get((type(layer), getattr(layer, "function", "")), (type(layer).__name__, {}))
    channels = str(layer.channels)
    if layer.out_channels != layer.channels or layer.counted:
        channels += f" -> {layer.out_channels}"
    given = [
        f"{entry.name}={getattr(layer, entry.name)}"
        for entry in fields(layer)
        if entry.name not in ("channels", "to", *fixed) and getattr(layer, entry.name) != entry.default
    ]
    return " ".join([kind, channels, *given])


_KINDS = {(layer, fixed.get("function", "")): (word, fixed) for word, (layer, fixed) in VOCABULARY.items()}
