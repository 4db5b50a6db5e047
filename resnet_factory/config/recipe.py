"""Recipes: lists of layers and named arithmetic, read from plain YAML data into typed form.

A recipe is a mapping. Its lists (`layers`, or a block's `pre`, `body` and `post`) contain layers; every
other key is a number, or arithmetic over the numbers in scope, that the lists may use. A slot is a recipe
called by name from another one; the arguments of the call override its numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from resnet_factory.layers import SAME, Axes, Padding
from resnet_factory.layers.expressions import Expression, Number
from resnet_factory.layers.registry import LayerError, class_of_registered_word


@dataclass(frozen=True, slots=True)
class PerStage:
    """One value per stage, or one list per stage with one value per block."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class PerAxis:
    """One value per axis of a map; in padding also a pair, before and after."""

    values: tuple[Any, ...]


RESERVED = frozenset({
    "T_destination", "add_module", "append", "apply", "bfloat16", "buffers", "call_super_init",
    "children", "compile", "config", "cpu", "cuda", "default_cfg", "double", "dump_patches", "eval",
    "extend", "extra_repr", "feature_info", "float", "forward", "forward_features", "forward_head",
    "get_buffer", "get_classifier", "get_extra_state", "get_parameter", "get_submodule",
    "grad_checkpointing", "group_matcher", "half", "head_hidden_size", "insert", "ipu",
    "load_state_dict", "modules", "mtia", "named_buffers", "named_children", "named_modules",
    "named_parameters", "num_classes", "num_features", "out_channels", "outputs", "parameters", "plan",
    "pop", "pretrained_cfg", "register_backward_hook", "register_buffer", "register_forward_hook",
    "register_forward_pre_hook", "register_full_backward_hook", "register_full_backward_pre_hook",
    "register_load_state_dict_post_hook", "register_load_state_dict_pre_hook", "register_module",
    "register_parameter", "register_state_dict_post_hook", "register_state_dict_pre_hook",
    "requires_grad_", "reset_classifier", "set_extra_state", "set_grad_checkpointing", "set_submodule",
    "share_memory", "state_dict", "steps", "to", "to_empty", "train", "training", "type", "xpu",
    "zero_grad",
})  # fmt: skip
"""Attributes of torch modules and of our networks, which layers must not be called; a test compares them."""

Value = Number | str | Expression | PerStage | PerAxis
Names = tuple[tuple[str, Value], ...]


@dataclass(frozen=True, slots=True)
class RecipeItem:
    """One line of a list: a layer, a slot or a structure, with its arguments."""

    kind: str
    arguments: Names = ()
    name: str | None = None
    when: Value = 1
    lists: tuple[tuple[str, tuple[RecipeItem, ...]], ...] = ()
    path: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Numbers, ordered so that each depends only on earlier ones, and lists of items."""

    names: Names = ()
    lists: tuple[tuple[str, tuple[RecipeItem, ...]], ...] = ()
    layer: str | None = None
    """For a slot that is one layer, its kind; `names` are then that layer's default arguments."""
    words: tuple[tuple[str, Value], ...] = ()
    title: str = field(default="", compare=False)
    path: str = field(default="", compare=False)
    reads: frozenset[str] = field(init=False, compare=False, repr=False)
    """The names that its arithmetic uses, its own included; `block` if a list has an entry per block."""

    used: frozenset[str] = field(init=False, compare=False, repr=False)
    """The names from outside that its arithmetic uses, and the kinds of its items."""

    def __post_init__(self) -> None:
        lists = frozenset().union(*names_in_recipe((self.words, self.lists)))
        own = {name: frozenset().union(*names_in_recipe(value)) for name, value in self.names}
        outside = lists - own.keys()
        for name, reads in own.items():
            # A name used in its own definition refers to the enclosing scope.
            outside |= reads - (own.keys() - {name})
        object.__setattr__(self, "reads", lists.union(*own.values()))
        object.__setattr__(self, "used", outside.union(kinds_in_recipe(items for _, items in self.lists)))

    def items(self, name: str) -> tuple[RecipeItem, ...]:
        """Return the list called `name`."""
        for key, items in self.lists:
            if key == name:
                return items
        return ()

    @property
    def empty(self) -> bool:
        """Return whether this recipe adds nothing."""
        return self.layer is None and not any(items for _, items in self.lists)


@dataclass(frozen=True, slots=True, eq=False)
class RecipeRole:
    """The allowed contents of a recipe, by its role in the model."""

    lists: tuple[str, ...]
    scope: frozenset[str]
    words: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)
    """Additional keys: the allowed words, or None for a condition."""
    needs: tuple[str, ...] = ()
    single: bool = False
    """Whether `layer: kind` may replace the lists."""
    staged: bool = True
    """Whether a number may be a list with one entry per stage."""


