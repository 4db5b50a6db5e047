"""Differences between two models' configs: typed fields by value, recipes by name or by content."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

from resnet_factory.config.recipe import Recipe
from resnet_factory.config.schema import PER_STAGE, ModelConfig

NOT_SAID = {"text", "name", "path", "locate", "stage_slots"}
"""Fields of a config that do not define the architecture."""


@dataclass(frozen=True)
class ConfigChange:
    """One key of the config; its old or new value is empty if it was added or removed."""

    key: str
    before: str
    after: str


def find_config_changes(before: ModelConfig, after: ModelConfig) -> tuple[ConfigChange, ...]:
    """Return every key whose value differs, in the order of the config.

    One value for all stages equals a list that repeats that value.
    """
    if before == after:
        return ()
    found: list[ConfigChange] = []
    data = before.to_dict(), after.to_dict()
    for entry in fields(ModelConfig):
        if entry.name in NOT_SAID or not entry.init:  # skip derived fields
            continue
        pair = getattr(before, entry.name), getattr(after, entry.name)
        if entry.name == "slots":
            old, new = before.slot_recipes, after.slot_recipes
            for key in dict.fromkeys((*old, *new)):
                found += _changed_config_recipes(key, old.get(key, (None,)), new.get(key, (None,)), data)
        elif entry.name == "blocks":
            found += _changed_config_recipes("block", *pair, data)
        elif any(isinstance(value, Recipe) for value in pair):
            found += _changed_config_recipes(entry.name, (pair[0],), (pair[1],), data)
        elif is_dataclass(pair[0]) and is_dataclass(pair[1]):
            found += _changed_config_values(entry.name, *(asdict(value) for value in pair))
        elif pair[0] != pair[1]:
            said = [_changed_config_value_text(_brief_config_value(value, entry.name)) for value in pair]
            if said[0] == said[1] and entry.name == "depths":  # one depth for any number of stages
                said = [_changed_config_value_text(value) for value in pair]
            if said[0] != said[1]:
                found.append(ConfigChange(entry.name, *said))
    return tuple(found)


def _changed_config_recipes(
    key: str,
    before: tuple[Recipe | None, ...],
    after: tuple[Recipe | None, ...],
    data: tuple[dict[str, Any], dict[str, Any]],
) -> Iterator[ConfigChange]:
    """Yield the changes of recipes: one for a replaced recipe, one per edit for an edited recipe."""
    if before == after or _single_config_value(before) == _single_config_value(after):
        return
    old, new = _changed_recipe_titles(before), _changed_recipe_titles(after)
    if old and new and old != new:
        yield ConfigChange(key, old, new)
    else:
        yield from _changed_config_values(key, data[0].get(key), data[1].get(key))


def _single_config_value(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a single value if all are equal."""
    return values[:1] if all(value == values[0] for value in values) else values


def _changed_recipe_titles(recipes: tuple[Recipe | None, ...]) -> str:
    """Return the names of the recipes; empty if one is written out in the config."""
    titles = _single_config_value(tuple(recipe.title if recipe else "none" for recipe in recipes))
    if "" in titles or "block" in titles:  # the schema's title of a block without a name
        return ""
    return titles[0] if len(titles) == 1 else f"[{', '.join(titles)}]"


def _changed_config_values(key: str, before: Any, after: Any) -> Iterator[ConfigChange]:
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys((*before, *after)):
            if name not in before or name not in after:
                yield ConfigChange(
                    f"{key}.{name}",
                    *(
                        _changed_config_value_text(side[name]) if name in side else ""
                        for side in (before, after)
                    ),
                )
            else:
                yield from _changed_config_values(f"{key}.{name}", before[name], after[name])
    elif isinstance(before, list) and isinstance(after, list):
        yield from _changed_config_items(key, before, after)
    else:
        yield ConfigChange(key, _changed_config_value_text(before), _changed_config_value_text(after))


def _changed_config_items(key: str, before: list[Any], after: list[Any]) -> Iterator[ConfigChange]:
    """Yield the edits of a list; paths are indices after the change, or before it for removed items."""
    old_texts, new_texts = ([json.dumps(item, sort_keys=True) for item in side] for side in (before, after))
    matcher = difflib.SequenceMatcher(None, old_texts, new_texts, autojunk=False)
    for kind, i, j, k, m in matcher.get_opcodes():
        if kind == "equal":
            continue
        paired = min(j - i, m - k)
        for old, new in zip(range(i, i + paired), range(k, k + paired), strict=True):
            yield from _changed_config_values(f"{key}.{new}", before[old], after[new])
        for old in range(i + paired, j):
            yield ConfigChange(f"{key}.{old}", _changed_config_value_text(before[old]), "")
        for new in range(k + paired, m):
            yield ConfigChange(f"{key}.{new}", "", _changed_config_value_text(after[new]))


def _brief_config_value(value: Any, field: str) -> Any:
    """Return a single value if all stages have the same."""
    return value[0] if field in PER_STAGE and len(set(value)) == 1 else value


def _changed_config_value_text(value: Any) -> str:
    """Return a value as one line of YAML."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_changed_config_value_text, value))}]"
    if isinstance(value, Mapping):
        return (
            f"{{{', '.join(f'{name}: {_changed_config_value_text(item)}' for name, item in value.items())}}}"
        )
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
