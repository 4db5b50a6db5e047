"""The base class of a recipe's layers, and the formulas that layers share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import is_
from typing import Any, ClassVar

from resnet_factory.layers.axes import Axes, Size, axes_entries

Fault = tuple[str, str]
"""An argument's name and what is wrong with it."""


MAP, POINT, FLAT = "map", "point", "flat"
"""The forms of data between layers: (C, H, W) maps, (C, 1, 1) points, (C,) vectors; in 2 dimensions."""


INPUT, OUTPUT, BOTH, NEITHER = "input", "output", "both", "neither"
"""The tensors of a layer that its backward pass needs again."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One operation. Its input has `channels` channels.

    Formulas (size, parameters, MACs, memory, validity) must hold for the numbers of many architectures at
    once: plain arithmetic (`+ - * // %`), comparisons joined by `&` and `|`, the functions of `expressions`.
    """

    channels: int
    dims: int = field(default=2, kw_only=True)
    """The number of axes of a map, besides its channels: 1, 2 or 3."""

    family: ClassVar[str] = "layer"
    """The prefix of default names: `conv` gives conv1, conv2, …"""
    numbered: ClassVar[bool] = True
    """Whether the first default name is numbered (conv1) or not (maxpool)."""
    accepts: ClassVar[tuple[str, ...]] = (MAP, POINT)
    elementwise: ClassVar[bool] = False
    """Whether it has no MACs and keeps the size of the map (norms, activations)."""
    counted: ClassVar[bool] = False
    """Whether its output elements are counted as activations (convolution and linear layers)."""

    @classmethod
    def complete(cls, arguments: dict[str, Any]) -> None:
        """Fill in the defaults that follow from other arguments."""

    @property
    def out_channels(self) -> int:
        """Number of output channels."""
        return self.channels

    @property
    def produces(self) -> str | None:
        """The form of the output, where it differs from the input's."""
        return None

    @property
    def step(self) -> Axes:
        """The factor by which the map shrinks: the stride; a `Fraction` below 1 where it grows."""
        return 1

    def size(self, side: int, axis: int = 0) -> int:
        """Return the side of the output map for the side of the input map, along one axis."""
        return side

    def output(self, size: Size) -> Size:
        """Return the size of the output map for the size of the input map: the same object if it is kept."""
        # Identity, not equality: sizes may be arrays of many architectures.
        after = tuple([self.size(side, axis) for axis, side in enumerate(size)])
        return size if all(map(is_, after, size)) else after

    def misfit(self, size: Size) -> str:
        """Return why a map of this size does not fit, to follow the layer's name; empty if it fits."""
        return ""

    def params(self) -> int:
        """Trainable parameters."""
        return 0

    def biases(self) -> int:
        """Parameters that are added to the output of a convolution or linear layer."""
        return 0

    def macs(self, positions: int) -> int:
        """Multiply-adds for an output map of this many positions."""
        return 0

    @property
    def reach(self) -> tuple[Axes, Axes] | None:
        """Input positions that outputs read at most before and after position `step * i`; None: all."""
        return 0, 0

    @property
    def saves(self) -> str:
        """Tensors saved for the backward pass: INPUT, OUTPUT, BOTH or NEITHER (torch's derivatives.yaml)."""
        return INPUT

    def view(self, training: bool) -> bool:
        """Return whether the output is a view of the input, without memory of its own."""
        return False

    def extra_bytes(self, size: Size, itemsize: int, training: bool) -> int:
        """Return the bytes allocated in addition to the output for a map of this size; kept in training."""
        return 0

    def scratch_bytes(self, size: Size, itemsize: int, batch: int) -> int:
        """Return the bytes that the backward pass of `batch` maps needs, besides the gradients it gives."""
        return 0

    def workspace(self) -> int:
        """Elements allocated in addition to the output, whatever the batch size; kept in training."""
        return 0

    def buffers(self, itemsize: int) -> int:
        """Return the number of bytes of untrained state."""
        return 0

    def valid(self) -> bool:
        """Return whether the arguments are valid together; `faults` gives the reasons if not."""
        return True

    def faults(self) -> Iterator[Fault]:
        """Yield the faults of the arguments, one by one."""
        return iter(())


def layer_window(side: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> int:
    """Return the positions of a sliding window: floor((side + p - d(k-1) - 1) / s) + 1 (torch.nn.Conv2d).

    `padding` is that of both sides together.
    """
    return (side + padding - dilation * (kernel - 1) - 1) // stride + 1


def positions(size: Size) -> int:
    """Return the number of positions of a map."""
    result = size[0]
    for side in size[1:]:
        result = result * side
    return result


def check_layer_at_least(layer: Layer, least: int, *names: str) -> Iterator[Fault]:
    """Yield a fault for each of the named arguments that is less than `least`."""
    for name in names:
        for value in axes_entries(getattr(layer, name)):
            if not value >= least:
                yield name, f"{value} is less than the minimum of {least}"
                break
