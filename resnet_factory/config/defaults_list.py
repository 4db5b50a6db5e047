"""Defaults lists by Hydra's rules: the files of a configuration, and the key below which each one goes.

An entry is a file (`resnet18`), a choice of a config group (`stem: deep`; several in a list, null for none),
the same with `override` or `optional` before it, and `_self_`; each may go below its own key (`@package`).
A test holds the result against Hydra's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from resnet_factory.config.override_grammar import Override
from resnet_factory.config.yaml_source import load, stamp
from resnet_factory.errors import one_of

BLOCK = "model/block"
"""The one config group of which a list of choices is one for each stage."""


@dataclass(frozen=True, slots=True)
class Default:
    """One entry of a defaults list."""

    choice: Any
    """A file; of a group, the name of one of its files, a list of them, or None."""
    group: str = ""
    """Empty where a file is named by its path."""
    package: str | None = None
    optional: bool = False
    override: bool = False

    @classmethod
    def of(cls, entry: Any) -> Default:
        """Read an entry that has the form of one."""
        if isinstance(entry, str):
            path, at, package = entry.partition("@")
            return cls(path, package=package if at else None)
        (key, choice), *_ = entry.items()
        *words, group = key.split()
        group, at, package = group.partition("@")
        return cls(choice, group, package if at else None, "optional" in words, "override" in words)


@dataclass(frozen=True)
class ConfigFile:
    """One YAML file of a config folder; its data is shared, and not to be changed."""

    name: str
    """Its path in the folder, without its ending."""
    path: Path
    package: str | None
    """The key below which its data goes, where its first lines say it (`# @package NAME`)."""
    data: Mapping[str, Any]
    """The keys that a configuration gets."""
    whole: Mapping[str, Any]
    """All of it, with its defaults list and Hydra's own settings."""
    defaults: tuple[Default, ...]
    blocks: tuple[str, ...] = ()
    """One for each stage, where its defaults list says so."""


def config_file(name: str, path: Path) -> ConfigFile:
    """Return the file at `path`, called `name`; it is read again only when it has changed.

    Raises:
        ConfigError: it cannot be read.
    """
    return _config_file(name, path, stamp(path))


@lru_cache(maxsize=1024)
def _config_file(name: str, path: Path, _changed: tuple[int, int]) -> ConfigFile:
    whole = load(path)
    entries = [entry for entry in whole.get("defaults", ()) if "hydra/" not in str(entry)]
    defaults, blocks = [], ()
    for default in map(Default.of, entries):
        choice = default.choice
        if isinstance(choice, list) and default.package is None and _absolute(default, name) == BLOCK:
            blocks, choice = tuple(choice), None
        defaults.append(replace(default, choice=choice))
    data = {key: value for key, value in whole.items() if key not in ("defaults", "hydra")}
    return ConfigFile(name, path, package_line(path), data, whole, tuple(defaults), blocks)


def _absolute(default: Default, name: str) -> str:
    return _Node(default, name.rpartition("/")[0], "").group


def package_line(file: Path) -> str | None:
    """Return what a `# @package NAME` line at a file's top says."""
    header = re.match(r"(?:\s*#[^\n]*\n)*?\s*#\s*@package\s+(\S+)", file.read_text(encoding="utf-8"))
    return header[1] if header else None


class DefaultsError(Exception):
    """Raised for defaults lists that do not fit together."""

    def __init__(
        self, message: str, key: str = "", config: str = "", advice: tuple[str, str] = ("", "")
    ) -> None:
        super().__init__(message)
        self.key = key
        """The override key that it is about."""
        self.config = config
        """The file that says it."""
        self.advice = advice
        """What to do where an override says it, and where a file does."""


