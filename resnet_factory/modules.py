"""The torch side of the vocabulary: one module per layer. Torch enters here and in the builder only."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from resnet_factory import layers

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


class ZeroPad(nn.Module):
    """Every `stride`-th position, with zero channels added: (N, C, H, W) -> (N, to, H', W')."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.before, self.after, self.stride = before, after, stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return functional.pad(x, (0, 0, 0, 0, self.before, self.after))

    def extra_repr(self) -> str:
        return f"before={self.before}, after={self.after}, stride={self.stride}"


class DropPath(nn.Module):
    """Drops a branch while training, per sample or for the whole batch (Huang et al. 2016)."""

    def __init__(self, rate: float, *, rows: bool, rescale: bool) -> None:
        super().__init__()
        self.rate, self.rows, self.rescale = rate, rows, rescale

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        shape = (x.shape[0] if self.rows else 1,) + (1,) * (x.ndim - 1)
        mask = x.new_empty(shape).bernoulli_(keep)
        if self.rescale and keep > 0.0:
            mask.div_(keep)
        return x * mask

    def extra_repr(self) -> str:
        return f"rate={self.rate:.4g}, mode={'row' if self.rows else 'batch'}, rescale={self.rescale}"


@singledispatch
def module(layer: Any) -> nn.Module:
    """The torch module of one planned layer, initialised as torch initialises it."""
    raise TypeError(f"no torch module is known for {type(layer).__name__}")


@module.register
def _(layer: layers.Conv) -> nn.Module:
    return nn.Conv2d(
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
def _(layer: layers.Linear) -> nn.Module:
    return nn.Linear(layer.channels, layer.to, bias=layer.bias)


@module.register
def _(layer: layers.BatchNorm) -> nn.Module:
    return nn.BatchNorm2d(layer.channels, eps=layer.eps, momentum=layer.momentum)


@module.register
def _(layer: layers.GroupNorm) -> nn.Module:
    return nn.GroupNorm(layer.groups, layer.channels, eps=layer.eps)


@module.register
def _(layer: layers.Activation) -> nn.Module:
    return ACTIVATIONS[layer.function]()


@module.register
def _(layer: layers.MaxPool) -> nn.Module:
    return nn.MaxPool2d(layer.kernel, layer.stride, layer.padding, ceil_mode=layer.ceil_mode)


@module.register
def _(layer: layers.AvgPool) -> nn.Module:
    if layer.kernel == layer.stride == 1:
        return nn.Identity()
    return nn.AvgPool2d(
        layer.kernel,
        layer.stride,
        layer.padding,
        ceil_mode=layer.ceil_mode,
        count_include_pad=layer.count_include_pad,
    )


@module.register
def _(layer: layers.GlobalPool) -> nn.Module:
    return nn.AdaptiveAvgPool2d((1, 1))


@module.register
def _(layer: layers.Flatten) -> nn.Module:
    return nn.Flatten(1)


@module.register
def _(layer: layers.ZeroPad) -> nn.Module:
    added = layer.to - layer.channels
    before = added // 2 if layer.where == "center" else 0
    return ZeroPad(before, added - before, layer.stride)


@module.register
def _(layer: layers.Identity) -> nn.Module:
    return nn.Identity()


@module.register
def _(layer: layers.Dropout) -> nn.Module:
    return nn.Dropout(layer.rate)


@module.register
def _(layer: layers.DropPath) -> nn.Module:
    return DropPath(layer.rate, rows=layer.mode == "row", rescale=layer.rescale)
