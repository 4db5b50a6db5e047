"""The most memory of a pass, by a simulation that goes through equal blocks once; for many networks too.

A block that follows its like finds memory as that one found it, but for what the blocks between left
behind: each leaves the same. So the worst moment is in the first or the last of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from resnet_factory.costing.memory import DTYPES
from resnet_factory.costing.memory_simulation import MemorySimulation
from resnet_factory.costing.memory_values import Store, Value
from resnet_factory.layers import Layer
from resnet_factory.layers.expressions import FUNCTIONS
from resnet_factory.planning.network_plan import Plan, Stage

larger = FUNCTIONS["max"]


class Run(NamedTuple):
    """Steps of the forward pass that stand for more."""

    begin: int
    end: int
    more: int
    """The number of further times that they happen."""


class PeakSimulation(MemorySimulation):
    """A simulation for totals alone; its numbers may be those of many architectures."""

    def __init__(self, batch: int, itemsize: int, *, training: bool) -> None:
        super().__init__(batch, itemsize, training=training)
        self.total_weights = 0
        """Bytes of parameters and buffers so far."""
        self.runs: list[Run] = []
        self.returned: frozenset[str] = frozenset()
        """Stages whose last map the network gives to its caller."""

    def forward(self, plan: Plan, image: tuple[int, int, int]) -> list[Value]:
        """Run the network; see `MemorySimulation.forward`."""
        stages = {feature.name for feature in plan.features}
        layers = [node for _, node in plan.head.children]
        if all(isinstance(layer, Layer) and layer.view(self.training) for layer in layers):
            stages |= {stage.name for stage in plan.stages[-1:]}
        self.returned = frozenset(stages)
        return super().forward(plan, image)

    def enter(self, stage: str, block: str) -> None:
        """No report, no rows."""

    def mark(self, where: str) -> None:
        """Note how much is alive at this moment."""
        self.peak = larger(self.peak, self.now)

    def weigh(self, weights: int) -> None:
        """Note a layer's parameters and buffers."""
        self.total_weights += weights

    def stage(self, stage: Stage, value: Value) -> Value:
        """A stage: takes the value over from its caller."""
        if stage.transition.children:
            value = self.block(stage, "transition", stage.transition, value)
        (block, times), *rest = stage.runs
        # The first block reads what the stage reads, and that stays alive until the stage ends.
        runs = [run for run in ((block, 1), (block, times - 1), *rest) if run[1] > 0]
        if stage.name in self.returned:  # the last block's map stays alive too
            block, times = runs.pop()
            runs += [(block, times - 1), (block, 1)] if times > 1 else [(block, 1)]
        for i, (block, times) in enumerate(runs):
            began, weighed, more = len(self.steps), self.total_weights, times - 1
            with self.repeated(more):
                value = self.block(stage, str(i), block.node, value)
            self.total_weights += (self.total_weights - weighed) * more
            self.runs.append(Run(began, len(self.steps), more))
        return value

    @contextmanager
    def repeated(self, more: int) -> Iterator[None]:
        """Let what happens inside happen so many times more, each like the first."""
        before, outer = self.now, self.peak
        self.peak = 0
        yield
        grown = (self.now - before) * more
        self.peak = larger(outer, self.peak, self.peak + grown)
        self.now += grown

    def back(self, gradients: dict[Value, Store], begin: int, end: int) -> None:
        """Go back through the steps from `begin` up to `end`."""
        for run in reversed(self.runs):
            super().back(gradients, run.end, end)
            with self.repeated(run.more):
                super().back(gradients, run.begin, run.end)
            end = run.begin
        super().back(gradients, begin, end)


def most_memory(plan: Plan, image: tuple[int, int, int], batch: int, dtype: str, *, training: bool) -> int:
    """The most bytes alive at once, weights included, for `batch` images of shape (channels, height, width).

    The model is that of `memory.py`; a training step's optimiser state is not counted.
    """
    simulation = PeakSimulation(batch, DTYPES[dtype], training=training)
    outputs = simulation.forward(plan, image)
    if training:
        simulation.backward(outputs)
    return simulation.total_weights + simulation.peak
