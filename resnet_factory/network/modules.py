"""The torch module of each layer of the vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from typing import Any, TypeVar

import torch
from torch import nn

from resnet_factory import layers
from resnet_factory.network.custom_modules import (
    BlurPool,
    ChannelConv,
    DropBlock,
    DropPath,
    EvoNorm,
    FilterResponseNorm,
    LayerNorm,
    Multiply,
    Scale,
    Shift,
    StandardizedConv,
    ZeroPad,
)

Made = TypeVar("Made", bound=nn.Conv2d)

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "celu": nn.CELU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "mish": nn.Mish,
    "softplus": nn.Softplus,
    "hard_swish": nn.Hardswish,
    "hard_sigmoid": nn.Hardsigmoid,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}


@singledispatch
def module(node: Any) -> nn.Module:
    """Return the torch module of a plan's node, with torch's default initialisation; layers register here."""
    raise TypeError(f"no torch module is known for {type(node).__name__}")


def _convolution(made: type[Made], layer: layers.Conv) -> Made:
    return made(
        layer.channels,
        layer.to,
        layer.kernel,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
        bias=layer.bias,
    )


@module.register
def _make_conv(layer: layers.Conv) -> nn.Module:
    return _convolution(nn.Conv2d, layer)


@module.register
def _make_standardized_conv(layer: layers.StandardizedConv) -> nn.Module:
    return _standardized(layer, layer.eps, None)


@module.register
def _make_scaled_conv(layer: layers.ScaledConv) -> nn.Module:
    fan_in = layer.kernel * layer.kernel * layer.channels // layer.groups
    return _standardized(layer, layer.eps, layer.gamma * fan_in**-0.5)


def _standardized(layer: layers.Conv, eps: float, scale: float | None) -> nn.Module:
    made = _convolution(StandardizedConv, layer)
    made.eps, made.scale = eps, scale
    if scale is not None:
        made.gain = nn.Parameter(torch.ones(layer.to, 1, 1, 1))
    return made


@module.register
def _make_channel_conv(layer: layers.ChannelConv) -> nn.Module:
    return ChannelConv(layer.kernel)


@module.register
def _make_blur_pool(layer: layers.BlurPool) -> nn.Module:
    return BlurPool(layer.channels, layer.stride)


@module.register
def _make_linear(layer: layers.Linear) -> nn.Module:
    return nn.Linear(layer.channels, layer.to, bias=layer.bias)


@module.register
def _make_batch_norm(layer: layers.BatchNorm) -> nn.Module:
    return nn.BatchNorm2d(layer.channels, eps=layer.eps, momentum=layer.momentum)


@module.register
def _make_group_norm(layer: layers.GroupNorm) -> nn.Module:
    return nn.GroupNorm(layer.groups, layer.channels, eps=layer.eps)


@module.register
def _make_layer_norm(layer: layers.LayerNorm) -> nn.Module:
    return LayerNorm(layer.channels, eps=layer.eps)


@module.register
def _make_evo_norm(layer: layers.EvoNorm) -> nn.Module:
    return EvoNorm(layer.channels, layer.groups, layer.eps, act=layer.act)


@module.register
def _make_filter_response_norm(layer: layers.FilterResponseNorm) -> nn.Module:
    return FilterResponseNorm(layer.channels, layer.eps, act=layer.act)


@module.register
def _make_activation(layer: layers.Activation) -> nn.Module:
    return ACTIVATIONS[layer.function]()


@module.register
def _make_max_pool(layer: layers.MaxPool) -> nn.Module:
    return nn.MaxPool2d(layer.kernel, layer.stride, layer.padding, ceil_mode=layer.ceil_mode)


@module.register
def _make_avg_pool(layer: layers.AvgPool) -> nn.Module:
    if layer.kernel == layer.stride == 1:
        return nn.Identity()
    pool = nn.AvgPool2d(
        layer.kernel,
        layer.stride,
        layer.padding,
        ceil_mode=layer.ceil_mode,
        count_include_pad=layer.count_include_pad,
    )
    if layer.extend:
        return nn.Sequential(nn.ZeroPad2d((0, layer.extend, 0, layer.extend)), pool)
    return pool


@module.register
def _make_global_pool(layer: layers.GlobalPool) -> nn.Module:
    return nn.AdaptiveAvgPool2d((1, 1))


@module.register
def _make_flatten(layer: layers.Flatten) -> nn.Module:
    return nn.Flatten(1)


@module.register
def _make_zero_pad(layer: layers.ZeroPad) -> nn.Module:
    added = layer.to - layer.channels
    before = added // 2 if layer.where == "center" else 0
    return ZeroPad(before, added - before, layer.stride)


@module.register
def _make_border(layer: layers.Border) -> nn.Module:
    return nn.ZeroPad2d(layer.width)


@module.register
def _make_scale(layer: layers.Scale) -> nn.Module:
    return Scale(layer.channels if layer.per == "channel" else None, layer.init)


@module.register
def _make_shift(layer: layers.Shift) -> nn.Module:
    return Shift(layer.channels if layer.per == "channel" else None, layer.init)


@module.register
def _make_multiply(layer: layers.Multiply) -> nn.Module:
    return Multiply(layer.by)


@module.register
def _make_identity(layer: layers.Identity) -> nn.Module:
    return nn.Identity()


@module.register
def _make_dropout(layer: layers.Dropout) -> nn.Module:
    return nn.Dropout(layer.rate)


@module.register
def _make_drop_path(layer: layers.DropPath) -> nn.Module:
    return DropPath(layer.rate, rows=layer.mode == "row", rescale=layer.rescale)


@module.register
def _make_drop_block(layer: layers.DropBlock) -> nn.Module:
    return DropBlock(layer.rate, layer.block, layer.gamma)
