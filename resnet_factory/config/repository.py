"""The folders of YAML, shipped and a user's own, as Hydra's defaults lists see them, each file checked.

Hydra decides what a defaults list means; the files are read and merged here, as plain data. Nothing
in Hydra's global state is touched, so this works inside somebody else's Hydra application too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.config_repository import IConfigRepository
from hydra._internal.defaults_list import create_defaults_list
from hydra.core.default_element import ConfigDefault, GroupDefault, InputDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnet_factory.config.file_checks import BLOCK, inspect, package
from resnet_factory.config.yaml_source import load, position, shown
from resnet_factory.errors import ConfigError, Fault, foreign, suggest, unknown

_PACKAGE = Path(__file__).resolve().parent.parent


def conf_dir() -> str:
    """Where the shipped YAML is: inside the installed package, else beside it in a checkout."""
    inside = _PACKAGE / "conf"
    return str(inside if inside.is_dir() else _PACKAGE.parent / "conf")


def user_dir(config_dir: str | Path | None) -> Path | None:
    """The folder of a user's own YAML, absolute.

    Raises:
        ConfigError: it is not a folder that can be listed, or a shipped file would hide one of its files.
    """
    if config_dir is None:
        return None
    where = f"command line '--config-dir {config_dir}'"
    if not str(config_dir):
        raise ConfigError([Fault("", "expected a folder, found nothing", where)])
    folder = Path(config_dir).expanduser().resolve()
    try:
        list(folder.iterdir())
    except OSError as error:
        raise ConfigError([Fault("", f"cannot be listed as a folder: {error.strerror}", where)]) from None
    faults = []
    for name in _shipped():
        try:
            if (folder / name).is_file():
                message = f"a shipped file is called '{name}' too and would be read instead; rename this one"
                faults.append(Fault("", message, f"{shown(folder / name)}:1:1"))
        except OSError as error:
            message = f"'{shown((folder / name).parent)}' cannot be read: {error.strerror}"
            raise ConfigError([Fault("", message, where)]) from None
    if faults:
        raise ConfigError(faults)
    return folder


@cache
def _shipped() -> tuple[Path, ...]:
    root = Path(conf_dir())
    return tuple(sorted(file.relative_to(root) for file in root.rglob("*.yaml")))


@dataclass(frozen=True)
class Base:
    """Merged files, before any value of the command line: plain data, and which file gave what."""

    data: dict[str, Any]
    files: tuple[tuple[str, Path], ...]
    """(the dotted key below which a file's data goes, the file), later ones winning."""
    choices: dict[str, str]
    """Config group -> the chosen name."""


@dataclass
class Library(IConfigRepository):
    """The config folders; the shipped one first."""

    folders: tuple[Path, ...]
    _read: dict[str, tuple[Path, dict[str, Any], ConfigResult]] = field(default_factory=dict)
    parents: dict[str, list[str]] = field(default_factory=dict)
    """Of the user's files read so far: config -> the configs it starts from."""
    block_lists: dict[str, list[str]] = field(default_factory=dict)
    """Of the files read so far: config -> the blocks its defaults list chooses, one for each stage."""
    _composed: dict[tuple[str, ...], Base] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path | None) -> Library:
        """The shipped folder, and a user's own behind it."""
        return cls((Path(conf_dir()), *([folder] if folder else [])))

    def compose(self, config: str, choices: Sequence[Override]) -> Base:
        """Merge the files that the config called `config` consists of, its groups chosen by `choices`.

        Raises:
            ConfigError: a file cannot be used, or the defaults lists do not fit together.
        """
        key = (config, *(str(override.input_line) for override in choices))
        if key not in self._composed:
            self._composed[key] = self._compose(config, choices)
        return self._composed[key]

    def _compose(self, config: str, choices: Sequence[Override]) -> Base:
        try:
            with _version_base():
                listed = create_defaults_list(
                    self, config, list(choices), prepend_hydra=False, skip_missing=False
                )
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError([self._explained(error, choices)]) from None
        data: dict[str, Any] = {}
        files = []
        for default in listed.defaults:
            file, content, _ = self._read[default.config_path or ""]
            content = self._with_block_list(default.config_path or "", content, listed.overrides)
            package = default.package or ""
            for key in reversed(package.split(".") if package else []):
                content = {key: content}
            data = merged(data, content)
            files.append((package, file))
        known = listed.overrides.known_choices
        return Base(data, tuple(files), {key: str(name) for key, name in known.items() if name is not None})

    def _with_block_list(self, config: str, content: dict[str, Any], overrides: Any) -> dict[str, Any]:
        """A file's data with the blocks that its defaults list chooses for each stage.

        Hydra is told that the file chooses no block; where a file that builds on it, or the command line,
        chooses one, Hydra's record names that one instead.
        """
        blocks = self.block_lists.get(config)
        made = overrides.override_metadata.get(BLOCK)
        if blocks is None or (made is not None and made.containing_config_path != config):
            return content
        chosen: dict[str, Any] = {"block": blocks}
        return merged(chosen if config.startswith("model/") else {"model": chosen}, content)

    def file(self, name: str) -> Path | None:
        """The file of the config called `name`, such as `model/resnet18`."""
        files = (folder / f"{name}.yaml" for folder in self.folders)
        return next((file for file in files if file.is_file()), None)

    def options(self, group: str) -> list[str]:
        """The names a config group offers."""
        files = (file for folder in self.folders for file in folder.glob(f"{group}/*.yaml"))
        return sorted({file.stem for file in files if file.is_file()})

    def groups(self, below: str = "") -> list[str]:
        """Every config group below another, such as `model/stem`."""
        roots = [folder / below for folder in self.folders]
        return sorted(
            {str(path.relative_to(root)) for root in roots for path in root.rglob("*") if path.is_dir()}
        )

    def missing(self, group: str, name: str) -> str:
        """What to say of a name that a group does not offer."""
        options = self.options(group)
        if (inner := Path(name).stem) in options:
            return f"unknown {group} {name!r}; a name has neither folder nor ending; did you mean {inner!r}?"
        strays = (
            path
            for folder in self.folders[1:]
            for path in sorted(islice(folder.rglob("*"), 10_000))
            if name and name in (path.stem, path.name)
        )
        if (stray := next(strays, None)) is not None:
            place = shown(self.folders[1] / group)
            return (
                f"'{shown(stray)}' is not read as a {group}; it must be a file of '{place}' ending in .yaml"
            )
        if group == "model":
            if (path := Path(name)).suffix in (".yaml", ".yml") and path.is_file():
                if path.resolve().parent.name == "model":
                    folder = path.parent.parent if path.parent.name == "model" else Path("..")
                    return f"{name!r} is a path; write 'model={path.stem}' and '--config-dir {folder}'"
                return (
                    f"{name!r} is a path; models stand in a folder called 'model': move it to "
                    f"'conf/model/{path.name}', and write 'model={path.stem}' and '--config-dir conf'"
                )
            meant = f"{foreign(name)}{suggest(name, options)}"
            return f"unknown model {name!r}{meant}; 'resnet-factory list' shows every model"
        return unknown(group, name, options)

    # What Hydra's defaults lists ask of a repository --------------------------------------------

    def load_config(self, config_path: str) -> ConfigResult | None:
        """One file, read and checked; None where there is none of that name."""
        if config_path not in self._read:
            file = self.file(config_path)
            if file is None:
                return None
            own = not file.is_relative_to(self.folders[0])
            data = load(file)
            if own:
                inspect(self, file, config_path, data)
            listed = [entry for entry in data.get("defaults", []) if "hydra/" not in str(entry)]
            group = config_path.rpartition("/")[0]
            lists = [choice for entry in listed if (choice := block_list(entry, group)) is not None]
            if lists:
                self.block_lists[config_path] = lists[-1]
            defaults = [_default(entry, group) for entry in listed]
            content = {key: value for key, value in data.items() if key not in ("defaults", "hydra")}
            header = {"package": package(file)}
            result = ConfigResult("file", str(file.parent), OmegaConf.create(), header, defaults)
            self._read[config_path] = file, content, result
        return self._read[config_path][2]

    def group_exists(self, config_path: str) -> bool:
        """Whether there is a folder of that name."""
        return config_path != "" and any((folder / config_path).is_dir() for folder in self.folders)

    def config_exists(self, config_path: str) -> bool:
        """Whether there is a file of that name."""
        return self.file(config_path) is not None

    def get_group_options(
        self, group_name: str, results_filter: ObjectType | None = ObjectType.CONFIG
    ) -> list[str]:
        """Hydra's name for `options`."""
        return self.options(group_name)

    def get_sources(self) -> list[ConfigSource]:
        """Nothing that Hydra would print."""
        return []

    def get_schema_source(self) -> ConfigSource:
        """Unused: files are merged here."""
        raise NotImplementedError

    def initialize_sources(self, config_search_path: Any) -> None:
        """Unused: the folders are fixed."""
        raise NotImplementedError

    def _explained(self, error: Exception, choices: Sequence[Override]) -> Fault:
        """One fault for what Hydra says of defaults lists that do not fit together."""
        text = " ".join(str(error).split())
        key = next(iter(re.findall(r"(?:override|delete|[Vv]alues for) '?([\w/@.]+)", text)), "").rstrip(".")
        typed = [o for o in choices if key and o.get_key_element().lstrip("+~") == key]
        where = f"command line '{typed[0].input_line}'" if typed else self._mentioned(text, key)
        if "Could not delete" in text:
            text = f"nothing to delete: no file chooses {text.split(chr(39))[1]!r}"
        elif "No match in the defaults list" in text:
            text = f"nothing chooses a {key!r} yet that this could replace"
            text += f"; to add one, write '+{key}=…'" if typed else "; leave out 'override'"
        elif "Multiple values for" in text:
            text = f"{key!r} is chosen already; "
            text += "leave out the '+'" if typed else f"write 'override {key.rpartition('/')[2]}: …'"
        return Fault("", text, where)

    def chooser(self, key: str) -> str:
        """Position of the user's last defaults entry that names a group; empty where there is none."""
        for file, _, result in reversed(self._read.values()):
            for i, entry in enumerate(result.defaults_list or ()):
                ours = not file.is_relative_to(self.folders[0])
                if ours and isinstance(entry, GroupDefault) and f"/{key}".endswith(f"/{entry.group}"):
                    return position(file, ["defaults", str(i)])
        return ""

    def _mentioned(self, text: str, key: str) -> str:
        """The position of a user's defaults entry that names a group, else the file that a message names."""
        if where := self.chooser(key):
            return where
        named = re.search(r"[Ii]n '?([\w/]+)'?:", text)
        file = self.file(named[1]) if named else None
        return f"{shown(file)}:1:1" if file else "command line"


