"""Remove keys that an override has made unused from a model's plain data.

For example, replacing a block's body leaves numbers that only the old body used. They are removed if they
come from a shipped file; if the user wrote them, they are an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from resnet_factory.config import schema
from resnet_factory.errors import ConfigError


def examine_pruned(
    data: Any,
    written: Callable[[str], bool] = lambda path: False,
    *,
    name: str = "",
    titles: Mapping[str, str] | None = None,
    find: schema.Find | None = None,
    path: str = "model",
) -> schema.SchemaExamination:
    """Read a model's data without its unused keys, except those that the user has `written`.

    `written` takes the dotted path of a key; the other arguments are those of `schema.examine_schema`.
    """
    while True:
        examined = schema.examine_schema(data, name=name, titles=titles, find=find, path=path)
        spare = [fault.path for fault in examined.unread if not written(fault.path)]
        kept = tuple(fault for fault in examined.unread if fault.path not in spare)
        if not spare or examined.config is None:
            return schema.SchemaExamination(examined.config, examined.faults, kept)
        data = _pruned_without(data, [key.removeprefix(f"{path}.").split(".") for key in spare])


def read_pruned(data: Any, *, name: str = "") -> schema.ModelConfig:
    """Read the config of generated data, dropping unused keys: of a sample, or a file of an earlier version.

    Raises:
        ConfigError: with every fault found.
    """
    examined = examine_pruned(data, name=name)
    if examined.config is None:
        raise ConfigError(examined.faults)
    return examined.config


def _pruned_without(data: Any, paths: list[list[str]]) -> Any:
    data = deepcopy(data)
    for *above, last in paths:
        holder = data
        for key in above:
            holder = holder[int(key) if isinstance(holder, list) else key]
        del holder[last]
    return data
