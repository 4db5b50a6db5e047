"""The folders of YAML, shipped and a user's own, as Hydra's defaults lists see them, each file checked.

Hydra decides what a defaults list means; the files are read and merged here, as plain data. Nothing
in Hydra's global state is touched, so this works inside somebody else's Hydra application too.
"""

from __future__ import annotations

import difflib
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

from resnet_factory.fault import ConfigError, Fault, foreign, found, nearest, suggest, unknown
from resnet_factory.source import load, position, shown

_HERE = Path(__file__).resolve().parent


def conf_dir() -> str:
    """Where the shipped YAML is: inside the installed package, else beside it in a checkout."""
    inside = _HERE / "conf"
    return str(inside if inside.is_dir() else _HERE.parent / "conf")


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
    _parents: dict[str, list[str]] = field(default_factory=dict)
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
            package = default.package or ""
            for key in reversed(package.split(".") if package else []):
                content = {key: content}
            data = merged(data, content)
            files.append((package, file))
        known = listed.overrides.known_choices
        return Base(data, tuple(files), {key: str(name) for key, name in known.items() if name is not None})

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
                folder = path.parent.parent
                return f"{name!r} is a path; write 'model={path.stem}' and '--config-dir {folder}'"
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
            if own or not isinstance(data, dict):
                self._check(file, config_path, data)
            defaults = [_default(entry) for entry in data.get("defaults", []) if "hydra/" not in str(entry)]
            content = {key: value for key, value in data.items() if key not in ("defaults", "hydra")}
            header = {"package": _package(file)}
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

    # Checks of a user's own file ----------------------------------------------------------------

    def _check(self, file: Path, name: str, data: Any) -> None:
        faults = []

        def fault(keys: Sequence[str], message: str) -> None:
            faults.append(Fault(".".join(keys), message, position(file, keys)[1]))

        if data is None:
            fault([], "an empty file; say what it changes, for example 'defaults: [resnet18, _self_]'")
        elif not isinstance(data, dict):
            fault([], f"expected a mapping of keys to values, found {found(data)}")
        else:
            for keys, message in _refusals(data, ()):
                fault(keys, message)
            if name.startswith("model/"):
                if "hydra" in data:
                    fault(["hydra"], "Hydra's own settings do not belong to a model")
                if _package(file) is not None:
                    fault([], "a '# @package' line; what stands in this folder goes below its own key")
            if "defaults" not in data and (
                typo := difflib.get_close_matches("defaults", map(str, data), 1, 0.8)
            ):
                fault(typo, f"unknown key {typo[0]!r}; did you mean 'defaults'?")
            defaults = data.get("defaults", [])
            if not isinstance(defaults, list):
                fault(["defaults"], f"expected a list, as [resnet18, _self_], found {found(defaults)}")
            else:
                for i, message in self._entries(defaults, name):
                    fault(["defaults", str(i)], message)
        if faults:
            raise ConfigError(faults)

    def _entries(self, defaults: Sequence[Any], name: str) -> Iterator[tuple[int, str]]:
        """What is wrong with the entries of a defaults list."""
        base = name.rpartition("/")[0]
        self._parents[name] = []
        overriding = False
        for i, entry in enumerate(defaults):
            if isinstance(entry, dict) and len(entry) == 1 and isinstance(next(iter(entry)), str):
                (key, choice), *_ = entry.items()
                *words, group = key.split() or [""]
                overriding |= "override" in words
                if overriding and "override" not in words:
                    yield i, f"{key!r} stands after an 'override'; overrides come last"
                group = group.partition("@")[0]
                if base and group.startswith("/"):
                    yield (
                        i,
                        f"{key!r} is looked for below {base!r}; did you mean {key.replace('/model/', '')!r}?",
                    )
                    continue
                group = group[1:] if group.startswith("/") else f"{base}/{group}" if base else group
                yield from ((i, message) for message in self._choice(words, group, choice, base))
            elif isinstance(entry, str):
                if entry == "_self_":
                    if defaults.index(entry) != i:
                        yield i, "'_self_' a second time"
                    continue
                if overriding:
                    yield i, f"{entry!r} stands after an 'override'; overrides come last"
                plain = entry.partition("@")[0]
                if base and plain.startswith("/"):
                    name = plain.rpartition("/")[2]
                    yield i, f"{entry!r} would go below a key of its own; did you mean {name!r}?"
                    continue
                parent = plain[1:] if plain.startswith("/") else f"{base}/{plain}" if base else plain
                self._parents[name].append(parent)
                if (circle := self._circle(parent, name)) is not None:
                    yield i, f"a circle: {' -> '.join([name, *circle])}; a file cannot be its own parent"
                elif not self.config_exists(parent) and "$" not in parent:
                    yield i, self._no_parent(entry, parent, base)
            else:
                yield i, f"expected a name, or 'group: name', found {found(entry)}"

    def _choice(self, words: Sequence[str], group: str, choice: Any, base: str) -> Iterator[str]:
        if odd := [word for word in words if word not in ("override", "optional")]:
            yield unknown("word", odd[0], ("override", "optional"))
        elif not self.group_exists(group):
            if "optional" not in words and not group.startswith("hydra"):
                names = [f"{base}/{name}" if base else name for name in self.groups(base)]
                yield unknown("config group", group, names)
        elif choice is not None:
            for name in choice if isinstance(choice, list) else [choice]:
                if not isinstance(name, str):
                    yield f"expected the name of a file of the group, found {found(name)}"
                elif name not in self.options(group) and "$" not in name and "optional" not in words:
                    yield self.missing(group, name)

    def _no_parent(self, entry: str, parent: str, base: str) -> str:
        if self.group_exists(parent):
            return f"{entry!r} is a config group; choose one of it, as '{entry}: {self.options(parent)[0]}'"
        group, _, name = parent.rpartition("/")
        if self.config_exists(entry):
            return f"{entry!r} is looked for below {base!r}; did you mean {name!r}?"
        if nearest(entry, ["_self_"]):
            return f"unknown name {entry!r}; did you mean '_self_'?"
        return (
            self.missing(group, name) if name else unknown("config", entry, [*self.options(base), "_self_"])
        )

    def _circle(self, start: str, end: str) -> list[str] | None:
        """The way from one file through its parents to another, of the files read so far."""
        if start == end:
            return [end]
        for parent in self._parents.get(start, ()):
            if (way := self._circle(parent, end)) is not None:
                return [start, *way]
        return None

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

    def _mentioned(self, text: str, key: str) -> str:
        """A user's last defaults entry that names a group, else the file that a message names."""
        for file, _, result in reversed(self._read.values()):
            for i, entry in enumerate(result.defaults_list or ()):
                ours = not file.is_relative_to(self.folders[0])
                if ours and isinstance(entry, GroupDefault) and f"/{key}".endswith(f"/{entry.group}"):
                    return position(file, ["defaults", str(i)])[1]
        named = re.search(r"[Ii]n '?([\w/]+)'?:", text)
        file = self.file(named[1]) if named else None  # type: ignore[assignment]
        return shown(file) if file else ""


