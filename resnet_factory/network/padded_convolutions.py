"""Convolutions that torch does not have: padding that differs between sides, and standardised weights."""

from __future__ import annotations

from torch import Tensor, fx, nn
from torch.nn import functional

from resnet_factory.layers.axes import axis_entry, same_padding

Pads = tuple[tuple[int, int], ...]
"""Padding before and after each axis."""
CONVOLVE = (functional.conv1d, functional.conv2d, functional.conv3d)
"""Convolutions of maps of 1, 2 and 3 axes."""


def torch_padding(pads: Pads) -> tuple[int, ...]:
    """Return padding as torch.nn.functional.pad takes it: the last axis first."""
    return tuple(width for pair in reversed(pads) for width in pair)


def pads_of_same_convolution(size: tuple[int, ...], kernel: object, stride: object, dilation: object) -> Pads:
    """Return the padding with which ceil(side / stride) positions are left, the larger part after the map.

    Source: TensorFlow's SAME, as in timm's Conv2dSame.
    """
    pads = []
    for axis, side in enumerate(size):
        whole = same_padding(
            side, axis_entry(kernel, axis), axis_entry(stride, axis), axis_entry(dilation, axis)
        )
        pads.append((whole // 2, whole - whole // 2))
    return tuple(pads)


@fx.wrap
def pad_before_convolution(
    x: Tensor, pads: Pads | None, kernel: object, stride: object, dilation: object, value: float
) -> Tensor:
    """Return a map padded by a constant: by given numbers, or where they are None by those of `same`.

    One call in a graph of torch.fx, whose numbers follow the size of the map when the graph runs.
    """
    if pads is None:
        pads = pads_of_same_convolution(tuple(x.shape[2:]), kernel, stride, dilation)
    return functional.pad(x, torch_padding(pads), value=value)


class Pad(nn.Module):
    """Pads a map by a constant, given numbers or those of `same`, before it is pooled."""

    def __init__(self, pads: Pads | None, kernel: object, stride: object, dims: int, value: float) -> None:
        super().__init__()
        self.pads, self.kernel, self.stride, self.dims, self.value = pads, kernel, stride, dims, value

    def forward(self, x: Tensor) -> Tensor:
        return pad_before_convolution(x, self.pads, self.kernel, self.stride, 1, self.value)

    def extra_repr(self) -> str:
        return "same" if self.pads is None else str(self.pads)


class PaddedConvolution(nn.modules.conv._ConvNd):
    """A convolution whose padding differs between sides, or is `same`."""

    pads: Pads | None = None
    """None: `same`."""
    uneven = True
    """Whether the map is padded before the convolution, rather than by it."""

    def padded(self, x: Tensor) -> Tensor:
        """Return the map with its padding, where torch's convolution cannot add it."""
        if not self.uneven:
            return x
        return pad_before_convolution(x, self.pads, self.kernel_size, self.stride, self.dilation, 0.0)

    def forward(self, input: Tensor) -> Tensor:
        x = self.padded(input)
        convolve = CONVOLVE[len(self.kernel_size) - 1]
        return convolve(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class PaddedConv1d(PaddedConvolution, nn.Conv1d):
    """A convolution of sequences whose padding differs between sides."""


class PaddedConv2d(PaddedConvolution, nn.Conv2d):
    """A convolution of images whose padding differs between sides."""


class PaddedConv3d(PaddedConvolution, nn.Conv3d):
    """A convolution of volumes whose padding differs between sides."""


class StandardizedConvolution(PaddedConvolution):
    """Convolution with its weight standardised per output channel (Qiao et al. 2019)."""

    eps: float = 1e-6
    scale: float | None = None
    """Factor by which the gain of a scaled standardisation is multiplied (Brock et al. 2021)."""
    gain: nn.Parameter
    uneven = False

    def forward(self, input: Tensor) -> Tensor:
        # batch_norm over one "image" whose channels are the filters: the fastest way to standardise.
        factor = None if self.scale is None else (self.gain * self.scale).view(-1)
        weight = functional.batch_norm(
            self.weight.reshape(1, self.out_channels, -1),
            None, None, weight=factor, training=True, momentum=0.0, eps=self.eps,
        ).reshape_as(self.weight)  # fmt: skip
        convolve = CONVOLVE[len(self.kernel_size) - 1]
        x = self.padded(input)
        return convolve(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class StandardizedConv1d(StandardizedConvolution, nn.Conv1d):
    """Weight-standardised convolution of sequences."""


class StandardizedConv2d(StandardizedConvolution, nn.Conv2d):
    """Weight-standardised convolution of images."""


class StandardizedConv3d(StandardizedConvolution, nn.Conv3d):
    """Weight-standardised convolution of volumes."""
