"""Convolutions of one map that read the same positions: the smaller kernel is a part of the larger."""

from __future__ import annotations

from dataclasses import replace

from resnet_factory.layers import SAME, Conv, Layer, Linear, axis_entry, axis_padding


def places_in_larger_kernel(small: Conv, large: Conv) -> tuple[tuple[int, ...], ...] | None:
    """Return the places in `large`'s kernel of the weights of `small`'s, per axis.

    None if it does not read these positions, or gives maps of another size.
    """
    if SAME in (small.padding, large.padding) and small.padding != large.padding:
        return None
    places = []
    for axis in range(large.dims):
        kernel, width = axis_entry(small.kernel, axis), axis_entry(large.kernel, axis)
        step, wide = axis_entry(small.dilation, axis), axis_entry(large.dilation, axis)
        if axis_entry(small.stride, axis) != axis_entry(large.stride, axis):
            return None
        if large.padding == SAME:  # equal on both sides of the map only for equal kernels
            if (kernel, step) != (width, wide):
                return None
            places.append(tuple(range(kernel)))
            continue
        (start, end), (early, late) = axis_padding(small.padding, axis), axis_padding(large.padding, axis)
        if start + end - step * (kernel - 1) != early + late - wide * (width - 1):
            return None
        at = [early - start + step * tap for tap in range(kernel)]
        if any(place % wide or not 0 <= place // wide < width for place in at):
            return None
        places.append(tuple(place // wide for place in at))
    return tuple(places)


def fits_in_kernel(layer: Layer | None, conv: Conv) -> bool:
    """Return whether a term, a layer or the map itself, can be part of a convolution beside it."""
    if isinstance(layer, Conv):
        same = layer.to == conv.to and layer.groups == conv.groups
        return same and places_in_larger_kernel(layer, conv) is not None
    return conv.to == conv.channels and places_in_larger_kernel(unit_kernel(conv), conv) is not None


def unit_kernel(conv: Conv) -> Conv:
    """Return the 1x1 convolution that can be the identity beside another."""
    return Conv(conv.channels, conv.channels, groups=conv.groups, dims=conv.dims)


def with_plain_kernel(layer: Conv | Linear, bias: bool) -> Conv | Linear:
    """Return a layer's plain convolution, or a linear layer; with or without a bias."""
    if isinstance(layer, Linear):
        return replace(layer, bias=bias, init=1.0)
    return Conv(
        layer.channels,
        layer.to,
        layer.kernel,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
        bias,
        dims=layer.dims,
    )
