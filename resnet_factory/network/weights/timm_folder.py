"""The config.json with which timm reads a folder of weights: timm.create_model("local-dir:FOLDER")."""

from __future__ import annotations

import json
from pathlib import Path

from resnet_factory.config.file_access import JSON, output_file_faults, write_whole_file
from resnet_factory.config.schema import ModelConfig
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.network.network import Network
from resnet_factory.network.weights.key_map import KeyMapNames
from resnet_factory.planning.anatomy import pretrained_cfg
from resnet_factory.planning.models import compose, list_models
from resnet_factory.planning.network_plan import Plan
from resnet_factory.planning.planner import run_planner as planned

WEIGHTS_NAMES = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth")
"""Names of files of weights that timm looks for in a folder."""
CONFIG_NAME = "config.json"
FREE = ("num_classes", "in_channels")
"""Fields that may differ from the named model's: timm takes them as arguments."""


def timm_folder_config(file: Path) -> Path | None:
    """Return the config.json beside a file of weights that timm looks for; None for other names."""
    return file.with_name(CONFIG_NAME) if file.name in WEIGHTS_NAMES else None


def timm_folder_config_faults(file: Path) -> list[Fault]:
    """Return the faults of writing config.json beside a file of weights."""
    beside = timm_folder_config(file)
    return [] if beside is None else output_file_faults(beside, "file", JSON)


def write_timm_config(file: Path, network: Network, names: KeyMapNames) -> str:
    """Write config.json beside weights in timm's names, and return what was done, in a line.

    Source: `save_config_for_hf` of timm/models/_hub.py, whose fields timm reads back. The settings of images
    are the network's `pretrained_cfg`.

    Raises:
        ConfigError: it cannot be written.
    """
    beside = timm_folder_config(file)
    if beside is None:
        return ""
    plan = network.plan
    if network.config is None or not _is_timm_folder_model(plan, network.config):
        return f"{CONFIG_NAME} not written: the network is not the model that timm calls {plan.name!r}"
    settings = pretrained_cfg(plan) | network.pretrained_cfg
    settings |= {key: _timm_folder_module_name(names, settings[key]) for key in ("first_conv", "classifier")}
    stated = {
        "architecture": plan.name,
        "num_classes": network.num_classes,
        "num_features": network.head_hidden_size,
        "global_pool": "avg",
        "model_args": {"in_chans": plan.in_channels},
        "pretrained_cfg": settings,
    }
    try:
        write_whole_file(beside, json.dumps(stated, indent=2) + "\n")
    except OSError as error:
        raise ConfigError([Fault("file", f"'{beside}' cannot be written: {error}")]) from None
    return f"{beside}, for timm.create_model('local-dir:{file.parent}')"


def _timm_folder_module_name(names: KeyMapNames, ours: str | None) -> str | None:
    """Return timm's name of a module."""
    return ours and names.theirs[f"{ours}.weight"].removesuffix(".weight")


def _is_timm_folder_model(plan: Plan, config: ModelConfig) -> bool:
    """Return whether a network is the shipped model of its name, but for classes and input channels."""
    if plan.name not in list_models():
        return False
    free = {key: value for key, value in config.to_dict().items() if key in FREE}
    try:
        return planned(compose(plan.name).changed(free)) == plan
    except ConfigError:
        return False
