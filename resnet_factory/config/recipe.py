"""Recipes: lists of layers and named arithmetic, read from plain YAML data into typed form.

A recipe is a mapping. Its lists (`layers`, or a block's `pre`, `body` and `post`) say which layers
stand where; every other key is a number, or arithmetic over the numbers in scope, that the lists may
use. A slot is a recipe called by name from another one; the arguments at the call override its numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from resnet_factory.config.vocabulary_hints import argument_hint, layer_hint
from resnet_factory.errors import Fault, found, one_of, suggest, unknown
from resnet_factory.layers import VOCABULARY
from resnet_factory.layers.expressions import LIMIT, Expression, ExpressionError, Number, parse


@dataclass(frozen=True, slots=True)
class Structure:
    """An item that holds lists: which ones, and its arguments with their defaults (None: must be given)."""

    lists: tuple[str, ...]
    arguments: Mapping[str, Number | None] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    """Further names its lists may use."""


STRUCTURES: dict[str, Structure] = {
    "chain": Structure(("layers",)),  # layers in a row
    "residual": Structure(("body", "shortcut")),  # body(x) + shortcut(x)
    "gate": Structure(("layers",)),  # x * layers(x)
    "select": Structure(("layers",), {"parts": None, "groups": 1}),  # parts of x, weighted and summed
    "branches": Structure(  # `count` times `each` and once `last`, side by side
        ("each", "last"), {"count": None, "split": 0, "cascade": 0}, ("branch",)
    ),
}


@dataclass(frozen=True, slots=True)
class PerStage:
    """One value per stage, or one list per stage with one value per block."""

    values: tuple[Any, ...]


RESERVED = frozenset({
    "T_destination", "add_module", "append", "apply", "bfloat16", "buffers", "call_super_init",
    "children", "compile", "config", "cpu", "cuda", "double", "dump_patches", "eval", "extend",
    "extra_repr", "float", "forward", "get_buffer", "get_extra_state", "get_parameter", "get_submodule",
    "half", "insert", "ipu", "load_state_dict", "modules", "mtia", "named_buffers", "named_children",
    "named_modules", "named_parameters", "parameters", "plan", "pop", "register_backward_hook",
    "register_buffer", "register_forward_hook", "register_forward_pre_hook",
    "register_full_backward_hook", "register_full_backward_pre_hook",
    "register_load_state_dict_post_hook", "register_load_state_dict_pre_hook", "register_module",
    "register_parameter", "register_state_dict_post_hook", "register_state_dict_pre_hook",
    "requires_grad_", "set_extra_state", "set_submodule", "share_memory", "state_dict", "steps", "to",
    "to_empty", "train", "training", "type", "xpu", "zero_grad",
})  # fmt: skip
"""Names that a torch module has itself, which no layer in it may take; a test compares."""

Value = Number | str | Expression | PerStage
Names = tuple[tuple[str, Value], ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One line of a list: a layer, a slot or a structure, with its arguments."""

    kind: str
    arguments: Names = ()
    name: str | None = None
    when: Value = 1
    lists: tuple[tuple[str, tuple[Item, ...]], ...] = ()
    path: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Numbers in an order in which each needs only earlier ones, and lists of items."""

    names: Names = ()
    lists: tuple[tuple[str, tuple[Item, ...]], ...] = ()
    layer: str | None = None
    """A slot that is one layer: its kind; `names` are then that layer's default arguments."""
    words: tuple[tuple[str, Value], ...] = ()
    title: str = field(default="", compare=False)
    path: str = field(default="", compare=False)
    reads: frozenset[str] = field(init=False, compare=False, repr=False)
    """The names that its arithmetic uses, its own among them; `block` where a list has an entry per block."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "reads", frozenset().union(*_reads((self.words, self.names, self.lists))))

    @property
    def used(self) -> frozenset[str]:
        """The names from outside that its arithmetic uses, and the kinds of its items."""
        own = {name for name, _ in self.names}
        outside = frozenset().union(*_reads((self.words, self.lists))) - own
        for name, value in self.names:
            # A name that stands in its own definition means the one outside.
            outside |= frozenset().union(*_reads(value)) - (own - {name})
        return outside.union(_kinds(items for _, items in self.lists))

    def items(self, name: str) -> tuple[Item, ...]:
        """The list called `name`."""
        for key, items in self.lists:
            if key == name:
                return items
        return ()

    @property
    def empty(self) -> bool:
        """Whether this recipe adds nothing."""
        return self.layer is None and not any(items for _, items in self.lists)


@dataclass(frozen=True, slots=True)
class Role:
    """What a recipe may hold, by where it stands."""

    lists: tuple[str, ...]
    scope: frozenset[str]
    words: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)
    """Further keys: a choice of words, or None for a condition."""
    needs: tuple[str, ...] = ()
    single: bool = False
    """Whether `layer: kind` may replace the lists."""
    staged: bool = True
    """Whether a number may be a list with one entry per stage."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a slot may be called with, and what it must be."""

    layer: str = ""
    allowed: frozenset[str] | None = None
    """None: anything, for an empty slot vanishes whatever it is called with."""
    needed: tuple[str, ...] = ()


