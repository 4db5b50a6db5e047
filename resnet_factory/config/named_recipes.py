"""Look up recipes given by name: `stem: deep` means the data of that file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from resnet_factory.config.model_keys import ACTIVATIONS, ROLES, SLOTS
from resnet_factory.errors import Fault, found, unknown
from resnet_factory.layers.registry import is_registered_layer, registered_own_words

Find = Callable[[str, str], Any]
"""(group, name) -> the plain data of the recipe of that name, or None."""
STAND_IN: dict[str, Any] = {"block": {"out": "width", "body": []}, "shortcut": {"when": "never"}}
"""Valid recipes that replace missing ones, so that no further faults follow."""


def with_named_recipes(
    data: Mapping[str, Any], titles: dict[str, str], find: Find | None, path: str, faults: list[Fault]
) -> dict[str, Any]:
    """Replace the names of recipes by their data."""

    def named(key: str, value: Any, where: str, title: str) -> Any:
        if not isinstance(value, str):
            if not isinstance(value, Mapping):
                known = find(key, "") if find else ()
                names = f"; known are {', '.join(known)}" if known else ""
                message = f"expected the name of a recipe, or a recipe (a mapping), found {found(value)}"
                faults.append(Fault(where, message + names))
                return {} if key == "init" else STAND_IN.get(key, {"layers": []})
            return value
        recipe = find(key, value) if find else None
        if recipe is None and key in SLOTS and is_registered_layer(value):
            recipe = {"layer": value}
        if recipe is None:
            known = [*(find(key, "") if find else ()), *(ACTIVATIONS if key == "act" else ())]
            known += registered_own_words() if key in SLOTS else []
            faults.append(Fault(where, unknown(key, value, known)))
            return {} if key == "init" else STAND_IN.get(key, {"layers": []})
        titles[title] = value
        return recipe

    resolved = dict(data)
    if isinstance(resolved.get("init"), str):
        resolved["init"] = named("init", resolved["init"], f"{path}.init", "init")
    for key in (*ROLES, *SLOTS):
        value = resolved.get(key)
        if (key == "block" or key in SLOTS) and isinstance(value, list):
            resolved[key] = [
                named(key, entry, f"{path}.{key}.{i}", f"{key}.{i}") for i, entry in enumerate(value)
            ]
        elif key in resolved:
            resolved[key] = named(key, value, f"{path}.{key}", key)
    return resolved
