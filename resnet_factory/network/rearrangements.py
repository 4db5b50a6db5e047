"""Modules that reduce a map, or move and pick its elements; each is made from its layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from resnet_factory import layers
from resnet_factory.layers import per_axis


class Reduce(nn.Module):
    """Mean, maximum, sum or norm: (N, C, H, W) -> (N, C, 1, 1) over positions, (N, 1, H, W) over channels."""

    def __init__(self, layer: layers.Reduce) -> None:
        super().__init__()
        self.over, self.how = layer.over, layer.how
        self.axes = tuple(range(2, 2 + layer.dims)) if layer.over == "positions" else (1,)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "mean":
            return x.mean(dim=self.axes, keepdim=True)
        if self.how == "max":
            return x.amax(dim=self.axes, keepdim=True)
        if self.how == "sum":
            return x.sum(dim=self.axes, keepdim=True)
        norms: Tensor = x.norm(p=2, dim=self.axes, keepdim=True)
        return norms

    def extra_repr(self) -> str:
        return f"over={self.over}, how={self.how}"


class Softmax(nn.Module):
    """Softmax over the positions of each channel, or over the channels of each position."""

    def __init__(self, layer: layers.Softmax) -> None:
        super().__init__()
        self.over = layer.over

    def forward(self, x: Tensor) -> Tensor:
        if self.over == "channels":
            return x.softmax(1)
        return x.flatten(2).softmax(2).reshape(x.shape)

    def extra_repr(self) -> str:
        return f"over={self.over}"


class Narrow(nn.Module):
    """Some of the channels: (N, C, H, W) -> (N, count, H, W), a view."""

    def __init__(self, layer: layers.Narrow) -> None:
        super().__init__()
        self.start, self.count = layer.start, layer.count

    def forward(self, x: Tensor) -> Tensor:
        return x.narrow(1, self.start, self.count)

    def extra_repr(self) -> str:
        return f"start={self.start}, count={self.count}"


class SpaceToDepth(nn.Module):
    """Blocks of positions become channels: (N, C, H, W) -> (N, C b², H / b, W / b)."""

    def __init__(self, layer: layers.SpaceToDepth) -> None:
        super().__init__()
        self.block = per_axis(layer.block, layer.dims)
        self.order = layer.order

    def forward(self, x: Tensor) -> Tensor:
        dims = len(self.block)
        for axis in reversed(range(dims)):
            x = torch.unflatten(x, 2 + axis, (-1, self.block[axis]))
        inside = [3 + 2 * axis for axis in range(dims)]
        outside = [2 + 2 * axis for axis in range(dims)]
        channels = [1, *inside] if self.order == "channel" else [*inside, 1]
        return x.permute(0, *channels, *outside).flatten(1, 1 + dims)

    def extra_repr(self) -> str:
        return f"block={self.block}, order={self.order}"


class DepthToSpace(SpaceToDepth):
    """Channels become blocks of positions: (N, C b², H, W) -> (N, C, H b, W b)."""

    def forward(self, x: Tensor) -> Tensor:
        dims = len(self.block)
        if self.order == "channel":
            x, channel, first = torch.unflatten(x, 1, (-1, *self.block)), 1, 2
        else:
            x, channel, first = torch.unflatten(x, 1, (*self.block, -1)), 1 + dims, 1
        pairs = [place for axis in range(dims) for place in (2 + dims + axis, first + axis)]
        x = x.permute(0, channel, *pairs)
        for axis in range(dims):
            x = x.flatten(2 + axis, 3 + axis)
        return x
