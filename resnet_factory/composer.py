"""Names, YAML and command line to a checked config; faults located. The only file that knows Hydra."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnet_factory import schema
from resnet_factory.fault import ConfigError, Fault, unknown
from resnet_factory.source import position, shown

_HERE = Path(__file__).resolve().parent


def conf_dir() -> str:
    """Where the shipped YAML is: inside the installed package, else beside it in a checkout."""
    inside = _HERE / "conf"
    return str(inside if inside.is_dir() else _HERE.parent / "conf")


@dataclass(frozen=True)
class Composed:
    """A composed configuration: its plain data, the model in it, and how to locate a fault."""

    data: Mapping[str, Any]
    model: schema.ModelConfig
    locate: Callable[[Fault], Fault]
    given: frozenset[str] = frozenset()
    """The top-level keys that the command line names."""


def compose(name: str, *overrides: str, config_dir: str | Path | None = None) -> schema.ModelConfig:
    """The config of the model called `name`, changed by `overrides` in Hydra's grammar.

    `config_dir` is a folder of the caller's own YAML, laid out like the shipped `conf/`.

    Raises:
        ConfigError: with every fault found, each located in its file or override.
    """
    if not overrides and config_dir is None:
        from resnet_factory.catalogue import catalogue

        with suppress(ConfigError):  # which Hydra locates
            return catalogue().config(name)  # the same, a hundred times quicker
    return compose_all("config", [f"model={name}", *overrides], config_dir).model


def read(data: Any, path: str = "model") -> schema.ModelConfig:
    """The config of a `model` subtree that somebody else's Hydra application composed.

    Raises:
        ConfigError: with every fault found.
    """
    plain = OmegaConf.to_container(data, resolve=True) if OmegaConf.is_config(data) else data
    with _hydra(None):
        return schema.read(plain, name=path, find=_find, path=path)


def compose_all(config: str, overrides: Sequence[str], config_dir: str | Path | None = None) -> Composed:
    """Compose the whole configuration called `config` (one per command).

    Raises:
        ConfigError: with every fault found, each located in its file or override.
    """
    folder = user_dir(config_dir)
    _refuse_hidden(folder)
    parsed = [_parsed(override) for override in overrides]
    with _hydra(folder):
        composed, applied = _composed(config, list(overrides), folder)
        origin = _Origin(config, applied, parsed)
        try:
            data = _plain(composed)
        except OmegaConfBaseException as error:
            raise ConfigError([origin.locate(_interpolation(error))]) from None
        titles = {key.split("/", 1)[1]: choice for key, choice in origin.choices() if "/" in key}
        name = next((choice for key, choice in origin.choices() if key == "model"), "")
        faults = [
            Fault(key, unknown("key", key, origin.keys)) for key in data if key not in origin.keys
        ] + _input_faults(data)
        try:
            model = schema.read(data.get("model"), name=name, titles=titles, find=_find, locate=origin.locate)
        except ConfigError as error:
            raise ConfigError([*map(origin.locate, faults), *error.faults]) from None
        if faults:
            raise ConfigError(map(origin.locate, faults))
        return Composed(data, model, origin.locate, _top(override.key_or_group for override in parsed))


def from_hydra(config: DictConfig) -> Composed:
    """What `compose_all` gives, from a configuration that Hydra's own runner composed (a multirun's job)."""
    from hydra.core.hydra_config import HydraConfig

    data = _plain(config)
    choices = {key: str(value) for key, value in HydraConfig.get().runtime.choices.items() if value}
    titles = {key.split("/", 1)[1]: choice for key, choice in choices.items() if key.startswith("model/")}
    job = ", ".join(HydraConfig.get().overrides.task)

    def locate(fault: Fault) -> Fault:
        return fault if fault.where else replace(fault, where=f"job '{job}'")

    model = schema.read(
        data.get("model"), name=choices.get("model", ""), titles=titles, find=_find, locate=locate
    )
    given = _top(override.lstrip("+~").partition("=")[0] for override in HydraConfig.get().overrides.task)
    return Composed(data, model, locate, given)


def _top(keys: Iterable[str]) -> frozenset[str]:
    return frozenset(re.split(r"[./@]", key)[0] for key in keys)


def _plain(config: DictConfig) -> dict[str, Any]:
    data = OmegaConf.to_container(config, resolve=True)
    assert isinstance(data, dict)
    return {str(key): value for key, value in data.items()}


def image_size(data: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width from `input.size`: one number, or two."""
    size = data["input"]["size"]
    return (size[0], size[1]) if isinstance(size, list) else (size, size)