class Reader:
    """Reads recipes of one model; collects every fault instead of stopping at the first."""

    def __init__(
        self,
        slots: Mapping[str, Any],
        faults: list[Fault],
        root: str = "model",
    ) -> None:
        self.faults = faults
        self.root = root
        self.unread: list[Fault] = []
        """Numbers that nothing reads: typing errors, or what is left of lists since replaced."""
        self.slots = {name: self._signature(data) for name, data in slots.items()}

    def _signature(self, data: Any) -> Signature:
        if not isinstance(data, Mapping) or data.get("layers") == []:
            return Signature()
        layer = data.get("layer")
        if layer is None:
            return Signature("", frozenset(key for key in data if key != "layers"))
        if not isinstance(layer, str) or layer not in VOCABULARY:
            return Signature()
        table = arguments_of(layer)
        needed = (key for key, argument in table.items() if argument.required and key not in data)
        return Signature(layer, frozenset(table), tuple(needed))

    def fault(self, path: str, message: str) -> None:
        """Note one fault."""
        self.faults.append(Fault(path, message))

    def recipe(self, data: Any, role: Role, path: str, title: str = "") -> Recipe:
        """Read one recipe; faults go to the list, and the result then stands in for what was meant."""
        if not isinstance(data, Mapping):
            self.fault(path, f"expected the name of a recipe, or a recipe (a mapping), found {found(data)}")
            return Recipe(path=path)
        layer = data.get("layer") if role.single else None
        reserved = {*role.lists, *role.words, *({"layer"} if role.single else ())}
        plain = {key: value for key, value in data.items() if key not in reserved}
        before = len(self.faults)
        for key, value in list(plain.items()):
            if not isinstance(key, str) or not key.isidentifier():
                self.fault(f"{path}.{key}", f"{key!r} is not a name")
            elif key in {*STRUCTURES, *VOCABULARY, *self.slots} and isinstance(value, (dict, type(None))):
                self.fault(
                    f"{path}.{key}",
                    f"{key!r} is a layer; it stands in a list, {one_of(map(repr, role.lists))}",
                )
            elif isinstance(value, dict) or (isinstance(value, list) and not _staged(value)):
                self.fault(f"{path}.{key}", unknown("list of layers", key, role.lists))
            else:
                continue
            del plain[key]
        if "recipe" in data:
            message = (
                "a recipe by name stands alone; to change it, write one of your own: defaults: [NAME, _self_]"
            )
            self.fault(f"{path}.recipe", message)
            return Recipe(path=path)
        for key in role.needs:
            if key not in data and layer is None and len(self.faults) == before:
                self.fault(path, f"{key!r} is missing{suggest(key, map(str, plain))}")
        if layer is not None:
            return self._single(layer, plain, data, role, path, title)
        scope = role.scope | plain.keys()
        names = self._names(plain, scope, role, path)
        lists = tuple((key, self.items(data.get(key, []), scope, f"{path}.{key}")) for key in role.lists)
        words = tuple(
            (key, self._word(data[key], allowed, scope, f"{path}.{key}"))
            for key, allowed in role.words.items()
            if key in data
        )
        if len(self.faults) == before:
            known = (*role.lists, *role.words, *role.needs, *(("layer",) if role.single else ()))
            for key in plain:
                if key not in role.needs and not self._read(key, data):
                    used = [name for name in plain if name != key and self._read(name, data)]
                    here = f"; numbers read here are {', '.join(used)}" if used else ""
                    near = suggest(key, [*known, *used])
                    message = f"unknown key {key!r}: nothing here reads it{here}{near}"
                    self.unread.append(Fault(f"{path}.{key}", message))
        return Recipe(names, lists, None, words, title, path)

    def _single(
        self, layer: Any, plain: dict[str, Any], data: Mapping[str, Any], role: Role, path: str, title: str
    ) -> Recipe:
        if not self._known(layer, VOCABULARY, f"{path}.layer", "layer"):
            return Recipe(path=path)
        for key in role.lists:
            if key in data:
                self.fault(f"{path}.{key}", f"a slot has either 'layer' or {key!r}, not both")
        arguments = self._arguments(layer, plain, role.scope | {"channels"}, path, complete=False)
        return Recipe(arguments, (), layer, (), title, path)

    def _read(self, name: str, data: Mapping[str, Any]) -> bool:
        """Whether anything in this recipe uses the number called `name`."""
        return any(name in text for text in _texts(data, name))

    def _names(self, plain: Mapping[str, Any], scope: frozenset[str], role: Role, path: str) -> Names:
        values = {
            key: self._number(value, scope, f"{path}.{key}", staged=role.staged)
            for key, value in plain.items()
        }
        ordered: dict[str, Value] = {}
        waiting: list[str] = []

        def place(key: str) -> None:
            if key in ordered:
                return
            if key in waiting:
                circle = " -> ".join([*waiting[waiting.index(key) :], key])
                self.fault(f"{path}.{key}", f"defined in terms of itself: {circle}")
                ordered[key] = 1
                return
            waiting.append(key)
            for other in sorted(frozenset().union(*_reads(values[key]))):
                # A name that stands in its own definition means the one in the scope outside.
                if other in values and not (other == key and other in role.scope):
                    place(other)
            waiting.pop()
            ordered.setdefault(key, values[key])

        for key in values:
            place(key)
        return tuple(ordered.items())

    def items(self, data: Any, scope: frozenset[str], path: str) -> tuple[Item, ...]:
        """Read a list of layers."""
        if not isinstance(data, list):
            self.fault(path, f"expected a list of layers, found {found(data)}")
            return ()
        scope = scope | {"channels"}
        read = (self._item(entry, scope, f"{path}.{i}") for i, entry in enumerate(data))
        return tuple(item for item in read if item is not None)

    def _item(self, entry: Any, scope: frozenset[str], path: str) -> Item | None:
        arguments: Any = {}
        if isinstance(entry, str):
            kind = entry
        elif isinstance(entry, Mapping) and len(entry) == 1:
            kind, arguments = next(iter(entry.items()))
            path = f"{path}.{kind}"
            arguments = {} if arguments is None else arguments
        else:
            self.fault(path, self._no_item(entry))
            return None
        if not self._known(kind, (*self.slots, *VOCABULARY, *STRUCTURES), path, "layer"):
            return None
        if not isinstance(arguments, Mapping):
            self.fault(path, f"expected the arguments of {kind!r} as a mapping, found {found(arguments)}")
            return None
        rest = dict(arguments)
        name = rest.pop("name", None)
        if name is not None and not (isinstance(name, str) and name.isidentifier()):
            self.fault(f"{path}.name", f"{name!r} is not a name")
            name = None
        elif name is not None and (name in RESERVED or name.startswith("_")):
            self.fault(f"{path}.name", f"{name!r} is what every torch module has itself; choose another name")
            name = None
        when = self._number(rest.pop("when", 1), scope, f"{path}.when", staged=False)
        if kind in STRUCTURES:
            return self._structure(kind, rest, name, when, scope, path)
        if kind in self.slots:
            signature = self.slots[kind]
            allowed = frozenset(rest) if signature.allowed is None else signature.allowed
            # Of a call and a slot that do not agree, either may be what a person has changed.
            slot = f"{self.root}.{kind}"
            for key in rest:
                if key not in allowed:
                    message = argument_hint(str(key), kind, allowed) or unknown(
                        "argument", str(key), sorted(allowed), f" of {kind!r}"
                    )
                    other = f"recipes give it {key!r}; define that, as '{key}: 0'"
                    self.faults.append(Fault(f"{path}.{key}", message, instead=Fault(slot, other)))
            for key in signature.needed:
                if key not in rest:
                    message = f"{kind!r} is {signature.layer!r} here and needs {key!r}{suggest(key, rest)}"
                    other = f"{signature.layer!r} needs {key!r}, which recipes do not give it"
                    self.faults.append(Fault(path, message, instead=Fault(slot, other)))
            values = tuple(
                (key, self._number(value, scope, f"{path}.{key}", staged=False))
                for key, value in rest.items()
                if key in allowed
            )
            return Item(kind, values, name, when, (), path)
        return Item(kind, self._arguments(kind, rest, scope, path), name, when, (), path)

    def _no_item(self, entry: Any) -> str:
        """Message for an entry of a list that is neither a word nor one layer with its arguments."""
        layers = [key for key in entry if key not in ("name", "when")] if isinstance(entry, Mapping) else []
        if len(layers) == 1 and len(entry) > 1:
            beside = one_of(repr(key) for key in entry if key != layers[0])
            inside = ", ".join(f"{key}: {entry[key]}" for key in entry if key != layers[0])
            return f"{beside} stands beside {layers[0]!r}; it goes inside, as '{layers[0]}: {{{inside}, …}}'"
        return f"expected a layer, as 'norm' or 'conv: {{kernel: 3, to: out}}', found {found(entry)}"

    def _structure(
        self,
        kind: str,
        given: Mapping[str, Any],
        name: str | None,
        when: Value,
        scope: frozenset[str],
        path: str,
    ) -> Item:
        structure = STRUCTURES[kind]
        known = (*structure.lists, *structure.arguments)
        for key in given:
            if key not in known:
                self.fault(f"{path}.{key}", unknown("key", str(key), known))
        for key, default in structure.arguments.items():
            if default is None and key not in given:
                self.fault(path, f"{kind!r} needs {key!r}{suggest(key, given)}")
        values = {**structure.arguments, **given}
        arguments = tuple(
            (key, self._number(values[key], scope, f"{path}.{key}", staged=False))
            for key in structure.arguments
            if values[key] is not None
        )
        inner = scope | set(structure.names)
        lists = tuple(
            (key, self.items(given[key], inner, f"{path}.{key}")) for key in structure.lists if key in given
        )
        if structure.lists[0] not in given and all(key in known for key in given):
            self.fault(path, f"{kind!r} needs {structure.lists[0]!r}{suggest(structure.lists[0], given)}")
        return Item(kind, arguments, name, when, lists, path)

    def _arguments(
        self, kind: str, given: Mapping[str, Any], scope: frozenset[str], path: str, *, complete: bool = True
    ) -> Names:
        allowed = arguments_of(kind)
        read: list[tuple[str, Value]] = []
        for key, value in given.items():
            if key not in allowed:
                hint = argument_hint(str(key), kind, tuple(allowed))
                self.fault(f"{path}.{key}", hint or unknown("argument", str(key), allowed, f" of {kind!r}"))
            elif allowed[key].words:
                read.append((key, self._word(value, allowed[key].words, scope, f"{path}.{key}")))
            else:
                read.append((key, self._number(value, scope, f"{path}.{key}", staged=False)))
        if complete:
            for key, argument in allowed.items():
                if argument.required and key not in given:
                    self.fault(path, f"{kind!r} needs {key!r}{suggest(key, given)}")
        return tuple(read)

    def _word(self, value: Any, allowed: tuple[str, ...] | None, scope: frozenset[str], path: str) -> Value:
        if allowed is None:
            return self._number(value, scope, path, staged=False)
        return str(value) if self._known(value, allowed, path, "choice") else allowed[0]

    def _known(self, word: Any, known: Iterable[str], path: str, what: str) -> bool:
        known = tuple(known)
        if word in known:
            return True
        if not isinstance(word, str):
            self.fault(path, f"expected a {what} by name, found {found(word)}")
        else:
            hint = layer_hint(word) if what == "layer" else ""
            self.fault(path, hint or unknown(what, word, known))
        return False

    def _number(self, value: Any, scope: frozenset[str], path: str, *, staged: bool) -> Value:
        if isinstance(value, (bool, int, float)):
            if not abs(value) < LIMIT:
                self.fault(path, f"expected a number below {LIMIT}, found {found(value)}")
                return 1
            return value
        if isinstance(value, str):
            try:
                expression = parse(value)
            except ExpressionError as error:
                self.fault(path, str(error))
                return 1
            for name in sorted(expression.names - scope):
                self.fault(path, unknown("name", name, sorted(scope), f" in {value!r}"))
            return 1 if expression.names - scope else expression
        if isinstance(value, list) and value and staged:
            return PerStage(
                tuple(
                    tuple(
                        self._number(v, scope, f"{path}.{i}.{j}", staged=False) for j, v in enumerate(entry)
                    )
                    if isinstance(entry, list)
                    else self._number(entry, scope, f"{path}.{i}", staged=False)
                    for i, entry in enumerate(value)
                )
            )
        axes = isinstance(value, list) and all(isinstance(entry, int) for entry in value)
        square = "; kernels, strides and paddings are the same along both axes" if axes else ""
        self.fault(path, f"expected a number or arithmetic, found {found(value)}{square}")
        return 1


