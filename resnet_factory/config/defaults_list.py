"""Defaults lists by Hydra's rules: the files of a configuration, and the key each is merged below.

An entry is a file (`resnet18`), a choice of a config group (`stem: deep`; several in a list, null for none),
the same with `override` or `optional` before it, and `_self_`; each may go below its own key (`@package`).
A test compares the result with Hydra's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from resnet_factory.config.config_file import ConfigFile, DefaultsEntry, path_in_config_folder
from resnet_factory.config.override_grammar import Override
from resnet_factory.errors import one_of

ITSELF = DefaultsEntry("_self_")
"""The entry for a file's own data."""


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
        """Advice where an override says it, and where a file does."""


class MissingDefaultError(DefaultsError):
    """Raised for a missing file in a defaults list; the message is its name."""


@dataclass(frozen=True, slots=True)
class DefaultsPart:
    """One file of a configuration, below the dotted key `package`."""

    file: ConfigFile
    package: str
    key: str = ""
    """The override key of its config group, if it has no defaults list itself."""


class _DefaultsNode:
    """An entry with its context: the config group `base` and the dotted key `above`."""

    def __init__(self, entry: DefaultsEntry, base: str, above: str) -> None:
        self.entry = entry
        self.base = base
        self.above = above
        self.config = path_in_config_folder(
            base, f"{entry.group}/{entry.choice}" if entry.group else entry.choice
        )
        """The name of its file."""
        self.group = (
            path_in_config_folder(base, entry.group) if entry.group else self.config.rpartition("/")[0]
        )
        """Its config group, from the top."""

    def choosing(self, choice: Any, group: str) -> _DefaultsNode:
        """Return the same entry with another choice."""
        return _DefaultsNode(replace(self.entry, choice=choice, group=group), self.base, self.above)

    @cached_property
    def key(self) -> str:
        """The key for overrides: `model/stem`, or `model/stem@package` if its package was changed."""
        package, group = self.package(None), self.group
        return group if package == group.replace("/", ".") else f"{group}@{package or '_global_'}"

    def package(self, line: str | None) -> str:
        """Return the dotted key that its data is merged below; `line` is the package line of its file."""
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
class _DefaultsChoice:
    """A choice that replaces the one of a defaults list."""

    choice: Any
    by: str
    """The file that contains it; empty for the command line."""
    used: bool = False


class DefaultsList:
    """The files of one configuration, and the choice in each config group."""

    def __init__(self, find: Callable[[str], ConfigFile | None], overrides: Sequence[Override]) -> None:
        self.find = find
        self.known: dict[str, Any] = {}
        """Override key -> the name chosen."""
        self.replaced: dict[str, _DefaultsChoice] = {}
        self.deleted: dict[str, list[Any]] = {}
        self.added: list[DefaultsEntry] = []
        for override in overrides:
            key = override.element.lstrip("+~")
            if override.operation == "delete":
                self.deleted[key] = [override.value, False]
            elif override.operation == "add":
                self.added.append(DefaultsEntry(override.value, override.key, override.package))
            else:
                self.replaced[key] = _DefaultsChoice(override.value, "")

    def parts(self, config: str) -> list[DefaultsPart]:
        """Return the files of the configuration called `config`; later ones take precedence.

        Raises:
            DefaultsError: the defaults lists do not fit together.
            ConfigError: a file cannot be used.
        """
        found = self._expand(_DefaultsNode(DefaultsEntry(config), "", ""), (), primary=True)
        keys = [part.key for part in found if part.key]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise DefaultsError(f"{twice[0]!r} is chosen twice", twice[0])
        for key, choice in self.replaced.items():
            if not choice.used:
                group = key.partition("@")[0]
                near = sorted(other for other in self.known if other.partition("@")[0] == group)
                message = f"there is no choice of {key!r} to override"
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
        """Return the file whose defaults list makes the choice for a key; empty for the command line."""
        return self.replaced[key].by if key in self.replaced else None

    def _expand(
        self,
        node: _DefaultsNode,
        above: tuple[str, ...],
        *,
        primary: bool = False,
        interpolated: bool = False,
    ) -> list[DefaultsPart]:
        """Return the files of an entry, with those of its defaults list."""
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
            raise MissingDefaultError(name, key, above[-1] if above else "")
        if name in above:
            raise DefaultsError(
                f"circular defaults: {' -> '.join([*above[above.index(name) :], name])}", key, name
            )
        package = node.package(file.package)
        entries = self._entries(file, self.added if primary else [])
        nodes = [_DefaultsNode(entry, node.group, package) for entry in entries]
        for child in nodes:
            if child.entry.override:
                if interpolated:
                    message = "a file that is chosen by an interpolation cannot contain overrides"
                    raise DefaultsError(message, child.key, name)
                self.replaced.setdefault(child.key, _DefaultsChoice(child.entry.choice, name))
        found = self._children(nodes, file, package, (*above, name), interpolated)
        return found or [DefaultsPart(file, package, key)]

    def _entries(self, file: ConfigFile, added: Sequence[DefaultsEntry]) -> Sequence[DefaultsEntry]:
        """Return the entries of a file, with `_self_` at the end unless given, and `added`."""
        entries = file.defaults
        if entries.count(ITSELF) > 1:
            raise DefaultsError("'_self_' occurs twice", "", file.name)
        if ITSELF not in entries and any(not entry.override for entry in entries or added):
            entries = (*entries, ITSELF)
        return (*entries, *added)

    def _children(
        self,
        nodes: Sequence[_DefaultsNode],
        file: ConfigFile,
        package: str,
        above: tuple[str, ...],
        interpolated: bool,
    ) -> list[DefaultsPart]:
        """Return the files of the entries of a file; none if it has no entries."""
        # From last to first: later overrides decide the choices of earlier entries.
        found: list[list[DefaultsPart]] = []
        waiting: list[tuple[int, _DefaultsNode]] = []
        for child in reversed(nodes):
            if child.entry == ITSELF:
                found.append([DefaultsPart(file, package)])
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

    def _chosen(self, node: _DefaultsNode) -> Iterator[_DefaultsNode]:
        """Yield an entry with its final choice; for a list of choices, one entry each, last first."""
        entry = node.entry
        if entry.group and node.key in self.replaced:
            choice = self.replaced[node.key]
            choice.used = True
            node = node.choosing(choice.choice, entry.group)
        if isinstance(node.entry.choice, list):
            for name in reversed(node.entry.choice):
                yield node.choosing(f"{entry.group}/{name}", "")
        else:
            yield node

    def _interpolated(self, node: _DefaultsNode, config: str) -> _DefaultsNode:
        """Return the entry with interpolations replaced by the choices in other groups."""
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        text = node.entry.choice if node.entry.group else node.config
        try:
            choice = OmegaConf.create([text], parent=OmegaConf.create(self.known))[0]
        except OmegaConfBaseException:
            message = f"{text!r} has no value; chosen are {', '.join(map(str, self.known))}"
            raise DefaultsError(message, node.key, config) from None
        return node.choosing(choice, node.entry.group)
