"""The torch module of each layer of the vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, singledispatch
from typing import Any

import torch
from torch import nn

from resnet_factory import layers
from resnet_factory.layers import SAME, axes_product, axis_padding, fixed_padding, is_uneven_padding, per_axis
from resnet_factory.network.attention import AttentionPool, SelfAttention
from resnet_factory.network.custom_modules import (
    BlurPool,
    ChannelConv,
    DropBlock,
    DropPath,
    EvoNorm,
    FilterResponseNorm,
    GlobalResponseNorm,
    LayerNorm,
    Multiply,
    Scale,
    Shift,
    ZeroPad,
)
from resnet_factory.network.padded_convolutions import (
    Pad,
    PaddedConv1d,
    PaddedConv2d,
    PaddedConv3d,
    PaddedConvolution,
    Pads,
    StandardizedConv1d,
    StandardizedConv2d,
    StandardizedConv3d,
    StandardizedConvolution,
    torch_padding,
)
from resnet_factory.network.rearrangements import (
    DepthToSpace,
    Narrow,
    Reduce,
    Softmax,
    SpaceToDepth,
)

CONVOLUTIONS: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
PADDED = (PaddedConv1d, PaddedConv2d, PaddedConv3d)
STANDARDIZED = (StandardizedConv1d, StandardizedConv2d, StandardizedConv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
AVG_POOLS = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
GLOBAL_POOLS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
ZERO_PADS: tuple[Callable[..., nn.Module], ...] = (nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d)
"""Modules for maps of 1, 2 and 3 axes."""

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "celu": nn.CELU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "gelu_tanh": partial(nn.GELU, approximate="tanh"),
    "mish": nn.Mish,
    "softplus": nn.Softplus,
    "hard_swish": nn.Hardswish,
    "hard_sigmoid": nn.Hardsigmoid,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}


@singledispatch
def make_module(node: Any) -> nn.Module:
    """Return the torch module of a plan's node, with torch's default initialisation; layers register here."""
    raise TypeError(f"no torch module is known for {type(node).__name__}")


def _conv_module(kinds: Sequence[Callable[..., Any]], layer: layers.Conv) -> Any:
    return kinds[layer.dims - 1](
        layer.channels,
        layer.to,
        layer.kernel,
        stride=layer.stride,
        padding=0 if is_uneven_padding(padding := _conv_padding(layer)) else padding,
        dilation=layer.dilation,
        groups=layer.groups,
        bias=layer.bias,
    )


def _conv_padding(layer: layers.Conv) -> Any:
    """Return a convolution's padding; numbers where those of `same` are the same for any map."""
    return fixed_padding(layer.padding, layer.kernel, layer.stride, layer.dilation, layer.dims)


@make_module.register
def _make_conv(layer: layers.Conv) -> nn.Module:
    made: nn.Module = _conv_module(PADDED if is_uneven_padding(_conv_padding(layer)) else CONVOLUTIONS, layer)
    if isinstance(made, PaddedConvolution):
        made.pads = _module_pads(layer.padding, layer.dims)
    return made


def _module_pads(padding: Any, dims: int) -> Pads | None:
    """Return the padding before and after each axis; None for `same`."""
    return None if padding == SAME else tuple(axis_padding(padding, axis) for axis in range(dims))


@make_module.register
def _make_standardized_conv(layer: layers.StandardizedConv) -> nn.Module:
    return _weight_standardized_module(layer, layer.eps, None)


@make_module.register
def _make_scaled_conv(layer: layers.ScaledConv) -> nn.Module:
    fan_in = axes_product(layer.kernel, layer.dims) * layer.channels // layer.groups
    return _weight_standardized_module(layer, layer.eps, layer.gamma * fan_in**-0.5)


def _weight_standardized_module(layer: layers.Conv, eps: float, scale: float | None) -> nn.Module:
    made: StandardizedConvolution = _conv_module(STANDARDIZED, layer)
    made.eps, made.scale = eps, scale
    if is_uneven_padding(_conv_padding(layer)):
        made.uneven, made.pads = True, _module_pads(layer.padding, layer.dims)
    if scale is not None:
        made.gain = nn.Parameter(torch.ones(layer.to, 1, *(1,) * layer.dims))
    return made


@make_module.register
def _make_channel_conv(layer: layers.ChannelConv) -> nn.Module:
    return ChannelConv(layer.kernel, layer.dims)


@make_module.register
def _make_blur_pool(layer: layers.BlurPool) -> nn.Module:
    return BlurPool(layer.channels, layer.stride, layer.dims)


@make_module.register
def _make_linear(layer: layers.Linear) -> nn.Module:
    return nn.Linear(layer.channels, layer.to, bias=layer.bias)


@make_module.register
def _make_batch_norm(layer: layers.BatchNorm) -> nn.Module:
    return NORMS[layer.dims - 1](layer.channels, eps=layer.eps, momentum=layer.momentum)


@make_module.register
def _make_group_norm(layer: layers.GroupNorm) -> nn.Module:
    return nn.GroupNorm(layer.groups, layer.channels, eps=layer.eps)


