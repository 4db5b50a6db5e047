"""The reference networks: their exact figures, random values for them, and how their keys are hashed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

MODELS: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent / "golden" / "reference_models.json").read_text()
)
"""'library/name' -> params, MACs, and sha256[:16] of the lines 'key [shape]' of its state dict."""


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Give every tensor a value that a mix-up would show in: norms, biases and running statistics too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if name.endswith("running_var"):
                tensor.copy_(0.5 + noise.abs())
            elif tensor.ndim > 1:
                tensor.copy_(noise * (1.5 / tensor[0].numel()) ** 0.5)
            else:
                tensor.copy_(1.0 + 0.2 * noise if name.endswith("weight") else 0.2 * noise)


def digest(entries: dict[str, Any]) -> str:
    """The hash of a state dict's keys, order and shapes."""
    lines = (f"{key} {list(value.shape)}" for key, value in entries.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
