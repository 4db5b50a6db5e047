"""Where each key of one composed configuration was written: a line of a file, or an override."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from resnet_factory.config import overrides
from resnet_factory.config.overrides import Overrides
from resnet_factory.config.repository import Base, Library, conf_dir
from resnet_factory.config.yaml_source import at, load, position, shown, spelled, tree
from resnet_factory.errors import Fault, unknown


class Origin:
    """Locates the faults of one composed configuration."""

    def __init__(self, library: Library, base: Base, given: Overrides, data: Mapping[str, Any]) -> None:
        self.library = library
        self.base = base
        self.given = given
        self.data = data

    def locate(self, fault: Fault) -> Fault:
        """The same fault, with where its key was written."""
        if fault.where:
            return fault
        keys = fault.path.split(".")
        where, ours = self._written(keys)
        return replace(fault, where=(self._blamed(keys) or self._chosen(keys) if ours else "") or where)

    def inherited(self, path: str) -> bool:
        """Return whether a key and all below it come from shipped files that nobody chose for it."""
        keys = path.split(".")
        return not self._chosen(keys) and self._written(keys)[1] and not self._changed_inside(keys)

    def blame(self, fault: Fault) -> Fault:
        """The fault, told of the key that the user wrote where it could be told of two."""
        other = fault.instead
        if other is not None and self.inherited(fault.path) and not self.inherited(other.path):
            return other
        return fault

    def _changed_inside(self, keys: list[str]) -> bool:
        """Return whether an override or a user's file says something below a key."""
        if any(override.key_or_group.split(".")[: len(keys)] == keys for override in self.given.values):
            return True
        return any(
            keys[: len(inside)] == inside and spelled(node, keys[len(inside) :])[0] == len(keys) - len(inside)
            for inside, file, node in self.trees
            if not file.is_relative_to(conf_dir())
        )

    def _chosen(self, keys: list[str]) -> str:
        """The override or defaults entry by which the user chose the recipe at a key of the model."""
        if len(keys) != 2 or keys[0] != "model":
            return ""
        for override in reversed(self.given.choices):
            if override.key_or_group == f"model/{keys[1]}":
                return overrides.where(override)
        return self.library.chooser(keys[1])

    def _written(self, keys: list[str]) -> tuple[str, bool]:
        """Where a key was last written, and whether that is a shipped file."""
        if (named := self._by_name(keys)) is not None:
            return named, False
        for override in reversed(self.given.values):
            written = override.key_or_group.split(".")
            if keys[: len(written)] == written:
                return overrides.where(override), False
        for override in self.given.choices:
            moved = override.package.split(".") if override.package else None
            if moved == keys or (override.is_delete() and override.key_or_group.split("/") == keys):
                return overrides.where(override), False
        best, found, mark = -1, None, None
        for inside, file, node in self.trees:
            if keys[: len(inside)] == inside:
                depth, here = spelled(node, keys[len(inside) :])
                if len(inside) + depth >= best:
                    best, found, mark = len(inside) + depth, file, here
        if best < len(keys):  # no file spells it: an override made it on the way to a key below
            for override in self.given.values:
                if override.key_or_group.split(".")[: len(keys)] == keys:
                    return overrides.where(override), False
        if found is None:
            return "", False
        return at(found, mark) if mark else f"{shown(found)}:1:1", found.is_relative_to(conf_dir())

    def _blamed(self, keys: list[str]) -> str:
        """Which override made a recipe of ours wrong, which is right as it stands: the nearest in it."""
        for depth in range(len(keys), 1, -1):
            for override in reversed(self.given.values):
                if override.key_or_group.split(".")[:depth] == keys[:depth]:
                    return overrides.where(override)
        return ""

    @cached_property
    def trees(self) -> list[tuple[list[str], Path, Any]]:
        """Where each file's data goes, the file, and its nodes; later ones win."""
        return [
            (package.split(".") if package else [], file, tree(file)) for package, file in self.base.files
        ]

    def _by_name(self, keys: list[str]) -> str | None:
        """Of a key inside a recipe that a value calls by name, as `block: [basic, mine]` does: its file."""
        value: Any = self.data
        for i, key in enumerate(keys):
            if isinstance(value, str) and i > 1:
                file = self.library.file(f"model/{keys[1]}/{value}")
                return position(file, keys[i:]) if file else None
            if isinstance(value, dict):
                value = value.get(key)
            elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
                value = value[int(key)]
            else:
                return None
        return None

    @cached_property
    def keys(self) -> list[str]:
        """The top-level keys that the command's own files declare."""
        keys = {"model"}
        for package, file in self.base.files:
            if not file.is_relative_to(conf_dir()):
                continue
            if package:  # a group brings the key of its own name, not one it was moved to
                keys |= {package.split(".")[0]} & {file.relative_to(conf_dir()).parts[0]}
            else:
                keys |= set(load(file) or {}) - {"defaults", "hydra"}
        return sorted(keys)

    def stray(self, key: str) -> str:
        """What to say of a top-level key that nothing reads."""
        elsewhere = [f"model.{key}"] if key in self.data.get("model", {}) else []
        elsewhere = [f"model/{key}"] if f"model/{key}" in self.base.choices else elsewhere
        message = unknown("key", key, self.keys)
        if not elsewhere:
            return message
        return f"{message.partition('; did you mean')[0]}; did you mean {elsewhere[0]!r}?"


def paths(data: Any, above: str = "") -> Iterator[str]:
    """Every dotted key of plain data."""
    for key, value in data.items() if isinstance(data, Mapping) else ():
        path = f"{above}.{key}" if above else str(key)
        yield path
        yield from paths(value, path)
