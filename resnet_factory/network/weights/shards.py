"""Read checkpoints from folders in the layout of Hugging Face: one file, or several that an index lists."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet_factory.config.file_access import INDEX, weights_file_faults, weights_files_in
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.network.weights import reader
from resnet_factory.network.weights.reader import Checkpoint

CONFIG = "config.json"
"""The file that states which network a folder holds."""
ENTRY = "resnet_factory"
"""The entry of that file that is ours: the metadata of a safetensors file, without the prefix of its keys."""
MARK = "resnet_factory."
"""The prefix of our keys in a safetensors file's metadata."""
LARGEST = 2**26
"""Limit of a JSON file, in bytes; an index has about a hundred for each tensor."""


def read_file_or_shards(
    file: str | Path, *, entry: str | None = None, device: str | torch.device = "cpu"
) -> Checkpoint:
    """Read the tensors of a file, of a folder, or of the files that an index lists; see `reader`.

    If the tensors come without a config of ours, that of the folder's config.json is taken.

    Raises:
        ConfigError: there is no such file, or one of them is damaged or missing.
    """
    path = Path(file).expanduser()
    chosen = weights_files_in(path)
    if faults := weights_file_faults(chosen, "weights"):
        raise ConfigError(faults)
    if chosen.name.endswith(INDEX):
        found = _read_listed_shards(chosen, device)
    else:
        found = reader.read_weights_file(chosen, entry=entry, device=device)
    if (path.is_dir() or chosen.name.endswith(INDEX)) and f"{MARK}config" not in found.metadata:
        found = replace(found, metadata={**found.metadata, **_config_metadata(chosen.parent / CONFIG)})
    return found


def _read_listed_shards(index: Path, device: str | torch.device) -> Checkpoint:
    listed = _read_json_beside_shards(index).get("weight_map")
    if not isinstance(listed, Mapping) or not listed:
        raise ConfigError([Fault("weights", f"'{index}' has no weight_map, the file of each tensor")])
    files = dict.fromkeys(str(name) for name in listed.values())
    outside = [name for name in files if Path(name).name != name or name in ("", ".", "..")]
    if outside:
        raise ConfigError(
            Fault("weights", f"'{index}' names {name!r}, which is not next to it") for name in outside
        )
    tensors: dict[str, Tensor] = {}
    done: dict[str, None] = {}
    for name in files:
        part = reader.read_weights_file(index.parent / name, device=device)
        tensors |= part.tensors
        done |= dict.fromkeys(part.done)
    if missing := [name for name in listed if reader.bare_key(str(name)) not in tensors]:
        raise ConfigError(
            Fault("weights", f"'{index}' lists {name!r}, which '{listed[name]}' does not have")
            for name in missing[:20]
        )
    return Checkpoint(index, tensors, {}, tuple(done))


def _config_metadata(file: Path) -> dict[str, str]:
    """Return what a folder's config.json says of our config; nothing if there is none."""
    if not file.is_file():
        return {}
    ours = _read_json_beside_shards(file).get(ENTRY)
    if not isinstance(ours, Mapping):
        return {}
    return {
        f"{MARK}{key}": value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for key, value in ours.items()
    }


def _read_json_beside_shards(file: Path) -> Mapping[str, Any]:
    try:
        if file.stat().st_size > LARGEST:
            raise ConfigError([Fault("weights", f"'{file}' is larger than {LARGEST} bytes")])
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([Fault("weights", f"'{file}' cannot be read: {error.strerror}")]) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError([Fault("weights", f"'{file}' is not JSON: {error}")]) from None
    if not isinstance(found, Mapping):
        raise ConfigError([Fault("weights", f"'{file}' does not contain a mapping")])
    return found
