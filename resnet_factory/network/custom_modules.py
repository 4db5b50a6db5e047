"""Modules for layers that torch does not have."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


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


class DropBlock(nn.Module):
    """Drops squares of positions while training, the same in every channel (Ghiasi et al. 2018)."""

    def __init__(self, rate: float, block: int, gamma: float) -> None:
        super().__init__()
        self.rate, self.block, self.gamma = rate, block, gamma

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        batch, _, height, width = x.shape
        tall, wide = min(self.block, height), min(self.block, width)
        seeds = self.gamma * self.rate * height * width / (tall * wide)
        seeds /= (height - tall + 1) * (width - wide + 1)
        dropped = x.new_empty((batch, 1, height, width)).bernoulli_(seeds)
        dropped = functional.max_pool2d(dropped, (tall, wide), 1, (tall // 2, wide // 2))
        kept = 1.0 - dropped[..., (tall + 1) % 2 :, (wide + 1) % 2 :]
        scale = kept.numel() / kept.to(torch.float32).sum().add(1e-7)
        return x * (kept * scale.to(x.dtype))

    def extra_repr(self) -> str:
        return f"rate={self.rate:.4g}, block={self.block}, gamma={self.gamma}"


class StandardizedConv(nn.Conv2d):
    """Convolution with its weight standardised per output channel (Qiao et al. 2019)."""

    eps: float = 1e-6
    scale: float | None = None
    """Factor by which the gain of a scaled standardisation is multiplied (Brock et al. 2021)."""
    gain: nn.Parameter

    def forward(self, input: Tensor) -> Tensor:
        # batch_norm over one "image" whose channels are the filters: the fastest way to standardise.
        factor = None if self.scale is None else (self.gain * self.scale).view(-1)
        weight = functional.batch_norm(
            self.weight.reshape(1, self.out_channels, -1),
            None, None, weight=factor, training=True, momentum=0.0, eps=self.eps,
        ).reshape_as(self.weight)  # fmt: skip
        return functional.conv2d(
            input, weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class ChannelConv(nn.Module):
    """Convolution along channels: (N, C, 1, 1) -> (N, C, 1, 1)."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, 1, kernel))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.view(x.shape[0], 1, -1)
        padding = (self.weight.shape[-1] - 1) // 2
        return functional.conv1d(flat, self.weight, padding=padding).view(x.shape[0], -1, 1, 1)


class BlurPool(nn.Module):
    """[1 2 1]² / 16 with reflection padding and a stride (Zhang 2019); its buffer is not persistent."""

    weight: Tensor

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels, self.stride, self.border = channels, stride, (stride + 1) // 2
        self.register_buffer("weight", torch.empty(channels, 1, 3, 3), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the filter, also after the module was moved from the meta device by `to_empty`."""
        row = torch.tensor([1.0, 2.0, 1.0], device=self.weight.device) / 4.0
        self.weight.copy_((row[:, None] * row[None, :]).expand_as(self.weight))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.pad(x, [self.border] * 4, mode="reflect")
        return functional.conv2d(x, self.weight, stride=self.stride, groups=self.channels)


class LayerNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each position of a map."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class EvoNorm(nn.Module):
    """x * sigmoid(v x) / group_std(x) * weight + bias (EvoNorm-S0, Liu et al. 2020, table 2)."""

    def __init__(self, channels: int, groups: int, eps: float, *, act: bool) -> None:
        super().__init__()
        self.groups, self.eps = groups, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.v = nn.Parameter(torch.ones(channels)) if act else None

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1, 1, 1)
        if self.v is not None:
            grouped = x.reshape(x.shape[0], self.groups, -1, *x.shape[2:])
            variance = grouped.float().var(dim=(2, 3, 4), unbiased=False, keepdim=True)
            deviation = variance.add(self.eps).sqrt().to(x.dtype).expand(grouped.shape).reshape(x.shape)
            x = x * (x * self.v.view(shape).to(x.dtype)).sigmoid() / deviation
        return x * self.weight.view(shape).to(x.dtype) + self.bias.view(shape).to(x.dtype)


class FilterResponseNorm(nn.Module):
    """max(x / rms(x) * weight + bias, tau) (Singh & Krishnan 2019, eq. 1-3)."""

    def __init__(self, channels: int, eps: float, *, act: bool) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.tau = nn.Parameter(torch.zeros(channels)) if act else None

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1, 1, 1)
        rms = x.square().float().mean(dim=(2, 3), keepdim=True).add(self.eps).rsqrt().to(x.dtype)
        x = x * rms.expand(x.shape)
        x = x * self.weight.view(shape).to(x.dtype) + self.bias.view(shape).to(x.dtype)
        return x if self.tau is None else torch.maximum(x, self.tau.reshape(shape).to(x.dtype))


class Scale(nn.Module):
    """x * weight: a learnable factor per channel, or a scalar."""

    def __init__(self, channels: int | None, init: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels or 1,), init))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight.view(1, -1, *(1,) * (x.ndim - 2))


class Shift(Scale):
    """x + weight: a learnable offset per channel, or a scalar."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight.view(1, -1, *(1,) * (x.ndim - 2))


class Multiply(nn.Module):
    """x * by."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        return x * self.by

    def extra_repr(self) -> str:
        return f"by={self.by:.6g}"
