"""The truncated normal distribution, drawn as timm draws it."""

from __future__ import annotations

import math

import torch
from torch import Tensor


@torch.no_grad()
def draw_truncated_normal(weight: Tensor, std: float) -> None:
    """Fill a tensor from N(0, std²), cut off at -2 and 2.

    By the inverse of the distribution function: torch's own draws again what is cut off, so that the same
    seed gives other values. Source: timm's trunc_normal_, and torch's before 2.13.
    """
    inside = math.erf(2.0 / (std * math.sqrt(2.0)))
    weight.uniform_(-inside, inside).erfinv_().mul_(std * math.sqrt(2.0)).clamp_(-2.0, 2.0)
