"""The config folders, shipped and a user's own, and the configurations composed from their files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from resnet_factory.config.config_file import BLOCK, ConfigFile, read_config_file
from resnet_factory.config.defaults_list import DefaultsError, DefaultsList, DefaultsPart, MissingDefaultError
from resnet_factory.config.file_checks import check_config_file
from resnet_factory.config.override_grammar import Override, override_location
from resnet_factory.config.yaml_source import load_yaml, yaml_display_path, yaml_position
from resnet_factory.errors import ConfigError, Fault, foreign, suggest, unknown

_PACKAGE = Path(__file__).resolve().parent.parent


@cache
def conf_dir() -> str:
    """Return the folder of the shipped YAML: in the installed package, or next to it in a checkout."""
    inside = _PACKAGE / "conf"
    return str(inside if inside.is_dir() else _PACKAGE.parent / "conf")


def user_library_dir(config_dir: str | Path | None) -> Path | None:
    """Return the folder of a user's own YAML, absolute.

    Raises:
        ConfigError: it is not a folder that can be listed, or a shipped file would hide one of its files.
    """
    if config_dir is None:
        return None
    folder, where, faults = folder_of(config_dir), f"command line '--config-dir {config_dir}'", []
    for name in _shipped_library():
        try:
            if (folder / name).is_file():
                message = (
                    f"a shipped file has the same name, '{name}', and would be read instead; rename this one"
                )
                faults.append(Fault("", message, f"{yaml_display_path(folder / name)}:1:1"))
        except OSError as error:
            message = f"'{yaml_display_path((folder / name).parent)}' cannot be read: {error.strerror}"
            raise ConfigError([Fault("", message, where)]) from None
    if faults:
        raise ConfigError(faults)
    return folder


def folder_of(config_dir: str | Path) -> Path:
    """Return a folder of YAML, absolute.

    Raises:
        ConfigError: it is not a folder that can be listed.
    """
    where = f"command line '--config-dir {config_dir}'"
    if not str(config_dir):
        raise ConfigError([Fault("", "expected a folder, found nothing", where)])
    folder = Path(config_dir).expanduser().resolve()
    try:
        list(folder.iterdir())
    except OSError as error:
        raise ConfigError([Fault("", f"cannot be listed as a folder: {error.strerror}", where)]) from None
    return folder


@cache
def _shipped_library() -> tuple[Path, ...]:
    root = Path(conf_dir())
    return tuple(sorted(file.relative_to(root) for file in root.rglob("*.yaml")))


@dataclass(frozen=True)
class LibraryFiles:
    """Merged files, before overrides of values: plain data, which must not be changed, and its files."""

    data: Mapping[str, Any]
    files: tuple[tuple[str, ConfigFile], ...]
    """(the dotted key that a file's data is merged below, the file); later ones take precedence."""
    choices: Mapping[str, str]
    """Config group -> the chosen name."""


@dataclass
class Library:
    """The config folders, the shipped one first; a file of a later one is taken. Files are read once."""

    folders: tuple[Path, ...]
    files: dict[str, ConfigFile] = field(default_factory=dict)
    """The files read so far, by name."""
    parents: dict[str, list[str]] = field(default_factory=dict)
    """For the user's files read so far: config -> the configs it inherits from."""
    _options: dict[str, list[str]] = field(default_factory=dict)
    _composed: dict[tuple[str, ...], LibraryFiles] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path | None) -> Library:
        """Return the library of the shipped folder, followed by a user's own."""
        return cls((Path(conf_dir()), *([folder] if folder else [])))

    def compose(self, config: str, choices: Sequence[Override]) -> LibraryFiles:
        """Merge the files of the config called `config`, with `choices` of its groups.

        Raises:
            ConfigError: a file cannot be used, or the defaults lists do not fit together.
        """
        key = (config, *(override.text for override in choices))
        if key not in self._composed:
            self._composed[key] = self._compose(config, choices)
        return self._composed[key]

    def _compose(self, config: str, choices: Sequence[Override]) -> LibraryFiles:
        listed = DefaultsList(self.config, choices)
        try:
            parts = listed.parts(config)
        except DefaultsError as error:
            raise ConfigError([self._defaults_fault(error, choices)]) from None
        data: dict[str, Any] = {}
        for part in parts:
            content, file = part.file.data, part.file
            if file.blocks and listed.maker(BLOCK) in (None, file.name):
                # The file's list replaces a choice, so its parents are merged before it.
                chosen: dict[str, Any] = {"block": list(file.blocks)}
                content = merge_library_data(
                    chosen if file.name.startswith("model/") else {"model": chosen}, content
                )
            for key in reversed(part.package.split(".") if part.package else []):
                content = {key: content}
            data = merge_library_data(data, content)
        if faults := list(self._replaced_choices(choices, parts)):
            raise ConfigError(faults)
        known = {key: str(name) for key, name in listed.known.items() if name is not None}
        return LibraryFiles(data, tuple((part.package, part.file) for part in parts), known)

    def _replaced_choices(
        self, choices: Sequence[Override], parts: Sequence[DefaultsPart]
    ) -> Iterator[Fault]:
        """Yield a fault for each chosen recipe that a key of a later file replaces as a whole."""
        for choice in choices:
            group = choice.key
            # A list of blocks in a file takes a choice in, one per stage.
            if choice.operation == "delete" or choice.package or group in ("model", "model/block"):
                continue
            *above, key = group.split("/")
            chosen = [i for i, part in enumerate(parts) if part.file.name.rpartition("/")[0] == group]
            for part in parts[chosen[-1] + 1 :] if chosen else ():
                value = part.file.data.get(key) if part.package.split(".") == above else None
                if value is not None and not isinstance(value, Mapping):
                    keys = group.replace("/", ".")
                    place = yaml_position(part.file.path, [key])
                    message = (
                        f"{place} sets {key!r} later and overrides this choice; write "
                        f"'{keys}={choice.value}' to replace that"
                    )
                    yield Fault(keys, message, override_location(choice))

    def config(self, name: str) -> ConfigFile | None:
        """Return the file called `name`, such as `model/resnet18`, after checking it; None if there is none.

        Raises:
            ConfigError: it cannot be used.
        """
        if name not in self.files:
            path = self.file(name)
            if path is None:
                return None
            own = not str(path).startswith(f"{self.folders[0]}{os.sep}")
            if own:
                check_config_file(self, path, name, load_yaml(path))
            self.files[name] = read_config_file(name, path, own)
        return self.files[name]

    def file(self, name: str) -> Path | None:
        """Return the path of the file called `name`, or None."""
        files = (f"{folder}/{name}.yaml" for folder in reversed(self.folders))
        return next((Path(file) for file in files if os.path.isfile(file)), None)

    def options(self, group: str) -> list[str]:
        """Return the names in a config group."""
        if group not in self._options:
            names = set()
            for folder in self.folders:
                with suppress(OSError), os.scandir(folder / group) as entries:
                    names |= {entry.name for entry in entries if entry.is_file()}
            self._options[group] = sorted(name[:-5] for name in names if name.endswith(".yaml"))
        return self._options[group]

    def groups(self, below: str = "") -> list[str]:
        """Return every config group below another, such as `model/stem`."""
        roots = [folder / below for folder in self.folders]
        return sorted(
            {str(path.relative_to(root)) for root in roots for path in root.rglob("*") if path.is_dir()}
        )

    def is_group(self, name: str) -> bool:
        """Return whether there is a config group of that name."""
        return name != "" and any((folder / name).is_dir() for folder in self.folders)

    def missing(self, group: str, name: str) -> str:
        """Return the message for a name that is not in a group."""
        options = self.options(group)
        if (inner := Path(name).stem) in options:
            return (
                f"unknown {group} {name!r}; give the name without folder and '.yaml'; did you mean {inner!r}?"
            )
        strays = (
            path
            for folder in self.folders[1:]
            for path in sorted(islice(folder.rglob("*"), 10_000))
            if name and name in (path.stem, path.name)
        )
        if (stray := next(strays, None)) is not None:
            place = yaml_display_path(self.folders[1] / group)
            found = f"'{yaml_display_path(stray)}' is not read as a {group}"
            return f"{found}; it must be a file in '{place}' ending in .yaml"
        if group == "model":
            if (path := Path(name)).suffix in (".yaml", ".yml") and path.is_file():
                if path.resolve().parent.name == "model":
                    folder = path.parent.parent if path.parent.name == "model" else Path("..")
                    return f"{name!r} is a path; write 'model={path.stem}' and '--config-dir {folder}'"
                return (
                    f"{name!r} is a path; models are read from folders called 'model': move it to "
                    f"'conf/model/{path.name}', and write 'model={path.stem}' and '--config-dir conf'"
                )
            meant = f"{foreign(name)}{suggest(name, options)}"
            return f"unknown model {name!r}{meant}; 'resnet-factory list' shows every model"
        return unknown(group, name, options)

    def _defaults_fault(self, error: DefaultsError, choices: Sequence[Override]) -> Fault:
        """Return the fault for defaults lists that do not fit together."""
        typed = [choice for choice in choices if error.key and choice.element.lstrip("+~") == error.key]
        if typed:
            where = override_location(typed[0])
        elif not (where := self.chooser(error.key)):
            file = self.file(error.config)
            where = f"{yaml_display_path(file)}:1:1" if file else "command line"
        group, _, name = str(error).rpartition("/")
        message = str(error)
        if isinstance(error, MissingDefaultError):
            message = self.missing(group, name) if group else f"there is no file '{name}.yaml'"
        return Fault("", "; ".join(filter(None, (message, error.advice[0 if typed else 1]))), where)

    def chooser(self, key: str) -> str:
        """Return the position of the user's last defaults entry for a group, or an empty text."""
        if (entry := self.chosen_by(key)) is None:
            return ""
        return yaml_position(entry[0].path, ["defaults", str(entry[1])])

    def chosen_by(self, key: str) -> tuple[ConfigFile, int] | None:
        """Return the user's last file whose defaults list has a group, and the entry's index."""
        for file in reversed(self.files.values()):
            if file.own:
                for i, default in enumerate(file.defaults):
                    if default.group and f"/{key}".endswith(f"/{default.group}"):
                        return file, i
        return None


def merge_library_data(base: Mapping[str, Any], delta: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `delta` over `base`: mappings key by key, anything else is replaced.

    OmegaConf would keep the old value below a '???'; here it becomes a required value again.
    """
    result = dict(base)
    for key, value in delta.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            result[key] = merge_library_data(old, value)
        else:
            result[key] = value
    return result
