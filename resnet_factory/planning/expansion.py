"""Unroll the lists of a recipe: items become named nodes, and arithmetic numbers; mistakes are located."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from resnet_factory.config.recipe import Recipe, RecipeItem
from resnet_factory.config.schema import MAX_CHANNELS, Specification
from resnet_factory.config.structures import STRUCTURES
from resnet_factory.errors import one_of
from resnet_factory.layers import MAP, POINT, Axes, Layer, multiply_axes
from resnet_factory.planning.compiled import CompiledLayer, Scope, compile_layer
from resnet_factory.planning.evaluation import EvaluationStopped, RecipeEvaluator
from resnet_factory.planning.naming import Namer
from resnet_factory.planning.nodes import Node

Children = tuple[tuple[str, Node], ...]

MAX_LAYERS = 2000
"""Layers of one stem, block or head, slots counted in full; real ones have fewer than a hundred."""

FORMS = {"map": "a map", "point": "a 1x1 map", "flat": "a flat vector"}
"""Forms of data, as messages say them."""


class Signal(NamedTuple):
    """Number of channels, stride and form of the data between two layers."""

    channels: int
    step: Axes = 1
    """The stride with respect to the input of this list; a fraction where the map has grown."""
    form: str = MAP


class RecipeExpander(RecipeEvaluator):
    """Unrolls the lists of one config and collects faults."""

    def __init__(self, config: Specification) -> None:
        super().__init__(config)
        self.room = MAX_LAYERS
        self.layers: dict[tuple[Any, ...], Layer] = {}
        """Layers by class, channels and arguments: equal ones are one object, which is costed once."""
        self.lines: dict[str | tuple[str, str], CompiledLayer] = {}
        """Items that are layers, by path; those that a slot fills, by the paths of both."""
        self.slots: Mapping[str, Recipe] = config.slots
        """The recipes of the slots in the part that is unrolled now."""

    def expand(
        self, items: tuple[RecipeItem, ...], signal: Signal, scope: Scope, names: Namer
    ) -> tuple[Children, Signal]:
        """Return a list of items as named nodes, and the output of the last one."""
        children: list[tuple[str, Node]] = []
        self.room -= len(items)
        if self.room < 0 and items:
            self.fault(items[0].path, f"more than {MAX_LAYERS} layers, including the layers of its slots")
            raise EvaluationStopped
        channels, step, form = signal
        for item in items:
            scope["channels"] = channels
            structure = item.kind in STRUCTURES
            slot = None if structure else self.slots.get(item.kind)
            if slot is not None and slot.empty:
                continue
            if item.when != 1 and not self.value(item.when, scope, f"{item.path}.when"):
                continue
            if not structure and (slot is None or slot.layer is not None):
                place = item.path if slot is None else (item.path, slot.path)
                line = self.lines.get(place) or self.lines.setdefault(place, compile_layer(item, slot))
                layer = self.layer(line, form, scope, item.path)
                if item.name is None:
                    name = names.name(layer.family, layer.numbered)
                else:
                    name = self.take(item, names, "", False)
                children.append((name, layer))
                channels, step, form = (
                    layer.out_channels,
                    multiply_axes(step, layer.step),
                    layer.produces or form,
                )
            else:
                unroll = self.structure if structure else self.slot
                more, (channels, step, form) = unroll(item, Signal(channels, step, form), scope, names)
                children.extend(more)
        return tuple(children), Signal(channels, step, form)

    def slot(self, item: RecipeItem, signal: Signal, scope: Scope, names: Namer) -> tuple[Children, Signal]:
        """Return the layers of a slot that is a list of layers."""
        slot, inner = self.slots[item.kind], dict(scope)
        given = {name: (value, f"{item.path}.{name}") for name, value in item.arguments}
        own = {name: self.value(value, scope, path) for name, (value, path) in given.items()}
        written = self.prepared.written[slot.path]
        for name, (value, path) in written.items():
            inner[name] = own[name] if name in own else self.value(value, inner, path)
        inner["@"] = (written | given, *scope.get("@", ()))
        with names.passage():
            return self.expand(slot.items("layers"), signal, inner, names)

    def layer(self, line: CompiledLayer, form: str, scope: Scope, path: str) -> Layer:
        """Return the layer of a line after checking it."""
        if form not in line.made.accepts:
            self.refuse(line, form, scope, path)
        arguments = dict(line.fixed)
        for name, wanted, value, written in line.arguments:
            number = self.value(value, scope, written)
            if type(number) is not wanted:
                number = self.cast(number, wanted, self.trace(value, written, scope), scope)
            arguments[name] = number
        key = line.made, scope["channels"], *arguments, *arguments.values()
        if (known := self.layers.get(key)) is not None:
            return known
        line.made.complete(arguments)
        layer = line.made(scope["channels"], dims=self.config.dims, **arguments)
        if not self.holds(layer.valid()):
            places = {name: (value, written) for name, _, value, written in line.arguments}
            for argument, message in layer.faults():
                where, value = self.trace(*places.get(argument, (0, f"{path}.{argument}")), scope)
                reader = "" if where.startswith(path) else f"; read by {path}"
                self.fault(where, f"{message}{reader}", scope, value)
            if not self.faults:  # a layer of one's own
                self.fault(path, f"{line.kind!r} refuses its arguments, but does not say why", scope)
            raise EvaluationStopped
        if layer.out_channels > MAX_CHANNELS:
            self.fault(path, f"{layer.out_channels} channels; the limit is {MAX_CHANNELS}", scope)
            raise EvaluationStopped
        self.layers[key] = layer
        return layer

    def refuse(self, line: CompiledLayer, form: str, scope: Scope, path: str) -> NoReturn:
        """Record that a layer cannot take its input."""
        self.fault(
            path,
            f"{line.kind!r} takes {one_of(map(FORMS.__getitem__, line.made.accepts))}, "
            f"but {FORMS[form]} arrives"
            + ("; put global_pool and flatten before it" if form == MAP else "")
            + ("; put flatten before it" if form == POINT else ""),
            scope,
        )
        raise EvaluationStopped

    def take(self, item: RecipeItem, names: Namer, family: str, numbered: bool) -> str:
        """Return the name of an item: the given one, or the next default name."""
        if item.name is None:
            return names.name(family, numbered)
        name = item.name + names.suffix
        if name in names.taken:
            self.fault(f"{item.path}.name", f"the name {name!r} is already taken here")
            raise EvaluationStopped
        if names.indexed:
            names.name("", True)
        names.taken.add(name)
        return name

    def structure(
        self, item: RecipeItem, signal: Signal, scope: Scope, names: Namer
    ) -> tuple[Children, Signal]:
        """Return the nodes of an item with nested lists, or of a mark; see `StructureUnroller`."""
        raise NotImplementedError
