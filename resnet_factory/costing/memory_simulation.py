"""A forward and a backward pass gone through without numbers: which bytes are alive at each step.

`memory.py` states the model and gives the results their names; this file follows it step by step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from resnet_factory.layers import INPUT, NEITHER, OUTPUT, Layer
from resnet_factory.planning.nodes import Branches, Chain, Gate, Node, Plan, Residual, Select, Stage, join


@dataclass(slots=True, eq=False)
class Store:
    """A piece of memory, freed when nobody holds it any more."""

    bytes: int
    rows: tuple[tuple[str, str], ...] = ()
    """The report rows it was made in, as (depth, name)."""
    holders: int = 1
    kept: bool = False


@dataclass(slots=True, eq=False)
class Value:
    """What a step makes: a map or a vector. Several values may lie in one store."""

    store: Store
    channels: int
    size: tuple[int, int]
    learns: bool
    """Whether it has a gradient; the image has none."""

    @property
    def elements(self) -> int:
        """Numbers per image."""
        return self.channels * self.size[0] * self.size[1]


class Step(NamedTuple):
    """One step of the forward pass, as the backward pass finds it."""

    name: str
    reads: tuple[Value, ...]
    makes: tuple[Value, ...]
    saved: tuple[Store, ...] = ()
    weights: int = 0
    """Bytes of its weights."""
    passes: bool = False
    """Whether what it reads gets the gradient of what it makes as it is (sums and views)."""
    scratch: int = 0
    """Bytes its backward pass needs for a moment."""


class Rehearsal:
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
        """New memory, held once."""
        self.now += size
        return Store(size, tuple(self.rows))

    def drop(self, store: Store) -> None:
        """Let go of a store."""
        store.holders -= 1
        if not store.holders:
            self.now -= store.bytes

    def keep(self, *stores: Store) -> tuple[Store, ...]:
        """Hold stores for the backward pass."""
        for store in stores:
            store.holders += 1
            if not store.kept:
                store.kept = True
                for row in store.rows:
                    self.kept[row] = self.kept.get(row, 0) + store.bytes
        return stores

    def mark(self, where: str) -> None:
        """Note how much is alive at this moment."""
        for row in self.rows:
            self.alive[row] = max(self.alive.get(row, 0), self.now)
        if self.now > self.peak:
            self.peak, self.peak_at = self.now, where

    def value(self, channels: int, size: tuple[int, int], learns: bool) -> Value:
        """A new value in memory of its own."""
        elements = channels * size[0] * size[1]
        return Value(self.make(elements * self.batch * self.itemsize), channels, size, learns)

    # The forward pass: a method reads a value its caller holds, and gives one its caller must drop ------

    def forward(self, plan: Plan, image: tuple[int, int, int]) -> list[Value]:
        """Run the network. The image stays alive, and what is given: an output, or a backbone's maps."""
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
        """A stage: takes the value over from its caller."""
        if stage.transition.children:
            value = self.block(stage, "transition", stage.transition, value)
        for i, block in enumerate(stage.blocks):
            value = self.block(stage, str(i), block.node, value)
        return value

    def block(self, stage: Stage, part: str, chain: Chain, value: Value) -> Value:
        """One part of a stage: takes the value over from its caller."""
        name = join(stage.name, part)
        self.enter(stage.name, name)
        after = self.chain(chain, value, name)
        self.drop(value.store)
        return after

    def enter(self, stage: str, block: str) -> None:
        """Say which rows of the report the next steps belong to."""
        self.rows = [("stage", stage), ("block", block)]

    def section(self, chain: Chain, value: Value, name: str) -> Value:
        """The stem or the head: takes the value over from its caller."""
        self.enter(name, name)
        for child, node in chain.children:
            after = self.run(node, value, child)
            self.drop(value.store)
            value = after
            self.collect(child, value)
        return value

    def collect(self, name: str, value: Value) -> None:
        """Hold a map that a backbone returns."""
        if name in self.features:
            value.store.holders += 1
            self.outputs.append(value)

    def chain(self, chain: Chain, value: Value, prefix: str) -> Value:
        """Children one after another."""
        value.store.holders += 1
        for name, child in chain.children:
            after = self.run(child, value, join(prefix, name))
            self.drop(value.store)
            value = after
        return value

    def run(self, node: Node, value: Value, name: str) -> Value:
        """One node."""
        match node:
            case Layer():
                return self.layer(node, value, name)
            case Chain():
                return self.chain(node, value, name)
            case Residual(body=body, shortcut=shortcut):
                return self.add((self.chain(body, value, name), self.chain(shortcut, value, name)), name)
            case Gate(gate=gate):
                return self.multiply(value, self.chain(gate, value, name), name)
            case Select():
                return self.select(node, value, name)
            case Branches():
                return self.branches(node, value, name)

    def layer(self, layer: Layer, value: Value, name: str) -> Value:
        """A layer: its output beside its input."""
        outer = self.rows
        self.rows = [*outer, ("layer", name)] if outer else outer
        after = self.output(layer, value, name)
        self.rows = outer
        return after

    def output(self, layer: Layer, value: Value, name: str) -> Value:
        """What a layer makes."""
        weights = layer.params() * self.itemsize
        self.weigh(weights + layer.buffers(self.itemsize))
        size = (layer.size(value.size[0]), layer.size(value.size[1]))
        learns = value.learns or weights > 0
        if layer.view(self.training):
            value.store.holders += 1
            after = Value(value.store, layer.out_channels, size, learns)
            self.steps.append(Step(name, (value,), (after,), passes=True))
            self.mark(name)
            return after
        after = self.value(layer.out_channels, size, learns)
        beside = layer.aside(*value.size, self.itemsize, self.training) * self.batch
        aside = self.make(beside + layer.workspace() * self.itemsize)
        self.mark(name)
        if self.training and learns:
            needed = {INPUT: (value.store,), OUTPUT: (after.store,), NEITHER: ()}[layer.saves]
            self.steps.append(Step(name, (value,), (after,), self.keep(*needed, aside), weights))
        self.drop(aside)
        return after

    def weigh(self, weights: int) -> None:
        """Note a layer's parameters and buffers."""
        for row in self.rows:
            self.weights[row] = self.weights.get(row, 0) + weights

    def add(self, terms: tuple[Value, Value], name: str) -> Value:
        """A sum; takes its terms over."""
        learns = any(term.learns for term in terms)
        total = self.value(terms[0].channels, terms[0].size, learns)
        self.mark(f"{name}, the sum")
        self.steps.append(Step(f"{name}, the sum", terms, (total,), passes=True))
        for term in terms:
            self.drop(term.store)
        return total

    def multiply(self, value: Value, factor: Value, name: str) -> Value:
        """A product with a factor for each channel or position; takes the factor over."""
        product = self.value(value.channels, value.size, value.learns or factor.learns)
        self.mark(f"{name}, the product")
        if self.training:
            # The factor's gradient exists for every position before it is summed up.
            scratch = value.store.bytes if factor.store.bytes != value.store.bytes else 0
            saved = self.keep(value.store, factor.store)
            read = (value, factor)
            self.steps.append(Step(f"{name}, the product", read, (product,), saved, scratch=scratch))
        self.drop(factor.store)
        return product

    def select(self, node: Select, value: Value, name: str) -> Value:
        """Parts of the channels weighted and summed; the weights come from their plain sum."""
        channels = value.channels // node.parts
        plain = self.value(channels, value.size, value.learns)
        self.mark(name)
        self.steps.append(Step(name, (value,), (plain,), passes=True))
        factor = self.chain(node.gate, plain, name)
        weighted = self.multiply(value, factor, name)
        self.drop(plain.store)
        total = self.value(channels, value.size, value.learns)
        self.mark(f"{name}, the sum")
        self.steps.append(Step(f"{name}, the sum", (weighted,), (total,), passes=True))
        self.drop(weighted.store)
        return total

    def branches(self, node: Branches, value: Value, name: str) -> Value:
        """Chains side by side, and their outputs in one map."""
        shares = [value] * len(node.branches)
        if node.split:
            share = value.channels // len(shares)
            shares = [Value(value.store, share, value.size, value.learns) for _ in shares]
            self.steps.append(Step(name, (value,), tuple(shares)))
        ends: list[Value] = []
        for i, (branch, own) in enumerate(zip(node.branches, shares, strict=True)):
            inner, entry = join(name, str(i)), own
            entry.store.holders += 1
            if 0 < i < node.linked:
                ends[-1].store.holders += 1
                entry = self.add((ends[-1], own), inner)
            ends.append(self.chain(branch, entry, inner))
            self.drop(entry.store)
        whole = self.value(sum(end.channels for end in ends), ends[0].size, ends[0].learns)
        self.mark(f"{name}, side by side")
        self.steps.append(Step(f"{name}, side by side", tuple(ends), (whole,), passes=True))
        for end in ends:
            self.drop(end.store)
        return whole

    # The backward pass ----------------------------------------------------------------------------

    def backward(self, outputs: list[Value]) -> None:
        """Go back from the gradients of the outputs; gradients of weights stay alive."""
        self.rows = []
        gradients: dict[Value, Store] = {}
        for output in outputs:
            self.accumulate(gradients, output, self.make(output.store.bytes))
        self.back(gradients, 0, len(self.steps))

    def back(self, gradients: dict[Value, Store], begin: int, end: int) -> None:
        """Go back through the steps from `begin` up to `end`."""
        for step in reversed(self.steps[begin:end]):
            arrived = [gradients.pop(made) for made in step.makes if made in gradients]
            if not arrived:
                continue  # nothing that is returned depends on it
            learning = [value for value in step.reads if value.learns]
            if step.passes:
                for value in learning:
                    arrived[0].holders += 1
                    self.accumulate(gradients, value, arrived[0])
            else:
                self.make(step.weights)
                scratch = self.make(step.scratch)
                made = [self.make(value.elements * self.batch * self.itemsize) for value in learning]
                self.mark(f"back through {step.name}")
                self.drop(scratch)
                for value, gradient in zip(learning, made, strict=True):
                    self.accumulate(gradients, value, gradient)
            for store in (*arrived, *step.saved):
                self.drop(store)

    def accumulate(self, gradients: dict[Value, Store], value: Value, more: Store) -> None:
        """Add to the gradient of a value read twice: in place, unless somebody else reads it too."""
        held = gradients.get(value)
        if held is None:
            gradients[value] = more
            return
        if held.holders > 1:
            gradients[value] = self.make(more.bytes)
            self.mark("back to a value read twice")
            self.drop(held)
        self.drop(more)
