"""Recipes compiled for planning: the numbers they define, the names blocks depend on, and their layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

from resnet_factory.config.recipe import Recipe, RecipeItem, Value, recipe_arguments
from resnet_factory.config.schema import Specification
from resnet_factory.layers import Layer
from resnet_factory.layers.registry import class_of_registered_word

Scope = dict[str, Any]
"""Names and their values; `@` holds their text in the recipes, innermost recipe first."""
Written = dict[str, tuple[Value, str]]
"""Names, their values as written, and the paths where they are written."""

OWN = frozenset({
    "width", "groups", "base_width", "depth", "dilation", "entry_dilation", "first_block", "block", "index",
    "previous_depth",
})  # fmt: skip
"""Further names whose values may differ from block to block."""
POSITIONS = frozenset({"index", "block"})
"""Names that differ from block to block; a stage that uses neither repeats one planned block."""


class CompiledLayer(NamedTuple):
    """An item that is one layer."""

    kind: str
    made: type[Layer]
    fixed: Mapping[str, Any]
    """The arguments that the layer's name implies."""
    arguments: tuple[tuple[str, type, Value, str], ...]
    """Name, type, value as written, and the path where it is written; `str` for one that takes words."""


class CompiledRecipes(NamedTuple):
    """Everything about the recipes of a network that is the same for all of its blocks."""

    everywhere: Scope
    """The numbers that recipes may use in the whole network; 1 for a filled slot, 0 for an empty one."""
    written: Mapping[str, Written]
    """The numbers that recipes define, by the recipe's path."""
    repeats: tuple[bool, ...]
    """Per stage, whether its blocks are equal from the second on."""
    depends: tuple[Callable[[Scope], Any], ...]
    """Per stage, the values of its scope that a block depends on."""


def compile_recipes(model: Specification) -> CompiledRecipes:
    """Compile a model's recipes for planning."""
    everywhere = {
        "in_channels": model.in_channels,
        "num_classes": model.num_classes,
        "image_size": model.image_size,
        "dims": model.dims,
        "zero_init_residual": model.zero_init_residual,
        "stages": len(model.depths),
        "always": 1,
        "never": 0,
        **{name: int(not slot.empty) for name, slot in model.slots.items()},
    }
    slots = tuple(recipe for recipes in model.slot_recipes.values() for recipe in recipes)
    recipes = (model.stem, *model.blocks, model.shortcut, model.transition, model.head, *slots)
    alike = not is_compiled_per_position([model.shortcut, *slots])
    kinds = {id(block): block for block in model.blocks}
    repeats = {key: alike and not is_compiled_per_position([block]) for key, block in kinds.items()}
    depends = {key: compile_dependence((block, model.shortcut, *slots)) for key, block in kinds.items()}
    return CompiledRecipes(
        everywhere,
        {recipe.path: compile_defined_numbers(recipe) for recipe in recipes},
        tuple(repeats[id(block)] for block in model.blocks),
        tuple(depends[id(block)] for block in model.blocks),
    )


def compile_defined_numbers(recipe: Recipe) -> Written:
    """Return the numbers that a recipe defines."""
    return {name: (value, f"{recipe.path}.{name}") for name, value in recipe.names}


def is_compiled_per_position(recipes: Iterable[Recipe]) -> bool:
    """Return whether anything in the recipes depends on the position of the block in its stage."""
    return any(not POSITIONS.isdisjoint(recipe.reads) for recipe in recipes)


def compile_dependence(recipes: Iterable[Recipe]) -> Callable[[Scope], Any]:
    """Return a function that picks from a scope the values a block of these recipes depends on."""
    return itemgetter(
        "stage", "in", "stride", *sorted(OWN & set().union(*(recipe.reads for recipe in recipes)))
    )


def compile_layer(item: RecipeItem, slot: Recipe | None) -> CompiledLayer:
    """Return the layer of an item: its own, or the one in the slot it calls."""
    kind = item.kind if slot is None else str(slot.layer)
    written: Written = dict(compile_defined_numbers(slot)) if slot is not None else {}
    written |= {name: (value, f"{item.path}.{name}") for name, value in item.arguments}
    made, fixed = class_of_registered_word(kind)
    table = recipe_arguments(kind)
    arguments = ((name, table[name], value, path) for name, (value, path) in written.items())
    return CompiledLayer(
        kind,
        made,
        fixed,
        tuple((name, entry.type, value, path) for name, entry, value, path in arguments),
    )
