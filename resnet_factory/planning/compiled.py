"""Lines made ready: what an item of a recipe says, as far as it is known before any block is planned.

A layer of a recipe stands in dozens of blocks and says the same in each but for a handful of numbers.
What is the same is found once, when the recipes are read, and layers that come out equal are one object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from resnet_factory.config.recipe import Item, Recipe, Value, arguments_of
from resnet_factory.config.schema import Specification
from resnet_factory.layers import VOCABULARY, Layer
from resnet_factory.layers.expressions import Expression, ExpressionError

Scope = dict[str, Any]
"""Names and their values; `@` holds what was written of them, innermost recipe first."""
Written = dict[str, tuple[Value, str]]
"""Names, their values as they are written, and the paths they are written at."""

MAX_KEPT = 1024
"""Layers kept for other networks, of one line."""
OWN = frozenset({
    "width", "groups", "base_width", "depth", "dilation", "entry_dilation", "first_block", "block", "index",
    "previous_depth",
})  # fmt: skip
"""What else the planner may tell one block and not another."""
POSITIONS = frozenset({"index", "block"})
"""Names that differ from block to block; a stage that uses neither repeats one planned block."""


class Line(NamedTuple):
    """An item that is one layer."""

    kind: str
    made: type[Layer]
    given: dict[str, Any]
    """The arguments that are the same in every block."""
    computed: tuple[tuple[str, Value, type], ...]
    """Name, arithmetic and type of those that depend on the block."""
    written: Written
    """Every argument."""
    read: Callable[[Scope], Any]
    """From a block's scope, what the layer depends on: the channels that arrive, then the numbers of
    `computed`, unchecked. Raises what arithmetic raises."""
    direct: bool
    """Whether `read` gives the numbers themselves, not only what they depend on."""
    known: dict[Any, Layer]
    """The layers made so far, in any network, by what `read` gave; one for the lines that say the same."""

    def keep(self, depends: Any, layer: Layer) -> None:
        """Let other networks have a layer too, if it depends on plain numbers."""
        numbers = depends if isinstance(depends, tuple) else (depends,)
        if self.direct and all(isinstance(number, (int, float)) for number in numbers):
            if len(self.known) >= MAX_KEPT:
                self.known.clear()
            self.known[depends] = layer


class Prepared(NamedTuple):
    """Everything about the recipes of a network that is the same for all of its blocks."""

    everywhere: Scope
    """The numbers that recipes may use in the whole network; 1 for a slot with something in it, else 0."""
    lines: Mapping[str, Line | None]
    """Every item of the recipes that is one layer, by its path; None where its slot is empty."""
    written: Mapping[str, Written]
    """The numbers that recipes define, by the recipe's path."""
    repeats: tuple[bool, ...]
    """By stage, whether its blocks are alike from the second on."""
    depends: tuple[Callable[[Scope], Any], ...]
    """By stage, what of its scope a block depends on."""


def prepare(model: Specification) -> Prepared:
    """Compile a model's recipes for planning."""
    everywhere = {
        "in_channels": model.in_channels,
        "num_classes": model.num_classes,
        "zero_init_residual": model.zero_init_residual,
        "stages": len(model.depths),
        "always": 1,
        "never": 0,
        **{name: int(not slot.empty) for name, slot in model.slots.items()},
    }
    slots = tuple(model.slots.values())
    recipes = (model.stem, *model.blocks, model.shortcut, model.transition, model.head, *slots)
    alike = not positional([model.shortcut, *slots])
    kinds = {id(block): block for block in model.blocks}
    repeats = {key: alike and not positional([block]) for key, block in kinds.items()}
    depends = {key: dependence((block, model.shortcut, *slots)) for key, block in kinds.items()}
    return Prepared(
        everywhere,
        ready(recipes, model.slots, everywhere),
        {recipe.path: spelled(recipe) for recipe in recipes},
        tuple(repeats[id(block)] for block in model.blocks),
        tuple(depends[id(block)] for block in model.blocks),
    )


