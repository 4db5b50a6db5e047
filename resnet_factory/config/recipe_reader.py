"""Reads recipes from plain YAML data; every fault is collected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from resnet_factory.config.recipe import (
    RESERVED,
    Names,
    Recipe,
    RecipeArgument,
    RecipeItem,
    RecipeRole,
    Signatures,
    Value,
    names_in_recipe,
    recipe_arguments,
)
from resnet_factory.config.structure_reader import StructureReader
from resnet_factory.config.structures import MARKS, STRUCTURES
from resnet_factory.config.vocabulary_hints import argument_vocabulary_hint, item_vocabulary_hint
from resnet_factory.errors import Fault, found, one_of, suggest, unknown
from resnet_factory.layers.expressions import ExpressionError, parse_expression
from resnet_factory.layers.registry import is_registered_layer


class RecipeReader(StructureReader):
    """Reads recipes of one model; collects every fault instead of stopping at the first."""

    def __init__(self, slots: Signatures, faults: list[Fault], root: str = "model") -> None:
        super().__init__(faults)
        self.root = root
        self.unread: list[Fault] = []
        """Numbers that nothing reads: typing errors, or what is left of lists since replaced."""
        self.slots = dict(slots)

    def recipe(self, data: Any, role: RecipeRole, path: str, title: str = "") -> Recipe:
        """Read one recipe; with faults, which go to the list, the result is a placeholder."""
        known = _RecipeData(repr(data), data)
        recipe, faults, unread = _read_recipe(known, role, path, title, tuple(self.slots.items()), self.root)
        if faults:  # perhaps of a layer that is registered since
            return self.read_anew(data, role, path, title)
        self.unread.extend(unread)
        return recipe

    def read_anew(self, data: Any, role: RecipeRole, path: str, title: str) -> Recipe:
        """Read one recipe without the cache."""
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
            elif isinstance(value, (dict, type(None))) and (
                key in {*STRUCTURES, *self.slots} or is_registered_layer(key)
            ):
                self.fault(
                    f"{path}.{key}",
                    f"{key!r} is a layer; put it into a list, {one_of(map(repr, role.lists))}",
                )
            elif isinstance(value, dict) or (
                isinstance(value, list) and not _is_per_stage_recipe_value(value)
            ):
                self.fault(f"{path}.{key}", unknown("list of layers", key, role.lists))
            else:
                continue
            del plain[key]
        if "recipe" in data:
            message = (
                "a recipe given by name takes no further keys; to change it, write a recipe with "
                "'defaults: [NAME, _self_]'"
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
            (key, self.word(data[key], allowed, scope, f"{path}.{key}"))
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
        self,
        layer: Any,
        plain: dict[str, Any],
        data: Mapping[str, Any],
        role: RecipeRole,
        path: str,
        title: str,
    ) -> Recipe:
        if not self.known_layer(layer, (), f"{path}.layer"):
            return Recipe(path=path)
        for key in role.lists:
            if key in data:
                self.fault(f"{path}.{key}", f"a slot has either 'layer' or {key!r}, not both")
        arguments = self.arguments(layer, plain, role.scope | {"channels"}, path, complete=False)
        return Recipe(arguments, (), layer, (), title, path)

    def _read(self, name: str, data: Mapping[str, Any]) -> bool:
        """Return whether anything in this recipe uses the number called `name`."""
        return any(name in text for text in _recipe_texts(data, name))

    def _names(self, plain: Mapping[str, Any], scope: frozenset[str], role: RecipeRole, path: str) -> Names:
        values = {
            key: self.number(value, scope, f"{path}.{key}", staged=role.staged)
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
            for other in sorted(frozenset().union(*names_in_recipe(values[key]))):
                # A name used in its own definition refers to the enclosing scope.
                if other in values and not (other == key and other in role.scope):
                    place(other)
            waiting.pop()
            ordered.setdefault(key, values[key])

        for key in values:
            place(key)
        return tuple(ordered.items())

    def items(self, data: Any, scope: frozenset[str], path: str) -> tuple[RecipeItem, ...]:
        """Read a list of layers."""
        if not isinstance(data, list):
            self.fault(path, f"expected a list of layers, found {found(data)}")
            return ()
        scope = scope | {"channels"}
        read = (self._item(entry, scope, f"{path}.{i}") for i, entry in enumerate(data))
        return tuple(item for item in read if item is not None)

    def _item(self, entry: Any, scope: frozenset[str], path: str) -> RecipeItem | None:
        arguments: Any = {}
        if isinstance(entry, str):
            kind = entry
        elif isinstance(entry, Mapping) and len(entry) == 1:
            kind, arguments = next(iter(entry.items()))
            path = f"{path}.{kind}"
            arguments = {} if arguments is None else arguments
        else:
            self.fault(path, item_vocabulary_hint(entry))
            return None
        if not self.known_layer(kind, (*self.slots, *STRUCTURES), path):
            return None
        if kind in MARKS:
            return self.mark(kind, arguments, scope, path)
        if not isinstance(arguments, Mapping):
            self.fault(path, f"expected the arguments of {kind!r} as a mapping, found {found(arguments)}")
            return None
        rest = dict(arguments)
        name = rest.pop("name", None)
        if type(name) is int and name >= 0:
            name = str(name)  # the index of a module in a sequence
        elif name is not None and not (isinstance(name, str) and name.isidentifier()):
            self.fault(f"{path}.name", f"{name!r} is not a name")
            name = None
        elif name is not None and (name in RESERVED or name.startswith("_")):
            self.fault(
                f"{path}.name", f"{name!r} is reserved for attributes of torch modules; choose another name"
            )
            name = None
        when = self.number(rest.pop("when", 1), scope, f"{path}.when", staged=False)
        if kind in STRUCTURES:
            return self.structure(kind, rest, name, when, scope, path)
        if kind in self.slots:
            signature = self.slots[kind]
            allowed = frozenset(rest) if signature.allowed is None else signature.allowed
            # If a call and a slot do not match, the user may have changed either.
            slot = f"{self.root}.{kind}"
            for key in rest:
                if key not in allowed:
                    message = argument_vocabulary_hint(str(key), kind, allowed) or unknown(
                        "argument", str(key), sorted(allowed), f" of {kind!r}"
                    )
                    other = f"recipes pass {key!r} to it; define it, as '{key}: 0'"
                    self.faults.append(Fault(f"{path}.{key}", message, instead=Fault(slot, other)))
            for key in signature.needed:
                if key not in rest:
                    message = f"{kind!r} is {signature.layer!r} here and needs {key!r}{suggest(key, rest)}"
                    other = f"{signature.layer!r} needs {key!r}, which recipes do not pass to it"
                    self.faults.append(Fault(path, message, instead=Fault(slot, other)))
            table = recipe_arguments(signature.layer) if signature.layer else {}
            any_number = RecipeArgument(int, required=False, axes=True, sides=True)
            values = tuple(
                (key, self.argument(table.get(key, any_number), value, scope, f"{path}.{key}"))
                for key, value in rest.items()
                if key in allowed
            )
            return RecipeItem(kind, values, name, when, (), path)
        return RecipeItem(kind, self.arguments(kind, rest, scope, path), name, when, (), path)


@dataclass(frozen=True)
class _RecipeData:
    """Plain data compared by its text, so that 1, 1.0 and true differ."""

    text: str
    data: Any = field(compare=False)


@lru_cache(maxsize=1024)
def _read_recipe(
    data: _RecipeData, role: RecipeRole, path: str, title: str, slots: Signatures, root: str
) -> tuple[Recipe, tuple[Fault, ...], tuple[Fault, ...]]:
    """Return a recipe, its faults, and those of its unused keys; cached because models share most recipes."""
    faults: list[Fault] = []
    reader = RecipeReader(slots, faults, root)
    recipe = reader.read_anew(data.data, role, path, title)
    return recipe, tuple(faults), tuple(reader.unread)


def _is_per_stage_recipe_value(value: list[Any]) -> bool:
    """Return whether a list can be one number per stage, rather than layers."""
    flat = [part for entry in value for part in (entry if isinstance(entry, list) else [entry])]
    return bool(flat) and all(isinstance(part, (int, float, str)) for part in flat)


def _recipe_texts(data: Any, skip: str) -> Iterator[frozenset[str]]:
    """Yield the names used by every text in `data`, except the top-level definition of `skip`."""
    entries = data.items() if isinstance(data, Mapping) else enumerate(data) if isinstance(data, list) else ()
    for key, value in entries:
        if key == skip:
            continue
        if isinstance(value, str):
            try:
                yield parse_expression(value).names
            except ExpressionError:
                continue
        else:
            yield from _recipe_texts(value, "")
