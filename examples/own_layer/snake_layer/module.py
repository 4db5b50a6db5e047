"""The torch module of Snake; imported when a network is built."""

import torch
from torch import Tensor, nn

from snake_layer.layer import Snake


class SnakeModule(nn.Module):
    """x + sin²(αx) / α for (N, C), or (N, C, …): one α for each group of `shared` channels."""

    def __init__(self, channels: int, alpha: float, shared: int) -> None:
        super().__init__()
        self.shared = shared
        self.alpha = nn.Parameter(torch.full((channels // shared,), alpha))

    def forward(self, x: Tensor) -> Tensor:
        alpha = self.alpha.repeat_interleave(self.shared).view(-1, *[1] * (x.dim() - 2))
        return x + torch.sin(alpha * x).square() / alpha


def make_snake(layer: Snake) -> nn.Module:
    """Return the module of a planned layer."""
    return SnakeModule(layer.channels, layer.alpha, layer.shared)
