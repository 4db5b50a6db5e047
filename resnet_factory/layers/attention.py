"""Attention between the positions of a map."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import ClassVar, Literal

from resnet_factory.layers.axes import Axes, Size, axes_product, axes_text, axis_entry, no_less, per_axis
from resnet_factory.layers.expressions import FUNCTIONS
from resnet_factory.layers.layer import (
    FLAT,
    INPUT,
    MAP,
    NEITHER,
    Fault,
    Layer,
    check_layer_at_least,
    positions,
)

larger = FUNCTIONS["max"]

MADE_FOR = "takes maps of size"
"""Beginning of the reason why a map does not fit a layer that has weights for each position."""


@dataclass(frozen=True, slots=True)
class SelfAttention(Layer):
    """Multi-head self-attention over the positions of a map, whose channels are queries, keys and values.

    A convolution before it makes these heads * (2 * key + value) channels; the output has heads * value. By
    `order`, the queries of all heads come first (`role`), or the query, key and value of one head (`head`).
    `position` adds to the logits the product of the query and an embedding of the distance along each axis
    (`relative`: BoTNet, Srinivas et al. 2021), or a trained number per head and distance (`bias`: CoAtNet,
    Dai et al. 2021); both are for maps of `sides` positions. Without `sides`, a map may have any size.
    """

    heads: int
    key: int
    position: Literal["none", "relative", "bias"] = "none"
    sides: Axes = 0
    order: Literal["role", "head"] = "role"

    family: ClassVar[str] = "attention"
    numbered: ClassVar[bool] = False
    accepts: ClassVar[tuple[str, ...]] = (MAP,)
    counted: ClassVar[bool] = True

    @property
    def value(self) -> int:
        """Channels of a head's value."""
        return self.channels // self.heads - 2 * self.key

    @property
    def out_channels(self) -> int:
        return self.heads * self.value

    def distances(self, axis: int) -> int:
        """Return the number of distances between two positions along an axis."""
        return 2 * axis_entry(self.sides, axis) - 1

    def params(self) -> int:
        if self.position == "none":
            return 0
        distances = [self.distances(axis) for axis in range(self.dims)]
        if self.position == "relative":
            return sum(distances) * self.key
        return prod(distances) * self.heads

    def macs(self, positions: int) -> int:
        products = positions * (self.key + self.value)
        if self.position == "relative":
            products = products + self.key * sum(self.distances(axis) for axis in range(self.dims))
        return self.heads * positions * products

    @property
    def reach(self) -> tuple[Axes, Axes] | None:
        return None

    def misfit(self, size: Size) -> str:
        return _attention_misfit(self.sides, size)

    @property
    def saves(self) -> str:
        return NEITHER if self.order == "role" else INPUT

    def extra_bytes(self, size: Size, itemsize: int, training: bool) -> int:
        area = positions(size)
        logits = self.heads * area * area
        queries, values = self.heads * self.key * area, self.out_channels * area
        # Queries are scaled or copied; keys and values of all heads in a row too, for their matrix product.
        keys = queries if self.order == "role" else 0
        copies = values if self.order == "role" else 0
        if training:
            return (queries + keys + copies + logits) * itemsize
        most = larger(larger(2 * logits, logits + keys), logits + self._position_elements(size))
        extra: int = larger(queries + most - values, logits + copies)
        return extra * itemsize

    def _position_elements(self, size: Size) -> int:
        """Return the most elements needed at once for the logits of `relative` positions."""
        if self.position != "relative":
            return 0
        rows = self.heads * positions(size)
        most: int = 0
        held = 0
        total = rows
        for axis, side in enumerate(size):
            held = held + rows * 2 * side
            most = larger(most, held + rows * (2 * side - 1))
            total = total * side
            if axis:
                # The sum of the terms so far has a place for each pair of positions along their axes.
                most = larger(most, held + total)
                held = total
        return most

    def scratch_bytes(self, size: Size, itemsize: int, batch: int) -> int:
        area = positions(size)
        most = logits = self.heads * area * area
        if self.position == "relative":
            # The products of the longest axis and their padded rows; the logits too, for another axis.
            rows = self.heads * area * (4 * size[0] - 1)
            for side in size[1:]:
                rows = larger(rows, self.heads * area * (4 * side - 1))
            most = rows - logits if self.dims == 1 else larger(logits, rows)
        # These are gone before the gradients of the input are made, in head order all but the values'.
        made = self.channels if self.order == "role" else self.channels - self.out_channels
        shared = logits if self.position == "bias" else 0  # the gradient of the biases of all pairs
        scratch: int = larger((logits + most - made * area) * batch + shared, 0)
        return scratch * itemsize

    def valid(self) -> bool:
        good = (self.heads >= 1) & (self.key >= 1)
        if not good or self.channels % self.heads != 0:
            return False
        return (self.value >= 1) & no_less(self.sides, 0 if self.position == "none" else 1)

    def faults(self) -> Iterator[Fault]:
        yield from check_layer_at_least(self, 1, "heads", "key")
        if self.position != "none" and not no_less(self.sides, 1):
            yield "sides", f"{self.position!r} positions need a fixed map size; give it, as 'sides: 14'"
        else:
            yield from check_layer_at_least(self, 0, "sides")
        if self.heads >= 1 and self.channels % self.heads:
            yield "heads", f"{self.channels} channels are not divisible by {self.heads} heads"
        elif self.heads >= 1 and self.key >= 1 and self.value < 1:
            yield (
                "key",
                f"{self.channels} channels for {self.heads} heads leave no channels for values after "
                f"queries and keys of {self.key} each; the layer before must output heads * (2 * key + "
                "value) channels",
            )


