"""Evaluate the numbers of recipes, and locate mistakes at the line that has them."""

from __future__ import annotations

from typing import Any

from resnet_factory.config.recipe import PerAxis, PerStage, Recipe, Value
from resnet_factory.config.schema import Specification
from resnet_factory.errors import Fault
from resnet_factory.layers import merge_axes
from resnet_factory.layers.expressions import Expression, ExpressionError
from resnet_factory.planning.compiled import Scope, Written, compile_recipes

FIELDS = {
    "width": "widths",
    "stride": "strides",
    "dilation": "dilations",
    "groups": "groups",
    "base_width": "base_width",
}
"""A name in scope -> the field of the model that gives its value."""


class EvaluationStopped(Exception):  # noqa: N818 - leaves one list; never shown to a user
    """Raised when the rest of a list cannot be planned; its fault is recorded already."""


class RecipeEvaluator:
    """Evaluates the numbers of one config's recipes, and collects faults."""

    def __init__(self, config: Specification) -> None:
        self.config = config
        self.prepared = compile_recipes(config)
        self.faults: dict[Fault, None] = {}
        self.root = config.stem.path.rpartition(".")[0]

    def fault(self, path: str, message: str, scope: Scope | None = None, value: Any = None) -> None:
        """Record a fault, with the computation of a wrong number and the block it occurs in."""
        scope = scope or {}
        if isinstance(value, Expression) and (used := sorted(value.names & scope.keys())):
            text = "" if repr(value.text) in message else f"{value.text!r} "
            message += f"; {text}with {', '.join(f'{name} = {scope[name]}' for name in used)}"
        if "stage" in scope:
            message += f"; in stage {scope['stage']}, block {scope['block']}"
        self.faults[Fault(path, message)] = None

    def trace(self, value: Value, path: str, scope: Scope) -> tuple[str, Value]:
        """Return the path and text of a value; plain names are followed to their definitions."""
        above: tuple[Written, ...] = scope.get("@", ())
        while isinstance(value, Expression):
            name = value.text
            depth = next((depth for depth, written in enumerate(above) if name in written), None)
            if depth is None:
                field = FIELDS.get(name) if "stage" in scope else None
                return (f"{self.root}.{field}", 1) if field else (path, value)
            value, path = above[depth][name]
            # A name used in its own definition refers to the enclosing scope.
            above = above[depth + (isinstance(value, Expression) and value.text == name) :]
        if isinstance(value, PerStage) and len(value.values) >= scope.get("stage", 0) > 0:
            stage = scope["stage"] - 1
            return f"{path}.{stage}", value.values[stage]
        return path, value

    def define(self, recipe: Recipe, scope: Scope) -> None:
        """Evaluate the numbers that a recipe defines, and add them to `scope`."""
        written = self.prepared.written[recipe.path]
        for name, (value, path) in written.items():
            scope[name] = self.value(value, scope, path)
        scope["@"] = (written, *scope.get("@", ()))

    def value(self, value: Value, scope: Scope, path: str) -> Any:
        """Return the number that a value evaluates to in `scope`."""
        if not isinstance(value, (Expression, PerStage, PerAxis)):
            return value
        if isinstance(value, PerStage):
            return self.value(self.per_stage(value, scope, path), scope, path)
        if isinstance(value, PerAxis):
            return self.per_axis(value, scope, path)
        try:
            return value.value(scope)
        except KeyError as missing:
            known = (
                "it depends on 'out' and is known only in lists of layers; write 'stride > 1 or in != out'"
            )
            if missing.args != ("change",) or "stage" not in scope:
                known = "it is known inside blocks only"
            self.fault(path, f"{missing} has no value here: {known}")
        except ExpressionError as error:
            self.fault(path, str(error), scope, value)
        raise EvaluationStopped

    def per_axis(self, value: PerAxis, scope: Scope, path: str) -> tuple[Any, ...]:
        """Return one number per axis; a pair where it differs before and after the map."""
        dims = self.config.dims
        if len(value.values) != dims:
            axes = "1 axis" if dims == 1 else f"{dims} axes"
            self.fault(path, f"{len(value.values)} numbers, but a map has {axes}; give one, or one per axis")
            raise EvaluationStopped
        return tuple(
            tuple(self.value(side, scope, f"{path}.{i}") for side in entry)
            if isinstance(entry, tuple)
            else self.value(entry, scope, f"{path}.{i}")
            for i, entry in enumerate(value.values)
        )

    def per_stage(self, value: PerStage, scope: Scope, path: str) -> Value:
        """Return the entry of a per-stage list for this stage, or for this block of it."""
        if len(value.values) != scope["stages"]:
            self.fault(path, f"{len(value.values)} entries, but there are {scope['stages']} stages")
            raise EvaluationStopped
        picked = value.values[scope["stage"] - 1]
        if isinstance(picked, tuple):
            if len(picked) != scope["depth"]:
                self.fault(
                    f"{path}.{scope['stage'] - 1}",
                    f"{len(picked)} entries, but the stage has {scope['depth']} blocks",
                )
                raise EvaluationStopped
            picked = picked[scope["block"]]
        assert not isinstance(picked, PerStage)
        return picked  # type: ignore[no-any-return]

    def whole(self, value: Any, path: str, scope: Scope, written: Any = None) -> int:
        """Return the number as an int; record a fault if it is not whole."""
        if isinstance(value, float):
            if not value.is_integer():
                message = f"{value:g} is not a whole number; use round(), floor(), ceil() or //"
                self.fault(path, message, scope, written)
                raise EvaluationStopped
            return int(value)
        assert isinstance(value, int)
        return value

    def holds(self, valid: bool) -> bool:
        """Return whether a layer's arguments are valid together."""
        return valid

    def cast(self, value: Any, wanted: type, origin: tuple[str, Value], scope: Scope) -> Any:
        """Return the number converted to the type of an argument."""
        if isinstance(value, str):
            return value
        if isinstance(value, tuple):
            return self.cast_axes(value, wanted, origin, scope)
        if wanted is bool:
            return bool(value)
        if wanted is int:
            return self.whole(value, origin[0], scope, origin[1]) * 1
        return float(value)

    def cast_axes(
        self, values: tuple[Any, ...], wanted: type, origin: tuple[str, Value], scope: Scope
    ) -> Any:
        """Return numbers per axis, each converted; one number if all are the same."""
        if wanted is not int or len(values) != self.config.dims:
            self.fault(origin[0], f"expected one number, found {len(values)}", scope, origin[1])
            raise EvaluationStopped
        return merge_axes(
            tuple(
                tuple(self.cast(side, wanted, origin, scope) for side in value)
                if isinstance(value, tuple)
                else self.cast(value, wanted, origin, scope)
                for value in values
            )
        )
