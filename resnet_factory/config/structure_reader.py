"""Read the items of a list that are not layers: structures, with lists of their own, and marks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from resnet_factory.config.argument_reader import ArgumentReader
from resnet_factory.config.recipe import RecipeItem, Value
from resnet_factory.config.structures import MARKS, STRUCTURES, Structure
from resnet_factory.errors import found, suggest, unknown

Named = tuple[str, Value]


class StructureReader(ArgumentReader):
    """Reads structures and marks; a subclass reads the lists in them."""

    def items(self, data: Any, scope: frozenset[str], path: str) -> tuple[RecipeItem, ...]:
        """Read a list of layers."""
        raise NotImplementedError

    def mark(self, kind: str, given: Any, scope: frozenset[str], path: str) -> RecipeItem | None:
        """Read a tap or a read: `tap: NAME`, or its name and a condition as a mapping."""
        key = MARKS[kind]
        known = (key, "when")
        if isinstance(given, Mapping):
            for other in given:
                if other not in known:
                    self.fault(f"{path}.{other}", unknown("key", str(other), known))
            if key not in given:
                if all(other in known for other in given):
                    self.fault(path, f"{kind!r} needs the name of a map, as '{kind}: skip'")
                return None
            name, where = given[key], f"{path}.{key}"
            when = self.number(given.get("when", 1), scope, f"{path}.when", staged=False)
        else:
            name, where, when = given, path, 1
        if not (isinstance(name, str) and name.isidentifier()):
            self.fault(where, f"expected the name of a map, as '{kind}: skip', found {found(name)}")
            return None
        return RecipeItem(kind, (), name, when, (), path)

    def structure(
        self,
        kind: str,
        given: Mapping[str, Any],
        name: str | None,
        when: Value,
        scope: frozenset[str],
        path: str,
    ) -> RecipeItem:
        """Read an item with nested lists."""
        structure = STRUCTURES[kind]
        written = (structure.written,) if structure.written else ()
        known = (*written, *structure.lists, *structure.arguments)
        for key in given:
            if key not in known:
                self.fault(f"{path}.{key}", unknown("key", str(key), known))
        for key, default in structure.arguments.items():
            if default is None and key not in given:
                self.fault(path, f"{kind!r} needs {key!r}{suggest(key, given)}")
        values = {**structure.arguments, **given}
        arguments = tuple(
            argument
            for key in structure.arguments
            if values[key] is not None
            for argument in self._argument(structure, key, values[key], scope, f"{path}.{key}")
        )
        inner = scope | set(structure.names)
        lists = [
            (structure.written, self.items(data, inner, f"{path}.{structure.written}.{i}"))
            for i, data in enumerate(self._written(structure, given, path))
        ]
        lists += [
            (key, self.items(given[key], inner, f"{path}.{key}")) for key in structure.lists if key in given
        ]
        if all(key in known for key in given):
            self._complete(kind, structure, given, path)
        return RecipeItem(kind, arguments, name, when, tuple(lists), path)

    def _argument(
        self, structure: Structure, key: str, value: Any, scope: frozenset[str], path: str
    ) -> Iterator[Named]:
        if key in structure.words:
            yield key, self.word(value, structure.words[key], scope, path)
        elif key == structure.shares and isinstance(value, list) and value:
            yield key, 1
            for i, share in enumerate(value):
                yield f"{key}.{i}", self.number(share, scope, f"{path}.{i}", staged=False)
        else:
            yield key, self.number(value, scope, path, staged=False)

    def _written(self, structure: Structure, given: Mapping[str, Any], path: str) -> list[Any]:
        data = given.get(structure.written, [])
        if isinstance(data, list):
            return data
        self.fault(
            f"{path}.{structure.written}",
            f"expected a list with one list of layers for each branch, found {found(data)}",
        )
        return []

    def _complete(self, kind: str, structure: Structure, given: Mapping[str, Any], path: str) -> None:
        """Check that the lists of a structure, or what stands for them, are there."""
        first, written = structure.lists[0], structure.written
        if not written:
            if first not in given:
                self.fault(path, f"{kind!r} needs {first!r}{suggest(first, given)}")
        elif first in given and "count" not in given:
            self.fault(path, f"{kind!r} needs 'count', the number of branches made from {first!r}")
        elif "count" in given and first not in given:
            self.fault(
                f"{path}.count", f"'count' is the number of branches made from {first!r}, which is missing"
            )
        elif written not in given and first not in given:
            self.fault(
                path,
                f"{kind!r} needs {written!r}, a list with one list of layers for each branch, or 'count' "
                f"and {first!r}",
            )
        elif given.get(written) == [] and first not in given:
            self.fault(f"{path}.{written}", "no branches; at least 1 is needed")
