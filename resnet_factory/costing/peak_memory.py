"""Peak memory of a pass, by a simulation that runs equal blocks once; for many networks at once, too.

Each of several equal blocks in a row starts with the same memory in use, plus the tensors that the blocks
before it saved, which are equal in size. So the peak is in the first or the last of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from resnet_factory.costing.memory import DTYPES
from resnet_factory.costing.memory_simulation import MemorySimulation
from resnet_factory.costing.memory_values import MemoryValue, MemoryValueStore
from resnet_factory.layers import Layer
from resnet_factory.layers.expressions import FUNCTIONS
from resnet_factory.planning.network_plan import Plan, PlanStage

larger = FUNCTIONS["max"]


class PeakMemoryRun(NamedTuple):
    """Steps of the forward pass that are repeated."""

    begin: int
    end: int
    more: int
    """The number of further repetitions."""


class PeakMemorySimulation(MemorySimulation):
    """A simulation of totals only; its numbers may be arrays of many architectures."""

    def __init__(self, batch: int, itemsize: int, *, training: bool) -> None:
        super().__init__(batch, itemsize, training=training)
        self.total_weights = 0
        """Bytes of parameters and buffers so far."""
        self.runs: list[PeakMemoryRun] = []
        self.returned: frozenset[str] = frozenset()
        """Stages whose last map the network gives to its caller."""

    def forward(self, plan: Plan, image: tuple[int, ...]) -> list[MemoryValue]:
        """Run the network; see `MemorySimulation.forward`."""
        stages = {feature.name for feature in plan.features}
        layers = [node for _, node in plan.head.children]
        if all(isinstance(layer, Layer) and layer.view(self.training) for layer in layers):
            stages |= {stage.name for stage in plan.stages[-1:]}
        self.returned = frozenset(stages)
        return super().forward(plan, image)

    def enter(self, stage: str, block: str) -> None:
        """Do nothing: there is no report."""

    def mark(self, where: str) -> None:
        """Record the bytes alive at this moment."""
        self.peak = larger(self.peak, self.now)

    def weigh(self, weights: int) -> None:
        """Record a layer's parameters and buffers."""
        self.total_weights += weights

    def stage(self, stage: PlanStage, value: MemoryValue) -> MemoryValue:
        """Run a stage; takes ownership of the value."""
        if stage.transition.children:
            value = self.block(stage, "transition", stage.transition, value)
        (block, times), *rest = stage.runs
        # The first block's input is the stage's, which stays alive until the stage returns.
        runs = [run for run in ((block, 1), (block, times - 1), *rest) if run[1] > 0]
        if stage.name in self.returned:  # the last block's map stays alive too
            block, times = runs.pop()
            runs += [(block, times - 1), (block, 1)] if times > 1 else [(block, 1)]
        for i, (block, times) in enumerate(runs):
            began, weighed, more = len(self.steps), self.total_weights, times - 1
            with self.repeated(more):
                value = self.block(stage, str(i), block.node, value)
            self.total_weights += (self.total_weights - weighed) * more
            self.runs.append(PeakMemoryRun(began, len(self.steps), more))
        return value

    @contextmanager
    def repeated(self, more: int) -> Iterator[None]:
        """Count the memory of the `with` block as if its steps were repeated `more` times after the first."""
        before, outer = self.now, self.peak
        self.peak = 0
        yield
        grown = (self.now - before) * more
        self.peak = larger(outer, self.peak, self.peak + grown)
        self.now += grown

    def back(self, gradients: dict[MemoryValue, MemoryValueStore], begin: int, end: int) -> None:
        """Run the steps from `begin` up to `end` backwards."""
        for run in reversed(self.runs):
            super().back(gradients, run.end, end)
            with self.repeated(run.more):
                super().back(gradients, run.begin, run.end)
            end = run.begin
        super().back(gradients, begin, end)


def peak_memory_of_plan(plan: Plan, image: tuple[int, ...], batch: int, dtype: str, *, training: bool) -> int:
    """Return the peak memory in bytes, with weights, for `batch` images of shape (channels, height, width).

    The model is that of `memory.py`; the optimiser's state is not counted.
    """
    simulation = PeakMemorySimulation(batch, DTYPES[dtype], training=training)
    outputs = simulation.forward(plan, image)
    if training:
        simulation.backward(outputs)
    return simulation.total_weights + simulation.peak