@make_module.register
def _make_layer_norm(layer: layers.LayerNorm) -> nn.Module:
    return LayerNorm(layer.channels, eps=layer.eps)


@make_module.register
def _make_evo_norm(layer: layers.EvoNorm) -> nn.Module:
    return EvoNorm(layer.channels, layer.groups, layer.eps, layer.dims, act=layer.act)


@make_module.register
def _make_filter_response_norm(layer: layers.FilterResponseNorm) -> nn.Module:
    return FilterResponseNorm(layer.channels, layer.eps, layer.dims, act=layer.act)


@make_module.register
def _make_global_response_norm(layer: layers.GlobalResponseNorm) -> nn.Module:
    return GlobalResponseNorm(layer.channels, layer.eps, layer.dims)


@make_module.register
def _make_activation(layer: layers.Activation) -> nn.Module:
    return ACTIVATIONS[layer.function]()


@make_module.register
def _make_leaky_relu(layer: layers.LeakyReLU) -> nn.Module:
    return nn.LeakyReLU(layer.slope)


@make_module.register
def _make_prelu(layer: layers.PReLU) -> nn.Module:
    return nn.PReLU(layer.params(), layer.init)


@make_module.register
def _make_max_pool(layer: layers.MaxPool) -> nn.Module:
    padding = 0 if layer.padded_first else layer.padding
    pool = MAX_POOLS[layer.dims - 1](layer.kernel, layer.stride, padding, ceil_mode=layer.ceil_mode)
    return nn.Sequential(_pool_padding(layer, float("-inf")), pool) if layer.padded_first else pool


def _pool_padding(layer: layers.Pool, value: float) -> nn.Module:
    """Return the module that pads a map before it is pooled."""
    return Pad(_module_pads(layer.padding, layer.dims), layer.kernel, layer.stride, layer.dims, value)


@make_module.register
def _make_avg_pool(layer: layers.AvgPool) -> nn.Module:
    if layer.view(training=True):
        return nn.Identity()
    pool = AVG_POOLS[layer.dims - 1](
        layer.kernel,
        layer.stride,
        0 if layer.padded_first else layer.padding,
        ceil_mode=layer.ceil_mode,
        count_include_pad=layer.count_include_pad,
    )
    if layer.extend:
        return nn.Sequential(ZERO_PADS[layer.dims - 1]((0, layer.extend) * layer.dims), pool)
    return nn.Sequential(_pool_padding(layer, 0.0), pool) if layer.padded_first else pool


@make_module.register
def _make_global_pool(layer: layers.GlobalPool) -> nn.Module:
    return GLOBAL_POOLS[layer.dims - 1](1 if layer.dims == 1 else (1,) * layer.dims)


@make_module.register
def _make_flatten(layer: layers.Flatten) -> nn.Module:
    return nn.Flatten(1)


@make_module.register
def _make_zero_pad(layer: layers.ZeroPad) -> nn.Module:
    added = layer.to - layer.channels
    before = added // 2 if layer.where == "center" else 0
    strides = per_axis(layer.stride, layer.dims)
    return ZeroPad(before, added - before, strides)


@make_module.register
def _make_border(layer: layers.Border) -> nn.Module:
    return ZERO_PADS[layer.dims - 1](torch_padding(_module_pads(layer.width, layer.dims) or ()))


@make_module.register
def _make_scale(layer: layers.Scale) -> nn.Module:
    return Scale(layer.channels if layer.per == "channel" else None, layer.init)


@make_module.register
def _make_shift(layer: layers.Shift) -> nn.Module:
    return Shift(layer.channels if layer.per == "channel" else None, layer.init)


@make_module.register
def _make_multiply(layer: layers.Multiply) -> nn.Module:
    return Multiply(layer.by)


@make_module.register
def _make_identity(layer: layers.Identity) -> nn.Module:
    return nn.Identity()


@make_module.register
def _make_dropout(layer: layers.Dropout) -> nn.Module:
    return nn.Dropout(layer.rate)


@make_module.register
def _make_drop_path(layer: layers.DropPath) -> nn.Module:
    return DropPath(layer.rate, rows=layer.mode == "row", rescale=layer.rescale)


@make_module.register
def _make_drop_block(layer: layers.DropBlock) -> nn.Module:
    return DropBlock(layer.rate, layer.block, layer.gamma)


@make_module.register
def _make_upsample(layer: layers.Upsample) -> nn.Module:
    scale = tuple(map(float, per_axis(layer.scale, layer.dims)))
    mode = ("linear", "bilinear", "trilinear")[layer.dims - 1] if layer.mode == "linear" else layer.mode
    return nn.Upsample(scale_factor=scale, mode=mode)


@make_module.register
def _make_channel_shuffle(layer: layers.ChannelShuffle) -> nn.Module:
    return nn.ChannelShuffle(layer.groups)


make_module.register(layers.Reduce, Reduce)
make_module.register(layers.Softmax, Softmax)
make_module.register(layers.Narrow, Narrow)
make_module.register(layers.SpaceToDepth, SpaceToDepth)
make_module.register(layers.DepthToSpace, DepthToSpace)
make_module.register(layers.SelfAttention, SelfAttention)
make_module.register(layers.AttentionPool, AttentionPool)
