"""One file of a config folder: its data, its defaults list, its package line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from resnet_factory.config.yaml_source import load_yaml, yaml_file_stamp

BLOCK = "model/block"
"""The config group in which a list of choices means one per stage."""


@dataclass(frozen=True, slots=True)
class DefaultsEntry:
    """One entry of a defaults list."""

    choice: Any
    """A file; for a group, the name of one of its files, a list of names, or None."""
    group: str = ""
    """Empty if the entry is the path of a file."""
    package: str | None = None
    optional: bool = False
    override: bool = False

    @classmethod
    def of(cls, entry: Any) -> DefaultsEntry:
        """Read a well-formed entry."""
        if isinstance(entry, str):
            path, at, package = entry.partition("@")
            return cls(path, package=package if at else None)
        (key, choice), *_ = entry.items()
        *words, group = key.split()
        group, at, package = group.partition("@")
        return cls(choice, group, package if at else None, "optional" in words, "override" in words)


@dataclass(frozen=True)
class ConfigFile:
    """One YAML file of a config folder; its data is shared and must not be changed."""

    name: str
    """Its path in the folder, without suffix."""
    path: Path
    own: bool
    """Whether it is the user's."""
    package: str | None
    """The key that its data is merged below, if its first lines have it (`# @package NAME`)."""
    data: Mapping[str, Any]
    """The keys that it adds to a configuration."""
    whole: Mapping[str, Any]
    """All data, with its defaults list and Hydra's own settings."""
    defaults: tuple[DefaultsEntry, ...]
    blocks: tuple[str, ...] = ()
    """One per stage, if its defaults list has a list of blocks."""


def read_config_file(name: str, path: Path, own: bool) -> ConfigFile:
    """Return the file at `path`, called `name`; it is read again only when it has changed.

    Raises:
        ConfigError: it cannot be read.
    """
    return _parse_config_file(name, path, own, yaml_file_stamp(path))


@lru_cache(maxsize=1024)
def _parse_config_file(name: str, path: Path, own: bool, _changed: tuple[int, int]) -> ConfigFile:
    whole = load_yaml(path)
    entries = [entry for entry in whole.get("defaults", ()) if "hydra/" not in str(entry)]
    defaults, blocks = [], ()
    for default in map(DefaultsEntry.of, entries):
        choice = default.choice
        group = path_in_config_folder(name.rpartition("/")[0], default.group)
        if isinstance(choice, list) and default.package is None and group == BLOCK:
            blocks, choice = tuple(choice), None
        defaults.append(replace(default, choice=choice))
    data = {key: value for key, value in whole.items() if key not in ("defaults", "hydra")}
    return ConfigFile(name, path, own, config_file_package(path), data, whole, tuple(defaults), blocks)


def path_in_config_folder(base: str, path: str) -> str:
    """Return the path, relative to the config folder, of a path in a file of the config group `base`."""
    return path[1:] if path.startswith("/") else f"{base}/{path}" if base and path else path or base


def config_file_package(file: Path) -> str | None:
    """Return the package of a `# @package NAME` line at the top of a file."""
    header = re.match(r"(?:\s*#[^\n]*\n)*?\s*#\s*@package\s+(\S+)", file.read_text(encoding="utf-8"))
    return header[1] if header else None
