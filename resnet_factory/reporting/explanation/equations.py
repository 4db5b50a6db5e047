"""The arithmetic of a layer as text: `⌊(224−7+2·3)/2⌋+1 = 112`. Every equation is exact as written."""

from __future__ import annotations

from resnet_factory.layers import BlurPool, Conv, Layer, Linear, Pool, Size

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


def size_text(size: Size) -> str:
    """Return a size as `112x112`."""
    return f"{size[0]}x{size[1]}"


def chain(*terms: str) -> str:
    """Return a sum as `1+2·8+1 = 18`, with equal consecutive terms multiplied."""
    return " = ".join(dict.fromkeys(terms))


def product(*factors: int) -> str:
    """Return a product as `7·7·3`."""
    return "·".join(map(number, factors))


def sum_of(terms: list[int]) -> str:
    """Return a sum as `2+2+2+2`."""
    return "+".join(map(number, terms))


def sides(layer: Layer, size: Size) -> str:
    """Return the equation of the output size, for one axis or both."""
    height, width = (_side_equation(layer, side) for side in size)
    return height if height == width else f"{height} high, {width} wide"


def _side_equation(layer: Layer, side: int) -> str:
    match layer:
        case Conv(kernel=kernel, stride=stride, padding=padding, dilation=dilation):
            reach = f"({dilation}·({kernel}−1)+1)" if dilation > 1 else f"{kernel}"
            inner = f"{side}−{reach}+2·{padding}"
            return chain(f"⌊({inner})/{stride}⌋+1" if stride > 1 else f"{inner}+1", f"{layer.size(side)}")
        case Pool(kernel=kernel, stride=stride, padding=padding, ceil_mode=up):
            inner = f"{side}−{kernel}+2·{padding}"
            open_, close = ("⌈", "⌉") if up else ("⌊", "⌋")
            plain = -(-(side - kernel + 2 * padding) // stride) + 1 if up else layer.size(side)
            if plain != layer.size(side):
                return f"{side} to {layer.size(side)}"
            return chain(f"{open_}({inner})/{stride}{close}+1" if stride > 1 else f"{inner}+1", f"{plain}")
        case BlurPool(stride=stride):
            border = (stride + 1) // 2
            return chain(f"⌊({side}−3+2·{border})/{stride}⌋+1", f"{layer.size(side)}")
        case _:
            return f"{side} to {layer.size(side)}"


def filter_weights(conv: Conv) -> str:
    """Return the product that gives the weights of one filter."""
    read = conv.channels // conv.groups
    return chain(product(conv.kernel, conv.kernel, read), number(conv.kernel * conv.kernel * read))


def weights(layer: Layer) -> str:
    """Return the equation of a layer's number of parameters."""
    match layer:
        case Conv(kernel=kernel, channels=channels, groups=groups, to=to):
            read = f"({channels}/{groups})" if groups > 1 else number(channels)
            factors = f"{kernel}·{kernel}·{read}·{number(to)}"
        case Linear(channels=channels, to=to):
            factors = product(channels, to)
        case _:
            return number(layer.params())
    rest = layer.params() - layer.macs(1)
    return chain(factors + (f"+{number(rest)}" if rest else ""), number(layer.params()))


def multiply_adds(layer: Layer, leaves: Size) -> str:
    """Return the equation of a layer's multiply-adds: positions times weights."""
    area = leaves[0] * leaves[1]
    return chain(f"{leaves[0]}·{leaves[1]}·{number(layer.macs(1))}", number(layer.macs(area)))
