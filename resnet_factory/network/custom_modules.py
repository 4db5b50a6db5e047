"""Modules for layers that torch does not have."""

from __future__ import annotations

import math

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from resnet_factory.network.padded_convolutions import CONVOLVE


class ZeroPad(nn.Module):
    """Every `stride`-th position, with zero channels added: (N, C, H, W) -> (N, to, H', W')."""

    def __init__(self, before: int, after: int, stride: tuple[int, ...]) -> None:
        super().__init__()
        self.before, self.after, self.stride = before, after, stride

    def forward(self, x: Tensor) -> Tensor:
        every: tuple[slice, ...] = tuple(slice(None, None, step) for step in (1, 1, *self.stride))
        x = x[every]
        return functional.pad(x, (*(0, 0) * len(self.stride), self.before, self.after))

    def extra_repr(self) -> str:
        return f"before={self.before}, after={self.after}, stride={self.stride}"


@fx.wrap
def drop_path(x: Tensor, rate: float, rows: bool, rescale: bool) -> Tensor:
    """Return `x` with the share `rate` of its samples zero, or all of it with that probability."""
    keep = 1.0 - rate
    shape = (x.shape[0] if rows else 1,) + (1,) * (x.ndim - 1)
    mask = x.new_empty(shape).bernoulli_(keep)
    if rescale and keep > 0.0:
        mask.div_(keep)
    return x * mask


class DropPath(nn.Module):
    """Drops a branch while training, per sample or for the whole batch (Huang et al. 2016)."""

    def __init__(self, rate: float, *, rows: bool, rescale: bool) -> None:
        super().__init__()
        self.rate, self.rows, self.rescale = rate, rows, rescale

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        return drop_path(x, self.rate, self.rows, self.rescale)

    def extra_repr(self) -> str:
        return f"rate={self.rate:.4g}, mode={'row' if self.rows else 'batch'}, rescale={self.rescale}"


