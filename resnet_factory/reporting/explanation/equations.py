"""The arithmetic of a layer as text: `⌊(224−7+2·3)/2⌋+1 = 112`. Every equation is exact as written."""

from __future__ import annotations

from math import prod

from resnet_factory.layers import (
    SAME,
    AvgPool,
    BlurPool,
    Conv,
    Layer,
    Linear,
    Pool,
    Size,
    axis_entry,
    per_axis,
    positions,
)
from resnet_factory.layers import axis_padding as padded_sides
from resnet_factory.reporting.wording import wording_along_axes

_TERM = r"[0-9⌊⌈(](?:[0-9,⌊⌋⌈⌉()·+−/]*[0-9⌋⌉)])?"
EQUATION = rf"{_TERM}(?: = {_TERM})+"
"""A regular expression for an equation in a sentence."""


def number(value: int) -> str:
    """Return a number as `9,408`."""
    return f"{value:,}"


def many(count: int, what: str) -> str:
    """Return a count and a noun as `1 block` or `2 blocks`."""
    return f"{number(count)} {what}" + ("s" if count != 1 else "")


def percent(part: int, whole: int) -> str:
    """Return a share as `12.3 %`."""
    return f"{100 * part / whole:.1f} %" if whole else "0 %"


def equation_size_text(size: Size) -> str:
    """Return the sides of a map as `112x112`."""
    return "x".join(map(str, size))


def chain(*terms: str) -> str:
    """Return a sum as `1+2·8+1 = 18`, with equal consecutive terms multiplied."""
    return " = ".join(dict.fromkeys(terms))


def product(*factors: int) -> str:
    """Return a product as `7·7·3`."""
    return "·".join(map(number, factors))


def sum_of(terms: list[int]) -> str:
    """Return a sum as `2+2+2+2`."""
    return "+".join(map(number, terms))


def size_equation(layer: Layer, size: Size) -> str:
    """Return the equation of the output size, once or for each axis."""
    return wording_along_axes([_side_equation(layer, side, axis) for axis, side in enumerate(size)])


def _side_equation(layer: Layer, side: int, axis: int) -> str:
    after = layer.size(side, axis)
    plain = f"{side} to {after}"
    match layer:
        case Conv() | Pool() if layer.padding == SAME:
            stride = axis_entry(layer.stride, axis)
            return chain(f"⌈{side}/{stride}⌉", f"{after}") if stride > 1 else plain
        case Conv(kernel=kernel, dilation=dilation):
            each, spread = axis_entry(kernel, axis), axis_entry(dilation, axis)
            reach = f"({spread}·({each}−1)+1)" if spread > 1 else f"{each}"
            up = False
        case AvgPool(extend=extend) if extend:
            return plain
        case Pool(kernel=kernel, ceil_mode=up):
            reach = f"{axis_entry(kernel, axis)}"
        case BlurPool(stride=stride):
            border = (stride + 1) // 2
            return chain(f"⌊({side}−3+2·{border})/{stride}⌋+1", f"{after}")
        case _:
            return plain
    stride = axis_entry(layer.stride, axis)
    before, behind = padded_sides(layer.padding, axis)
    inner = f"{side}−{reach}+" + (f"2·{before}" if before == behind else f"{before}+{behind}")
    if up:
        windows = -(-(side - axis_entry(layer.kernel, axis) + before + behind) // stride) + 1
        if windows != after:  # torch drops a last window that lies in the padding
            return plain
    open_, close = ("⌈", "⌉") if up else ("⌊", "⌋")
    return chain(f"{open_}({inner})/{stride}{close}+1" if stride > 1 else f"{inner}+1", f"{after}")


def filter_weights_equation(conv: Conv) -> str:
    """Return the product that gives the weights of one filter."""
    return kernel_weights_equation(conv, conv.channels // conv.groups)


def kernel_weights_equation(conv: Conv, channels: int) -> str:
    """Return the product that gives the weights of a kernel over `channels` channels."""
    factors = *per_axis(conv.kernel, conv.dims), channels
    return chain(product(*factors), number(prod(factors)))


def weights_equation(layer: Layer) -> str:
    """Return the equation of a layer's number of parameters."""
    match layer:
        case Conv(kernel=kernel, channels=channels, groups=groups, to=to):
            window = product(*per_axis(kernel, layer.dims))
            read = f"({channels}/{groups})" if groups > 1 else number(channels)
            factors = f"{window}·{read}·{number(to)}"
        case Linear(channels=channels, to=to):
            factors = product(channels, to)
        case _:
            return number(layer.params())
    rest = layer.params() - layer.macs(1)
    return chain(factors + (f"+{number(rest)}" if rest else ""), number(layer.params()))


def multiply_adds_equation(layer: Layer, leaves: Size) -> str:
    """Return the equation of a layer's multiply-adds: positions times weights."""
    factors = "·".join(map(str, leaves))
    return chain(f"{factors}·{number(layer.macs(1))}", number(layer.macs(positions(leaves))))
