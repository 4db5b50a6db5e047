"""Numbers that hold for all axes of a map, or one per axis; and padding, which may differ per side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Annotated, Any

PER_AXIS, PER_SIDE = "per axis", "per side"
Axes = Annotated[int, PER_AXIS]
"""One number for all axes, or a tuple with one per axis: depth, height, width; height, width; or length."""
Padding = Annotated[int, PER_SIDE]
"""Padding of each side: one number, one per axis, a pair per axis; or the word `same`."""
Size = tuple[int, ...]
"""The sides of a map, one per axis."""

SAME: Any = "same"
NUMBERS = (int, float, Fraction)
"""Plain numbers, as opposed to those of many architectures at once."""


def merge_axes(values: tuple[Any, ...]) -> Any:
    """Return the tuple, or its one value if all its entries are the same plain numbers."""
    first = values[0]
    if all(type(value) is type(first) for value in values) and isinstance(first, (*NUMBERS, tuple)):
        if isinstance(first, tuple) and not all(isinstance(side, int) for value in values for side in value):
            return values
        if all(value == first for value in values) and not isinstance(first, tuple):
            return first
    return values


def combine_axes(operate: Callable[..., Any], *values: Any) -> int:
    """Return `operate` of the values; axis by axis where one of them differs between axes."""
    if tuple not in map(type, values):
        return operate(*values)  # type: ignore[no-any-return]
    count = next(len(value) for value in values if isinstance(value, tuple))
    return merge_axes(tuple(operate(*(axis_entry(v, axis) for v in values)) for axis in range(count)))  # type: ignore[no-any-return]


def multiply_axes(stride: Axes, step: Axes) -> Axes:
    """Return the product of two strides: a whole number, or a fraction where maps are enlarged."""
    if type(step) is int and step == 1:  # most layers keep the size of the map
        return stride
    return combine_axes(_multiply_axes_entries, stride, step)


def _multiply_axes_entries(one: int, other: int) -> int:
    return simplest_axes(one * other)  # type: ignore[no-any-return]


def simplest_axes(number: Any) -> Any:
    """Return a fraction that is a whole number as an int; any other number as it is."""
    return number.numerator if type(number) is Fraction and number.denominator == 1 else number


def axis_entry(value: Any, axis: int) -> int:
    """Return the number that holds for one axis."""
    number: int = value[axis] if isinstance(value, tuple) else value
    return number


def axes_product(value: Any, dims: int) -> int:
    """Return the product over all axes, as the weights of a kernel."""
    if isinstance(value, int):
        return int(value**dims)
    first, *rest = per_axis(value, dims)
    for factor in rest:
        first = first * factor
    return first


def per_axis(value: Any, dims: int) -> tuple[int, ...]:
    """Return one number per axis."""
    return value if isinstance(value, tuple) else (value,) * dims


def axis_padding(padding: Any, axis: int) -> tuple[int, int]:
    """Return the padding before and after a map along one axis; not for `same`."""
    here: Any = axis_entry(padding, axis)
    return here if isinstance(here, tuple) else (here, here)


def is_uneven_padding(padding: Any) -> bool:
    """Return whether the padding may differ between the sides of a map, which torch's own cannot."""
    return padding == SAME or (isinstance(padding, tuple) and any(isinstance(p, tuple) for p in padding))


def largest_axis_entry(value: Any) -> int:
    """Return the largest of the numbers per axis."""
    return max(value) if isinstance(value, tuple) else value  # type: ignore[no-any-return]


def same_padding(side: int, kernel: int, stride: int, dilation: int) -> int:
    """Return the padding, both sides together, of `same` for an input of `side` positions (TensorFlow)."""
    return max((-(-side // stride) - 1) * stride + dilation * (kernel - 1) + 1 - side, 0)


def fixed_padding(padding: Any, kernel: Any, stride: Any, dilation: Any, dims: int) -> Any:
    """Return `same` as numbers where it is equal on both sides of any map; other padding as it is."""
    if padding != SAME:
        return padding
    whole = [
        (axis_entry(stride, axis) == 1, axis_entry(dilation, axis) * (axis_entry(kernel, axis) - 1))
        for axis in range(dims)
    ]
    if all(fixed and total % 2 == 0 for fixed, total in whole):
        return merge_axes(tuple(total // 2 for _, total in whole))
    return padding


def no_less(value: Any, least: int) -> bool:
    """Return whether every entry is at least `least`."""
    if not isinstance(value, tuple):
        return value >= least  # type: ignore[no-any-return]
    result: Any = True
    for entry in value:
        result = no_less(entry, least) & result
    return result  # type: ignore[no-any-return]


def axes_entries(value: Any) -> Iterator[Any]:
    """Yield the numbers of a value, per axis and side."""
    if isinstance(value, tuple):
        for entry in value:
            yield from axes_entries(entry)
    else:
        yield value


def axes_text(value: Any) -> str:
    """Return `3`, `1x7` for one number per axis, or `0+1` for different sides, as a plan's text writes it."""
    if not isinstance(value, tuple):
        return str(value)
    return "x".join("+".join(map(str, entry)) if isinstance(entry, tuple) else str(entry) for entry in value)