def _default(entry: Any) -> InputDefault:
    """One entry of a defaults list, as Hydra holds it."""
    if isinstance(entry, str):
        path, _, package = entry.partition("@")
        return ConfigDefault(path=path, package=package or None)
    (key, choice), *_ = entry.items()
    *words, group = key.split()
    group, _, package = group.partition("@")
    return GroupDefault(
        group=group,
        package=package or None,
        value=choice,
        optional="optional" in words,
        override="override" in words,
    )


def _package(file: Path) -> str | None:
    """What a `# @package NAME` line at a file's top says."""
    header = re.match(r"(?:\s*#[^\n]*\n)*?\s*#\s*@package\s+(\S+)", file.read_text(encoding="utf-8"))
    return header[1] if header else None


def _refusals(data: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Keys that would run code, and interpolations that cannot be read."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            if key == "_target_":
                yield (*keys, key), "'_target_' is refused: nothing a config says runs code"
            elif "." in key and keys[:1] != ("hydra",):
                above, _, below = key.partition(".")
                yield (*keys, key), f"a key with a dot; write it as '{above}: {{{below}: …}}'"
            elif (*keys, key) != ("defaults",):
                yield from _refusals(value, (*keys, str(key)))
    elif isinstance(data, list):
        for i, value in enumerate(data):
            yield from _refusals(value, (*keys, str(i)))
    elif isinstance(data, str) and "${" in data and (message := interpolation_fault(data)):
        yield keys, message


def interpolation_fault(text: str) -> str:
    """What is wrong with the form of an interpolation such as `${model.depths}`; empty where nothing is."""
    try:
        OmegaConf.create([text])
    except OmegaConfBaseException:
        return f"{found(text)} cannot be read; an interpolation is '${{key}}', and '\\${{' is the plain text"
    return ""


def merged(base: Mapping[str, Any], delta: Mapping[str, Any]) -> dict[str, Any]:
    """`delta` over `base`: mappings key by key, anything else replaced, as OmegaConf merges."""
    result = dict(base)
    for key, value in delta.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            result[key] = merged(old, value)
        elif value != "???" or key not in result:
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