def choices(group: str, config_dir: str | Path | None = None) -> list[str]:
    """The names of a config group, shipped and the user's own."""
    with _hydra(user_dir(config_dir)):
        return GlobalHydra.instance().config_loader().get_group_options(group)


def _input_faults(data: Mapping[str, Any]) -> list[Fault]:
    size = data.get("input", {}).get("size") if isinstance(data.get("input"), dict) else None
    sides = size if isinstance(size, list) and len(size) == 2 else [size]
    if all(isinstance(side, int) and not isinstance(side, bool) and 0 < side <= 2**16 for side in sides):
        extra = [key for key in data["input"] if key != "size"]
        return [Fault(f"input.{key}", unknown("key", key, ["size"])) for key in extra]
    return [Fault("input.size", f"expected a size in pixels, as 224 or [224, 320], found {size!r}")]


@contextmanager
def _hydra(folder: Path | None) -> Iterator[None]:
    with initialize_config_dir(conf_dir(), version_base="1.3", job_name="resnet-factory"):
        if folder is not None:
            source = GlobalHydra.instance().config_loader().get_search_path()
            source.append("command-line", f"file://{folder}", SearchPathQuery(provider="main"))
            _reload(source)
        yield


def _reload(path: Any) -> None:
    # A folder named at run time joins the search path: Hydra's repository is built once, from the path.
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    hydra.config_loader = ConfigLoaderImpl(config_search_path=path)


@lru_cache(maxsize=8)
def user_dir(config_dir: str | Path | None) -> Path | None:
    """The folder of a user's own YAML, absolute.

    Raises:
        ConfigError: it is not a folder.
    """
    if config_dir is None:
        return None
    folder = Path(config_dir).expanduser().resolve()
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise ConfigError([Fault("", f"'{config_dir}' {what}", "command line '--config-dir'")])
    return folder


def _refuse_hidden(folder: Path | None) -> None:
    """A user's file with a shipped file's name would silently never be read."""
    if folder is None:
        return
    faults = []
    for file in sorted(folder.rglob("*.yaml")):
        name = file.relative_to(folder)
        if (Path(conf_dir()) / name).is_file():
            message = f"a shipped file is called '{name}' too and would be read instead; rename this one"
            faults.append(Fault("", message, shown(file)))
    if faults:
        raise ConfigError(faults)


def _parsed(override: str) -> Override:
    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException as error:
        message = str(error).splitlines()[0]
        raise ConfigError(
            [
                Fault(
                    "",
                    f"{message}; expected key=value, in quotes where the shell needs them",
                    f"command line '{override}'",
                )
            ]
        ) from None
    if parsed.is_sweep_override():
        raise ConfigError(
            [
                Fault(
                    "",
                    "several values; add -m to sweep over them, or write [a,b] for one list",
                    f"command line '{override}'",
                )
            ]
        )
    return parsed


def _composed(config: str, overrides: list[str], folder: Path | None) -> tuple[DictConfig, list[str]]:
    """Compose; an override of a missing key is forced in, for the schema to report with the rest."""
    faults: list[Fault] = []
    for _ in range(len(overrides) + 1):
        try:
            composed = hydra_compose(config, overrides=overrides, return_hydra_config=False)
        except (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError, ValueError) as error:
            culprit = _culprit(str(error), overrides)
            if culprit is None:
                raise ConfigError([*faults, _explained(error, overrides, folder)]) from None
            text = overrides[culprit]
            parsed = _parsed(text)
            if parsed.is_force_add() or "/" in parsed.key_or_group or isinstance(parsed.value(), list):
                again, fault = _mended(parsed, text, error)
                if fault is not None:
                    faults.append(fault)
                overrides = [*overrides[:culprit], *again, *overrides[culprit + 1 :]]
            else:
                overrides[culprit] = f"++{text.lstrip('+')}"
        else:
            if faults:
                raise ConfigError(faults)
            return composed, overrides
    raise ConfigError(faults)


def _mended(parsed: Override, text: str, error: Exception) -> tuple[list[str], Fault | None]:
    """What to compose with instead of an override Hydra refuses, and the fault it is."""
    where = f"command line '{text}'"
    key = parsed.key_or_group
    if "/" in key:
        groups = [f"model/{name}" for name in (*schema.ROLES, *schema.SLOTS) if name != "act"]
        return [], Fault("", unknown("config group", key, groups), where)
    if isinstance(parsed.value(), list) and not parsed.is_force_add():
        # Hydra cannot put a list where a mapping is, as `model.block=[basic, bottleneck]` does.
        return [f"~{key}", f"+{key}={text.split('=', 1)[1]}"], None
    return [], Fault(key, str(error).splitlines()[0], where)


