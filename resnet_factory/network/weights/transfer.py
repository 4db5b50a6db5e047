"""Save, load and export weights: our files also hold the config; other libraries' can be read and written."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor

from resnet_factory.config import pruning, schema
from resnet_factory.config.file_access import WEIGHTS, output_file_faults
from resnet_factory.config.own_layers import changed_own_layers, missing_own_layers, own_layer_origins
from resnet_factory.errors import ConfigError, Fault, path_of, path_or_name
from resnet_factory.layers import Conv
from resnet_factory.network.builder import assemble_network
from resnet_factory.network.network import Network
from resnet_factory.network.own_modules import own_or_vocabulary_module
from resnet_factory.network.weights import hub_folder, key_map, shards, timm_folder
from resnet_factory.network.weights.adaptation import adapt_checkpoint
from resnet_factory.network.weights.download import download_if_remote
from resnet_factory.network.weights.key_map import OURS
from resnet_factory.network.weights.reader import Checkpoint
from resnet_factory.network.weights.shards import MARK
from resnet_factory.network.weights.timm_folder import write_timm_config
from resnet_factory.network.weights.writer import ALIGNMENT, write_weights_file
from resnet_factory.planning.network_plan import Plan
from resnet_factory.planning.planner import run_planner

FORMAT = "1"
"""Version of the metadata written with the tensors."""
SHOWN = 5
"""Maximum number of misfitting tensors that a message names."""
LIMITS = 2**20, 2**21
"""Limits of a config in a file: number of characters, and number of entries times blocks."""


@dataclass(frozen=True)
class Report:
    """The result of `load_weights` or `export`."""

    file: Path
    tensors: int
    """Number of the network's tensors read from the file, or written to it."""
    left: tuple[str, ...] = ()
    """The network's tensors that keep their values: those of a classifier of other classes."""
    keys: str = ""
    """The key map used; empty if the names are ours."""
    done: tuple[str, ...] = ()
    """The changes that were made to the tensors, one sentence each."""

    def __str__(self) -> str:
        return "\n".join([f"{self.tensors} tensors, {self.file}", *(f"  {line}" for line in self.done)])


@overload
def save(network: Network, file: str | Path, /) -> Path: ...
@overload
def save(network: Network, config: schema.ModelConfig, file: str | Path, /) -> Path: ...
def save(network: Network, *given: Any) -> Path:
    """Write weights and config to a safetensors file atomically: `save(network, file)`; return its path.

    The config is the network's own; for a network built from a plan, pass it: `save(network, config, file)`.
    In place of a file, a folder that exists or ends in `/` gets the layout of Hugging Face's hub:
    model.safetensors, config.json and, unless it has one, a model card, README.md.

    Raises:
        ConfigError: the network differs from its config, so that `load` could not rebuild it, or the file
            cannot be written.
        TypeError: the network is wrapped, or has no config.
    """
    _refuse_wrapped(network)
    config, file = given if len(given) == 2 else (network.config, *given)
    if not isinstance(config, schema.ModelConfig):
        raise TypeError(
            "the network was built from a plan alone; give the plan's config: save(network, config, file)"
        )
    target = path_of(file, "save()")
    folder = target.expanduser() if _is_folder(target, str(file)) else None
    if faults := hub_folder.folder_faults(folder) if folder else output_file_faults(target, "save", WEIGHTS):
        raise ConfigError(faults)
    planned, state = run_planner(config), network.state_dict()
    with torch.device("meta"):
        rebuilt = assemble_network(planned).state_dict()
    what = f"what {config.name or 'the config'!r} plans"
    if network.plan != planned and _transferred_plan_with_classes(network, config.num_classes) != planned:
        raise ConfigError([Fault("save", f"the network is not {what}")])
    odd = [
        name for name in {**rebuilt, **state} if _tensor_shape(rebuilt, name) != _tensor_shape(state, name)
    ]
    if odd:
        said = [f"{name} {_size_text(state, name)}, planned {_size_text(rebuilt, name)}" for name in odd]
        more = f" and {len(odd) - SHOWN} more" if len(odd) > SHOWN else ""
        message = (
            f"the network is no longer {what}: {'; '.join(said[:SHOWN])}{more}; change the number of "
            "classes with reset_classifier(network, N), other things in the config; "
            "torch.save(network.state_dict(), …) saves only the tensors"
        )
        raise ConfigError([Fault("save", message)])
    metadata = {
        "format": "pt",
        f"{MARK}version": FORMAT,
        f"{MARK}name": config.name,
        f"{MARK}plan_id": planned.id,
        f"{MARK}config": json.dumps(config.to_dict(), sort_keys=True),
    }
    if own := own_layer_origins(config):
        metadata[f"{MARK}layers"] = json.dumps(own, sort_keys=True)
    if folder is None:
        return write_weights_file(target, state, metadata)
    hub_folder.make_hub_folder(folder)
    write_weights_file(folder / hub_folder.WEIGHTS, state, metadata)
    ours = {key.removeprefix(MARK): text for key, text in metadata.items() if key.startswith(MARK)}
    hub_folder.write_hub_config_and_card(folder, network, planned, config, ours)
    return folder


