"""The code that Hydra's own settings may refer to: that of Hydra and its installed plugins only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from omegaconf import DictConfig, ListConfig
from omegaconf.errors import OmegaConfBaseException

from resnet_factory.config import hydra_internals

CALLED = ("_target_", "class", "()", "filename")
"""Keys whose value is called, made an object or opened for writing."""
SECTIONS = ("launcher", "sweeper", "callbacks", "job_logging", "hydra_logging")
"""The settings below `hydra` that Hydra instantiates."""
LOADERS = re.compile(r"PYTHON\w*|LD_\w+|DYLD_\w+|PATH")
"""Environment variables that can make a process run other code."""


@cache
def permitted_values() -> frozenset[tuple[str, str, Any]]:
    """Return (section, key, value) of all settings in the configs of Hydra and its plugins."""
    return frozenset(
        (section, key, value)
        for section in SECTIONS
        for config in hydra_internals.hydra_config_data(f"hydra/{section}")
        for key, value in _settings_to_permit(config)
    )


def _settings_to_permit(data: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(data, dict):
        for key, value in data.items():
            if isinstance(value, (dict, list)):
                yield from _settings_to_permit(value)
            else:
                yield str(key), value
    elif isinstance(data, list):
        for value in data:
            yield from _settings_to_permit(value)


def may_name_code(keys: tuple[str, ...], value: Any) -> bool:
    """Return whether the text at `hydra.…` is a launcher or sweeper of Hydra or a plugin."""
    if len(keys) < 3 or keys[0] != "hydra" or not isinstance(value, str):
        return False
    return keys[1] in ("launcher", "sweeper") and (keys[1], "_target_", value) in permitted_values()


def permission_refusal(keys: tuple[str, ...], value: Any) -> str:
    """Return the fault of a launcher or sweeper that is not allowed, with the allowed ones."""
    section = keys[1] if keys[:1] == ("hydra",) and len(keys) > 2 else ""
    if section not in ("launcher", "sweeper"):
        return "'_target_' is refused: a config cannot run code"
    message = f"{str(value)!r} is refused: it is not a {section} of Hydra or of an installed plugin"
    return f"{message}; choose one by hydra/{section}=NAME"


def permission_refusals(settings: DictConfig) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the keys of Hydra's composed settings that would run code or open a file, and the reasons.

    Interpolations are resolved first.
    """
    for name in settings.job.env_set:
        if LOADERS.fullmatch(str(name)):
            yield ("hydra", "job", "env_set", str(name)), "is refused: it could make the jobs run other code"
    for section in settings:
        if section == "callbacks":
            for name in settings.callbacks or ():
                yield (
                    ("hydra", "callbacks", str(name)),
                    "callbacks are refused: a config cannot run code",
                )
        elif section in SECTIONS:
            yield from _permission_refusals_below(settings, str(section), ("hydra",))
        else:
            yield from _permission_targets(settings, str(section), ("hydra",))


def _permission_refusals_below(
    node: Any, key: Any, above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the refusals of one value of a section, and of all values in it."""
    keys = (*above, str(key))
    raw = node._get_node(key)._value() if isinstance(node, (DictConfig, ListConfig)) else node[key]  # type: ignore[union-attr]
    shipped = len(keys) > 2 and isinstance(raw, str) and (keys[1], str(key), raw) in permitted_values()
    if str(key) in CALLED and not shipped and raw is not None:
        if key == "_target_":
            yield keys, permission_refusal(keys, raw)
        else:
            yield (
                keys,
                f"{str(raw)!r} is refused: only values of Hydra's and of installed plugins' own files are "
                "allowed here",
            )
        return
    try:
        value = node[key]
    except OmegaConfBaseException:
        if isinstance(raw, str) and "${" in raw and not shipped:
            yield keys, f"{raw!r} cannot be resolved before the jobs run"
        return
    if isinstance(value, str) and re.match(r"(ext|cfg)://", value) and not shipped:
        yield keys, f"{value!r} is refused: a config cannot run code"
    elif isinstance(value, (DictConfig, ListConfig, dict, list)):
        inner = range(len(value)) if isinstance(value, (ListConfig, list)) else list(value)
        for each in inner:
            yield from _permission_refusals_below(value, each, keys)


def _permission_targets(node: Any, key: Any, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield every `_target_` in a section that Hydra does not instantiate."""
    try:
        value = node[key]
    except OmegaConfBaseException:
        return
    if key == "_target_":
        yield (*above, key), permission_refusal((*above, key), value)
    elif isinstance(value, (DictConfig, dict)):
        for each in list(value):
            yield from _permission_targets(value, each, (*above, str(key)))
    elif isinstance(value, (ListConfig, list)):
        for i in range(len(value)):
            yield from _permission_targets(value, i, (*above, str(key)))