def recipe_circles(slots: Mapping[str, tuple[Recipe, ...]]) -> Iterator[list[str]]:
    """Yield the cycles by which a slot's recipe contains itself, one per slot."""

    uses = {
        name: [
            kind
            for slot in recipes
            for kind in kinds_in_recipe(items for _, items in slot.lists)
            if kind in slots
        ]
        for name, recipes in slots.items()
    }
    for start in slots:
        ways = [[start]]
        seen = set()
        while ways:
            way = ways.pop(0)
            if way[-1] == start and len(way) > 1:
                yield way
                break
            for name in uses[way[-1]]:
                if name not in seen:
                    seen.add(name)
                    ways.append([*way, name])


@dataclass(frozen=True, slots=True)
class RecipeArgument:
    """One argument of a layer: its type, and whether it is required."""

    type: type
    required: bool
    words: tuple[str, ...] | None = None
    """The words it may be."""
    axes: bool = False
    """Whether it may be one number per axis."""
    sides: bool = False
    """Whether each of these may be two numbers, before and after the map."""

    def reads_word(self, value: Any) -> bool:
        """Return whether a value is to be read as a word, rather than as arithmetic."""
        return self.words is not None and (not self.axes or value in self.words)


@cache
def recipe_arguments(kind: str) -> dict[str, RecipeArgument]:
    """Return the arguments that a recipe may give to the layer called `kind`, in the class's own order."""
    layer, fixed = class_of_registered_word(kind)
    hints = get_type_hints(layer, include_extras=True)
    table = {}
    for entry in fields(layer):
        if entry.name in ("channels", "dims", *fixed):
            continue
        hint, required = hints[entry.name], entry.default is MISSING
        if hint == Axes:
            table[entry.name] = RecipeArgument(int, required, axes=True)
        elif hint == Padding:
            table[entry.name] = RecipeArgument(int, required, (SAME,), axes=True, sides=True)
        else:
            words = get_args(hint) if get_origin(hint) is Literal else None
            table[entry.name] = RecipeArgument(str if words else hint, required, words)
    return table


def kinds_in_recipe(lists: Iterable[tuple[RecipeItem, ...]]) -> Iterator[str]:
    """Yield the kinds of the items of lists, and of the lists inside them."""
    for items in lists:
        for item in items:
            yield item.kind
            yield from kinds_in_recipe(inner for _, inner in item.lists)


def names_in_recipe(part: Any) -> Iterator[frozenset[str]]:
    """Yield the names that arithmetic in a value, an item or a list uses."""
    match part:
        case Expression():
            yield part.names
        case PerStage(values=values):
            if any(isinstance(value, tuple) for value in values):
                yield frozenset({"block"})
            yield from names_in_recipe(values)
        case PerAxis(values=values):
            yield from names_in_recipe(values)
        case RecipeItem():
            yield from names_in_recipe((part.when, part.arguments, part.lists))
        case tuple():
            for entry in part:
                yield from names_in_recipe(entry)


@dataclass(frozen=True, slots=True)
class RecipeSignature:
    """The allowed and the required arguments of a slot."""

    layer: str = ""
    allowed: frozenset[str] | None = None
    """None: any, because an empty slot adds no layers."""
    needed: tuple[str, ...] = ()


Signatures = tuple[tuple[str, RecipeSignature], ...]


def recipe_signatures(slots: Mapping[str, Any]) -> Signatures:
    """Return the signature of each slot, from the plain data of the slots."""
    return tuple((name, _recipe_slot_signature(data)) for name, data in slots.items())


def _recipe_slot_signature(data: Any) -> RecipeSignature:
    """Return the signature of a slot; of one per stage, what all of them allow and any of them needs."""
    if not isinstance(data, list):
        return _recipe_layer_signature(data)
    each = [_recipe_layer_signature(entry) for entry in data]
    layers = {signature.layer for signature in each}
    allowed = [signature.allowed for signature in each if signature.allowed is not None]
    needed = dict.fromkeys(name for signature in each for name in signature.needed)
    common = frozenset.intersection(*allowed) if allowed else None
    return RecipeSignature(layers.pop() if len(layers) == 1 else "", common, tuple(needed))


def _recipe_layer_signature(data: Any) -> RecipeSignature:
    if not isinstance(data, Mapping) or data.get("layers") == []:
        return RecipeSignature()
    layer = data.get("layer")
    if layer is None:
        return RecipeSignature("", frozenset(key for key in data if key != "layers"))
    try:
        table = recipe_arguments(layer) if isinstance(layer, str) else None
    except (KeyError, LayerError):  # reported where the slot is read
        table = None
    if table is None:
        return RecipeSignature()
    needed = (key for key, argument in table.items() if argument.required and key not in data)
    return RecipeSignature(layer, frozenset(table), tuple(needed))