def block_list(entry: Any, group: str) -> list[str] | None:
    """The blocks that an entry of a defaults list chooses for each stage, in a file of `group`."""
    if not isinstance(entry, Mapping):
        return None
    (key, choice), *_ = entry.items()
    name = str(key).split()[-1] if str(key).split() else ""
    absolute = name[1:] if name.startswith("/") else f"{group}/{name}" if group else name
    return choice if isinstance(choice, list) and absolute == BLOCK else None


def _default(entry: Any, group: str) -> InputDefault:
    """One entry of a defaults list, as Hydra holds it, in a file of `group`."""
    if isinstance(entry, str):
        path, _, package = entry.partition("@")
        return ConfigDefault(path=path, package=package or None)
    (key, choice), *_ = entry.items()
    if block_list(entry, group) is not None:
        choice = None
    *words, group = key.split()
    group, _, package = group.partition("@")
    return GroupDefault(
        group=group,
        package=package or None,
        value=choice,
        optional="optional" in words,
        override="override" in words,
    )


def merged(base: Mapping[str, Any], delta: Mapping[str, Any]) -> dict[str, Any]:
    """`delta` over `base`: mappings key by key, anything else replaced.

    OmegaConf would keep what is there below a '???'; here it is asked for anew, as whoever wrote it meant.
    """
    result = dict(base)
    for key, value in delta.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            result[key] = merged(old, value)
        else:
            result[key] = value
    return result


@contextmanager
def _version_base() -> Iterator[None]:
    """Hydra's rules of 1.3, whatever the application around us asked for."""
    instance = version.VersionBase.instance()
    before = instance.getbase()
    version.setbase("1.3")
    try:
        yield
    finally:
        instance.version_base = before
