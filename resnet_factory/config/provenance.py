"""The source of each key of a composed configuration: the line of a file, or an override."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from resnet_factory.config.library import Library, LibraryFiles
from resnet_factory.config.override_grammar import Override, override_location
from resnet_factory.config.overrides import Overrides
from resnet_factory.config.yaml_source import yaml_position
from resnet_factory.errors import Fault, unknown


class ProvenanceLine(NamedTuple):
    """The line of a file that contains a key."""

    file: Path
    keys: list[str]
    """The key as in the file."""
    inherited: bool
    """Whether it is a shipped file that the user did not choose for this key."""

    def __str__(self) -> str:
        return yaml_position(self.file, self.keys)


class Provenance:
    """The sources of the keys of one configuration; looked up only for faults."""

    def __init__(
        self, library: Library, base: LibraryFiles, given: Overrides, data: Mapping[str, Any]
    ) -> None:
        self.library = library
        self.base = base
        self.given = given
        self.data = data

    def locate(self, fault: Fault) -> Fault:
        """Return the same fault with the location of its key."""
        if fault.where:
            return fault
        keys = fault.path.split(".")
        written = self._written(keys)
        if isinstance(written, ProvenanceLine) and written.inherited:
            blamed = self._blamed(keys)
            where = override_location(blamed) if blamed else self._chosen(keys) or str(written)
        else:
            where = override_location(written) if isinstance(written, Override) else str(written or "")
        return replace(fault, where=where)

    def inherited(self, path: str) -> bool:
        """Return whether a key and all keys below it come from shipped files that the user did not choose."""
        keys = path.split(".")
        written = self._written(keys)
        if not isinstance(written, ProvenanceLine) or not written.inherited or self._is_chosen(keys):
            return False
        return not self._changed_inside(keys)

    def blame(self, fault: Fault) -> Fault:
        """Return the fault; if it may be reported for either of two keys, for the one the user wrote."""
        other = fault.instead
        if other is not None and self.inherited(fault.path) and not self.inherited(other.path):
            return other
        return fault

    def _changed_inside(self, keys: list[str]) -> bool:
        """Return whether an override or a user's file sets something below a key."""
        if any(override.key.split(".")[: len(keys)] == keys for override in self.given.values):
            return True
        for package, file in self.base.files:
            inside = package.split(".") if package else []
            if file.own and keys[: len(inside)] == inside:
                own = keys[len(inside) :]
                if _provenance_depth(file.whole, own) == len(own):
                    return True
        return False

    def _choice(self, keys: Sequence[str]) -> Override | None:
        """Return the override by which the user chose the recipe at a key of the model."""
        return next(
            (choice for choice in reversed(self.given.choices) if choice.key == f"model/{keys[1]}"), None
        )

    def _is_chosen(self, keys: Sequence[str]) -> bool:
        if len(keys) != 2 or keys[0] != "model":
            return False
        return self._choice(keys) is not None or self.library.chosen_by(keys[1]) is not None

    def _chosen(self, keys: Sequence[str]) -> str:
        """Return the override or defaults entry by which the user chose the recipe at a key of the model."""
        if len(keys) != 2 or keys[0] != "model":
            return ""
        choice = self._choice(keys)
        return override_location(choice) if choice else self.library.chooser(keys[1])

    def _written(self, keys: list[str]) -> Override | ProvenanceLine | None:
        """Return the override or the line that last set a key."""
        if (named := self._by_name(keys)) is not None:
            return named
        for override in reversed(self.given.values):
            written = override.key.split(".")
            if keys[: len(written)] == written:
                return override
        for override in self.given.choices:
            moved = override.package.split(".") if override.package else None
            if moved == keys or (override.operation == "delete" and override.key.split("/") == keys):
                return override
        best, found = -1, None
        for package, file in self.base.files:
            inside = package.split(".") if package else []
            if keys[: len(inside)] == inside:
                own = keys[len(inside) :]
                depth = len(inside) + _provenance_depth(file.whole, own)
                if depth >= best:
                    best, found = depth, ProvenanceLine(file.path, own, not file.own)
        if best < len(keys):  # not in any file: an override of a key below created it
            for override in self.given.values:
                if override.key.split(".")[: len(keys)] == keys:
                    return override
        return found

    def _blamed(self, keys: list[str]) -> Override | None:
        """Return the override closest to a key of a shipped recipe, because shipped recipes are valid."""
        for depth in range(len(keys), 1, -1):
            for override in reversed(self.given.values):
                if override.key.split(".")[:depth] == keys[:depth]:
                    return override
        return None

    def _by_name(self, keys: list[str]) -> ProvenanceLine | None:
        """Return the line of a key in a recipe given by name, as in `block: [basic, mine]`."""
        value: Any = self.data
        for i, key in enumerate(keys):
            if isinstance(value, str) and i > 1:
                file = self.library.file(f"model/{keys[1]}/{value}")
                return ProvenanceLine(file, keys[i:], False) if file else None
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
            if file.own:
                continue
            if package:  # a group adds the key of its own name, not that of another package
                keys |= {package.split(".")[0]} & {file.name.split("/")[0]}
            else:
                keys |= file.data.keys()
        return sorted(keys)

    def stray(self, key: str) -> str:
        """Return the message for a top-level key that nothing reads."""
        elsewhere = [f"model.{key}"] if key in self.data.get("model", {}) else []
        elsewhere = [f"model/{key}"] if f"model/{key}" in self.base.choices else elsewhere
        message = unknown("key", key, self.keys)
        if not elsewhere:
            return message
        return f"{message.partition('; did you mean')[0]}; did you mean {elsewhere[0]!r}?"


def _provenance_depth(data: Any, keys: Sequence[str]) -> int:
    """Return how many of `keys` a file's data contains."""
    for depth, key in enumerate(keys):
        if isinstance(data, Mapping) and key in data:
            data = data[key]
        elif isinstance(data, list) and key.isdigit() and int(key) < len(data):
            data = data[int(key)]
        elif isinstance(data, (Mapping, list)) or str(data) != key:
            return depth  # but `- norm` means `- norm: {}`
    return len(keys)


def provenance_paths(data: Any, above: str = "") -> Iterator[str]:
    """Yield every dotted key of plain data."""
    for key, value in data.items() if isinstance(data, Mapping) else ():
        path = f"{above}.{key}" if above else str(key)
        yield path
        yield from provenance_paths(value, path)
