"""Every named model, read straight from its YAML: hundreds in a second, where composing takes one each.

Reads the part of Hydra's defaults lists that model files use (a parent, `group: choice`,
`override group: choice`, `_self_`). A test holds the result equal to what Hydra composes.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from resnet_factory.config import pruning, schema
from resnet_factory.config.yaml_source import load
from resnet_factory.errors import ConfigError, Fault, suggest


class Catalogue:
    """The models in the shipped folder, read as quickly as can be, and in a user's own, composed in full."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = [folder / "model" for folder in folders]

    def names(self, pattern: str = "*") -> list[str]:
        """Names that match a glob pattern, or hold a word, in natural order (resnet18 before resnet101).

        Raises:
            ConfigError: none matches.
        """
        known = {file.stem for folder in self.folders for file in folder.glob("*.yaml")}
        # A word that is no name and no pattern is looked for anywhere in a name.
        plain = pattern not in known and not re.search(r"[*?\[]", pattern)
        found = sorted(fnmatch.filter(known, f"*{pattern}*" if plain else pattern), key=_natural)
        if not found:
            word = re.sub(r"^model=|[*?]", "", pattern)
            message = f"no model matches {pattern!r}{suggest(word, known)}; 'resnet-factory list' shows all"
            raise ConfigError([Fault("", message, f"command line '{pattern}'")])
        return found

    def group(self, group: str) -> list[str]:
        """The choices of a recipe group such as `block`."""
        return sorted({file.stem for folder in self.folders for file in folder.glob(f"{group}/*.yaml")})

    def config(self, name: str) -> schema.ModelConfig:
        """The config of one model as its files say it.

        Raises:
            ConfigError: the files are faulty.
        """
        if not (self.folders[0] / f"{name}.yaml").is_file():
            from resnet_factory.config.composition import compose_all

            return compose_all("config", [f"model={name}"], self.folders[-1].parent).model
        choices: dict[str, str | None] = {}
        data: dict[str, Any] = {}
        own = list(self._lineage(name, choices))
        chosen = {group: choice for group, choice in choices.items() if choice is not None}
        for group, choice in chosen.items():
            data[group] = self._load(f"{group}/{choice}")
        for part in own:
            data = _merged(data, part)
        examined = pruning.examine(data, name=name, titles=chosen, find=self._find)
        if examined.config is None:
            raise ConfigError(examined.faults)
        return examined.config

    def _lineage(self, name: str, chosen: dict[str, str | None]) -> Iterator[dict[str, Any]]:
        """The model files from the root parent to `name`, noting the groups chosen on the way."""
        data = dict(self._load(name))
        for entry in data.pop("defaults", ["_self_"]):
            if isinstance(entry, dict):
                (key, choice), *_ = entry.items()
                chosen[str(key).removeprefix("override ")] = choice
            elif entry != "_self_":
                yield from self._lineage(entry, chosen)
        yield data

    def _load(self, name: str) -> dict[str, Any]:
        for folder in self.folders:
            if (file := folder / f"{name}.yaml").is_file():
                return _parsed(file, file.stat().st_mtime_ns)
        raise ConfigError([Fault("", f"no file model/{name}.yaml")])

    def _find(self, group: str, name: str) -> Any:
        known = self.group(group)
        return known if not name else self._load(f"{group}/{name}") if name in known else None


@cache
def _parsed(file: Path, _changed: int) -> dict[str, Any]:
    data = load(file)
    assert isinstance(data, dict), f"{file} is no mapping"
    return data


def _merged(base: Mapping[str, Any], delta: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in delta.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _natural(name: str) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def catalogue(config_dir: str | None = None) -> Catalogue:
    """The shipped models, and those in a folder of the user's own.

    Raises:
        ConfigError: the folder does not exist.
    """
    from resnet_factory.config.composition import conf_dir, user_dir

    own = user_dir(config_dir)
    return Catalogue([Path(conf_dir()), *([own] if own else [])])
