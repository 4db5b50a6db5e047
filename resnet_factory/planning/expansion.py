"""Lists of a recipe unrolled: items to named nodes, arithmetic to numbers, mistakes to where they stand."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

from resnet_factory.config.recipe import Item, PerStage, Recipe, Value
from resnet_factory.config.schema import MAX_CHANNELS, Specification
from resnet_factory.errors import Fault, one_of
from resnet_factory.layers import MAP, POINT, Layer
from resnet_factory.layers.expressions import LIMIT, Expression, ExpressionError
from resnet_factory.planning.compiled import Line, Scope, Written, prepare
from resnet_factory.planning.nodes import CONCAT, PRODUCT, SELECT, SUM, Chain, Node, Parallel

Children = tuple[tuple[str, Node], ...]

MAX_LAYERS = 2000
"""Layers of one stem, block or head, slots counted in full; real ones have fewer than a hundred."""
FIELDS = {
    "width": "widths",
    "stride": "strides",
    "dilation": "dilations",
    "groups": "groups",
    "base_width": "base_width",
}
"""A number of a stage -> the field of the model it comes from."""


class Signal(NamedTuple):
    """What flows between two layers."""

    channels: int
    step: int = 1
    """By how much the map is smaller than where this list began."""
    form: str = MAP


class Broken(Exception):  # noqa: N818 - a jump out of one list, not an error anybody sees
    """The rest of this list cannot be planned; its fault is noted."""


@dataclass(slots=True)
class Namer:
    """Gives the children of one module their names: by family (conv1, bn1, …) or by index."""

    indexed: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def name(self, family: str, numbered: bool) -> str:
        """The next free name of a family."""
        counts, taken = self.counts, self.taken
        if self.indexed:
            family, numbered = "", True
        count = counts.get(family, -1 if self.indexed else 0)
        while True:
            count += 1
            name = f"{family}{count}" if numbered or count > 1 else family
            if name not in taken:
                counts[family] = count
                taken.add(name)
                return name


class Unroller:
    """Unrolls the lists of one config and collects what is wrong with them."""

    def __init__(self, config: Specification) -> None:
        self.config = config
        self.prepared = prepare(config)
        self.faults: dict[Fault, None] = {}
        self.root = config.stem.path.rpartition(".")[0]
        self.room = MAX_LAYERS
        self.layers: dict[tuple[int, Any], Layer] = {}
        """Those made here, by their line and what it read."""

    def fault(self, path: str, message: str, scope: Scope | None = None, value: Any = None) -> None:
        """Note a fault: of a wrong number, how it came about; inside a block, which one."""
        scope = scope or {}
        if isinstance(value, Expression) and (used := sorted(value.names & scope.keys())):
            text = "" if repr(value.text) in message else f"{value.text!r} "
            message += f"; {text}with {', '.join(f'{name} = {scope[name]}' for name in used)}"
        if "stage" in scope:
            message += f"; in stage {scope['stage']}, block {scope['block']}"
        self.faults[Fault(path, message)] = None

    def trace(self, value: Value, path: str, scope: Scope) -> tuple[str, Value]:
        """Where a value was written: a bare name is as wrong as what it stands for."""
        above: tuple[Written, ...] = scope.get("@", ())
        while isinstance(value, Expression):
            name = value.text
            depth = next((depth for depth, written in enumerate(above) if name in written), None)
            if depth is None:
                field = FIELDS.get(name) if "stage" in scope else None
                return (f"{self.root}.{field}", 1) if field else (path, value)
            value, path = above[depth][name]
            # A name that stands in its own definition means the one outside.
            above = above[depth + (isinstance(value, Expression) and value.text == name) :]
        if isinstance(value, PerStage) and len(value.values) >= scope.get("stage", 0) > 0:
            stage = scope["stage"] - 1
            return f"{path}.{stage}", value.values[stage]
        return path, value

    def define(self, recipe: Recipe, scope: Scope) -> None:
        """Compute a recipe's own numbers into `scope`."""
        written = self.prepared.written[recipe.path]
        for name, (value, path) in written.items():
            scope[name] = self.value(value, scope, path)
        scope["@"] = (written, *scope.get("@", ()))

    def value(self, value: Value, scope: Scope, path: str) -> Any:
        """The number that a value stands for where the names are those of `scope`."""
        if isinstance(value, PerStage):
            value = self.per_stage(value, scope, path)
        if not isinstance(value, Expression):
            return value
        try:
            return value.value(scope)
        except KeyError as missing:
            self.fault(path, f"{missing} has no value here: it is known inside blocks only")
        except ExpressionError as error:
            self.fault(path, str(error), scope, value)
        raise Broken

    def per_stage(self, value: PerStage, scope: Scope, path: str) -> Value:
        """The entry of a list that belongs to this stage, and in it to this block."""
        if len(value.values) != scope["stages"]:
            self.fault(path, f"{len(value.values)} entries, but there are {scope['stages']} stages")
            raise Broken
        picked = value.values[scope["stage"] - 1]
        if isinstance(picked, tuple):
            if len(picked) != scope["depth"]:
                self.fault(
                    f"{path}.{scope['stage'] - 1}",
                    f"{len(picked)} entries, but the stage has {scope['depth']} blocks",
                )
                raise Broken
            picked = picked[scope["block"]]
        assert not isinstance(picked, PerStage)
        return picked  # type: ignore[no-any-return]

    def whole(self, value: Any, path: str, scope: Scope, written: Any = None) -> int:
        """The number as an int; a fault where it is none."""
        if isinstance(value, float):
            if not value.is_integer():
                message = f"{value:g} is not a whole number; use round(), floor(), ceil() or //"
                self.fault(path, message, scope, written)
                raise Broken
            return int(value)
        assert isinstance(value, int)
        return value

    def expand(
        self, items: tuple[Item, ...], signal: Signal, scope: Scope, names: Namer
    ) -> tuple[Children, Signal]:
        """A list of items as named nodes, and what leaves the last of them."""
        children: list[tuple[str, Node]] = []
        self.room -= len(items)
        if self.room < 0:
            self.fault(items[0].path, f"more than {MAX_LAYERS} layers, those of its slots counted in full")
            raise Broken
        lines = self.prepared.lines
        channels, step, form = signal
        for item in items:
            scope["channels"] = channels
            line = lines.get(item.path, item)
            if line is None or (item.when != 1 and not self.value(item.when, scope, f"{item.path}.when")):
                continue
            if isinstance(line, Line):
                layer = self.layer(line, form, scope, item.path)
                if item.name is None:
                    name = names.name(layer.family, layer.numbered)
                else:
                    name = self.take(item, names, "", False)
                children.append((name, layer))
                channels, step, form = layer.out_channels, step * layer.step, layer.gives or form
            else:
                unroll = self.structure if item.lists else self.slot
                more, (channels, step, form) = unroll(item, Signal(channels, step, form), scope, names)
                children.extend(more)
        return tuple(children), Signal(channels, step, form)

    def slot(self, item: Item, signal: Signal, scope: Scope, names: Namer) -> tuple[Children, Signal]:
        """What stands in a slot that is a list of layers."""
        slot, inner = self.config.slots[item.kind], dict(scope)
        given = {name: (value, f"{item.path}.{name}") for name, value in item.arguments}
        own = {name: self.value(value, scope, path) for name, (value, path) in given.items()}
        written = self.prepared.written[slot.path]
        for name, (value, path) in written.items():
            inner[name] = own[name] if name in own else self.value(value, inner, path)
        inner["@"] = (written | given, *scope.get("@", ()))
        return self.expand(slot.items("layers"), signal, inner, names)

    def layer(self, line: Line, form: str, scope: Scope, path: str) -> Layer:
        """The layer a line stands for; equal ones are one object, which need not be costed twice."""
        if form not in line.made.takes:
            self.refuse(line, form, scope, path)
        try:
            depends = line.read(scope)
        except (LookupError, ArithmeticError, TypeError, ValueError):
            return self.make(line, (), scope, path)  # where that is noted
        return line.known.get(depends) or self.new(line, depends, scope, path)

    def new(self, line: Line, depends: Any, scope: Scope, path: str) -> Layer:
        """A layer that no network has had yet; `depends` is what its line's `read` gave."""
        key = id(line), depends
        layer = self.layers.get(key)
        if layer is None:
            layer = self.layers[key] = self.make(line, depends, scope, path)
            line.keep(depends, layer)
        return layer

    def holds(self, valid: bool) -> bool:
        """Whether a layer's arguments fit together."""
        return valid

    def cast(self, value: Any, wanted: type, origin: tuple[str, Value], scope: Scope) -> Any:
        """The number as the type that an argument wants."""
        if wanted is bool:
            return bool(value)
        if wanted is int:
            return self.whole(value, origin[0], scope, origin[1]) * 1
        return float(value)

    def refuse(self, line: Line, form: str, scope: Scope, path: str) -> NoReturn:
        """Note that a layer cannot take what arrives."""
        how = {"map": "a map", "point": "a 1x1 map", "flat": "a flat vector"}
        self.fault(
            path,
            f"{line.kind!r} takes {one_of(how[form] for form in line.made.takes)}, but {how[form]} arrives"
            + ("; put global_pool and flatten before it" if form == MAP else "")
            + ("; put flatten before it" if form == POINT else ""),
            scope,
        )
        raise Broken

    def make(self, line: Line, depends: Any, scope: Scope, path: str) -> Layer:
        """A layer, checked; `depends` is what its line's `read` gave."""
        arguments = dict(line.given)
        for position, (name, value, wanted) in enumerate(line.computed, 1):
            number = depends[position] if line.direct and depends else None
            if number is None or not -LIMIT < number < LIMIT:
                number = self.value(value, scope, line.written[name][1])
            if type(number) is not wanted:
                origin = self.trace(*line.written[name], scope)
                number = self.cast(number, wanted, origin, scope)
            arguments[name] = number
        line.made.complete(arguments)
        layer = line.made(scope["channels"], **arguments)
        if not self.holds(layer.valid()):
            for argument, message in layer.faults():
                where, written = f"{path}.{argument}", None
                if argument in line.written:
                    where, written = self.trace(*line.written[argument], scope)
                reader = "" if where.startswith(path) else f"; read by {path}"
                self.fault(where, f"{message}{reader}", scope, written)
            raise Broken
        if layer.out_channels > MAX_CHANNELS:
            self.fault(path, f"{layer.out_channels} channels; the limit is {MAX_CHANNELS}", scope)
            raise Broken
        return layer

    def take(self, item: Item, names: Namer, family: str, numbered: bool) -> str:
        """The name of an item: its own, or the next of its family."""
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
        """A chain, residual, gate, select or branches: its lists unrolled and put together."""
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
                    f"the body gives {after.channels} channels at stride {after.step}, the shortcut "
                    f"{other.channels} at stride {other.step}; they cannot be added",
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
                item.path, f"a gate multiplies what arrives, but its layers shrink the map by {after.step}"
            )
            raise Broken
        if item.kind == "select":
            if after.form != POINT:
                self.fault(
                    item.path,
                    "select weighs whole channels: its layers must end in a 1x1 map; add global_pool",
                )
                raise Broken
            node = Parallel((Chain(), Chain(children)), SELECT, parts=parts, groups=given["groups"])
            return ((name, node),), summed
        return ((name, Parallel((Chain(), Chain(children)), PRODUCT)),), signal

    def branches(
        self, item: Item, given: dict[str, int], signal: Signal, scope: Scope, names: Namer
    ) -> tuple[Children, Signal]:
        """Chains side by side."""
        lists = dict(item.lists)
        count = operator.index(given["count"])
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
