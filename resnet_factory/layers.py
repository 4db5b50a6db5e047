"""The vocabulary: every layer a recipe may name, with its arithmetic and nothing of torch.

One class per operation. A class's fields are the arguments a recipe may give it (`channels`, what
arrives, is filled in by the planner). Formulas use plain arithmetic only, so that one line serves an
int and a NumPy array of a million architectures alike.

Conventions: a size is the side of a square map, one call per axis; `macs` counts one per
multiply-add of convolution and linear layers, without biases; norm, activation and pooling count 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

Fault = tuple[str, str]
"""An argument's name and what is wrong with it."""

MAP, POINT, FLAT = "map", "point", "flat"
"""What flows between layers: (C, H, W) maps, (C, 1, 1) points, (C,) vectors."""

INPUT, OUTPUT, NEITHER = "input", "output", "neither"
"""What of a layer its backward pass needs again."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One operation. Its input has `channels` channels."""

    channels: int

    family: ClassVar[str] = "layer"
    """What an unnamed one is called: `conv` gives conv1, conv2, …"""
    numbered: ClassVar[bool] = True
    """Whether the first of a family carries a number (conv1) or not (maxpool)."""
    takes: ClassVar[tuple[str, ...]] = (MAP, POINT)
    gives: ClassVar[str | None] = None
    """What leaves, where that differs from what arrives."""
    counted: ClassVar[bool] = False
    """Whether its output elements are counted as activations (convolution and linear layers)."""

    @classmethod
    def complete(cls, arguments: dict[str, Any]) -> None:
        """Fill in the defaults that follow from other arguments."""

    @property
    def out_channels(self) -> int:
        """Channels that leave."""
        return self.channels

    @property
    def step(self) -> int:
        """By how much the map shrinks: the stride."""
        return 1

    def size(self, side: int) -> int:
        """The side of the map that leaves, from the side that arrives."""
        return side

    def params(self) -> int:
        """Trainable parameters."""
        return 0

    def biases(self) -> int:
        """Those of its parameters that are added to the output of a convolution or linear layer."""
        return 0

    def macs(self, area: int) -> int:
        """Multiply-adds for an output of `area` positions."""
        return 0

    @property
    def reach(self) -> tuple[int, int] | None:
        """Positions that output i sees before and after position `step * i` of its input; None: all."""
        return 0, 0

    @property
    def saves(self) -> str:
        """What the backward pass needs again: INPUT, OUTPUT or NEITHER (torch's derivatives.yaml)."""
        return INPUT

    def view(self, training: bool) -> bool:
        """Whether what leaves is what arrived, with no memory of its own."""
        return False

    def aside(self, height: int, width: int, itemsize: int, training: bool) -> int:
        """Bytes made beside the output of a map of this size; kept while training."""
        return 0

    def workspace(self) -> int:
        """Elements made beside the output however many images there are; kept while training."""
        return 0

    def buffers(self, itemsize: int) -> int:
        """Bytes of saved state that is not trained."""
        return 0

    def valid(self) -> bool:
        """Whether the arguments fit together; `faults` says why not."""
        return True

    def faults(self) -> Iterator[Fault]:
        """What is wrong with the arguments, one by one."""
        return iter(())


