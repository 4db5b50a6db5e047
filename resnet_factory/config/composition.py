"""Compose names, YAML and the command line into a checked config, with every fault located."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from resnet_factory.config import pruning, schema
from resnet_factory.config.interpolation import InterpolationResolver, resolve_interpolations
from resnet_factory.config.library import Library, conf_dir, folder_of, user_library_dir
from resnet_factory.config.model_fields import dims_field_hint
from resnet_factory.config.objective import objective_faults
from resnet_factory.config.overrides import apply_override, read_overrides
from resnet_factory.config.provenance import Provenance, provenance_paths
from resnet_factory.config.sweep_overrides import jobs_of_sweep_overrides, split_sweep_overrides
from resnet_factory.errors import ConfigError, Fault, found, unknown

Check = Callable[[Mapping[str, Any]], list[Fault]]
"""Returns the faults of a command's own keys."""
Verify = Callable[[schema.ModelConfig], object]
"""Raises a ConfigError if a config with valid keys cannot be used."""

MAX_PIXELS = 2**16
"""The largest side of an image or a volume; a sequence may be as long as a network is wide."""
WHOLE = {"study": frozenset({"models"})}
"""Command -> its keys that a mapping on the command line replaces instead of being merged."""


@dataclass(frozen=True)
class Composed:
    """A composed configuration: its plain data, the model in it, and how to locate a fault."""

    data: Mapping[str, Any]
    model: schema.ModelConfig
    locate: Callable[[Fault], Fault]
    given: frozenset[str] = frozenset()
    """The top-level keys given on the command line."""
    overrides: tuple[str, ...] = ()
    """The overrides of the command line: with `config_dir`, enough to compose a variation."""
    config_dir: str | Path | None = None
    """The folder of the user's own YAML."""
    choices: Mapping[str, str] = field(default_factory=dict)
    """Config group -> the chosen name."""

    @contextmanager
    def locating(self) -> Iterator[None]:
        """Locate the faults of a ConfigError that is raised in the `with` block."""
        try:
            yield
        except ConfigError as error:
            raise ConfigError(map(self.locate, error.faults)) from None


def read(
    data: Any, path: str = "", *, name: str = "", config_dir: str | Path | None = None
) -> schema.ModelConfig:
    """Read the config of a `model` subtree that another Hydra application composed.

    `path` is its key there, for messages, and `name` that of the network; Hydra tells both for
    `read(cfg.backbone)`, and the application's own folders of recipes, too. `config_dir` is another one.

    Raises:
        ConfigError: with every fault found.
    """
    folders = () if config_dir is None else (folder_of(config_dir),)
    titles: Mapping[str, str] = {}
    if type(data).__module__.startswith("omegaconf."):
        from resnet_factory.config.applications import mounted_model

        mounted = mounted_model(data)
        if path in ("", mounted.path):
            path, name, titles = mounted.path or "model", name or mounted.name, mounted.titles
        folders = (*mounted.folders, *folders)
        resolver = InterpolationResolver()
        data = resolver.plain(data, path)
        if resolver.faults:
            raise ConfigError(resolver.faults)
    path = path or "model"
    library = Library((Path(conf_dir()), *folders))
    return schema.read_config(
        data, name=name or path, titles=titles, find=_composed_recipe_finder(library), path=path
    )


def compose_all(
    config: str,
    overrides: Sequence[str],
    config_dir: str | Path | None = None,
    *,
    check: Check | None = None,
    verify: Verify | None = None,
) -> Composed:
    """Compose the whole configuration called `config` (one per command).

    `check` returns the faults of the command's own keys and `verify` raises those of the model beyond its
    keys, so that both are reported and located together with all others.

    Raises:
        ConfigError: with every fault found, each located in its file or override.
    """
    composed = compose_in_library(
        Library.of(user_library_dir(config_dir)), config, overrides, check=check, verify=verify
    )
    return replace(composed, overrides=tuple(overrides), config_dir=config_dir)


def take_jobs_to_compose(words: Sequence[str], config_dir: str | Path | None = None) -> list[list[str]]:
    """Return the overrides of each combination of values, in the order of Hydra's multirun.

    Raises:
        ConfigError: an override cannot be read.
    """
    return jobs_of_sweep_overrides(words, Library.of(user_library_dir(config_dir)))


def take_sweeps_to_compose(
    words: Sequence[str], config_dir: str | Path | None = None
) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Return the overrides with one value; and, by key, `{choice: […]}` or `{uniform: […]}` for the others.

    Raises:
        ConfigError: an override cannot be read.
    """
    return split_sweep_overrides(words, Library.of(user_library_dir(config_dir)))


def composed_image_size(data: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the sides of an image, height and width in 2 dimensions, from `input.size`."""
    size, dims = data["input"]["size"], data["model"].get("dims", schema.WHOLE["dims"][1])
    return tuple(size) if isinstance(size, list) else (size,) * dims


def group_choices(group: str, config_dir: str | Path | None = None) -> list[str]:
    """Return the names in a config group, shipped and the user's own."""
    return Library.of(user_library_dir(config_dir)).options(group)