@dataclass(frozen=True, slots=True)
class AttentionPool(Layer):
    """Attention from the mean to all positions, then a linear layer (CLIP's ResNets, Radford et al. 2021).

    (C, H, W) -> (to,), for maps of `sides` positions. The mean stands before the positions; to each of these
    tokens an embedding is added. Only the mean's query is computed, as CLIP does.
    """

    to: int
    heads: int
    sides: Axes

    family: ClassVar[str] = "attnpool"
    numbered: ClassVar[bool] = False
    accepts: ClassVar[tuple[str, ...]] = (MAP,)
    counted: ClassVar[bool] = True

    @property
    def produces(self) -> str | None:
        return FLAT

    @property
    def out_channels(self) -> int:
        return self.to

    def size(self, side: int, axis: int = 0) -> int:
        return side * 0 + 1

    @property
    def tokens(self) -> int:
        """The number of positions, and one for the mean."""
        return axes_product(self.sides, self.dims) + 1

    def params(self) -> int:
        matrices = self.channels * (3 * self.channels + self.to)
        return self.tokens * self.channels + matrices + self.biases()

    def biases(self) -> int:
        return 3 * self.channels + self.to

    def macs(self, positions: int) -> int:
        query_and_output = self.channels * (self.channels + self.to)
        return query_and_output + 2 * self.tokens * self.channels * (self.channels + 1)

    @property
    def reach(self) -> tuple[Axes, Axes] | None:
        return None

    def misfit(self, size: Size) -> str:
        return _attention_misfit(self.sides, size)

    @property
    def saves(self) -> str:
        return NEITHER

    def extra_bytes(self, size: Size, itemsize: int, training: bool) -> int:
        # The tokens, and keys and values each in the layout of its matrix product.
        tokens = self.tokens * self.channels
        elements = 3 * tokens + 2 * self.channels + self.heads * self.tokens
        return (elements if training else elements - self.to) * itemsize

    def scratch_bytes(self, size: Size, itemsize: int, batch: int) -> int:
        # The gradients of the tokens by way of keys and values, before those of all weights are made.
        scratch: int = larger(self.tokens * self.channels * batch - self.params(), 0)
        return scratch * itemsize

    def valid(self) -> bool:
        good = (self.to >= 1) & (self.heads >= 1) & no_less(self.sides, 1)
        return good and self.channels % self.heads == 0

    def faults(self) -> Iterator[Fault]:
        yield from check_layer_at_least(self, 1, "to", "heads", "sides")
        if self.heads >= 1 and self.channels % self.heads:
            yield "heads", f"{self.channels} channels are not divisible by {self.heads} heads"


def _attention_misfit(sides: Axes, size: Size) -> str:
    """Return the reason why a map does not have the size that a layer requires; 0 takes any."""
    wanted = per_axis(sides, len(size))
    if all(own in (0, side) for own, side in zip(wanted, size, strict=True)):
        return ""
    return f"{MADE_FOR} {axes_text(wanted)}, but {axes_text(size)} arrives"
