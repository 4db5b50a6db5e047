"""Arithmetic in recipes: text such as `4 * width` parsed against an allow-list, never evaluated as code."""

from __future__ import annotations

import ast
import keyword
import math
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter
from typing import Any

from resnet_factory.errors import found, unknown

Number = int | float
Scope = Mapping[str, Any]
Compute = Callable[[Scope], Any]

LIMIT = 2**40
"""No number in a recipe may pass this: far above any real network, far below what exhausts memory."""


class ExpressionError(ValueError):
    """Raised for an expression that cannot be parsed or computed; the message states what is allowed."""


def divisible(value: Number, divisor: int, floor: float = 0.9) -> int:
    """Return the multiple of `divisor` nearest to `value`, at least `divisor` and at least `floor * value`.

    Source: `_make_divisible` of the MobileNet reference code, with its usual floor of 0.9; 0 switches
    the floor off, as timm does for squeeze-and-excitation widths.
    """
    nearest = FUNCTIONS["max"](divisor, math.floor(value + divisor / 2) // divisor * divisor)
    return nearest + divisor * (nearest < floor * value)  # type: ignore[no-any-return]


def _either_expression(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    """Return `plain` for numbers; for arrays of many architectures, the function that they define."""

    def function(*values: Any) -> Any:
        for value in values:
            if not isinstance(value, (int, float)):
                return value.functions[name](*values)
        return plain(*values)

    return function


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": _either_expression("min", min),
    "max": _either_expression("max", max),
    "abs": abs,
    "round": round,
    "floor": math.floor,
    "ceil": math.ceil,
    "sqrt": _either_expression("sqrt", math.sqrt),
    "log2": _either_expression("log2", math.log2),
    "divisible": divisible,
}
_TAKES = {"min": (2, 20), "max": (2, 20), "divisible": (2, 3)}
"""The least and the largest number of arguments of a function, where it is not one."""
USAGE = {
    "min": ("a, b, …", "smallest of up to 20 numbers"),
    "max": ("a, b, …", "largest of up to 20 numbers"),
    "abs": ("a", "absolute value of a"),
    "round": ("a", "nearest whole number; halves round to the even one"),
    "floor": ("a", "largest whole number ≤ a"),
    "ceil": ("a", "smallest whole number ≥ a"),
    "sqrt": ("a", "square root"),
    "log2": ("a", "logarithm to base 2"),
    "divisible": (
        "a, divisor, floor = 0.9",
        "nearest multiple of the divisor, at least the divisor; the next one if it is below floor · a",
    ),
}
"""The arguments of each function, and its meaning."""

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
}
_RESERVED = {"and", "or", "not", "if", "else", "True", "False"}
_GRAMMAR = (
    "allowed are numbers, names, + - * / // %, comparisons, and/or/not, 'a if b else c', and "
    + ", ".join(FUNCTIONS)
)


@dataclass(frozen=True, slots=True)
class Expression:
    """Arithmetic over named numbers. Expressions of equal text compare equal."""

    text: str
    names: frozenset[str] = field(compare=False, repr=False)
    compute: Compute = field(compare=False, repr=False)

    def __reduce__(self) -> tuple[Callable[[str], Expression], tuple[str]]:
        return parse_expression, (self.text,)

    def value(self, scope: Scope) -> Any:
        """Return the value of the expression, with the names bound to the values in `scope`.

        Raises:
            ExpressionError: the arithmetic has no value there (division by zero, too large, …).
        """
        try:
            result = self.compute(scope)
        except ZeroDivisionError:
            raise ExpressionError(f"{self.text!r} divides by zero") from None
        except (OverflowError, ValueError, TypeError) as error:
            # Python's "math domain error" comes from sqrt or log2.
            reason = str(error).replace(
                "math domain error", "sqrt takes numbers from 0, log2 numbers above 0"
            )
            raise ExpressionError(f"{self.text!r} has no value: {reason}") from None
        if isinstance(result, tuple):  # one number per axis
            return result
        if not -LIMIT < result < LIMIT:
            raise ExpressionError(f"{self.text!r} is {found(result)}; the limit is {LIMIT}")
        return result


def _safe_expression(name: str) -> str:
    # Recipes may use Python keywords (mainly `in`) as names, so these are replaced by aliases.
    return f"_kw_{name}"


@lru_cache(maxsize=4096)
def parse_expression(text: str) -> Expression:
    """Parse arithmetic.

    Raises:
        ExpressionError: it is not arithmetic, or uses something outside the allow-list.
    """
    if len(text) > 500:
        raise ExpressionError(f"an expression of {len(text)} characters; at most 500 are allowed")
    aliased = re.sub(
        r"\b[A-Za-z_]\w*\b",
        lambda m: _safe_expression(m[0]) if keyword.iskeyword(m[0]) and m[0] not in _RESERVED else m[0],
        text.strip(),
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Python warns about `2or 3` and the like, but accepts it
            tree = ast.parse(aliased, mode="eval")
        names: set[str] = set()
        compute = _compile_expression(tree.body, names)
    except (SyntaxError, MemoryError, RecursionError, ValueError, Warning) as error:
        if isinstance(error, ExpressionError):
            message = str(error)
            raise ExpressionError(message if repr(text) in message else f"{text!r}: {message}") from None
        raise ExpressionError(f"{text!r} is not arithmetic; {_GRAMMAR}") from None
    return Expression(text, frozenset(names), compute)


def _compile_expression(node: ast.expr, names: set[str]) -> Compute:
    match node:
        case ast.Constant(value=bool() | int() | float() as constant):
            if not abs(constant) < LIMIT:
                raise ExpressionError(f"{found(constant)} is too large; the limit is {LIMIT}")
            return lambda scope: constant
        case ast.Name(id=name):
            plain = name.removeprefix("_kw_")
            names.add(plain)
            return itemgetter(plain)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            operate, a, b = (
                _BINARY[type(op)],
                _compile_expression(left, names),
                _compile_expression(right, names),
            )
            return lambda scope: operate(a(scope), b(scope))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _compile_expression(operand, names)
            return lambda scope: -inner(scope)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = _compile_expression(operand, names)
            return lambda scope: not inner(scope)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
            compare, a, b = (
                _COMPARE[type(op)],
                _compile_expression(left, names),
                _compile_expression(right, names),
            )
            return lambda scope: compare(a(scope), b(scope))
        case ast.BoolOp(op=op, values=values):
            parts = [_compile_expression(value, names) for value in values]
            if isinstance(op, ast.And):
                return lambda scope: all(part(scope) for part in parts)
            return lambda scope: any(part(scope) for part in parts)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            condition, yes, no = (_compile_expression(part, names) for part in (test, body, orelse))
            return lambda scope: yes(scope) if condition(scope) else no(scope)
        case ast.Call(func=ast.Name(id=called), args=arguments, keywords=[]):
            if called not in FUNCTIONS:
                raise ExpressionError(unknown("function", called, FUNCTIONS))
            least, most = _TAKES.get(called, (1, 1))
            if not least <= len(arguments) <= most:
                wanted = f"{least} to {most} numbers" if most > least else "one number"
                raise ExpressionError(f"{called}() takes {wanted}, found {len(arguments)}")
            function = FUNCTIONS[called]
            parts = [_compile_expression(argument, names) for argument in arguments]
            return lambda scope: function(*[part(scope) for part in parts])
    raise ExpressionError(f"{ast.unparse(node).replace('_kw_', '')!r} is not allowed here; {_GRAMMAR}")
