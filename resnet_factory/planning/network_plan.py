"""The plan: one network with every layer resolved, as a stem, stages of blocks and a head."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from resnet_factory.config.schema import Init
from resnet_factory.layers import Axes, per_axis
from resnet_factory.planning.nodes import IDENTITY, Chain, LeafNode, leaves
from resnet_factory.planning.plan_text import plan_text_lines


@dataclass(frozen=True, slots=True)
class PlanBlock:
    """One block of a stage."""

    node: Chain
    kind: str = field(compare=False)
    in_channels: int
    out_channels: int
    stride: int
    residual: bool
    """Whether the block has a shortcut (blocks of plain networks have none)."""
    projects: bool
    """Whether that shortcut has layers of its own."""
    step: Axes = field(default=1, compare=False)
    """The stride of its output with respect to its input: `stride`, or 1 along an axis that it spares."""


@dataclass(frozen=True, slots=True)
class PlanStage:
    """Blocks of one width; the first may downsample."""

    name: str
    blocks: tuple[PlanBlock, ...]
    transition: Chain = IDENTITY
    """Layers before the first block; most networks have none."""
    tap: Chain = IDENTITY
    """The tap of its output, named as the stage is, where the network's head reads it."""

    @property
    def runs(self) -> tuple[tuple[PlanBlock, int], ...]:
        """The distinct consecutive blocks, each with its number of repetitions."""
        runs: list[tuple[PlanBlock, int]] = []
        for block in self.blocks:
            if runs and runs[-1][0] is block:
                runs[-1] = block, runs[-1][1] + 1
            else:
                runs.append((block, 1))
        return tuple(runs)

    @property
    def out_channels(self) -> int:
        """Number of output channels."""
        return self.blocks[-1].out_channels

    @property
    def node(self) -> Chain:
        """The stage as one chain, its blocks named by their index."""
        before = (("transition", self.transition),) if self.transition.children else ()
        return Chain(before + tuple((str(i), block.node) for i, block in enumerate(self.blocks)))


class PlanFeature(NamedTuple):
    """A feature map that a backbone returns."""

    name: str
    channels: int
    stride: Axes
    """The stride with respect to the image."""


@dataclass(frozen=True, repr=False)
class Plan:
    """A whole network: stem, stages, head. Equal networks have equal plans, hashes and ids."""

    in_channels: int
    stem: Chain
    stages: tuple[PlanStage, ...]
    head: Chain
    name: str = field(default="", compare=False)
    image_size: Axes = field(default=224, compare=False)
    """The sides of the images the network is meant for."""
    init: Init = field(default_factory=Init)
    features: tuple[PlanFeature, ...] = ()
    """The feature maps a backbone returns, in order; empty for a network that returns the head's output."""
    dims: int = 2
    """The number of axes of an image: 1 for sequences, 3 for volumes."""
    whole: Plan | None = field(default=None, compare=False, repr=False)
    """The whole network of a backbone: checkpoints may hold tensors that the backbone leaves out."""

    image_mean: tuple[float, ...] | None = field(default=None, compare=False)
    """The mean of the images by channel; None: not stated."""
    image_std: tuple[float, ...] | None = field(default=None, compare=False)
    """Their standard deviation."""

    @property
    def image(self) -> tuple[int, ...]:
        """The shape of the images the network is meant for, (channels, height, width) in 2 dimensions."""
        return (self.in_channels, *per_axis(self.image_size, self.dims))

    @property
    def root(self) -> Chain:
        """The network as one chain."""
        stages = tuple(
            child for stage in self.stages for child in ((stage.name, stage.node), *stage.tap.children)
        )
        return Chain(self.stem.children + stages + self.head.children)

    @property
    def leaves(self) -> tuple[LeafNode, ...]:
        """Every layer with its dotted name, in state-dict order."""
        return tuple(leaves(self.root))

    @cached_property
    def id(self) -> str:
        """A short content hash: the same for equal plans, on every machine."""
        return plan_content_hash("\n".join(plan_text_lines(self.root)) + plan_text_ending(self))

    @cached_property
    def _hash(self) -> int:
        return hash(
            (self.in_channels, self.stem, self.stages, self.head, self.init, self.features, self.dims)
        )

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        kinds = "+".join(dict.fromkeys(block.kind for stage in self.stages for block in stage.blocks))
        depths = "-".join(str(len(stage.blocks)) for stage in self.stages)
        blocks = f"{depths} blocks of {kinds}" if depths else "no blocks"
        return f"<Plan {self.name or 'unnamed'} {self.id}: {blocks}>"

    def __getstate__(self) -> dict[str, object]:
        # String hashes differ between processes, so a pickled plan must not contain one.
        return {key: value for key, value in self.__dict__.items() if key != "_hash"}

    def __str__(self) -> str:
        head = f"{self.name or 'plan'} {self.id}: {self.in_channels} channels in"
        return "\n".join([head, *plan_text_lines(self.root)])


def plan_content_hash(text: str) -> str:
    """Return the id of a plan from its layers as text, followed by `plan_text_ending`."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def plan_text_ending(plan: Plan) -> str:
    """Return the lines of all that the id of a plan depends on besides its layers."""
    lines = ["", *(f"-> {feature.name}" for feature in plan.features)]
    if plan.dims != 2:
        lines.append(f"dims {plan.dims}")
    if plan.init != Init():
        lines.append(repr(plan.init))
    return "\n".join(lines)