def window(side: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> int:
    """Positions of a sliding window: floor((side + 2p - d(k-1) - 1) / s) + 1 (torch.nn.Conv2d)."""
    return (side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


# Convolution and linear layers ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Conv(Layer):
    """Convolution. `padding` defaults to dilation * (kernel - 1) // 2: stride 1 keeps the size.

    `init` multiplies the initial weights; 0 starts a residual branch at zero (Fixup, Zhang et al. 2019).
    """

    to: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1
    bias: bool = False
    init: float = 1.0

    family: ClassVar[str] = "conv"
    counted: ClassVar[bool] = True

    @classmethod
    def complete(cls, arguments: dict[str, Any]) -> None:
        if arguments.get("padding") is None:
            kernel, dilation = arguments.get("kernel", 1), arguments.get("dilation", 1)
            arguments["padding"] = dilation * (kernel - 1) // 2

    @property
    def out_channels(self) -> int:
        return self.to

    @property
    def step(self) -> int:
        return self.stride

    def size(self, side: int) -> int:
        return window(side, self.kernel, self.stride, self.padding, self.dilation)

    @property
    def reach(self) -> tuple[int, int] | None:
        return self.padding, self.dilation * (self.kernel - 1) - self.padding

    def params(self) -> int:
        return self.kernel * self.kernel * self.channels // self.groups * self.to + self.bias * self.to

    def biases(self) -> int:
        return self.bias * self.to

    def macs(self, area: int) -> int:
        return area * self.kernel * self.kernel * self.to * (self.channels // self.groups)

    def valid(self) -> bool:
        return (self.to > 0) & (self.kernel > 0) & (self.stride > 0) & (self.padding >= 0) & (
            self.dilation > 0
        ) & (self.groups > 0) and (self.channels % self.groups == 0) & (self.to % self.groups == 0)

    def faults(self) -> Iterator[Fault]:
        yield from _at_least(self, 1, "to", "kernel", "stride", "dilation", "groups")
        yield from _at_least(self, 0, "padding")
        if self.groups > 0:
            for channels, which in ((self.channels, "arriving"), (self.to, "leaving")):
                if channels % self.groups:
                    yield (
                        "groups",
                        f"{channels} {which} channels are not divisible by {self.groups} groups"
                        f"; nearest that work: {_nearest_multiples(channels, self.groups)} channels"
                        f", or {_nearest_divisors(channels, self.groups)} groups",
                    )


@dataclass(frozen=True, slots=True)
class StandardizedConv(Conv):
    """Convolution whose weight is standardised per output channel (Qiao et al. 2019; timm StdConv2d)."""

    eps: float = 1e-6

    def workspace(self) -> int:
        return self.macs(1)


@dataclass(frozen=True, slots=True)
class ScaledConv(Conv):
    """Scaled weight standardisation with a gain (Brock et al. 2021a; timm ScaledStdConv2d).

    The standardised weight is multiplied by gamma / sqrt(fan-in) and by a trained gain per channel,
    which starts at `init`.
    """

    eps: float = 1e-5
    gamma: float = 1.0

    def workspace(self) -> int:
        return self.macs(1)

    def params(self) -> int:
        return self.kernel * self.kernel * self.channels // self.groups * self.to + (1 + self.bias) * self.to


@dataclass(frozen=True, slots=True)
class ChannelConv(Layer):
    """One-dimensional convolution along the channels of a 1x1 map (ECA, Wang et al. 2019): k weights."""

    kernel: int

    family: ClassVar[str] = "conv"
    takes: ClassVar[tuple[str, ...]] = (POINT,)
    counted: ClassVar[bool] = True

    def params(self) -> int:
        return self.kernel

    def macs(self, area: int) -> int:
        return area * self.channels * self.kernel

    def valid(self) -> bool:
        return (self.kernel > 0) & (self.kernel % 2 == 1)

    def faults(self) -> Iterator[Fault]:
        yield from _at_least(self, 1, "kernel")
        if self.kernel % 2 == 0:
            yield "kernel", f"{self.kernel} is even; {self.kernel - 1} or {self.kernel + 1} would do"


@dataclass(frozen=True, slots=True)
class BlurPool(Layer):
    """Fixed binomial filter [1 2 1]² / 16 on a reflected border, then the stride (Zhang 2019).

    Counted as the depthwise convolution it is; it has no parameters.
    """

    stride: int = 2

    family: ClassVar[str] = "blur"
    numbered: ClassVar[bool] = False
    takes: ClassVar[tuple[str, ...]] = (MAP,)
    counted: ClassVar[bool] = True

    @property
    def step(self) -> int:
        return self.stride

    def size(self, side: int) -> int:
        # The border is (stride + 1) // 2 wide (timm get_padding); a map that small has nothing to reflect.
        border = (self.stride + 1) // 2
        return window(side, 3, self.stride, border) * (side > border)

    @property
    def reach(self) -> tuple[int, int] | None:
        border = (self.stride + 1) // 2
        return border, 2 - border

    def aside(self, height: int, width: int, itemsize: int, training: bool) -> int:
        both = 2 * ((self.stride + 1) // 2)
        return self.channels * (height + both) * (width + both) * itemsize  # the map with its border

    def macs(self, area: int) -> int:
        return area * self.channels * 9

    def valid(self) -> bool:
        return self.stride > 0

    def faults(self) -> Iterator[Fault]:
        yield from _at_least(self, 1, "stride")


@dataclass(frozen=True, slots=True)
class Linear(Layer):
    """Fully connected layer."""

    to: int
    bias: bool = True
    init: float = 1.0

    family: ClassVar[str] = "fc"
    numbered: ClassVar[bool] = False
    takes: ClassVar[tuple[str, ...]] = (FLAT,)
    counted: ClassVar[bool] = True

    @property
    def out_channels(self) -> int:
        return self.to

    def params(self) -> int:
        return self.channels * self.to + self.bias * self.to

    def biases(self) -> int:
        return self.bias * self.to

    def macs(self, area: int) -> int:
        return self.channels * self.to

    def valid(self) -> bool:
        return self.to > 0

    def faults(self) -> Iterator[Fault]:
        yield from _at_least(self, 1, "to")


# Normalisation ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Norm(Layer):
    """What every normalisation shares: a weight and a bias per channel, and the names bn1, bn2 and so on."""

    eps: float = 1e-5
    zero_init: bool = False
    """Start with weight 0, so that a residual branch begins as the identity (Goyal et al. 2017)."""

    family: ClassVar[str] = "bn"

    def params(self) -> int:
        return 2 * self.channels

    def valid(self) -> bool:
        return self.eps >= 0

    def faults(self) -> Iterator[Fault]:
        yield from _at_least(self, 0, "eps")


@dataclass(frozen=True, slots=True)
class BatchNorm(Norm):
    """Batch normalisation (Ioffe & Szegedy 2015). `momentum` as torch counts it: the share of the new."""

    momentum: float = 0.1

    def buffers(self, itemsize: int) -> int:
        return 2 * self.channels * itemsize + 8  # running mean and variance; batches seen, a 64-bit count

    def valid(self) -> bool:
        return (self.eps >= 0) & (self.momentum >= 0) & (self.momentum <= 1)

    def faults(self) -> Iterator[Fault]:
        yield from _at_least(self, 0, "eps")
        if not 0 <= self.momentum <= 1:
            yield "momentum", f"{self.momentum} is not between 0 and 1"


@dataclass(frozen=True, slots=True)
class GroupNorm(Norm):
    """Group normalisation (Wu & He 2018), over `groups` groups of channels."""

    groups: int = 32

    def valid(self) -> bool:
        return (self.eps >= 0) & (self.groups > 0) and self.channels % self.groups == 0

    def faults(self) -> Iterator[Fault]:
        yield from _at_least(self, 0, "eps")
        yield from _at_least(self, 1, "groups")
        if self.groups > 0 and self.channels % self.groups:
            yield (
                "groups",
                f"{self.channels} channels are not divisible by {self.groups} groups"
                f"; {_nearest_divisors(self.channels, self.groups)} groups would do",
            )


@dataclass(frozen=True, slots=True)
class LayerNorm(Norm):
    """Layer normalisation over the channels of each position (Ba et al. 2016; ConvNeXt's LayerNorm2d)."""

    @property
    def saves(self) -> str:
        return NEITHER

    def aside(self, height: int, width: int, itemsize: int, training: bool) -> int:
        return self.channels * height * width * itemsize  # the input with its channels last


@dataclass(frozen=True, slots=True)
class EvoNorm(GroupNorm):
    """EvoNorm-S0 (Liu et al. 2020), norm and nonlinearity in one; `act: false` leaves a plain affine."""

    act: bool = True

    def aside(self, height: int, width: int, itemsize: int, training: bool) -> int:
        return ((4 if training else 3) if self.act else 1) * self.channels * height * width * itemsize

    def params(self) -> int:
        return (2 + self.act) * self.channels


@dataclass(frozen=True, slots=True)
class FilterResponseNorm(Norm):
    """Filter response normalisation with its thresholded unit (Singh & Krishnan 2019)."""

    act: bool = True

    def aside(self, height: int, width: int, itemsize: int, training: bool) -> int:
        return (2 if self.act else 1) * self.channels * height * width * itemsize

    def params(self) -> int:
        return (2 + self.act) * self.channels


# Activation -------------------------------------------------------------------------------------

ActivationName = Literal[
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "silu", "gelu", "mish", "softplus",
    "hard_swish", "hard_sigmoid", "sigmoid", "tanh",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Activation(Layer):
    """An elementwise nonlinearity."""

    function: ActivationName

    family: ClassVar[str] = "act"
    takes: ClassVar[tuple[str, ...]] = (MAP, POINT, FLAT)

    @property
    def saves(self) -> str:
        return OUTPUT if self.function in ("relu", "sigmoid", "tanh") else INPUT


# Pooling and shape ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pool(Layer):
    """What every sliding-window pool shares. `padding` defaults to (kernel - 1) // 2."""

    kernel: int
    stride: int = 1
    padding: int = 0
    ceil_mode: bool = False

    numbered: ClassVar[bool] = False

    @classmethod
    def complete(cls, arguments: dict[str, Any]) -> None:
        if arguments.get("padding") is None:
            arguments["padding"] = (arguments.get("kernel", 1) - 1) // 2

    @property
    def step(self) -> int:
        return self.stride

    @property
    def reach(self) -> tuple[int, int] | None:
        return self.padding, self.kernel - 1 - self.padding

    def size(self, side: int) -> int:
        if not self.ceil_mode:
            return window(side, self.kernel, self.stride, self.padding)
        out = -(-(side + 2 * self.padding - self.kernel) // self.stride) + 1
        # torch drops a last window that would start in the padding on the far side.
        return out - ((out - 1) * self.stride >= side + self.padding)

    def valid(self) -> bool:
        return (self.kernel > 0) & (self.stride > 0) & (self.padding >= 0) & (2 * self.padding <= self.kernel)

    def faults(self) -> Iterator[Fault]:
        yield from _at_least(self, 1, "kernel", "stride")
        yield from _at_least(self, 0, "padding")
        if 2 * self.padding > self.kernel:
            yield "padding", f"{self.padding} is more than half of kernel {self.kernel}"


@dataclass(frozen=True, slots=True)
class MaxPool(Pool):
    """Maximum over a window."""

    family: ClassVar[str] = "maxpool"

    def aside(self, height: int, width: int, itemsize: int, training: bool) -> int:
        # Which position each maximum came from, as 64-bit indices.
        return 8 * self.channels * self.size(height) * self.size(width)


@dataclass(frozen=True, slots=True)
class AvgPool(Pool):
    """Mean over a window; `count_include_pad` says whether padding counts as zeros in the mean.

    `extend` adds that many zeros behind the far edges first: TensorFlow's SAME for kernel 2, stride 1.
    """

    count_include_pad: bool = True
    extend: int = 0

    family: ClassVar[str] = "avgpool"

    def size(self, side: int) -> int:
        return Pool.size(self, side + self.extend)

    @property
    def saves(self) -> str:
        return NEITHER if self.extend or self.view(True) else INPUT

    def view(self, training: bool) -> bool:
        return self.kernel == self.stride == 1

    def aside(self, height: int, width: int, itemsize: int, training: bool) -> int:
        longer = (height + self.extend) * (width + self.extend)  # the map with its zeros
        return self.channels * longer * itemsize * (self.extend > 0)


@dataclass(frozen=True, slots=True)
class GlobalPool(Layer):
    """Mean over the whole map: (C, H, W) -> (C, 1, 1)."""

    family: ClassVar[str] = "avgpool"
    numbered: ClassVar[bool] = False
    gives: ClassVar[str | None] = POINT

    def size(self, side: int) -> int:
        return side * 0 + 1

    @property
    def reach(self) -> tuple[int, int] | None:
        return None

    @property
    def saves(self) -> str:
        return NEITHER


@dataclass(frozen=True, slots=True)
class Flatten(Layer):
    """(C, 1, 1) -> (C,)."""

    family: ClassVar[str] = "flatten"
    numbered: ClassVar[bool] = False
    takes: ClassVar[tuple[str, ...]] = (POINT,)
    gives: ClassVar[str | None] = FLAT

    @property
    def saves(self) -> str:
        return NEITHER

    def view(self, training: bool) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class ZeroPad(Layer):
    """Option A of He et al. 2015: no parameters; every `stride`-th position, new channels are zero.

    `where` puts the zeros behind the old channels (fb.resnet.torch) or half before and half behind
    (the widely used CIFAR reimplementation).
    """

    to: int
    stride: int = 1
    where: Literal["end", "center"] = "end"

    family: ClassVar[str] = "pad"
    numbered: ClassVar[bool] = False

    @property
    def out_channels(self) -> int:
        return self.to

    @property
    def step(self) -> int:
        return self.stride

    def size(self, side: int) -> int:
        return (side - 1) // self.stride + 1

    @property
    def saves(self) -> str:
        return NEITHER

    def valid(self) -> bool:
        return (self.stride > 0) & (self.to >= self.channels)

    def faults(self) -> Iterator[Fault]:
        yield from _at_least(self, 1, "stride")
        if self.to < self.channels:
            yield "to", f"{self.to} is fewer than the {self.channels} channels that arrive; zeros only add"


@dataclass(frozen=True, slots=True)
class Border(Layer):
    """A border of zeros, `width` wide, around the map."""

    width: int = 1

    family: ClassVar[str] = "border"
    numbered: ClassVar[bool] = False
    takes: ClassVar[tuple[str, ...]] = (MAP,)

    def size(self, side: int) -> int:
        return side + 2 * self.width

    @property
    def reach(self) -> tuple[int, int] | None:
        return self.width, -self.width

    @property
    def saves(self) -> str:
        return NEITHER

    def valid(self) -> bool:
        return self.width >= 0

    def faults(self) -> Iterator[Fault]:
        yield from _at_least(self, 0, "width")


@dataclass(frozen=True, slots=True)
class Scale(Layer):
    """A trained factor: one per channel (LayerScale, Touvron et al. 2021) or one alone (SkipInit, ReZero)."""

    init: float = 0.0
    per: Literal["channel", "layer"] = "channel"

    family: ClassVar[str] = "scale"
    takes: ClassVar[tuple[str, ...]] = (MAP, POINT, FLAT)

    def params(self) -> int:
        return self.channels if self.per == "channel" else 1


@dataclass(frozen=True, slots=True)
class Shift(Scale):
    """A trained offset: per channel, or one alone as around Fixup's convolutions (Zhang et al. 2019)."""

    family: ClassVar[str] = "shift"

    @property
    def saves(self) -> str:
        return NEITHER


@dataclass(frozen=True, slots=True)
class Multiply(Layer):
    """A fixed factor."""

    by: float

    family: ClassVar[str] = "multiply"
    takes: ClassVar[tuple[str, ...]] = (MAP, POINT, FLAT)

    @property
    def saves(self) -> str:
        return NEITHER


@dataclass(frozen=True, slots=True)
class Identity(Layer):
    """Nothing; keeps a place (and an index) in a list."""

    family: ClassVar[str] = "identity"
    numbered: ClassVar[bool] = False
    takes: ClassVar[tuple[str, ...]] = (MAP, POINT, FLAT)

    @property
    def saves(self) -> str:
        return NEITHER

    def view(self, training: bool) -> bool:
        return True


# Regularisation ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dropout(Layer):
    """Zero single elements with probability `rate` while training."""

    rate: float

    family: ClassVar[str] = "dropout"
    numbered: ClassVar[bool] = False
    takes: ClassVar[tuple[str, ...]] = (MAP, POINT, FLAT)

    @property
    def saves(self) -> str:
        return NEITHER

    def view(self, training: bool) -> bool:
        return not training or self.rate == 0

    def aside(self, height: int, width: int, itemsize: int, training: bool) -> int:
        return self.channels * height * width * itemsize  # the mask

    def valid(self) -> bool:
        return (self.rate >= 0) & (self.rate < 1)

    def faults(self) -> Iterator[Fault]:
        if not 0 <= self.rate < 1:
            yield "rate", f"{self.rate:g} is not in [0, 1)"


@dataclass(frozen=True, slots=True)
class DropPath(Dropout):
    """Stochastic depth (Huang et al. 2016): drop the whole branch with probability `rate`.

    `mode` drops per sample (row) or for the batch at once; `rescale` divides what is kept by 1 - rate.
    """

    mode: Literal["row", "batch"] = "row"
    rescale: bool = True

    family: ClassVar[str] = "drop_path"
    takes: ClassVar[tuple[str, ...]] = (MAP,)

    def aside(self, height: int, width: int, itemsize: int, training: bool) -> int:
        return itemsize  # one number per image


@dataclass(frozen=True, slots=True)
class DropBlock(Dropout):
    """Drop squares of `block` x `block` positions while training (Ghiasi et al. 2018; timm's drop_block_2d).

    `gamma` scales how many squares are seeded.
    """

    block: int = 7
    gamma: float = 1.0

    family: ClassVar[str] = "drop_block"
    takes: ClassVar[tuple[str, ...]] = (MAP,)

    def aside(self, height: int, width: int, itemsize: int, training: bool) -> int:
        return height * width * itemsize  # one mask for all channels


VOCABULARY: dict[str, tuple[type[Layer], dict[str, Any]]] = {
    "conv2d": (Conv, {}),
    "standardized_conv": (StandardizedConv, {}),
    "scaled_conv": (ScaledConv, {}),
    "channel_conv": (ChannelConv, {}),
    "linear": (Linear, {}),
    "batch_norm": (BatchNorm, {}),
    "group_norm": (GroupNorm, {}),
    "layer_norm": (LayerNorm, {}),
    "evo_norm": (EvoNorm, {}),
    "filter_response_norm": (FilterResponseNorm, {}),
    "max_pool": (MaxPool, {}),
    "avg_pool": (AvgPool, {}),
    "blur_pool": (BlurPool, {}),
    "global_pool": (GlobalPool, {}),
    "flatten": (Flatten, {}),
    "zero_pad": (ZeroPad, {}),
    "border": (Border, {}),
    "scale": (Scale, {}),
    "shift": (Shift, {}),
    "multiply": (Multiply, {}),
    "identity": (Identity, {}),
    "dropout": (Dropout, {}),
    "stochastic_depth": (DropPath, {}),
    "block_dropout": (DropBlock, {}),
    **{name: (Activation, {"function": name}) for name in ActivationName.__args__},  # type: ignore[attr-defined]
}
"""The word a recipe uses -> the class and the arguments the word itself fixes."""


def _at_least(layer: Layer, least: int, *names: str) -> Iterator[Fault]:
    for name in names:
        value = getattr(layer, name)
        if not value >= least:
            yield name, f"{value} is less than {least}, the least allowed"


def _nearest_multiples(value: int, factor: int) -> str:
    below = value // factor * factor
    return " or ".join(str(near) for near in (below, below + factor) if near)


def _nearest_divisors(value: int, wanted: int) -> str:
    divisors = [d for d in range(1, min(value, 4096) + 1) if value % d == 0]
    below = max((d for d in divisors if d <= wanted), default=1)
    above = min((d for d in divisors if d > wanted), default=below)
    return " or ".join(dict.fromkeys((str(below), str(above))))
