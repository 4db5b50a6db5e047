"""Elementwise nonlinearities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from resnet_factory.layers.layer import FLAT, INPUT, MAP, OUTPUT, POINT, Layer

ActivationName = Literal[
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "silu", "gelu", "mish", "softplus",
    "hard_swish", "hard_sigmoid", "sigmoid", "tanh",
]  # fmt: skip  # fmt: skip


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
