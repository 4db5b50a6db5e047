"""The keys that a model's YAML may have, and the allowed values of each."""

from __future__ import annotations

from typing import Any

from resnet_factory.config.recipe import RecipeRole
from resnet_factory.layers import VOCABULARY, Activation

MAX_BLOCKS = 10_000
MAX_CHANNELS = 2**20
"""Limits checked before recipes are unrolled; the deepest published ResNet has 600 blocks."""

COMMON = {
    "in": "input channels of this part",
    "in_channels": "channels of the input, the model's `in_channels`",
    "num_classes": "the model's `num_classes`; 0: no classifier",
    "image_size": "the model's `image_size`: one number, or one per axis",
    "dims": "number of axes of a map: 1, 2 or 3",
    "zero_init_residual": "the model's `zero_init_residual`, 1 or 0",
    "stages": "number of stages",
    "always": "1",
    "never": "0",
}
"""Names that every recipe may use, and their meanings."""
STAGE = {
    "width": "the stage's entry of `widths`",
    "stride": "in a stage's first block, its entry of `strides` over its transition's stride; 1 in others",
    "dilation": "the stage's entry of `dilations`, or the dilation that `output_stride` requires",
    "entry_dilation": "dilation of the input map: in the first block of a stage, that of the previous stage",
    "groups": "the stage's entry of `groups`",
    "base_width": "the stage's entry of `base_width`",
    "depth": "number of blocks in this stage",
    "blocks": "number of blocks in the network",
    "stage": "number of the stage, from 1",
    "block": "number of the block in its stage, from 0",
    "index": "number of the block in the network, from 0",
    "first_block": "1 in the first block of a stage, 0 in others",
    "previous_depth": "number of blocks in the previous stage; 0 in the first stage",
}
"""Further names in the stages."""
SHAPE = {
    "out": "output channels of the block: in a block, its own number of that name",
    "change": "1 where `stride > 1 or in != out`, 0 elsewhere; for a block's lists, not for its own numbers",
}
"""Further names once the output of a block is known."""
INNER = {
    "channels": "input channels of this item of the list",
    "branch": "number of the branch, from 0",
    "iteration": "number of the repetition, from 0",
}
"""Names inside of lists: all, or those of some structures."""
SLOTS = {
    "norm": "normalisation",
    "act": "activation",
    "conv": "the kind of convolution",
    "stem_pool": "the end of a stem, such as a pool",
    "attention": "attention to channels or positions, at the end of a body or inside of it",
    "antialias": "downsampling in place of a convolution's stride",
    "drop_path": "stochastic depth, at the end of a body",
    "drop_block": "dropout of regions (DropBlock), after a norm",
    "gain": "a learnable factor, at the end of a body",
}
"""Slots, and what they are for; in arithmetic each is 1 where it is filled, 0 where it is empty."""
OUTSIDE = frozenset({*COMMON, *SLOTS})
INSIDE = OUTSIDE | {*STAGE}

ROLES: dict[str, RecipeRole] = {
    "stem": RecipeRole(("layers",), OUTSIDE, needs=("layers",), staged=False),
    "block": RecipeRole(("pre", "body", "post"), INSIDE | {"change"}, needs=("out", "body")),
    "shortcut": RecipeRole(
        ("layers",),
        INSIDE | {*SHAPE},
        words={
            "when": None,
            "add": None,
            "reads": ("input", "pre"),
            "identity_reads": ("input", "pre"),
        },
        needs=("when",),
    ),
    "transition": RecipeRole(("layers",), INSIDE),
    "head": RecipeRole(("layers",), OUTSIDE, needs=("layers",), staged=False),
}
SLOT = RecipeRole(("layers",), INSIDE | {*SHAPE, "channels"}, single=True)

ACTIVATIONS = tuple(word for word, (layer, _) in VOCABULARY.items() if issubclass(layer, Activation))
"""Layers that `act` may name."""

PER_STAGE: dict[str, int] = {
    "depths": 1, "widths": 1, "strides": 1, "dilations": 1, "groups": 1, "base_width": 1,
}  # fmt: skip
"""Fields that take one value for all stages or one per stage, and the minimum of each."""
WHOLE: dict[str, tuple[int, int]] = {
    "in_channels": (1, 3), "num_classes": (0, 1000), "image_size": (1, 224), "dims": (1, 2),
}  # fmt: skip
"""Fields that take one integer: the minimum and the default. `image_size` may be one per axis."""
MAX_DIMS = 3
"""Convolutions, norms and pools exist for sequences, images and volumes."""
IMAGE_NUMBERS = ("image_mean", "image_std")
"""Fields that take a number, or one per input channel."""
SETTINGS = (
    "zero_init_residual", "output_stride", "first_dilation", "generator", "init", "features", *IMAGE_NUMBERS,
)  # fmt: skip
NUMBERS = (*WHOLE, *PER_STAGE)
"""Fields that are one integer, or one per stage."""
KEYS = (*WHOLE, *PER_STAGE, *SETTINGS, *ROLES, *SLOTS)
"""All keys of a model."""
DEFAULTS: dict[str, Any] = {"strides": 1, "dilations": 1, "groups": 1, "base_width": 64}