def _culprit(message: str, overrides: Sequence[str]) -> int | None:
    """Which override a message of Hydra's is about."""
    named = re.match(r"Could not override '(.+?)'\.|Error merging override (.+)", message)
    if named is None:
        return None
    for i, override in reversed(list(enumerate(overrides))):
        if named[2] == override or (named[1] and override.lstrip("+~").split("=")[0] == named[1]):
            return i
    return None


def _explained(error: Exception, overrides: Sequence[str], folder: Path | None) -> Fault:
    """One fault for whatever Hydra or the YAML reader could not do."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        known = sorted(error.options or [])
        parent = re.match(r"In '(.+?)':", str(error))
        where = _chosen(group, name, overrides) or (_mention(parent[1], name, folder) if parent else "")
        if not group:
            return Fault("", f"no config called {name!r}", where)
        return Fault("", unknown(group, name, known), where)
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        file = _named_file(mark.name)
        return Fault("", str(error.problem), f"{file}:{mark.line + 1}:{mark.column + 1}")
    return Fault("", " ".join(str(error).split()))


def _named_file(name: str) -> str:
    return shown(Path(name)) if Path(name).is_file() else name


def _chosen(group: str, name: str, overrides: Sequence[str]) -> str:
    for override in reversed(overrides):
        key, _, value = override.lstrip("+~").partition("=")
        if key == group and name in value:
            return f"command line '{override}'"
    return ""


def _mention(config: str, name: str, folder: Path | None) -> str:
    file = _file(config, folder)
    if file is None:
        return ""
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.lstrip().startswith("#") and (column := line.find(name)) >= 0:
            return f"{shown(file)}:{number}:{column + 1}"
    return shown(file)


def _file(config: str, folder: Path | None) -> Path | None:
    for root in (Path(conf_dir()), folder):
        if root is not None and (file := root / f"{config}.yaml").is_file():
            return file
    return None


def _interpolation(error: OmegaConfBaseException) -> Fault:
    return Fault(str(error.full_key or ""), str(error).splitlines()[0])


def _find(group: str, name: str) -> Any:
    """The recipe called `name` in a group of model recipes; all the names when none is asked for."""
    loader = GlobalHydra.instance().config_loader()
    known = loader.get_group_options(f"model/{group}")
    if not name:
        return known
    if name not in known:
        return None
    node = hydra_compose(f"model/{group}/{name}")["model"][group]
    return OmegaConf.to_container(node, resolve=True)


class _Origin:
    """Where each key of one composed configuration was written."""

    def __init__(self, config: str, applied: Sequence[str], parsed: Sequence[Override]) -> None:
        loader = GlobalHydra.instance().config_loader()
        self.overrides = [p for p in parsed if "/" not in p.key_or_group and not _is_group(loader, p)]
        self.defaults = loader.compute_defaults_list(config, list(applied), RunMode.RUN)
        paths = [
            Path(str(source.path).removeprefix("file://"))
            for source in loader.get_sources()
            if source.scheme() == "file"
        ]
        self.files: list[tuple[str, Path]] = []
        for entry in self.defaults.defaults:
            for root in paths:
                if entry.config_path and (file := root / f"{entry.config_path}.yaml").is_file():
                    self.files.append((entry.package or "", file))
                    break
        self.keys = self._keys()

    def choices(self) -> list[tuple[str, str]]:
        """(group, choice) of every config group."""
        known = self.defaults.overrides.known_choices
        return [(key, str(choice)) for key, choice in known.items() if choice is not None]

    def _keys(self) -> list[str]:
        """The top-level keys that the command's own files declare."""
        keys = {"model"}
        for package, file in self.files:
            if not package and file.is_relative_to(conf_dir()):
                data = yaml.safe_load(file.read_text(encoding="utf-8"))
                keys |= set(data or {}) - {"defaults", "hydra"}
        return sorted(keys)

    def locate(self, fault: Fault) -> Fault:
        """The same fault, with where its key was written."""
        if fault.where:
            return fault
        for override in reversed(self.overrides):
            key = override.key_or_group
            if fault.path == key or fault.path.startswith(f"{key}."):
                return replace(fault, where=f"command line '{override.input_line}'")
        best, where = -1, ""
        for package, file in self.files:
            inside = package.split(".") if package else []
            keys = fault.path.split(".")
            if keys[: len(inside)] != inside:
                continue
            depth, mark = position(file, keys[len(inside) :])
            if len(inside) + depth >= best:
                best, where = len(inside) + depth, mark
        return replace(fault, where=where)


def _is_group(loader: Any, override: Override) -> bool:
    return bool(loader.list_groups("") and override.key_or_group in loader.list_groups(""))
