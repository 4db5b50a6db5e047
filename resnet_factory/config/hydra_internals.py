"""All private parts of Hydra that this package uses.

If Hydra changes them, these break: running a multirun in this process and reading Hydra's own settings
(`Hydra`); refusing settings that run code and composing each job once (`ConfigLoaderImpl`); the list of
allowed launchers and sweepers (`ConfigRepository`); the key and the name of a model that another
application mounts (`_get_full_key`, `_get_root`). Composing without Hydra's flags is not affected.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigSource
from omegaconf import DictConfig, OmegaConf

OWN = "command-line"
"""Hydra's provider name for the user's own folder."""


def hydra_search_path(shipped: str, own: Path | None) -> ConfigSearchPath:
    """Return Hydra's search path: the user's folder, the shipped one, and its own."""
    search = create_config_search_path(shipped)
    if own is not None:
        search.prepend(OWN, f"file://{own}", SearchPathQuery(provider="schema"))
    return search


def hydra_config_data(group: str) -> Iterator[Any]:
    """Yield the data of the configs of Hydra and its plugins in a group and its subgroups."""
    Plugins.instance()  # lets each installed plugin register its configs
    for source in ConfigRepository(create_config_search_path(None)).get_sources():
        yield from _hydra_config_data(source, group)


def _hydra_config_data(source: ConfigSource, group: str) -> Iterator[Any]:
    if source.available() and source.is_group(group):
        for name in source.list(group, ObjectType.CONFIG):
            yield OmegaConf.to_container(source.load_config(f"{group}/{name}").config, resolve=False)
        for name in source.list(group, ObjectType.GROUP):
            yield from _hydra_config_data(source, f"{group}/{name}")


def key_of(node: Any) -> str:
    """Return the dotted key of a node in its configuration; empty for a whole configuration."""
    return str(node._get_full_key(None))


def running_settings(node: Any) -> dict[str, Any]:
    """Return Hydra's own settings of the job that composed a node; empty if it did not run one."""
    root = node._get_root()
    settings = root.get("hydra") if isinstance(root, DictConfig) else None
    if settings is None and HydraConfig.initialized():
        settings = HydraConfig.instance().cfg.hydra  # type: ignore[union-attr]
    found = OmegaConf.to_container(settings, resolve=False) if isinstance(settings, DictConfig) else {}
    return found if isinstance(found, dict) else {}  # type: ignore[return-value]


def running_sources() -> list[tuple[str, str]]:
    """Return the search path of the application that runs: (`file` or `pkg`, folder or package)."""
    if HydraConfig.initialized():
        return [(source.schema, source.path) for source in HydraConfig.get().runtime.config_sources]
    if GlobalHydra.instance().is_initialized():
        sources = GlobalHydra.instance().config_loader().get_sources()
        return [(source.scheme(), source.path) for source in sources]
    return []


__all__ = [
    "OWN",
    "ConfigLoaderImpl",
    "Hydra",
    "hydra_config_data",
    "hydra_search_path",
    "key_of",
    "running_settings",
    "running_sources",
]  # fmt: skip
