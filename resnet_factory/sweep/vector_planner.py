"""The planner over vectors: one plan of many architectures, with numbers that differ between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from resnet_factory.config.schema import Specification
from resnet_factory.errors import Fault
from resnet_factory.planning.compiled import Scope
from resnet_factory.planning.evaluation import EvaluationStopped
from resnet_factory.planning.network_plan import PlanBlock, PlanStage
from resnet_factory.planning.planner import Planner
from resnet_factory.sweep.vector import Vector, VectorSplit
from resnet_factory.sweep.vector_functions import choose_vector


@dataclass(frozen=True, slots=True)
class VectorStage(PlanStage):
    """A stage whose block `i` is repeated `counts[i]` times."""

    counts: tuple[Any, ...] = ()
    leaves: Any = 0

    @property
    def runs(self) -> tuple[tuple[PlanBlock, Any], ...]:
        return tuple(zip(self.blocks, self.counts, strict=True))

    @property
    def out_channels(self) -> Any:
        return self.leaves


class VectorPlanner(Planner):
    """The planner over vectors; members that are invalid are noted in `valid` and carried along."""

    def __init__(self, config: Specification, size: int) -> None:
        super().__init__(config)
        self.valid = np.ones(size, bool)
        self.applies: Any = True
        """Mask of the members that have the block being planned."""

    def repeat(
        self, stage: PlanStage, depth: Any, channels: Any, repeats: bool, at: Callable[[int, Any], PlanBlock]
    ) -> PlanStage:
        blocks: list[PlanBlock] = []
        counts: list[Any] = []
        for block in range(int(depth.high) if isinstance(depth, Vector) else depth):
            if repeats and block > 1 and blocks[-1].in_channels == channels:
                counts[-1] = depth - (block - 1)
                if isinstance(counts[-1], Vector) and counts[-1].low < 0:
                    counts[-1] = counts[-1].functions["max"](counts[-1], 0)
                break
            self.applies = depth > block
            try:
                blocks.append(at(block, channels))
            except EvaluationStopped:
                if isinstance(self.applies, Vector):
                    raise VectorSplit(self.applies.values) from None
                raise
            counts.append(self.applies * 1)
            channels = choose_vector(self.applies, blocks[-1].out_channels, channels)
        self.applies = True
        return VectorStage(stage.name, tuple(blocks), stage.transition, counts=tuple(counts), leaves=channels)

    def holds(self, valid: Any) -> bool:
        if isinstance(valid, Vector):
            if valid.values.all():
                return True
            if isinstance(self.applies, Vector):
                raise VectorSplit(self.applies.values)
            self.valid &= valid.values
            valid = self.valid.any()
        if not valid:
            self.fault("", "a layer's arguments do not fit together")
            raise EvaluationStopped
        return True

    def fault(self, path: str, message: str, scope: Scope | None = None, value: Any = None) -> None:
        # Messages are not read: whoever wants one plans a single member.
        self.faults[Fault(path, "cannot be planned")] = None

    def whole(self, value: Any, path: str, scope: Scope, written: Any = None) -> Any:
        if not isinstance(value, Vector):
            return super().whole(value, path, scope, written)
        try:
            return value.whole()
        except ValueError:
            self.fault(path, "")
            raise EvaluationStopped from None

    def cast(self, value: Any, wanted: type, origin: tuple[str, Any], scope: Scope) -> Any:
        if not isinstance(value, Vector):
            return super().cast(value, wanted, origin, scope)
        if wanted is bool:
            return bool(value)
        return self.whole(value, origin[0], scope) if wanted is int else value
