"""Our models in timm's registry: importing this makes them `timm.create_model("rf_NAME")`.

timm allows neither `/` nor `:` in the name of a registered model, and takes what follows a dot for the tag of
its weights; hence the prefix `rf_`. The tools that build timm's models by name then build ours, too.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import torch
from timm.models import is_model, register_model

from resnet_factory.config.model_index import index_models
from resnet_factory.layers import axis_entry
from resnet_factory.network.builder import build
from resnet_factory.network.network import Network
from resnet_factory.planning.anatomy import feature_info, image_normalisation
from resnet_factory.planning.models import compose, list_models, plan

__all__ = ["register"]
PREFIX = "rf_"
default_cfgs: dict[str, dict[str, Any]] = {}
"""Registered name -> image settings, which timm's registry reads here."""


def register(*names: str, config_dir: str | Path | None = None) -> list[str]:
    """Register models with timm, and return the names they have there; without names, all of a folder's own.

    `config_dir` is a folder of your own YAML. Characters that timm's names cannot have become `_`.

    Raises:
        ConfigError: there is no such model, or its YAML is invalid.
    """
    folder = None if config_dir is None else str(config_dir)
    chosen = names or [name for name in list_models(config_dir=folder) if not is_model(_timm_registry(name))]
    return [_register_one_in_timm(name, folder) for name in chosen]


def _timm_registry(name: str) -> str:
    return PREFIX + re.sub(r"\W", "_", name)


def _register_one_in_timm(name: str, config_dir: str | None) -> str:
    config = index_models().config(name) if config_dir is None else compose(name, config_dir=config_dir)
    mean, std = image_normalisation(config)
    theirs = _timm_registry(name)
    default_cfgs[theirs] = {
        "input_size": (
            config.in_channels,
            *(axis_entry(config.image_size, axis) for axis in range(config.dims)),
        ),
        "mean": mean,
        "std": std,
        "num_classes": config.num_classes,
    }
    create = _timm_entry_point(name, config_dir)
    create.__name__ = create.__qualname__ = theirs
    setattr(sys.modules[__name__], theirs, create)
    register_model(create)
    return theirs


def _timm_entry_point(name: str, config_dir: str | None) -> Callable[..., Network]:
    """Return the function by which timm creates a model; its arguments are those of timm's models."""

    def create(
        pretrained: bool = False,
        pretrained_cfg: Any = None,
        pretrained_cfg_overlay: Mapping[str, Any] | None = None,
        cache_dir: str | Path | None = None,
        num_classes: int | None = None,
        in_chans: int | None = None,
        img_size: int | Iterable[int] | None = None,
        output_stride: int | None = None,
        drop_path_rate: float = 0.0,
        drop_rate: float = 0.0,
        global_pool: str | None = None,
        features_only: bool = False,
        out_indices: int | Iterable[int] | None = None,
        feature_cls: str = "list",
        overrides: Iterable[str] = (),
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> Network:
        """Create the model; `overrides` are changes of its YAML in Hydra's grammar.

        Raises:
            ConfigError: with every fault in the configuration.
            ValueError: an argument is determined by the recipes, or asks for pretrained weights.
        """
        if pretrained:
            raise ValueError(
                f"{_timm_registry(name)} has no pretrained weights; load some with checkpoint_path=FILE"
            )
        for key, value in (("drop_rate", drop_rate), ("global_pool", global_pool)):
            if value:
                raise ValueError(
                    f"{key} is part of the head's recipe; change that: overrides=['model/head=…']"
                )
        words = list(overrides)
        words += [f"model.image_size={_timm_list_text(img_size)}"] if img_size is not None else []
        words += [f"model.output_stride={output_stride}"] if output_stride not in (None, 32) else []
        if drop_path_rate:
            words += ["model/drop_path=linear", f"model.drop_path.rate={drop_path_rate}"]

        def composed(features: list[str] | None) -> Any:
            return compose(
                name,
                overrides=words,
                config_dir=config_dir,
                num_classes=num_classes,
                in_channels=in_chans,
                features=features,
            )

        features = _timm_features(composed(None), out_indices) if features_only else None
        outputs: Any = feature_cls if features_only else "dict"
        network = build(composed(features), device=device, outputs=outputs)
        given = asdict(pretrained_cfg) if is_dataclass(pretrained_cfg) else pretrained_cfg  # type: ignore[arg-type]
        settings = dict(given) if isinstance(given, Mapping) else {}
        settings |= pretrained_cfg_overlay or {}
        if settings := {key: value for key, value in settings.items() if value is not None}:
            network.pretrained_cfg = network.pretrained_cfg | settings
        return network if dtype is None else network.to(dtype)

    return create


def _timm_features(config: Any, out_indices: int | Iterable[int] | None) -> list[str]:
    """Return the names of the maps at some places of `feature_info`; the last ones for a number, else all."""
    names: list[str] = feature_info(plan(config)).module_name()
    if out_indices is None:
        return names
    if isinstance(out_indices, int):
        return names[-out_indices:]
    # The places that timm takes by itself are those of five maps.
    return [names[i] for i in out_indices if i < len(names)]


def _timm_list_text(size: int | Iterable[int]) -> str:
    return str(size) if isinstance(size, int) else f"[{','.join(map(str, size))}]"


register()
