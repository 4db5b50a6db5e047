"""Named models: composed, checked and planned from a name, a config or a plan."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from resnet_factory.config.model_index import catalogue
from resnet_factory.config.schema import ModelConfig
from resnet_factory.errors import ConfigError
from resnet_factory.planning.planner import plan


def compose(name: str, *overrides: str, config_dir: str | Path | None = None) -> ModelConfig:
    """The config of the model called `name`, changed by `overrides` in Hydra's grammar.

    `config_dir` is a folder of the caller's own YAML, laid out like the shipped `conf/`.

    Raises:
        ConfigError: with every fault found, those of planning too, each located in its file or override.
    """
    if not overrides and config_dir is None:
        with suppress(ConfigError):  # which composing locates
            return catalogue().config(name)  # the same, many times quicker
    from resnet_factory.config.composition import compose_all

    return compose_all("config", [f"model={name}", *overrides], config_dir, verify=plan).model
