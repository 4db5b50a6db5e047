"""Read the arguments of layers: numbers, arithmetic and words, each checked against the allowed ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from resnet_factory.config.recipe import Names, PerAxis, PerStage, RecipeArgument, Value, recipe_arguments
from resnet_factory.config.vocabulary_hints import argument_vocabulary_hint, layer_vocabulary_hint
from resnet_factory.errors import Fault, found, suggest, unknown
from resnet_factory.layers import VOCABULARY
from resnet_factory.layers.expressions import LIMIT, ExpressionError, parse_expression
from resnet_factory.layers.registry import REGISTRY, LayerError, registered_own_words


class ArgumentReader:
    """Reads arguments; collects every fault instead of stopping at the first."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults

    def fault(self, path: str, message: str) -> None:
        """Record one fault."""
        self.faults.append(Fault(path, message))

    def arguments(
        self, kind: str, given: Mapping[str, Any], scope: frozenset[str], path: str, *, complete: bool = True
    ) -> Names:
        """Read the arguments of a layer; with `complete`, all required ones must be given."""
        allowed = recipe_arguments(kind)
        read: list[tuple[str, Value]] = []
        for key, value in given.items():
            if key not in allowed:
                hint = argument_vocabulary_hint(str(key), kind, tuple(allowed))
                self.fault(f"{path}.{key}", hint or unknown("argument", str(key), allowed, f" of {kind!r}"))
            else:
                read.append((key, self.argument(allowed[key], value, scope, f"{path}.{key}")))
        if complete:
            for key, argument in allowed.items():
                if argument.required and key not in given:
                    self.fault(path, f"{kind!r} needs {key!r}{suggest(key, given)}")
        return tuple(read)

    def argument(self, entry: RecipeArgument, value: Any, scope: frozenset[str], path: str) -> Value:
        """Read one argument of a layer."""
        if entry.reads_word(value):
            return self.word(value, entry.words, scope, path)
        if entry.axes and isinstance(value, list) and value:
            return self.per_axis(value, scope, path, sides=entry.sides)
        return self.number(value, scope, path, staged=False)

    def per_axis(self, values: list[Any], scope: frozenset[str], path: str, *, sides: bool) -> Value:
        """Read one number per axis; with `sides`, each may be two, before and after the map."""
        read: list[Any] = []
        for i, value in enumerate(values):
            here = f"{path}.{i}"
            if sides and isinstance(value, list) and len(value) == 2:
                pair = (self.number(side, scope, f"{here}.{j}", staged=False) for j, side in enumerate(value))
                read.append(tuple(pair))
            else:
                read.append(self.number(value, scope, here, staged=False))
        return PerAxis(tuple(read))

    def word(self, value: Any, allowed: tuple[str, ...] | None, scope: frozenset[str], path: str) -> Value:
        """Read one of the allowed words, or a condition if there are none."""
        if allowed is None:
            return self.number(value, scope, path, staged=False)
        return str(value) if self.known(value, allowed, path, "choice") else allowed[0]

    def known(self, word: Any, known: Iterable[str], path: str, what: str) -> bool:
        """Return whether a word is known; record a fault if it is not."""
        known = tuple(known)
        if word in known:
            return True
        if not isinstance(word, str):
            self.fault(path, f"expected a {what} by name, found {found(word)}")
        else:
            hint = layer_vocabulary_hint(word) if what == "layer" else ""
            self.fault(path, hint or unknown(what, word, known))
        return False

    def known_layer(self, word: Any, others: tuple[str, ...], path: str) -> bool:
        """Return whether a word is a layer, or one of the `others`; record a fault if it is not."""
        if not isinstance(word, str) or word in others or word in VOCABULARY:
            return self.known(word, (*others, *VOCABULARY), path, "layer")
        try:
            if REGISTRY.find(word) is not None:
                return True
        except LayerError as error:
            self.fault(path, str(error))
            return False
        return self.known(word, (*others, *VOCABULARY, *registered_own_words()), path, "layer")

    def number(self, value: Any, scope: frozenset[str], path: str, *, staged: bool) -> Value:
        """Read a number or arithmetic; with `staged`, also a list of one per stage."""
        if isinstance(value, (bool, int, float)):
            if not abs(value) < LIMIT:
                self.fault(path, f"expected a number below {LIMIT}, found {found(value)}")
                return 1
            return value
        if isinstance(value, str):
            try:
                expression = parse_expression(value)
            except ExpressionError as error:
                self.fault(path, str(error))
                return 1
            for name in sorted(expression.names - scope):
                self.fault(path, unknown("name", name, sorted(scope), f" in {value!r}"))
            return 1 if expression.names - scope else expression
        if isinstance(value, list) and value and staged:
            return PerStage(
                tuple(
                    tuple(self.number(v, scope, f"{path}.{i}.{j}", staged=False) for j, v in enumerate(entry))
                    if isinstance(entry, list)
                    else self.number(entry, scope, f"{path}.{i}", staged=False)
                    for i, entry in enumerate(value)
                )
            )
        self.fault(path, f"expected a number or arithmetic, found {found(value)}")
        return 1