@fx.wrap
def drop_block(x: Tensor, rate: float, block: int, gamma: float) -> Tensor:
    """Return `x` without regions of `block` positions per axis, the rest scaled up."""
    size = x.shape[2:]
    blocks = [min(block, side) for side in size]
    seeds = gamma * rate * math.prod(size) / math.prod(blocks)
    seeds /= math.prod(side - block + 1 for side, block in zip(size, blocks, strict=True))
    dropped = x.new_empty((x.shape[0], 1, *size)).bernoulli_(seeds)
    pool = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[len(size) - 1]
    dropped = pool(dropped, blocks, 1, [block // 2 for block in blocks])
    inside: tuple[slice, ...] = tuple(slice((block + 1) % 2, None) for block in (1, 1, *blocks))
    kept = 1.0 - dropped[inside]
    scale = kept.numel() / kept.to(torch.float32).sum().add(1e-7)
    return x * (kept * scale.to(x.dtype))


class DropBlock(nn.Module):
    """Drops regions of positions while training, the same in every channel (Ghiasi et al. 2018)."""

    def __init__(self, rate: float, block: int, gamma: float) -> None:
        super().__init__()
        self.rate, self.block, self.gamma = rate, block, gamma

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        return drop_block(x, self.rate, self.block, self.gamma)

    def extra_repr(self) -> str:
        return f"rate={self.rate:.4g}, block={self.block}, gamma={self.gamma}"


class ChannelConv(nn.Module):
    """Convolution along channels: (N, C, 1, 1) -> (N, C, 1, 1)."""

    def __init__(self, kernel: int, dims: int) -> None:
        super().__init__()
        self.ones = (1,) * dims
        self.weight = nn.Parameter(torch.empty(1, 1, kernel))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.view(x.shape[0], 1, -1)
        padding = (self.weight.shape[-1] - 1) // 2
        return functional.conv1d(flat, self.weight, padding=padding).view(x.shape[0], -1, *self.ones)


class BlurPool(nn.Module):
    """[1 2 1]² / 16 with reflection padding and a stride (Zhang 2019); its buffer is not persistent."""

    weight: Tensor

    def __init__(self, channels: int, stride: int, dims: int) -> None:
        super().__init__()
        self.channels, self.stride, self.border = channels, stride, (stride + 1) // 2
        self.dims, self.convolve = dims, CONVOLVE[dims - 1]
        self.register_buffer("weight", torch.empty(channels, 1, *(3,) * dims), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the filter, also after the module was moved from the meta device by `to_empty`."""
        row = torch.tensor([1.0, 2.0, 1.0], device=self.weight.device) / 4.0
        window = row
        for _ in range(self.dims - 1):
            window = window[..., None] * row
        self.weight.copy_(window.expand_as(self.weight))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.pad(x, [self.border] * 2 * self.dims, mode="reflect")
        return self.convolve(x, self.weight, stride=self.stride, groups=self.channels)


class LayerNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each position of a map."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class EvoNorm(nn.Module):
    """x * sigmoid(v x) / group_std(x) * weight + bias (EvoNorm-S0, Liu et al. 2020, table 2)."""

    def __init__(self, channels: int, groups: int, eps: float, dims: int, *, act: bool) -> None:
        super().__init__()
        self.groups, self.eps = groups, eps
        self.per_channel = (1, -1, *(1,) * dims)
        self.inside = tuple(range(2, 3 + dims))
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.v = nn.Parameter(torch.ones(channels)) if act else None

    def forward(self, x: Tensor) -> Tensor:
        shape = self.per_channel
        if self.v is not None:
            grouped = torch.unflatten(x, 1, (self.groups, -1))
            variance = grouped.float().var(dim=self.inside, unbiased=False, keepdim=True)
            deviation = variance.add(self.eps).sqrt().to(x.dtype).expand(grouped.shape).flatten(1, 2)
            x = x * (x * self.v.view(shape).to(x.dtype)).sigmoid() / deviation
        return x * self.weight.view(shape).to(x.dtype) + self.bias.view(shape).to(x.dtype)


class FilterResponseNorm(nn.Module):
    """max(x / rms(x) * weight + bias, tau) (Singh & Krishnan 2019, eq. 1-3)."""

    def __init__(self, channels: int, eps: float, dims: int, *, act: bool) -> None:
        super().__init__()
        self.eps = eps
        self.per_channel = (1, -1, *(1,) * dims)
        self.positions = tuple(range(2, 2 + dims))
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.tau = nn.Parameter(torch.zeros(channels)) if act else None

    def forward(self, x: Tensor) -> Tensor:
        shape = self.per_channel
        rms = x.square().float().mean(dim=self.positions, keepdim=True).add(self.eps).rsqrt().to(x.dtype)
        x = x * rms.expand(x.shape)
        x = x * self.weight.view(shape).to(x.dtype) + self.bias.view(shape).to(x.dtype)
        return x if self.tau is None else torch.maximum(x, self.tau.reshape(shape).to(x.dtype))


class GlobalResponseNorm(nn.Module):
    """x + weight * x * n + bias, n the norms of channels divided by their mean (Woo et al. 2023, alg. 1)."""

    def __init__(self, channels: int, eps: float, dims: int) -> None:
        super().__init__()
        self.eps = eps
        self.per_channel = (1, -1, *(1,) * dims)
        self.positions = tuple(range(2, 2 + dims))
        self.weight = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        norms = x.norm(p=2, dim=self.positions, keepdim=True)
        scaled = x * (norms / (norms.mean(dim=1, keepdim=True) + self.eps))
        weight, bias = self.weight.view(self.per_channel), self.bias.view(self.per_channel)
        return x + torch.addcmul(bias, weight, scaled)


@fx.wrap
def channelwise(weight: Tensor, x: Tensor) -> Tensor:
    """Return numbers per channel, (C,) or (1,), shaped to apply to `x`, (N, C, …)."""
    return weight.view(1, -1, *(1,) * (x.ndim - 2))


class Scale(nn.Module):
    """x * weight: a learnable factor per channel, or a scalar."""

    def __init__(self, channels: int | None, init: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels or 1,), init))

    def forward(self, x: Tensor) -> Tensor:
        return x * channelwise(self.weight, x)


class Shift(Scale):
    """x + weight: a learnable offset per channel, or a scalar."""

    def forward(self, x: Tensor) -> Tensor:
        return x + channelwise(self.weight, x)


class Multiply(nn.Module):
    """x * by."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        return x * self.by

    def extra_repr(self) -> str:
        return f"by={self.by:.6g}"
