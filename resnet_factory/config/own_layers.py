"""Registered layers in configs: `register_layer`, and the packages that a saved config's layers come from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from resnet_factory.config.model_keys import KEYS, SLOTS
from resnet_factory.config.recipe import kinds_in_recipe
from resnet_factory.config.schema import Specification
from resnet_factory.config.structures import STRUCTURES
from resnet_factory.layers import VOCABULARY, Layer, registry

TAKEN = frozenset({*KEYS, *STRUCTURES, "layer", "layers", "name", "when"})
"""Words with a meaning of their own in a recipe."""


def register_layer(word: str, layer: type[Layer], module: registry.Maker) -> None:
    """Register a layer of your own, which recipes composed from now on may use by `word`.

    `layer` is a frozen dataclass derived from `resnet_factory.layers.Layer`: its fields are the arguments,
    its methods the arithmetic. `module` is a function that takes such a layer and returns its torch module,
    or the function's import path, `package.module:function`, which is imported when a network is built.
    Registering the same layer again has no effect. The registration is valid in this process only; worker
    processes of `study` and `sweep` know the layers of installed packages, found by their entry points of the
    group `resnet_factory.layers`.

    Raises:
        TypeError: an argument is of another type, or the class is not such a dataclass.
        ValueError: the word is taken, or a formula of the class fails at small numbers.
    """
    if isinstance(word, str) and word in TAKEN:
        kind = "slot" if word in SLOTS else "structure" if word in STRUCTURES else "key of recipes and models"
        raise ValueError(f"register_layer(): {word!r} is a {kind}; choose another word")
    try:
        registry.register(word, layer, module)
    except (TypeError, ValueError) as error:
        raise type(error)(f"register_layer(): {error}") from error.__cause__


def own_layers(config: Specification) -> list[str]:
    """Return the words of the registered layers that a config uses."""
    slots = [recipe for recipes in config.slot_recipes.values() for recipe in recipes]
    recipes = (config.stem, *config.blocks, config.shortcut, config.transition, config.head, *slots)
    kinds = {kind for recipe in recipes for kind in kinds_in_recipe(items for _, items in recipe.lists)}
    kinds |= {slot.layer for slot in slots if slot.layer is not None}
    return sorted(kinds - {*VOCABULARY, *STRUCTURES, *config.slots})


def own_layer_origins(config: Specification) -> dict[str, dict[str, str]]:
    """Return the package and version, or the module, of each registered layer that a config uses."""
    found = {word: registry.REGISTRY.find(word) for word in own_layers(config)}
    return {word: own.origin for word, own in found.items() if own is not None}


def missing_own_layers(saved: str) -> Iterator[str]:
    """Yield a message for each layer of saved `own_layer_origins`, as JSON, that is not known here."""
    for word, place in _read_own_layer_origins(saved).items():
        if not registry.is_registered_layer(word):
            todo = "install it" if "package" in place else "register it first, as rf.register_layer does"
            message = (
                f"layer {word!r} is not registered here; the network was saved with the one from "
                f"{_own_layer_place_text(place)}"
            )
            yield f"{message}; {todo}"


def changed_own_layers(saved: str) -> Iterator[str]:
    """Yield a message for each layer of saved `own_layer_origins` (JSON) that comes from elsewhere here."""
    for word, place in _read_own_layer_origins(saved).items():
        own = registry.REGISTRY.find(word)
        if own is not None and own.origin != place:
            then, now = _own_layer_place_text(place), _own_layer_place_text(own.origin)
            yield f"layer {word!r} came from {then} when the network was saved, and comes from {now} here"


def _read_own_layer_origins(saved: str) -> Mapping[str, dict[str, str]]:
    """Return saved origins; what a file says is taken as text, and cut."""
    try:
        data = json.loads(saved)
    except (ValueError, RecursionError):
        return {}
    found: dict[str, dict[str, str]] = {}
    for word, place in data.items() if isinstance(data, dict) else ():
        said: dict[Any, Any] = place if isinstance(place, dict) else {}
        found[word[:100]] = {str(key)[:100]: str(value)[:100] for key, value in said.items()}
    return found


def _own_layer_place_text(place: Mapping[str, str]) -> str:
    if "package" in place:
        return f"package '{place['package']} {place.get('version', '')}'"
    return f"module '{place.get('module', '')}'"
