"""Weights and the config they belong to, in one safetensors file."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from safetensors.torch import save_file

from resnet_factory.builder import Network
from resnet_factory.schema import ModelConfig

FORMAT = "1"
"""Version of the metadata written beside the tensors."""


def save(network: Network, config: ModelConfig, file: str | Path) -> Path:
    """Write weights and config to `file`, whole or not at all.

    Raises:
        OSError: the folder cannot be written.
    """
    target = Path(file).expanduser()
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    metadata = {
        "format": "pt",
        "resnet_factory.version": FORMAT,
        "resnet_factory.name": config.name,
        "resnet_factory.plan_id": network.plan.id,
        "resnet_factory.config": json.dumps(config.to_dict(), sort_keys=True),
    }
    handle, part = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    os.close(handle)
    try:
        save_file(tensors, part, metadata)
        os.replace(part, target)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
    return target