class MissingFileError(DefaultsError):
    """Raised for a file that a defaults list names and that is not there; the message is its name."""


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a configuration, below the dotted key `package`."""

    file: ConfigFile
    package: str
    key: str = ""
    """The override key of the group that it is chosen from, where it has no defaults list itself."""


@dataclass(frozen=True, slots=True)
class _Node:
    """An entry where it stands: below the config group `base` and the dotted key `above`."""

    entry: Default
    base: str
    above: str

    @property
    def config(self) -> str:
        """The name of its file."""
        if self.entry.group:
            return f"{self.group}/{self.entry.choice}"
        return self._below_base(self.entry.choice)

    @property
    def group(self) -> str:
        """Its config group, from the top."""
        return self._below_base(self.entry.group) if self.entry.group else self.config.rpartition("/")[0]

    def _below_base(self, path: str) -> str:
        return path[1:] if path.startswith("/") else f"{self.base}/{path}".lstrip("/") if path else self.base

    @property
    def key(self) -> str:
        """The key by which an override finds it: `model/stem`, or `model/stem@package` where it was moved."""
        package, group = self.package(None), self.group
        return group if package == group.replace("/", ".") else f"{group}@{package or '_global_'}"

    def package(self, line: str | None) -> str:
        """Return the dotted key below which its data goes, `line` being what its file says of that."""
        package = self.entry.package
        if package is None and line is not None:
            package = f"_global_.{line}"
        elif package is None:
            relative = self.entry.group or self.entry.choice.rpartition("/")[0]
            package = relative.removeprefix("/").replace("/", ".")
        elif package == "_here_":
            package = ""
        elif "_group_" in package:
            package = f"_global_.{package.replace('_group_', self.group.replace('/', '.'))}"
        joined = ".".join(part for part in (self.above, package) if part)
        _, is_global, below = joined.rpartition("_global_")
        return below[1:] if is_global else joined


@dataclass
class _Choice:
    """A choice that replaces the one of a defaults list."""

    choice: Any
    by: str
    """The file that makes it; empty for the command line."""
    used: bool = False


class DefaultsList:
    """The files that one configuration consists of, and what is chosen of each config group."""

    def __init__(self, find: Callable[[str], ConfigFile | None], overrides: Sequence[Override]) -> None:
        self.find = find
        self.known: dict[str, Any] = {}
        """Override key -> the name chosen."""
        self.replaced: dict[str, _Choice] = {}
        self.deleted: dict[str, list[Any]] = {}
        self.added: list[Default] = []
        for override in overrides:
            key = override.element.lstrip("+~")
            if override.operation == "delete":
                self.deleted[key] = [override.value, False]
            elif override.operation == "add":
                self.added.append(Default(override.value, override.key, override.package))
            else:
                self.replaced[key] = _Choice(override.value, "")

    def parts(self, config: str) -> list[Part]:
        """Return the files of the configuration called `config`, later ones winning.

        Raises:
            DefaultsError: the defaults lists do not fit together.
            ConfigError: a file cannot be used.
        """
        found = self._expand(_Node(Default(config), "", ""), (), primary=True)
        keys = [part.key for part in found if part.key]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise DefaultsError(f"{twice[0]!r} is chosen twice", twice[0])
        for key, choice in self.replaced.items():
            if not choice.used:
                group = key.partition("@")[0]
                near = sorted(other for other in self.known if other.partition("@")[0] == group)
                message = f"nothing chooses a {key!r} yet that this could replace"
                advice = (f"to add one, write '+{key}=…'", "leave out 'override'")
                if near:
                    advice = (f"did you mean {one_of(map(repr, near))}?",) * 2
                raise DefaultsError(message, key, choice.by, advice)
        for key, (name, used) in self.deleted.items():
            if not used:
                what = key if name is None else f"{key}={name}"
                raise DefaultsError(f"nothing to delete: no file chooses {what!r}", key)
        return found

    def maker(self, key: str) -> str | None:
        """Return the file whose defaults list makes the choice of a key, empty for the command line."""
        return self.replaced[key].by if key in self.replaced else None

    def _expand(
        self, node: _Node, above: tuple[str, ...], *, primary: bool = False, interpolated: bool = False
    ) -> list[Part]:
        """Return the files that an entry stands for, its defaults list followed."""
        entry, key = node.entry, node.key if node.entry.group else ""
        if key in self.deleted and self.deleted[key][0] in (None, entry.choice):
            self.deleted[key][1] = True
            return []
        if key and self.known.setdefault(key, entry.choice) != entry.choice:
            advice = ("leave out the '+'", f"write 'override {key.rpartition('/')[2]}: …'")
            raise DefaultsError(f"{key!r} is chosen already", key, "", advice)
        if entry.choice is None:
            return []
        name = node.config
        file = self.find(name)
        if file is None:
            if entry.optional:
                return []
            raise MissingFileError(name, key, above[-1] if above else "")
        if name in above:
            raise DefaultsError(f"a circle: {' -> '.join([*above[above.index(name) :], name])}", key, name)
        return self._children(node, file, (*above, name), primary, interpolated) or [
            Part(file, node.package(file.package), key)
        ]

    def _children(
        self, node: _Node, file: ConfigFile, above: tuple[str, ...], primary: bool, interpolated: bool
    ) -> list[Part]:
        base, package = node.group, node.package(file.package)
        entries = [*file.defaults]
        added = self.added if primary else []
        itself = Default("_self_")
        if itself not in entries and (
            any(not entry.override for entry in entries) or (added and not entries)
        ):
            entries.append(itself)
        if entries.count(itself) > 1:
            raise DefaultsError("'_self_' a second time", "", file.name)
        nodes = [_Node(entry, base, package) for entry in (*entries, *added)]
        for child in nodes:
            if child.entry.override:
                if interpolated:
                    message = "overrides do not stand in files that are chosen by an interpolation"
                    raise DefaultsError(message, child.key, file.name)
                self.replaced.setdefault(child.key, _Choice(child.entry.choice, file.name))
        # From the last to the first: what comes later decides about what comes before.
        found: list[list[Part]] = []
        waiting: list[tuple[int, _Node]] = []
        for child in reversed(nodes):
            if child.entry == itself:
                found.append([Part(file, package)])
                continue
            if child.entry.override:
                continue
            for chosen in self._chosen(child):
                if "${" in str(chosen.entry.choice):
                    waiting.append((len(found), chosen))
                    found.append([])
                else:
                    found.append(self._expand(chosen, above, interpolated=interpolated))
        for index, child in waiting:
            found[index] = self._expand(self._interpolated(child, file.name), above, interpolated=True)
        return [part for parts in reversed(found) for part in parts]

    def _chosen(self, node: _Node) -> Iterator[_Node]:
        """Yield an entry with what is chosen in its place; of a list of choices each one, from the last."""
        entry = node.entry
        if entry.group and node.key in self.replaced:
            choice = self.replaced[node.key]
            choice.used = True
            entry = replace(entry, choice=choice.choice)
        if isinstance(entry.choice, list):
            for name in reversed(entry.choice):
                yield replace(node, entry=replace(entry, choice=f"{entry.group}/{name}", group=""))
        else:
            yield replace(node, entry=entry)

    def _interpolated(self, node: _Node, config: str) -> _Node:
        """Return the entry with its interpolation replaced by what was chosen of other groups."""
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        text = node.entry.choice if node.entry.group else node.config
        try:
            choice = OmegaConf.create([text], parent=OmegaConf.create(self.known))[0]
        except OmegaConfBaseException:
            message = f"{text!r} has no value; chosen are {', '.join(map(str, self.known))}"
            raise DefaultsError(message, node.key, config) from None
        return replace(node, entry=replace(node.entry, choice=choice))