def _is_folder(target: Path, text: str) -> bool:
    return target.expanduser().is_dir() or text.endswith(("/", os.sep))


def _transferred_plan_with_classes(network: Network, num_classes: int) -> Plan | None:
    """Return the plan of a network with other classes, whose classifier may have been replaced by hand."""
    if network.config is None or network.config.num_classes == num_classes:
        return None
    return run_planner(network.config.changed({"num_classes": num_classes}))


def load(file: str | Path, *, device: str | torch.device = "cpu") -> Network:
    """Load the network saved in `file` from that file alone: config and weights, bit for bit.

    `file` is a path, a URL or a hub name; of a folder, its model.safetensors, or the files its index lists,
    are read. The network is assembled on the meta device, and its tensors are
    memory-mapped: do not change the file while the network is in use. No code in the file is run. Like a
    built network, it is in training mode.

    Raises:
        ConfigError: the file is damaged, holds no config, or one that this version reads otherwise.
    """
    found = shards.read_file_or_shards(download_if_remote(path_or_name(file, "load()")), device=device)
    config, planned = _read_config_in_weights(found)
    with torch.device("meta"):
        network = assemble_network(planned)
    network.config = config
    fitted = adapt_checkpoint(network, found, OURS)
    if fitted.left or fitted.done:
        raise ConfigError([Fault("weights", f"'{found.file}': {line}") for line in fitted.done])
    _assign_transferred_tensors(network, fitted.tensors)
    return network


def config_in_weights(file: str | Path) -> schema.ModelConfig | None:
    """Return the config saved in a file of weights; None if it has none.

    Raises:
        ConfigError: the file cannot be read, or holds a config that this version reads otherwise.
    """
    found = shards.read_file_or_shards(download_if_remote(path_or_name(file, "config_in()")))
    return _read_config_in_weights(found)[0] if f"{MARK}config" in found.metadata else None


def _read_config_in_weights(found: Checkpoint) -> tuple[schema.ModelConfig, Plan]:
    """Return the config saved in a file of weights, and its plan."""

    def refuse(message: str) -> ConfigError:
        return ConfigError([Fault("weights", f"'{found.file}' {message}")])

    said = {key.removeprefix(MARK): value for key, value in found.metadata.items() if key.startswith(MARK)}
    if "config" not in said:
        raise refuse("holds no config; build the network it is for and load_weights into it")
    if said.get("version") != FORMAT:
        raise refuse(f"has format {said.get('version')!r}; this version reads {FORMAT!r}")
    text = said["config"]
    if len(text) > LIMITS[0]:
        raise refuse(f"has a config of {len(text)} characters; the limit is {LIMITS[0]}")
    own = said.get("layers", "{}")
    if missing := list(missing_own_layers(own)):
        raise ConfigError(Fault("weights", f"'{found.file}': {line}") for line in missing)
    try:
        config = pruning.read_pruned(
            json.loads(text), name=re.sub(r"[^\w.+-]", "", said.get("name", ""))[:100]
        )
        # A short list of layers with a huge number of repetitions would take hours to plan.
        if text.count(":") * sum(config.depths) > LIMITS[1]:
            raise refuse(f"has a config of {len(text)} characters for {sum(config.depths)} blocks: too many")
        planned = run_planner(config)
    except (ValueError, RecursionError) as error:
        raise refuse(f"has an invalid config: {error}") from None
    if planned.id != said.get("plan_id"):
        changed = "".join(f"; {line}" for line in changed_own_layers(own))
        raise refuse(
            f"was saved from a config that this version reads differently{changed}; build a network and "
            "load_weights"
        )
    return config, planned


