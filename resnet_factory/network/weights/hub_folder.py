"""Folders in the layout of Hugging Face's hub: weights, config.json and a model card; and their upload."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from resnet_factory.config.file_access import write_whole_file
from resnet_factory.config.schema import ModelConfig
from resnet_factory.errors import ConfigError, Fault, install_hint, shown
from resnet_factory.network.network import Network
from resnet_factory.network.weights.shards import CONFIG, ENTRY
from resnet_factory.planning.network_plan import Plan
from resnet_factory.reporting.columns import ColumnSelection
from resnet_factory.reporting.cost_report import cost
from resnet_factory.reporting.tables import markdown_table

WEIGHTS = "model.safetensors"
CARD = "README.md"
SHOWN = ("name", "kind", "depth", "output", "params", "macs", "activations")
"""Columns of the table in a model card."""


def hub_config_entries(network: Network, config: ModelConfig, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the content of a config.json: timm's entries, and under `resnet_factory` the whole config."""
    return {
        "library_name": "resnet-factory",
        "architecture": config.name,
        "num_classes": network.num_classes,
        "num_features": network.num_features,
        "pretrained_cfg": network.pretrained_cfg,
        ENTRY: {key: json.loads(value) if value[:1] == "{" else value for key, value in metadata.items()},
    }


def model_card(network: Network, plan: Plan) -> str:
    """Return a model card, in Markdown after the hub's YAML header: use, cost by stage, image settings."""
    counted = cost(plan, plan.image)
    settings = network.pretrained_cfg
    task = "image-classification" if network.num_classes else "image-feature-extraction"
    name = plan.name or "network"
    return f"""\
---
library_name: resnet-factory
pipeline_tag: {task}
tags:
- resnet-factory
- {task}
---
# {name}

A network built from YAML by resnet-factory; plan `{plan.id}`.

```python
import resnet_factory as rf

network = rf.load("hf-hub:OWNER/NAME").eval()  # or the folder's path: config and weights
```

{markdown_table(counted, ColumnSelection("stage", SHOWN))}

{_hub_card_images_text(settings)}
"""


def _hub_card_images_text(settings: Mapping[str, Any]) -> str:
    size = "x".join(map(str, settings["input_size"]))
    mean, std = (", ".join(f"{value:.4g}" for value in settings[key]) for key in ("mean", "std"))
    return f"Images: {size}, mean {mean}, standard deviation {std}."


def write_hub_config_and_card(
    folder: Path, network: Network, plan: Plan, config: ModelConfig, metadata: Mapping[str, str]
) -> None:
    """Write config.json, and a model card unless there is one, into a folder of weights.

    Raises:
        ConfigError: one cannot be written.
    """
    entries = hub_config_entries(network, config, metadata)
    try:
        write_whole_file(folder / CONFIG, json.dumps(entries, indent=2, sort_keys=True) + "\n")
        if not (folder / CARD).exists():
            write_whole_file(folder / CARD, model_card(network, plan))
    except OSError as error:
        raise ConfigError([Fault("save", f"'{folder}' cannot be written: {error}")]) from None


def make_hub_folder(folder: Path) -> None:
    """Make a folder, and those above it.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError([Fault("save", f"'{folder}' cannot be made: {error.strerror}")]) from None


def folder_faults(folder: Path) -> list[Fault]:
    """Return the faults of writing into a folder, which need not exist: its config.json is another's."""
    try:
        text = (folder / CONFIG).read_text(encoding="utf-8") if (folder / CONFIG).exists() else ""
    except (OSError, ValueError) as error:
        return [Fault("save", f"'{folder}' cannot be written: {error}")]
    if text and f'"{ENTRY}"' not in text:
        return [
            Fault(
                "save",
                f"'{folder / CONFIG}' already exists and belongs to another library; choose another folder",
            )
        ]
    return []


def push_to_hub(
    network: Network,
    name: str,
    *,
    config: ModelConfig | None = None,
    private: bool = False,
    token: str | None = None,
    message: str = "Upload a network of resnet-factory",
) -> str:
    """Upload a network to the hub's repository `name` (owner/name), created if needed; return its URL.

    The files are those of `save` into a folder; the model card of a repository that has one is kept.

    Raises:
        ConfigError: huggingface_hub is not installed, or `save` refuses the network.
        TypeError: `name` is not a string.
        ValueError: it is not of the form owner/name.
    """
    if not isinstance(name, str):
        raise TypeError(f"push_to_hub() takes the name of a repository, as 'me/network', found {shown(name)}")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise ValueError(f"expected the name of a repository, as 'me/network', found {name!r}")
    if find_spec("huggingface_hub") is None:
        raise ConfigError([Fault("push_to_hub", f"needs huggingface_hub; {install_hint('hub')}")])
    from huggingface_hub import HfApi

    from resnet_factory.network.weights.transfer import save

    hub = HfApi(token=token)
    with TemporaryDirectory() as folder:
        if config is None:
            save(network, Path(folder))
        else:
            save(network, config, Path(folder))
        hub.create_repo(name, private=private, exist_ok=True)
        kept = [CARD] if hub.file_exists(name, CARD) else None
        hub.upload_folder(repo_id=name, folder_path=folder, commit_message=message, ignore_patterns=kept)
    return f"{hub.endpoint}/{name}"
