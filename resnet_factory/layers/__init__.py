"""The vocabulary: every layer a recipe may name, with its cost formulas; imports no torch.

One class per operation. A class's fields are the arguments a recipe may give it (`channels`, the number
of input channels, is filled in by the planner). Formulas use plain arithmetic only, so that the same line
works for an int and for a NumPy array of a million architectures.

Conventions: sizes are computed axis by axis; `macs` counts one per
multiply-add of convolution and linear layers, without biases; norm, activation and pooling count 0.
"""

from __future__ import annotations

from typing import Any

from resnet_factory.layers.activation import Activation, ActivationName, LeakyReLU, PReLU
from resnet_factory.layers.attention import AttentionPool, SelfAttention
from resnet_factory.layers.axes import (
    SAME,
    Axes,
    Padding,
    Size,
    axes_product,
    axes_text,
    axis_entry,
    axis_padding,
    combine_axes,
    fixed_padding,
    is_uneven_padding,
    largest_axis_entry,
    merge_axes,
    multiply_axes,
    per_axis,
    simplest_axes,
)
from resnet_factory.layers.convolution import ChannelConv, Conv, Linear, ScaledConv, StandardizedConv
from resnet_factory.layers.layer import (
    BOTH,
    FLAT,
    INPUT,
    MAP,
    NEITHER,
    OUTPUT,
    POINT,
    Fault,
    Layer,
    layer_window,
    positions,
)
from resnet_factory.layers.normalisation import (
    BatchNorm,
    EvoNorm,
    FilterResponseNorm,
    GlobalResponseNorm,
    GroupNorm,
    LayerNorm,
    Norm,
)
from resnet_factory.layers.pooling import AvgPool, BlurPool, GlobalPool, MaxPool, Pool
from resnet_factory.layers.rearrangement import (
    ChannelShuffle,
    DepthToSpace,
    Narrow,
    SpaceToDepth,
    Upsample,
)
from resnet_factory.layers.reduction import Reduce, Softmax
from resnet_factory.layers.regularisation import DropBlock, Dropout, DropPath
from resnet_factory.layers.scaling import Multiply, Scale, Shift
from resnet_factory.layers.shape import Border, Flatten, Identity, ZeroPad

__all__ = [
    "BOTH", "FLAT", "INPUT", "MAP", "NEITHER", "OUTPUT", "POINT", "SAME", "VOCABULARY", "Activation",
    "ActivationName", "AttentionPool", "AvgPool", "Axes", "BatchNorm", "BlurPool", "Border",
    "ChannelConv", "ChannelShuffle", "Conv", "DepthToSpace", "DropBlock", "DropPath", "Dropout",
    "EvoNorm", "Fault", "FilterResponseNorm", "Flatten", "GlobalPool", "GlobalResponseNorm", "GroupNorm",
    "Identity", "Layer", "LayerNorm", "LeakyReLU", "Linear", "MaxPool", "Multiply", "Narrow", "Norm",
    "PReLU", "Padding", "Pool", "Reduce", "Scale", "ScaledConv", "SelfAttention", "Shift", "Size",
    "Softmax", "SpaceToDepth", "StandardizedConv", "Upsample", "ZeroPad", "axes_product", "axes_text",
    "axis_entry", "axis_padding", "combine_axes", "fixed_padding", "is_uneven_padding",
    "largest_axis_entry", "layer_window", "merge_axes", "multiply_axes", "per_axis", "positions",
    "simplest_axes",
]  # fmt: skip

VOCABULARY: dict[str, tuple[type[Layer], dict[str, Any]]] = {
    "conv2d": (Conv, {}),
    "standardized_conv": (StandardizedConv, {}),
    "scaled_conv": (ScaledConv, {}),
    "channel_conv": (ChannelConv, {}),
    "linear": (Linear, {}),
    "batch_norm": (BatchNorm, {}),
    "group_norm": (GroupNorm, {}),
    "layer_norm": (LayerNorm, {}),
    "evo_norm": (EvoNorm, {}),
    "filter_response_norm": (FilterResponseNorm, {}),
    "global_response_norm": (GlobalResponseNorm, {}),
    "max_pool": (MaxPool, {}),
    "avg_pool": (AvgPool, {}),
    "blur_pool": (BlurPool, {}),
    "global_pool": (GlobalPool, {}),
    "reduce": (Reduce, {}),
    "softmax": (Softmax, {}),
    "self_attention": (SelfAttention, {}),
    "attention_pool": (AttentionPool, {}),
    "flatten": (Flatten, {}),
    "narrow": (Narrow, {}),
    "channel_shuffle": (ChannelShuffle, {}),
    "space_to_depth": (SpaceToDepth, {}),
    "depth_to_space": (DepthToSpace, {}),
    "upsample": (Upsample, {}),
    "zero_pad": (ZeroPad, {}),
    "border": (Border, {}),
    "scale": (Scale, {}),
    "shift": (Shift, {}),
    "multiply": (Multiply, {}),
    "identity": (Identity, {}),
    "dropout": (Dropout, {}),
    "stochastic_depth": (DropPath, {}),
    "block_dropout": (DropBlock, {}),
    **{name: (Activation, {"function": name}) for name in ActivationName.__args__},  # type: ignore[attr-defined]
    "leaky_relu": (LeakyReLU, {"function": "leaky_relu"}),
    "prelu": (PReLU, {"function": "prelu"}),
}
"""The word a recipe uses -> the class and the arguments the word itself fixes."""
