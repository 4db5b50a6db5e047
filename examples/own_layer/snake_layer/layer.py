"""The arithmetic of Snake; imports no torch, so that composing and costing need none."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from resnet_factory.layers import FLAT, MAP, POINT, Layer, Size, positions


@dataclass(frozen=True, slots=True)
class Snake(Layer):
    """x + sin²(αx) / α with a trained α, begun at `alpha`, for each group of `shared` channels."""

    alpha: float = 1.0
    shared: int = 1

    family: ClassVar[str] = "act"
    accepts: ClassVar[tuple[str, ...]] = (MAP, POINT, FLAT)
    elementwise: ClassVar[bool] = True

    def params(self) -> int:
        return self.channels // self.shared

    def extra_bytes(self, size: Size, itemsize: int, training: bool) -> int:
        maps = 3 if training else 1  # αx, its sine and the square are kept for the backward pass
        return maps * self.channels * positions(size) * itemsize

    def valid(self) -> bool:
        return (self.alpha > 0) & (self.shared > 0) and self.channels % self.shared == 0

    def faults(self) -> Iterator[tuple[str, str]]:
        if not self.alpha > 0:
            yield "alpha", f"{self.alpha:g} is not positive"
        if self.shared < 1 or self.channels % self.shared:
            yield "shared", f"{self.channels} channels cannot share in groups of {self.shared}"


SNAKE = Snake, "snake_layer.module:make_snake"
