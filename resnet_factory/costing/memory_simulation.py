"""Simulate a forward and a backward pass without computing, tracking the bytes alive at each step.

`memory.py` describes the model and names the results; this file implements it.
"""

from __future__ import annotations

from functools import reduce

from resnet_factory.costing.memory_values import Step, Store, Value
from resnet_factory.layers import BOTH, INPUT, NEITHER, OUTPUT, Layer, Size, positions
from resnet_factory.planning.network_plan import Plan, Stage
from resnet_factory.planning.nodes import CONCAT, SELECT, SUM, Chain, Parallel, Walk, dotted


class MemorySimulation(Walk[Value]):
    """One pass through a network for a batch of images: `forward`, then, if training, `backward`."""

    def __init__(self, batch: int, itemsize: int, *, training: bool) -> None:
        self.batch, self.itemsize, self.training = batch, itemsize, training
        self.now = self.peak = 0
        self.peak_at = ""
        self.steps: list[Step] = []
        self.outputs: list[Value] = []
        self.features: set[str] = set()
        self.rows: list[tuple[str, str]] = []
        """The rows of the report that what happens now belongs to."""
        self.alive: dict[tuple[str, str], int] = {}
        self.kept: dict[tuple[str, str], int] = {}
        self.weights: dict[tuple[str, str], int] = {}

    # What happens to memory -----------------------------------------------------------------------

    def make(self, size: int) -> Store:
        """Allocate a store with one reference."""
        self.now += size
        return Store(size, tuple(self.rows))

    def drop(self, store: Store) -> None:
        """Release a store."""
        store.holders -= 1
        if not store.holders:
            self.now -= store.bytes

    def keep(self, *stores: Store) -> tuple[Store, ...]:
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

    def value(self, channels: int, size: Size, learns: bool) -> Value:
        """Return a new value in a new store."""
        elements = channels * positions(size)
        return Value(self.make(elements * self.batch * self.itemsize), channels, size, learns)

    # The forward pass: a method reads a value its caller holds, and returns one its caller must drop ----

    def forward(self, plan: Plan, image: tuple[int, ...]) -> list[Value]:
        """Run the network. The image stays alive, and so do the results: an output, or a backbone's maps."""
        self.features = {feature.name for feature in plan.features}
        value = self.value(image[0], image[1:], learns=False)
        value.store.holders += 1
        value = self.section(plan.stem, value, "stem")
        for stage in plan.stages:
            entry = value
            entry.store.holders += 1
            value = self.stage(stage, value)
            self.drop(entry.store)
            self.collect(stage.name, value)
        value = self.section(plan.head, value, "head")
        if not plan.features:
            return [value]
        self.drop(value.store)
        return self.outputs

    def stage(self, stage: Stage, value: Value) -> Value:
        """Run a stage; takes ownership of the value."""
        if stage.transition.children:
            value = self.block(stage, "transition", stage.transition, value)
        for i, block in enumerate(stage.blocks):
            value = self.block(stage, str(i), block.node, value)
        return value

    def block(self, stage: Stage, part: str, chain: Chain, value: Value) -> Value:
        """Run one part of a stage; takes ownership of the value."""
        name = dotted(stage.name, part)
        self.enter(stage.name, name)
        after = self.chain(chain, value, name)
        self.drop(value.store)
        return after

    def enter(self, stage: str, block: str) -> None:
        """Set the report rows that the next steps belong to."""
        self.rows = [("stage", stage), ("block", block)]

    def section(self, chain: Chain, value: Value, name: str) -> Value:
        """Run the stem or the head; takes ownership of the value."""
        self.enter(name, name)
        for child, node in chain.children:
            after = self.through(node, value, child)
            self.drop(value.store)
            value = after
            self.collect(child, value)
        return value

    def collect(self, name: str, value: Value) -> None:
        """Hold a feature map that a backbone returns."""
        if name in self.features:
            value.store.holders += 1
            self.outputs.append(value)

    def chain(self, chain: Chain, value: Value, name: str) -> Value:
        """Run the children in sequence."""
        value.store.holders += 1
        for inner, child in chain.items(name):
            after = self.through(child, value, inner)
            self.drop(value.store)
            value = after
        return value

    def layer(self, layer: Layer, value: Value, name: str) -> Value:
        """Run a layer; its output is allocated in addition to its input."""
        outer = self.rows
        self.rows = [*outer, ("layer", name)] if outer else outer
        after = self.output(layer, value, name)
        self.rows = outer
        return after

    def output(self, layer: Layer, value: Value, name: str) -> Value:
        """Return the output of a layer."""
        weights = layer.params() * self.itemsize
        self.weigh(weights + layer.buffers(self.itemsize))
        size = layer.output(value.size)
        learns = value.learns or weights > 0
        if layer.view(self.training):
            value.store.holders += 1
            after = Value(value.store, layer.out_channels, size, learns)
            # The gradient of a part of the channels is made anew, as that of all of them.
            whole = layer.out_channels == value.channels
            self.steps.append(Step(name, (value,), (after,), passes=whole))
            self.mark(name)
            return after
        after = self.value(layer.out_channels, size, learns)
        beside = layer.extra_bytes(value.size, self.itemsize, self.training) * self.batch
        aside = self.make(beside + layer.workspace() * self.itemsize)
        self.mark(name)
        if self.training and learns:
            both = value.store, after.store
            needed = {INPUT: both[:1], OUTPUT: both[1:], BOTH: both, NEITHER: ()}[layer.saves]
            scratch = layer.scratch_bytes(value.size, self.itemsize, self.batch)
            saved = self.keep(*needed, aside)
            self.steps.append(Step(name, (value,), (after,), saved, weights, scratch=scratch))
        self.drop(aside)
        return after

    def weigh(self, weights: int) -> None:
        """Record a layer's parameters and buffers."""
        for row in self.rows:
            self.weights[row] = self.weights.get(row, 0) + weights

    def add(self, terms: list[Value], name: str) -> Value:
        """Sum the terms one after another; takes ownership of them."""
        return reduce(lambda one, other: self.add_two(one, other, name), terms)

    def add_two(self, one: Value, other: Value, name: str) -> Value:
        """Sum two terms; takes ownership of them."""
        total = self.value(one.channels, one.size, one.learns or other.learns)
        self.mark(f"{name} (sum)")
        self.steps.append(Step(f"{name} (sum)", (one, other), (total,), passes=True))
        self.drop(one.store)
        self.drop(other.store)
        return total

    def multiply(self, value: Value, factor: Value, name: str) -> Value:
        """Multiply by a factor per channel or position; takes ownership of both."""
        product = self.value(value.channels, value.size, value.learns or factor.learns)
        self.mark(f"{name} (product)")
        if self.training:
            # The factor's gradient is allocated for every position before it is reduced.
            scratch = value.store.bytes if factor.store.bytes != value.store.bytes else 0
            saved = self.keep(value.store, factor.store)
            read = (value, factor)
            self.steps.append(Step(f"{name} (product)", read, (product,), saved, scratch=scratch))
        self.drop(factor.store)
        self.drop(value.store)
        return product

    def parallel(self, node: Parallel, value: Value, name: str) -> Value:
        """Run the branches in sequence, then their join."""
        entries = self.entries(node, value, name)
        ends: list[Value] = []
        for i, (inner, branch) in enumerate(node.items(name)):
            entry = entries[i]
            entry.store.holders += 1
            if 0 < i < node.cascade:
                ends[-1].store.holders += 1
                entry = self.add([ends[-1], entry], inner)
            ends.append(self.chain(branch, entry, inner))
            self.drop(entry.store)
        joined = self.join(node, value, ends, name)
        if node.join == SELECT:
            self.drop(entries[1].store)
            joined = self.sum_of_parts(joined, node.parts, f"{name} (sum)")
        return joined

    def entries(self, node: Parallel, value: Value, name: str) -> list[Value]:
        """Return the input of each branch."""
        if node.split:
            share = node.entering(value.channels, 0)
            shares = [Value(value.store, share, value.size, value.learns) for _ in node.branches]
            self.steps.append(Step(name, (value,), tuple(shares)))
            return shares
        if node.join == SELECT:
            value.store.holders += 1
            return [value, self.sum_of_parts(value, node.parts, name)]
        return [value] * len(node.branches)

    def join(self, node: Parallel, value: Value, ends: list[Value], name: str) -> Value:
        """Join the branches; takes ownership of their outputs."""
        if node.join == SUM:
            return self.add(ends, name)
        if node.join == CONCAT:
            whole = self.value(node.leaving([end.channels for end in ends]), ends[0].size, ends[0].learns)
            self.mark(f"{name} (concat)")
            self.steps.append(Step(f"{name} (concat)", tuple(ends), (whole,), passes=True))
            for end in ends:
                self.drop(end.store)
            return whole
        return reduce(lambda product, factor: self.multiply(product, factor, name), ends)

    def sum_of_parts(self, value: Value, parts: int, name: str) -> Value:
        """Return the sum of equal parts of the channels; takes ownership of the value."""
        total = self.value(value.channels // parts, value.size, value.learns)
        self.mark(name)
        self.steps.append(Step(name, (value,), (total,), passes=True))
        self.drop(value.store)
        return total

    # The backward pass ----------------------------------------------------------------------------

    def backward(self, outputs: list[Value]) -> None:
        """Run the backward pass from the gradients of the outputs; gradients of weights stay alive."""
        self.rows = []
        gradients: dict[Value, Store] = {}
        for output in outputs:
            size = output.elements * self.batch * self.itemsize
            self.accumulate(gradients, output, self.make(size))
        self.back(gradients, 0, len(self.steps))

    def back(self, gradients: dict[Value, Store], begin: int, end: int) -> None:
        """Run the steps from `begin` up to `end` backwards."""
        for step in reversed(self.steps[begin:end]):
            arrived = [gradients.pop(made) for made in step.makes if made in gradients]
            if not arrived:
                continue  # no result depends on it
            learning = [value for value in step.reads if value.learns]
            if step.passes:
                for value in learning:
                    arrived[0].holders += 1
                    self.accumulate(gradients, value, arrived[0])
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

    def accumulate(self, gradients: dict[Value, Store], value: Value, more: Store) -> None:
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
