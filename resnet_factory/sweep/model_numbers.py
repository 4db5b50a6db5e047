"""Numbers of a model at dotted keys: which may differ within a population, and how they are replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from resnet_factory.config.recipe import PerStage, Recipe
from resnet_factory.config.schema import DEFAULTS, PER_STAGE, WHOLE, ModelConfig, Specification

STRUCTURAL = ("image_size", "dims")
"""Numbers that a template fixes: they change the size of the data rather than a layer's numbers."""


def model_image_sides(image: Sequence[int], dims: int) -> tuple[int, ...]:
    """Return the sides of an image for a network of `dims` dimensions: one side for all is one there, too."""
    return (image[0],) * dims if len(set(image)) == 1 else tuple(image)


RECIPES = ("stem", "head", "shortcut", "transition")


def substitute_model_numbers(config: ModelConfig, numbers: Mapping[str, Any]) -> Specification:
    """Return the model with numbers or vectors at keys for which `model_number_may_vary` is true."""
    stages = range(len(config.depths))
    changes: dict[str, Any] = {}
    recipes: dict[str, Any] = {name: getattr(config, name) for name in RECIPES}
    recipes |= {"blocks": config.blocks, **config.slots}
    for key, number in numbers.items():
        head, *rest = key.split(".")
        if head in WHOLE:
            changes[head] = number
        elif head in PER_STAGE:
            old = changes.get(head, getattr(config, head))
            changes[head] = tuple(number if not rest or i == int(rest[0]) else old[i] for i in stages)
        elif head == "block":
            recipes["blocks"] = tuple(
                _recipe_with_model_number(block, rest, number) for block in recipes["blocks"]
            )
        else:
            recipes[head] = _recipe_with_model_number(recipes[head], rest, number)
    slots = {name: recipes.pop(name) for name in config.slots}
    unchanged = {entry.name: getattr(config, entry.name) for entry in fields(Specification)}
    return Specification(**unchanged | recipes | {"slots": slots} | changes)


def _recipe_with_model_number(recipe: Recipe, keys: list[str], number: Any) -> Recipe:
    name, *index = keys
    if index:
        old = dict(recipe.names)[name]
        assert isinstance(old, PerStage)
        values = list(old.values)
        values[int(index[0])] = number
        number = PerStage(tuple(values))
    return replace(
        recipe, names=tuple((key, number if key == name else value) for key, value in recipe.names)
    )


def model_number_may_vary(config: ModelConfig, key: str) -> bool:
    """Return whether the number at a dotted key below the model may differ within one population."""
    head, *rest = key.split(".")
    if head in config.stage_slots:
        return False
    if head in WHOLE and head not in STRUCTURAL:
        return not rest
    if head in PER_STAGE:
        return not rest or (len(rest) == 1 and rest[0].isdigit() and int(rest[0]) < len(config.depths))
    recipe = getattr(config, head) if head in RECIPES else config.slots.get(head)
    if head == "block" and len(set(config.blocks)) == 1:
        recipe = config.blocks[0]
    if recipe is None or len(rest) not in (1, 2):
        return False
    value = dict(recipe.names).get(rest[0])
    if len(rest) == 2:
        values = value.values if isinstance(value, PerStage) and rest[1].isdigit() else ()
        return not isinstance(dict(enumerate(values)).get(int(rest[1]), ()), tuple) if values else False
    return value is not None and not isinstance(value, (str, PerStage))


def place_model_number(data: dict[str, Any], key: str, number: Any, stages: int) -> None:
    """Write a number into a model's plain data, at a dotted key."""
    head, *rest = key.split(".")
    if head in PER_STAGE:
        old = data.get(head, DEFAULTS.get(head, 1))
        data[head] = list(old) if isinstance(old, list) else [old] * stages
        data[head][int(rest[0]) if rest else slice(None)] = number if rest else [number] * stages
        return
    inner: Any = data
    for step in (head, *rest)[:-1]:
        inner = inner[int(step) if isinstance(inner, list) else step]
    last = (head, *rest)[-1]
    inner[int(last) if isinstance(inner, list) else last] = number
