"""The keys that a model's YAML may have, and the allowed values of each."""

from __future__ import annotations

from typing import Any

from resnet_factory.config.recipe import Role
from resnet_factory.layers import VOCABULARY, Activation

MAX_BLOCKS = 10_000
MAX_CHANNELS = 2**20
"""Limits checked before recipes are unrolled; the deepest published ResNet has 600 blocks."""

COMMON = frozenset({
    "in_channels", "num_classes", "image_size", "dims", "zero_init_residual", "stages", "always", "never",
})  # fmt: skip
STAGE = frozenset(
    {
        "in", "width", "stride", "dilation", "entry_dilation", "groups", "base_width", "depth",
        "stage", "block", "index", "blocks", "first_block", "previous_depth",
    }
)  # fmt: skip
SLOTS = ("norm", "act", "conv", "stem_pool", "attention", "antialias", "drop_path", "drop_block", "gain")
INSIDE = COMMON | STAGE | {*SLOTS}

ROLES: dict[str, Role] = {
    "stem": Role(("layers",), COMMON | {"in", *SLOTS}, needs=("layers",), staged=False),
    "block": Role(("pre", "body", "post"), INSIDE | {"change"}, needs=("out", "body")),
    "shortcut": Role(
        ("layers",),
        INSIDE | {"out", "change"},
        words={
            "when": None,
            "add": None,
            "reads": ("input", "pre"),
            "identity_reads": ("input", "pre"),
        },
        needs=("when",),
    ),
    "transition": Role(("layers",), INSIDE),
    "head": Role(("layers",), COMMON | {"in", *SLOTS}, needs=("layers",), staged=False),
}
SLOT = Role(("layers",), INSIDE | {"out", "change", "channels"}, single=True)

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
SETTINGS = ("zero_init_residual", "output_stride", "first_dilation", "generator", "init", "features")
NUMBERS = (*WHOLE, *PER_STAGE)
"""Fields that are one integer, or one per stage."""
KEYS = (*WHOLE, *PER_STAGE, *SETTINGS, *ROLES, *SLOTS)
"""All keys of a model."""
DEFAULTS: dict[str, Any] = {"strides": 1, "dilations": 1, "groups": 1, "base_width": 64}