def compose_in_library(
    library: Library,
    config: str,
    overrides: Sequence[str],
    left: str = "",
    *,
    check: Check | None = None,
    verify: Verify | None = None,
) -> Composed:
    """Compose like `compose_all`, with a given library; `left` is the name of a resolver left to Hydra.

    Raises:
        ConfigError: with every fault found, each located in its file or override.
    """
    given = read_overrides(overrides, library)
    faults = list(given.faults)
    try:
        base = library.compose(config, given.choices)
    except ConfigError as error:
        raise ConfigError([*faults, *error.faults]) from None
    if "model" in given.unchosen:
        raise ConfigError(faults)  # without the intended model there is nothing else to check
    data, whole = _copied_composition(base.data), WHOLE.get(config, frozenset())
    faults.extend(
        fault for override in given.values if (fault := apply_override(override, data, whole)) is not None
    )
    origin = Provenance(library, base, given, data)
    if not isinstance(data.get("model"), dict):
        fault = Fault("model", f"expected a model (a mapping), found {found(data.get('model'))}")
        raise ConfigError(map(origin.locate, [*faults, fault]))
    resolver = resolve_interpolations(
        _composed_with_image_size(data), left, lambda: list(provenance_paths(data))
    )
    plain = resolver.result
    if resolver.full:
        raise ConfigError(map(origin.locate, [*faults, *resolver.faults]))
    if "image_size" not in data["model"]:
        del plain["model"]["image_size"]
    faults.extend(Fault(str(key), origin.stray(str(key))) for key in plain if key not in origin.keys)
    faults.extend(_composed_input_faults(plain.get("input"), plain["model"]))
    faults.extend(objective_faults(plain.get("objective"), config))
    if check is not None:
        faults.extend(check(plain))
    examined = pruning.examine_pruned(
        plain.get("model"),
        lambda path: not origin.inherited(path),
        name=base.choices.get("model", ""),
        titles=_composed_titles(base.choices),
        find=_composed_recipe_finder(library),
    )
    model = examined.config
    faults.extend(origin.blame(fault) for fault in (*examined.faults, *examined.unread))
    # Consequences of a missing choice or an unresolved value are not reported as faults.
    known = [*given.unchosen, *resolver.waiting, *(fault.path for fault in resolver.faults)]
    if any(fault.path.startswith("model.image_size") for fault in examined.faults):
        known += _composed_following_image_size(plain)
    faults = [
        fault
        for fault in faults
        if not any(fault.path == path or fault.path.startswith(f"{path}.") for path in known)
    ]
    faults.extend(resolver.faults)
    if verify is not None and model is not None:
        try:
            verify(model)
        except ConfigError as error:
            faults.extend(error.faults)
    if faults:
        raise ConfigError(map(origin.locate, faults))
    assert model is not None
    named = _composed_top_level_keys(override.key for override in (*given.choices, *given.values))
    return Composed(plain, model, origin.locate, named, choices=base.choices)


def _copied_composition(value: Any) -> Any:
    """Return a copy of plain data, for overrides to change."""
    if isinstance(value, dict):
        return {key: _copied_composition(entry) for key, entry in value.items()}
    return [_copied_composition(entry) for entry in value] if isinstance(value, list) else value


def _composed_top_level_keys(keys: Iterable[str]) -> frozenset[str]:
    return frozenset(re.split(r"[./@]", key)[0] for key in keys)


def _composed_with_image_size(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data with the default image size filled in, because `input.size` refers to it."""
    return {**data, "model": {"image_size": schema.WHOLE["image_size"][1], **data["model"]}}


def _composed_titles(choices: Mapping[str, str]) -> dict[str, str]:
    return {key.split("/", 1)[1]: name for key, name in choices.items() if key.startswith("model/")}


def _composed_recipe_finder(library: Library) -> schema.Find:
    """Return a function that looks up recipes by group and name; without a name it returns all names."""

    def find(group: str, name: str) -> Any:
        known = library.options(f"model/{group}")
        if not name:
            return known
        if name not in known:
            return None
        return library.compose(f"model/{group}/{name}", ()).data["model"][group]

    return find


def _composed_following_image_size(data: Mapping[str, Any]) -> list[str]:
    """Return `input.size`, if it is the model's image size, whose faults are said once."""
    size = data["input"].get("size") if isinstance(data.get("input"), Mapping) else None
    return ["input.size"] if size == data["model"].get("image_size") else []


def _composed_input_faults(data: Any, model: Mapping[str, Any]) -> list[Fault]:
    if not isinstance(data, dict):
        return [Fault("input", f"expected keys, as input.size=224, found {found(data)}")]
    faults = [Fault(f"input.{key}", unknown("key", str(key), ["size"])) for key in data if key != "size"]
    size = data.get("size")
    dims = model.get("dims")
    dims = dims if type(dims) is int else schema.WHOLE["dims"][1]
    sides = size if isinstance(size, list) and len(size) == dims else [size]
    most = schema.MAX_CHANNELS if dims == 1 else MAX_PIXELS
    if not all(type(side) is int and 0 < side <= most for side in sides):
        example = {1: "5000", 3: "64 or [16, 112, 112]"}.get(dims, "224 or [224, 320]")
        what = "a length" if dims == 1 else "pixels"
        message = f"expected {what} from 1 to {most}, as {example}, found {found(size)}"
        faults.append(Fault("input.size", message + dims_field_hint(size, dims)))
    return faults


__all__ = [
    "Composed", "compose_all", "compose_in_library", "composed_image_size", "conf_dir", "group_choices",
    "read", "user_library_dir",
]  # fmt: skip
