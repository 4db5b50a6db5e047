"""Elementwise nonlinearities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from resnet_factory.layers.axes import Size
from resnet_factory.layers.layer import FLAT, INPUT, MAP, OUTPUT, POINT, Layer, positions

ActivationName = Literal[
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "silu", "gelu", "gelu_tanh", "mish", "softplus",
    "hard_swish", "hard_sigmoid", "sigmoid", "tanh", "prelu",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Activation(Layer):
    """An elementwise nonlinearity."""

    function: ActivationName

    family: ClassVar[str] = "act"
    elementwise: ClassVar[bool] = True
    accepts: ClassVar[tuple[str, ...]] = (MAP, POINT, FLAT)

    @property
    def saves(self) -> str:
        return OUTPUT if self.function in ("relu", "sigmoid", "tanh") else INPUT


@dataclass(frozen=True, slots=True)
class LeakyReLU(Activation):
    """x where it is above 0, else slope * x."""

    slope: float = 0.01


@dataclass(frozen=True, slots=True)
class PReLU(Activation):
    """Leaky ReLU with a trained slope per channel, or one for the layer (He et al. 2015, "Delving deep")."""

    init: float = 0.25
    per: Literal["channel", "layer"] = "channel"

    def scratch_bytes(self, size: Size, itemsize: int, batch: int) -> int:
        # The gradient of the slopes, before it is summed over positions.
        return self.channels * positions(size) * itemsize * batch

    def params(self) -> int:
        return self.channels if self.per == "channel" else 1
