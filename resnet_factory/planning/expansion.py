"""Unroll the lists of a recipe: items become named nodes, and arithmetic numbers; mistakes are located."""

from __future__ import annotations

from operator import index
from typing import Any, NamedTuple, NoReturn

from resnet_factory.config.recipe import Item
from resnet_factory.config.schema import MAX_CHANNELS, Specification
from resnet_factory.errors import one_of
from resnet_factory.layers import MAP, POINT, Axes, Layer, axes_text, times
from resnet_factory.planning.compiled import LayerLine, Scope, line_of
from resnet_factory.planning.evaluation import Broken, Evaluator
from resnet_factory.planning.naming import Namer
from resnet_factory.planning.nodes import CONCAT, IDENTITY, PRODUCT, SELECT, SUM, Chain, Node, Parallel

Children = tuple[tuple[str, Node], ...]

MAX_LAYERS = 2000
"""Layers of one stem, block or head, slots counted in full; real ones have fewer than a hundred."""


class Signal(NamedTuple):
    """Number of channels, stride and form of the data between two layers."""

    channels: int
    step: Axes = 1
    """The stride with respect to the input of this list; a fraction where the map has grown."""
    form: str = MAP


class Unroller(Evaluator):
    """Unrolls the lists of one config and collects faults."""

    def __init__(self, config: Specification) -> None:
        super().__init__(config)
        self.room = MAX_LAYERS
        self.layers: dict[tuple[Any, ...], Layer] = {}
        """Layers by class, channels and arguments: equal ones are one object, which is costed once."""
        self.lines: dict[str, LayerLine] = {}
        """Items that are layers, by path."""

    def expand(
        self, items: tuple[Item, ...], signal: Signal, scope: Scope, names: Namer
    ) -> tuple[Children, Signal]:
        """Return a list of items as named nodes, and the output of the last one."""
        children: list[tuple[str, Node]] = []
        self.room -= len(items)
        if self.room < 0:
            self.fault(items[0].path, f"more than {MAX_LAYERS} layers, those of its slots counted in full")
            raise Broken
        channels, step, form = signal
        for item in items:
            scope["channels"] = channels
            slot = None if item.lists else self.config.slots.get(item.kind)
            if slot is not None and slot.empty:
                continue
            if item.when != 1 and not self.value(item.when, scope, f"{item.path}.when"):
                continue
            if not item.lists and (slot is None or slot.layer is not None):
                line = self.lines.get(item.path) or self.lines.setdefault(item.path, line_of(item, slot))
                layer = self.layer(line, form, scope, item.path)
                if item.name is None:
                    name = names.name(layer.family, layer.numbered)
                else:
                    name = self.take(item, names, "", False)
                children.append((name, layer))
                channels, step, form = (
                    layer.out_channels,
                    times(step, layer.step),
                    layer.produces or form,
                )
            else:
                unroll = self.structure if item.lists else self.slot
                more, (channels, step, form) = unroll(item, Signal(channels, step, form), scope, names)
                children.extend(more)
        return tuple(children), Signal(channels, step, form)

    def slot(self, item: Item, signal: Signal, scope: Scope, names: Namer) -> tuple[Children, Signal]:
        """Return the layers of a slot that is a list of layers."""
        slot, inner = self.config.slots[item.kind], dict(scope)
        given = {name: (value, f"{item.path}.{name}") for name, value in item.arguments}
        own = {name: self.value(value, scope, path) for name, (value, path) in given.items()}
        written = self.prepared.written[slot.path]
        for name, (value, path) in written.items():
            inner[name] = own[name] if name in own else self.value(value, inner, path)
        inner["@"] = (written | given, *scope.get("@", ()))
        return self.expand(slot.items("layers"), signal, inner, names)

    def layer(self, line: LayerLine, form: str, scope: Scope, path: str) -> Layer:
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
            raise Broken
        if layer.out_channels > MAX_CHANNELS:
            self.fault(path, f"{layer.out_channels} channels; the limit is {MAX_CHANNELS}", scope)
            raise Broken
        self.layers[key] = layer
        return layer

    def refuse(self, line: LayerLine, form: str, scope: Scope, path: str) -> NoReturn:
        """Record that a layer cannot take its input."""
        how = {"map": "a map", "point": "a 1x1 map", "flat": "a flat vector"}
        self.fault(
            path,
            f"{line.kind!r} takes {one_of(how[form] for form in line.made.accepts)}, but {how[form]} arrives"
            + ("; put global_pool and flatten before it" if form == MAP else "")
            + ("; put flatten before it" if form == POINT else ""),
            scope,
        )
        raise Broken

    def take(self, item: Item, names: Namer, family: str, numbered: bool) -> str:
        """Return the name of an item: the given one, or the next default name."""
        if item.name is None:
            return names.name(family, numbered)
        if item.name in names.taken:
            self.fault(f"{item.path}.name", f"the name {item.name!r} is already taken here")
            raise Broken
        if names.indexed:
            names.name("", True)
        names.taken.add(item.name)
        return item.name

    def structure(self, item: Item, signal: Signal, scope: Scope, names: Namer) -> tuple[Children, Signal]:
        """Return the node of a chain, residual, gate, select or branches, with its lists unrolled."""
        lists = dict(item.lists)
        given = {
            name: self.whole(self.value(value, scope, f"{item.path}.{name}"), f"{item.path}.{name}", scope)
            for name, value in item.arguments
        }
        if item.kind == "branches":
            return self.branches(item, given, signal, scope, names)
        name = "" if item.name is None else self.take(item, names, "", False)
        inner = names if item.name is None else Namer(indexed=True)
        if item.kind == "residual":
            inner = names if item.name is None else Namer()
            body, after = self.expand(lists["body"], signal, scope, inner)
            shortcut, other = self.expand(lists.get("shortcut", ()), signal, scope, inner)
            if after != other:
                self.fault(
                    item.path,
                    f"the body gives {after.channels} channels at stride {axes_text(after.step)}, "
                    f"the shortcut {other.channels} at stride {axes_text(other.step)}; they cannot be added",
                )
                raise Broken
            node: Node = Parallel((Chain(body), Chain(shortcut)), SUM)
            return ((name, Chain((("", node),)) if name else node),), after
        parts = given.get("parts", 1)
        if parts < 1 or signal.channels % parts:
            self.fault(f"{item.path}.parts", f"{signal.channels} channels cannot be split into {parts} parts")
            raise Broken
        summed = Signal(signal.channels // parts, signal.step, signal.form)
        children, after = self.expand(lists["layers"], summed, scope, inner)
        if item.kind == "chain":
            return (((name, Chain(children)),) if name else children), after
        if after.channels != signal.channels or after.form not in (signal.form, POINT):
            self.fault(
                item.path,
                f"a gate multiplies what arrives: {signal.channels} channels, "
                f"but its layers end in {after.channels}",
            )
            raise Broken
        if after.form == MAP and after.step != signal.step:
            self.fault(
                item.path,
                f"a gate multiplies what arrives, but its layers shrink the map by {axes_text(after.step)}",
            )
            raise Broken
        if item.kind == "select":
            if after.form != POINT:
                self.fault(
                    item.path,
                    "select weighs whole channels: its layers must end in a 1x1 map; add global_pool",
                )
                raise Broken
            node = Parallel((IDENTITY, Chain(children)), SELECT, parts=parts, groups=given["groups"])
            return ((name, node),), summed
        assert item.kind == "gate", f"nothing unrolls {item.kind!r}"
        return ((name, Parallel((IDENTITY, Chain(children)), PRODUCT)),), signal

    def branches(
        self, item: Item, given: dict[str, int], signal: Signal, scope: Scope, names: Namer
    ) -> tuple[Children, Signal]:
        """Return parallel chains."""
        lists = dict(item.lists)
        count = index(given["count"])
        if count > MAX_LAYERS:
            self.fault(f"{item.path}.count", f"{count} branches; the limit is {MAX_LAYERS}", scope)
            raise Broken
        plans = [lists["each"]] * count + ([lists["last"]] if "last" in lists else [])
        share = signal.channels
        if given["split"] and plans:
            share //= len(plans)
        if not plans or (given["split"] and signal.channels % len(plans)):
            message = f"{signal.channels} channels cannot be split over {len(plans)} branches"
            self.fault(f"{item.path}.count", message if plans else "0 branches; at least 1 is needed")
            raise Broken
        made: list[Chain] = []
        ends: list[Signal] = []
        for i, items in enumerate(plans):
            entry = Signal(share, signal.step, signal.form)
            children, end = self.expand(items, entry, {**scope, "branch": i}, Namer(indexed=True))
            made.append(Chain(children))
            ends.append(end)
        if any((end.step, end.form) != (ends[0].step, ends[0].form) for end in ends):
            self.fault(item.path, "the branches end at different strides; they cannot stand side by side")
            raise Broken
        if given["cascade"] and any(end.channels != share for end in ends[: count - 1]):
            self.fault(item.path, f"a cascade adds each branch to the next; all must keep {share} channels")
            raise Broken
        name = self.take(item, names, "branches", True)
        cascade = count if given["cascade"] else 0
        node = Parallel(tuple(made), CONCAT, split=bool(given["split"]), cascade=cascade)
        return ((name, node),), Signal(sum(end.channels for end in ends), ends[0].step, ends[0].form)
