"""Simulate a forward pass without computing, tracking the bytes alive at each step.

`memory.py` describes the model and names the results; `memory_ledger.py` counts, and runs the backward pass.
"""

from __future__ import annotations

from functools import reduce

from resnet_factory.costing.memory_ledger import MemoryLedger
from resnet_factory.costing.memory_values import (
    MemoryValue,
    MemoryValueStep,
    spread_memory_values,
    whole_memory_value,
)
from resnet_factory.layers import BOTH, INPUT, NEITHER, OUTPUT, Layer
from resnet_factory.planning.network_plan import Plan, PlanStage
from resnet_factory.planning.nodes import (
    CASCADE,
    CONCAT,
    DENSE,
    PREVIOUS,
    SELECT,
    SUM,
    Chain,
    Node,
    Parallel,
    Read,
    Tap,
    Walk,
    dotted_node_name,
)


class MemorySimulation(MemoryLedger, Walk[MemoryValue]):
    """One pass through a network for a batch of images: `forward`, then, if training, `backward`.

    A method reads a value its caller holds, and returns one its caller must drop.
    """

    def forward(self, plan: Plan, image: tuple[int, ...]) -> list[MemoryValue]:
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
            value = self.passed(stage.tap, value, "")
        value = self.section(plan.head, value, "head")
        self.forget()
        if not plan.features:
            return [value]
        self.drop(value.store)
        return self.outputs

    def stage(self, stage: PlanStage, value: MemoryValue) -> MemoryValue:
        """Run a stage; takes ownership of the value."""
        if stage.transition.children:
            value = self.block(stage, "transition", stage.transition, value)
        for i, block in enumerate(stage.blocks):
            value = self.block(stage, str(i), block.node, value)
        return value

    def block(self, stage: PlanStage, part: str, chain: Chain, value: MemoryValue) -> MemoryValue:
        """Run one part of a stage; takes ownership of the value."""
        name = dotted_node_name(stage.name, part)
        self.enter(stage.name, name)
        return self.passed(chain, value, name)

    def passed(self, node: Node, value: MemoryValue, name: str) -> MemoryValue:
        """Run a node; takes ownership of the value."""
        after = self.through(node, value, name)
        self.drop(value.store)
        return after

    def enter(self, stage: str, block: str) -> None:
        """Set the report rows that the next steps belong to."""
        self.rows = [("stage", stage), ("block", block)]

    def section(self, chain: Chain, value: MemoryValue, name: str) -> MemoryValue:
        """Run the stem or the head; takes ownership of the value."""
        self.enter(name, name)
        for child, node in chain.children:
            value = self.passed(node, value, child)
            self.collect(child, value)
        return value

    def collect(self, name: str, value: MemoryValue) -> None:
        """Hold a feature map that a backbone returns."""
        if name in self.features:
            value.store.holders += 1
            self.outputs.append(value)

    def chain(self, chain: Chain, value: MemoryValue, name: str) -> MemoryValue:
        """Run the children in sequence."""
        value.store.holders += 1
        return self.sequence(chain, value, name)

    def sequence(self, chain: Chain, value: MemoryValue, name: str) -> MemoryValue:
        """Run the children in sequence; takes ownership of the value."""
        for inner, child in chain.items(name):
            value = self.passed(child, value, inner)
        return value

    def tap(self, node: Tap, value: MemoryValue, name: str) -> MemoryValue:
        """Hold the map up to the end of the module."""
        value.store.holders += 2
        if node.of in self.taps:
            self.drop(self.taps[node.of].store)
        return super().tap(node, value, name)

    def read(self, node: Read, value: MemoryValue, name: str) -> MemoryValue:
        """Return the map of a tap."""
        value = super().read(node, value, name)
        value.store.holders += 1
        return value

    def owner(self, chain: Chain, value: MemoryValue, name: str) -> MemoryValue:
        """Run a module with taps of its own."""
        outer, self.taps = self.taps, {}
        value = self.chain(chain, value, name)
        self.forget()
        self.taps = outer
        return value

    def forget(self) -> None:
        """Release the tapped maps of a module that returns."""
        for tapped in self.taps.values():
            self.drop(tapped.store)

    def layer(self, layer: Layer, value: MemoryValue, name: str) -> MemoryValue:
        """Run a layer; its output is allocated in addition to its input."""
        outer = self.rows
        self.rows = [*outer, ("layer", name)] if outer else outer
        after = self.output(layer, value, name)
        self.rows = outer
        return after

    def output(self, layer: Layer, value: MemoryValue, name: str) -> MemoryValue:
        """Return the output of a layer."""
        weights = layer.params() * self.itemsize
        self.weigh(weights + layer.buffers(self.itemsize))
        size = layer.output(value.size)
        learns = value.learns or weights > 0
        if layer.view(self.training):
            value.store.holders += 1
            after = MemoryValue(value.store, layer.out_channels, size, learns)
            # The gradient of a part of the channels is made anew, as that of all of them.
            whole = layer.out_channels == value.channels
            self.steps.append(MemoryValueStep(name, (value,), (after,), passes=whole))
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
            self.steps.append(MemoryValueStep(name, (value,), (after,), saved, weights, scratch=scratch))
        self.drop(aside)
        return after

    def add(self, terms: list[MemoryValue], name: str) -> MemoryValue:
        """Sum the terms one after another; takes ownership of them."""
        return reduce(lambda one, other: self.add_two(one, other, name), terms)

    def add_two(self, one: MemoryValue, other: MemoryValue, name: str) -> MemoryValue:
        """Sum two terms; one may apply to all channels or positions. Takes ownership of both."""
        total = self.value(*whole_memory_value(one, other), one.learns or other.learns)
        self.mark(f"{name} (sum)")
        self.steps.append(
            MemoryValueStep(
                f"{name} (sum)",
                (one, other),
                (total,),
                passes=True,
                spread=spread_memory_values(total, one, other),
            )
        )
        self.drop(one.store)
        self.drop(other.store)
        return total

    def multiply(self, one: MemoryValue, other: MemoryValue, name: str) -> MemoryValue:
        """Multiply two factors; one may apply to all channels or positions. Takes ownership of both."""
        product = self.value(*whole_memory_value(one, other), one.learns or other.learns)
        self.mark(f"{name} (product)")
        if self.training:
            # The gradient of such a factor is allocated for every position before it is reduced.
            scratch = product.store.bytes * len(spread_memory_values(product, one, other))
            saved = self.keep(one.store, other.store)
            self.steps.append(
                MemoryValueStep(f"{name} (product)", (one, other), (product,), saved, scratch=scratch)
            )
        self.drop(other.store)
        self.drop(one.store)
        return product

    def parallel(self, node: Parallel, value: MemoryValue, name: str) -> MemoryValue:
        """Run the branches in sequence, and join them: without links and concatenation, one by one."""
        shares = self.shares(node, value, name)
        ends: list[MemoryValue] = []
        for i, (inner, branch) in enumerate(node.items(name)):
            entry = self.input_of(node, i, shares[i], ends, inner)
            # A module holds its input until it returns; what runs inside of one does not.
            run = self.passed if node.indexed else self.sequence
            ends.append(run(branch, entry, inner))
            if len(ends) == 2 and not node.linked and node.join not in (CONCAT, SELECT):
                ends = [self.join(node, value, ends, name)]
        joined = self.join(node, value, ends, name)
        if node.join == SELECT:
            self.drop(shares[1].store)
            joined = self.sum_of_parts(joined, node.parts, f"{name} (sum)")
        return joined

    def input_of(
        self, node: Parallel, branch: int, share: MemoryValue, ends: list[MemoryValue], name: str
    ) -> MemoryValue:
        """Return what a branch reads, owned by the caller."""
        source = node.source(branch)
        if source == DENSE:
            return self.concatenate([share, *ends], name)
        entry = ends[-1] if source == PREVIOUS else share
        entry.store.holders += 1
        if source == CASCADE:
            ends[-1].store.holders += 1
            return self.add([ends[-1], entry], name)
        return entry

    def shares(self, node: Parallel, value: MemoryValue, name: str) -> list[MemoryValue]:
        """Return the part of the input for each branch; held by the caller of the parallel node."""
        if node.split:
            shares = [
                MemoryValue(value.store, node.share(value.channels, i), value.size, value.learns)
                for i in range(len(node.branches))
            ]
            self.steps.append(MemoryValueStep(name, (value,), tuple(shares)))
            return shares
        if node.join == SELECT:
            value.store.holders += 1
            return [value, self.sum_of_parts(value, node.parts, name)]
        return [value] * len(node.branches)

    def join(self, node: Parallel, value: MemoryValue, ends: list[MemoryValue], name: str) -> MemoryValue:
        """Join the branches; takes ownership of their outputs."""
        if node.join == SUM:
            return self.add(ends, name)
        if node.join == CONCAT:
            joined = self.concatenate(ends, name)
            for end in ends:
                self.drop(end.store)
            return joined
        return reduce(lambda product, factor: self.multiply(product, factor, name), ends)

    def concatenate(self, values: list[MemoryValue], name: str) -> MemoryValue:
        """Concatenate along the channels."""
        channels, learns = sum(value.channels for value in values), any(value.learns for value in values)
        whole = self.value(channels, values[0].size, learns)
        self.mark(f"{name} (concat)")
        self.steps.append(MemoryValueStep(f"{name} (concat)", tuple(values), (whole,), passes=True))
        return whole

    def sum_of_parts(self, value: MemoryValue, parts: int, name: str) -> MemoryValue:
        """Return the sum of equal parts of the channels; takes ownership of the value."""
        total = self.value(value.channels // parts, value.size, value.learns)
        self.mark(name)
        self.steps.append(MemoryValueStep(name, (value,), (total,), passes=True))
        self.drop(value.store)
        return total