def circles(slots: Mapping[str, Recipe]) -> Iterator[list[str]]:
    """The ways on which a slot's recipe comes back to itself, one for each slot that has any."""

    uses = {
        name: [kind for kind in _kinds(items for _, items in slot.lists) if kind in slots]
        for name, slot in slots.items()
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
class Argument:
    """One argument of a layer: its type, and whether it must be given."""

    type: type
    required: bool
    words: tuple[str, ...] | None = None


@cache
def arguments_of(kind: str) -> dict[str, Argument]:
    """What a recipe may say to the layer called `kind`, in the class's own order."""
    layer, fixed = VOCABULARY[kind]
    hints = get_type_hints(layer)
    table = {}
    for entry in fields(layer):
        if entry.name == "channels" or entry.name in fixed:
            continue
        hint = hints[entry.name]
        words = get_args(hint) if get_origin(hint) is Literal else None
        table[entry.name] = Argument(str if words else hint, entry.default is MISSING, words)
    return table


def _kinds(lists: Iterable[tuple[Item, ...]]) -> Iterator[str]:
    """The kinds of the items of lists, and of the lists inside them."""
    for items in lists:
        for item in items:
            yield item.kind
            yield from _kinds(inner for _, inner in item.lists)


def _reads(part: Any) -> Iterator[frozenset[str]]:
    """The names that arithmetic in a value, an item or a list uses."""
    match part:
        case Expression():
            yield part.names
        case PerStage(values=values):
            if any(isinstance(value, tuple) for value in values):
                yield frozenset({"block"})
            yield from _reads(values)
        case Item():
            yield from _reads((part.when, part.arguments, part.lists))
        case tuple():
            for entry in part:
                yield from _reads(entry)


def _staged(value: list[Any]) -> bool:
    """Whether a list can be one number for each stage, rather than layers."""
    flat = [part for entry in value for part in (entry if isinstance(entry, list) else [entry])]
    return bool(flat) and all(isinstance(part, (int, float, str)) for part in flat)


def _texts(data: Any, skip: str) -> Iterator[frozenset[str]]:
    """The names used by every text in `data`, but for the top-level definition of `skip` itself."""
    entries = data.items() if isinstance(data, Mapping) else enumerate(data) if isinstance(data, list) else ()
    for key, value in entries:
        if key == skip:
            continue
        if isinstance(value, str):
            try:
                yield parse(value).names
            except ExpressionError:
                continue
        else:
            yield from _texts(value, "")
