"""The bytes alive at each step of a pass, and the backward pass over the steps of a forward pass."""

from __future__ import annotations

from resnet_factory.costing.memory_values import MemoryValue, MemoryValueStep, MemoryValueStore
from resnet_factory.layers import Size, positions


class MemoryLedger:
    """Counts what steps allocate, save and release; a subclass runs the forward pass."""

    def __init__(self, batch: int, itemsize: int, *, training: bool) -> None:
        self.batch, self.itemsize, self.training = batch, itemsize, training
        self.now = self.peak = 0
        self.peak_at = ""
        self.steps: list[MemoryValueStep] = []
        self.outputs: list[MemoryValue] = []
        self.features: set[str] = set()
        self.rows: list[tuple[str, str]] = []
        """The rows of the report that what happens now belongs to."""
        self.alive: dict[tuple[str, str], int] = {}
        self.kept: dict[tuple[str, str], int] = {}
        self.weights: dict[tuple[str, str], int] = {}

    def make(self, size: int) -> MemoryValueStore:
        """Allocate a store with one reference."""
        self.now += size
        return MemoryValueStore(size, tuple(self.rows))

    def drop(self, store: MemoryValueStore) -> None:
        """Release a store."""
        store.holders -= 1
        if not store.holders:
            self.now -= store.bytes

    def keep(self, *stores: MemoryValueStore) -> tuple[MemoryValueStore, ...]:
        """Save stores for the backward pass."""
        for store in stores:
            store.holders += 1
            if not store.kept:
                store.kept = True
                for row in store.rows:
                    self.kept[row] = self.kept.get(row, 0) + store.bytes
        return stores

    def mark(self, where: str) -> None:
        """Record the bytes alive at this moment."""
        for row in self.rows:
            self.alive[row] = max(self.alive.get(row, 0), self.now)
        if self.now > self.peak:
            self.peak, self.peak_at = self.now, where

    def value(self, channels: int, size: Size, learns: bool) -> MemoryValue:
        """Return a new value in a new store."""
        elements = channels * positions(size)
        return MemoryValue(self.make(elements * self.batch * self.itemsize), channels, size, learns)

    def weigh(self, weights: int) -> None:
        """Record a layer's parameters and buffers."""
        for row in self.rows:
            self.weights[row] = self.weights.get(row, 0) + weights

    def backward(self, outputs: list[MemoryValue]) -> None:
        """Run the backward pass from the gradients of the outputs; gradients of weights stay alive."""
        self.rows = []
        gradients: dict[MemoryValue, MemoryValueStore] = {}
        for output in outputs:
            size = output.elements * self.batch * self.itemsize  # the output may be a view of a larger map
            self.accumulate(gradients, output, self.make(size))
        self.back(gradients, 0, len(self.steps))

    def back(self, gradients: dict[MemoryValue, MemoryValueStore], begin: int, end: int) -> None:
        """Run the steps from `begin` up to `end` backwards."""
        for step in reversed(self.steps[begin:end]):
            arrived = [gradients.pop(made) for made in step.makes if made in gradients]
            if not arrived:
                continue  # no result depends on it
            learning = [value for value in step.reads if value.learns]
            if step.passes:
                for value in learning:
                    self.accumulate(gradients, value, self.passed_on(step, value, arrived[0]))
            else:
                self.make(step.weights)
                scratch = self.make(step.scratch)
                made = [self.make(value.elements * self.batch * self.itemsize) for value in learning]
                self.mark(f"backward of {step.name}")
                self.drop(scratch)
                for value, gradient in zip(learning, made, strict=True):
                    self.accumulate(gradients, value, gradient)
            for store in (*arrived, *step.saved):
                self.drop(store)

    def passed_on(
        self, step: MemoryValueStep, value: MemoryValue, arrived: MemoryValueStore
    ) -> MemoryValueStore:
        """Return the gradient of what a step reads: that of its result, or a sum over it."""
        if any(value is other for other in step.spread):
            gradient = self.make(value.elements * self.batch * self.itemsize)
            self.mark(f"backward of {step.name}")
            return gradient
        arrived.holders += 1
        return arrived

    def accumulate(
        self, gradients: dict[MemoryValue, MemoryValueStore], value: MemoryValue, more: MemoryValueStore
    ) -> None:
        """Accumulate the gradient of a value read twice: in place, unless another step holds it too."""
        held = gradients.get(value)
        if held is None:
            gradients[value] = more
            return
        if held.holders > 1:
            gradients[value] = self.make(more.bytes)
            self.mark("sum of gradients of a map read twice")
            self.drop(held)
        self.drop(more)
