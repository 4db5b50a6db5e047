"""Layers that multiply by a factor or add an offset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from resnet_factory.layers.layer import FLAT, MAP, NEITHER, POINT, Layer


@dataclass(frozen=True, slots=True)
class Scale(Layer):
    """A learnable factor: per channel (LayerScale, Touvron et al. 2021) or a scalar (SkipInit, ReZero)."""

    init: float = 0.0
    per: Literal["channel", "layer"] = "channel"

    family: ClassVar[str] = "scale"
    accepts: ClassVar[tuple[str, ...]] = (MAP, POINT, FLAT)

    def params(self) -> int:
        return self.channels if self.per == "channel" else 1


@dataclass(frozen=True, slots=True)
class Shift(Scale):
    """A learnable offset: per channel, or a scalar as around Fixup's convolutions (Zhang et al. 2019)."""

    family: ClassVar[str] = "shift"

    @property
    def saves(self) -> str:
        return NEITHER


@dataclass(frozen=True, slots=True)
class Multiply(Layer):
    """Multiply by a constant."""

    by: float

    family: ClassVar[str] = "multiply"
    accepts: ClassVar[tuple[str, ...]] = (MAP, POINT, FLAT)

    @property
    def saves(self) -> str:
        return NEITHER
