"""The specification of a model: its numbers, per stage or for all of it, and its recipes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from resnet_factory.config.recipe import Recipe
from resnet_factory.layers import Axes


@dataclass(frozen=True, slots=True)
class Init:
    """The scheme by which initial weights are drawn."""

    conv: Literal["he", "fan_out", "fan_out_per_group", "fan_in", "trunc_normal"] = "he"
    linear: Literal["torch", "normal", "trunc_normal", "zero_bias"] = "torch"
    bias: Literal["torch", "zero"] = "torch"
    """Initialisation of convolution biases."""
    shortcut: Literal["first", "last"] = "last"
    """Whether a block's shortcut is initialised before its body or after it."""


@dataclass(frozen=True)
class Specification:
    """A model's YAML, typed: the numbers per stage and the recipes."""

    name: str = field(compare=False)
    in_channels: int
    num_classes: int
    image_size: Axes
    """The sides of the images the network is meant for."""
    dims: int
    """The number of axes of an image: 1 for sequences, 3 for volumes."""
    zero_init_residual: bool
    output_stride: int | None
    """Maximum stride of the network; further strides become dilation."""
    first_dilation: str
    """Whether a stage's first block has the dilation of the `previous` stage or the `new` one."""
    init: Init
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    groups: tuple[int, ...]
    base_width: tuple[int, ...]
    stem: Recipe = field(repr=False)
    blocks: tuple[Recipe, ...] = field(repr=False)
    """One per stage."""
    shortcut: Recipe = field(repr=False)
    transition: Recipe = field(repr=False)
    head: Recipe = field(repr=False)
    slots: Mapping[str, Recipe] = field(repr=False)
    stage_slots: Mapping[str, tuple[Recipe, ...]] = field(default_factory=dict, repr=False)
    """Slots with one recipe per stage; `slots` has the first of each."""
    features: tuple[str, ...] | None = None
    """The feature maps a backbone returns; None for a whole network."""
    image_mean: tuple[float, ...] | None = None
    """The mean of the images by channel, with values from 0 to 1; None: not stated."""
    image_std: tuple[float, ...] | None = None
    """Their standard deviation."""
    path: str = field(default="model", compare=False, repr=False)
    """Key of the model in the whole configuration, used to locate faults."""

    @property
    def slot_recipes(self) -> dict[str, tuple[Recipe, ...]]:
        """The recipes of each slot: one, or one per stage."""
        return {key: self.stage_slots.get(key, (recipe,)) for key, recipe in self.slots.items()}