def load_weights(
    network: Network, file: str | Path, *, keys: str | None = None, entry: str | None = None
) -> Report:
    """Copy the weights in `file` into `network`: either all of them, or none with a fault for each misfit.

    `file` is a path, a URL or a hub name (`hf-hub:timm/resnet50.a1_in1k`) of a checkpoint of ours, of
    torchvision, timm or pycls. `keys` is the key map for its names, if these are ambiguous (`none`: they
    are ours); `entry` is the mapping to read from a file that holds several.

    Raises:
        ConfigError: the file is damaged, or its tensors do not fit.
        TypeError: the network is wrapped.
    """
    _refuse_wrapped(network)
    found = shards.read_file_or_shards(download_if_remote(path_or_name(file, "load_weights()")), entry=entry)
    fitted = adapt_checkpoint(network, found, keys)
    if any(tensor.is_meta for tensor in network.state_dict().values()):
        if fitted.left:
            message = (
                f"no values for {', '.join(fitted.left)}, and the network on the meta device has none either"
            )
            raise ConfigError([Fault("weights", f"'{found.file}' has {message}")])
        _assign_transferred_tensors(network, fitted.tensors)
    else:
        network.load_state_dict(fitted.tensors, strict=False)
    return Report(found.file, len(fitted.tensors), fitted.left, fitted.keys, fitted.done)


def export(network: Network, file: str | Path, *, to: str | None = None, keys: str | None = None) -> Report:
    """Write the weights with another library's names: safetensors, or torch's format for `.pth` and `.pt`.

    `to` is the library (`timm`, `torchvision`, `pycls`), whose key map is chosen by the network's stem and
    modules; `keys` is the key map itself. Beside weights for timm in a file that timm looks for, such as
    `model.safetensors`, a config.json is written: `timm.create_model("local-dir:FOLDER", pretrained=True)`.

    Raises:
        ConfigError: no key map fits the network, or several do.
    """
    _refuse_wrapped(network)
    written = path_of(file, "export()")
    if faults := output_file_faults(written, "file", WEIGHTS) + timm_folder.timm_folder_config_faults(
        written
    ):
        raise ConfigError(faults)
    for name in (to, keys):
        if name is not None and not isinstance(name, str):
            raise TypeError(f"export() takes names of a library and of a key map, found {name!r}")
    state = network.state_dict()
    entry = (
        key_map.find_named_key_map(keys)
        if keys is not None
        else key_map.find_key_map(to or "", network.plan, list(state))
    )
    names = entry.names(network.plan, state)
    if names.unnamed:
        raise ConfigError(
            Fault("keys", f"{entry.name!r} has no name for {name!r}") for name in names.unnamed[:20]
        )
    tensors = {theirs: state[ours] for ours, theirs in names.theirs.items()}
    done = [f"names of {entry.library or 'another library'}, written with the key map {entry.name!r}"]
    if entry.bgr:
        stem = next(leaf.name for leaf in network.plan.leaves if isinstance(leaf.layer, Conv))
        theirs = names.theirs[f"{stem}.weight"]
        tensors[theirs] = tensors[theirs].flip(1)
        done.append(f"input channels of {theirs!r} converted from RGB to BGR")
    target = write_weights_file(written, tensors, {"format": "pt"})
    if entry.library == "timm" and (line := write_timm_config(target, network, names)):
        done.append(line)
    return Report(target, len(tensors), keys=entry.name, done=tuple(done))


def _refuse_wrapped(network: Network) -> None:
    if not isinstance(network, Network):
        raise TypeError("expected a network from build or create_model; pass the wrapped network itself")


def _size_text(state: Mapping[str, Tensor], name: str) -> str:
    return str(list(state[name].shape)) if name in state else "nothing"


def _tensor_shape(state: Mapping[str, Tensor], name: str) -> torch.Size | None:
    return state[name].shape if name in state else None


def _assign_transferred_tensors(network: Network, tensors: Mapping[str, Tensor]) -> None:
    """Assign `tensors` to the network without copying; unsaved buffers (fixed filters) come from the plan."""
    placed = {name: t if t.data_ptr() % ALIGNMENT == 0 else t.clone() for name, t in tensors.items()}
    network.load_state_dict(placed, strict=True, assign=True)
    if not any(buffer.is_meta for buffer in network.buffers()):
        return
    device = next(iter(tensors.values())).device
    for name, layer in network.plan.leaves:
        part = network.get_submodule(name)
        if any(buffer.is_meta for buffer in part.buffers()):
            for inner, fresh in zip(part.modules(), own_or_vocabulary_module(layer).modules(), strict=True):
                for key, buffer in fresh.named_buffers(recurse=False):
                    if getattr(inner, key).is_meta:
                        setattr(inner, key, buffer.to(device))