def ready(
    recipes: Iterable[Recipe], slots: Mapping[str, Recipe], everywhere: Scope
) -> dict[str, Line | None]:
    """Every item that is one layer, by its path; None for one whose slot is empty.

    `everywhere` holds the numbers that are the same in the whole network.
    """
    recipes = tuple(recipes)
    own = {name for recipe in recipes for name, _ in recipe.names}
    constant = {
        name: value for name, value in everywhere.items() if name not in own and isinstance(value, int)
    }
    lines: dict[str, Line | None] = {}
    for item in _items(items for recipe in recipes for _, items in recipe.lists):
        slot = slots.get(item.kind)
        if item.path in lines or item.lists:
            continue
        if slot is None or slot.layer is not None:
            lines[item.path] = _line(item, slot, constant)
        elif slot.empty:
            lines[item.path] = None
    return lines


def spelled(recipe: Recipe) -> Written:
    """The numbers a recipe defines."""
    return {name: (value, f"{recipe.path}.{name}") for name, value in recipe.names}


def positional(recipes: Iterable[Recipe]) -> bool:
    """Whether anything in the recipes depends on which block of its stage it stands in."""
    return any(not POSITIONS.isdisjoint(recipe.reads) for recipe in recipes)


def dependence(recipes: Iterable[Recipe]) -> Callable[[Scope], Any]:
    """What of a block's scope the block depends on, where it is planned from these recipes."""
    return itemgetter(
        "stage", "in", "stride", *sorted(OWN & set().union(*(recipe.reads for recipe in recipes)))
    )


def _items(lists: Iterable[tuple[Item, ...]]) -> Iterator[Item]:
    for items in lists:
        for item in items:
            yield item
            yield from _items(inner for _, inner in item.lists)


def _line(item: Item, slot: Recipe | None, constant: Scope) -> Line:
    kind = item.kind if slot is None else str(slot.layer)
    written: Written = dict(spelled(slot)) if slot is not None else {}
    written |= {name: (value, f"{item.path}.{name}") for name, value in item.arguments}
    made, fixed = VOCABULARY[kind]
    table = arguments_of(kind)
    given, computed = dict(fixed), []
    for name, (value, _) in written.items():
        argument = table[name]
        number = value if argument.words else _number(value, constant, argument.type)
        if number is None:
            computed.append((name, value, argument.type))
        else:
            given[name] = number
    says = (kind, *given.items(), *computed)
    read = _reader([value for _, value, _ in computed])
    direct = all(isinstance(value, Expression) for _, value, _ in computed)
    known = _known(says) if direct else {}
    return Line(kind, made, given, tuple(computed), written, read, direct, known)


@lru_cache(maxsize=512)
def _known(says: tuple[Any, ...]) -> dict[Any, Layer]:
    """The layers made from lines of one wording. Layers are values: what networks share them cannot show."""
    return {}


def _reader(values: Sequence[Value]) -> Callable[[Scope], Any]:
    """Reads the channels that arrive and `values` from a scope."""
    expressions = [value for value in values if isinstance(value, Expression)]
    if len(expressions) < len(values):
        # A list with an entry per stage or block depends on where it stands in the network, too.
        return itemgetter("channels", "stage", "block", *sorted({n for e in expressions for n in e.names}))
    if all(expression.names == {expression.text} for expression in expressions):
        return itemgetter("channels", *(expression.text for expression in expressions))
    computes = [expression.compute for expression in expressions]
    return lambda scope: (scope["channels"], *[compute(scope) for compute in computes])


def _number(value: Value, constant: Scope, wanted: type) -> Any:
    """The number, where it is the same everywhere and is one that `wanted` holds; else None."""
    if isinstance(value, Expression):
        if not value.names <= constant.keys():
            return None
    elif not isinstance(value, (int, float)):
        return None
    try:
        number = value.value(constant) if isinstance(value, Expression) else value
    except ExpressionError:
        return None  # the planner says so where the line is used, if it is
    return None if wanted is int and number != int(number) else wanted(number)
