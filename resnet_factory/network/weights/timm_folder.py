"""The config.json with which timm reads a folder of weights: timm.create_model("local-dir:FOLDER")."""

from __future__ import annotations

import json
from pathlib import Path

from resnet_factory.config.file_access import JSON, output_file_faults, write_whole_file
from resnet_factory.config.schema import ModelConfig
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.layers import Conv, Linear
from resnet_factory.network.weights.key_map import KeyMapNames
from resnet_factory.planning.models import compose, list_models
from resnet_factory.planning.network_plan import Plan
from resnet_factory.planning.nodes import leaves
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


def write_timm_config(file: Path, plan: Plan, config: ModelConfig | None, names: KeyMapNames) -> str:
    """Write config.json beside weights in timm's names, and return what was done, in a line.

    Source: `save_config_for_hf` of timm/models/_hub.py, whose fields timm reads back.

    Raises:
        ConfigError: it cannot be written.
    """
    beside = timm_folder_config(file)
    if beside is None:
        return ""
    if config is None or not _is_timm_folder_model(plan, config):
        return f"no {CONFIG_NAME}: the network is not the model that timm calls {plan.name!r}"
    stem = next(leaf.name for leaf in plan.leaves if isinstance(leaf.layer, Conv))
    ends = [leaf for leaf in leaves(plan.head) if isinstance(leaf.layer, Conv | Linear)]
    classes = ends[-1].layer.out_channels if ends else 0
    stated = {
        "architecture": plan.name,
        "num_classes": classes,
        "num_features": ends[-1].layer.channels if ends else plan.stages[-1].out_channels,
        "global_pool": "avg",
        "model_args": {"in_chans": plan.in_channels},
        "pretrained_cfg": {
            "num_classes": classes,
            "input_size": list(plan.image),
            "fixed_input_size": False,
            "interpolation": "bicubic",
            "crop_pct": 0.875,
            "mean": [0.485, 0.456, 0.406] if plan.in_channels == 3 else [0.5] * plan.in_channels,
            "std": [0.229, 0.224, 0.225] if plan.in_channels == 3 else [0.5] * plan.in_channels,
            "first_conv": _timm_folder_module_name(names, stem),
            "classifier": _timm_folder_module_name(names, ends[-1].name) if ends else None,
        },
    }
    try:
        write_whole_file(beside, json.dumps(stated, indent=2) + "\n")
    except OSError as error:
        raise ConfigError([Fault("file", f"'{beside}' cannot be written: {error}")]) from None
    return f"{beside}, for timm.create_model('local-dir:{file.parent}')"


def _timm_folder_module_name(names: KeyMapNames, ours: str) -> str:
    """Return timm's name of a module."""
    return names.theirs[f"{ours}.weight"].removesuffix(".weight")


def _is_timm_folder_model(plan: Plan, config: ModelConfig) -> bool:
    """Return whether a network is the shipped model of its name, but for classes and input channels."""
    if plan.name not in list_models():
        return False
    free = {key: value for key, value in config.to_dict().items() if key in FREE}
    try:
        return planned(compose(plan.name).changed(free)) == plan
    except ConfigError:
        return False
