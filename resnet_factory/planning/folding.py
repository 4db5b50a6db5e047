"""Fold a plan for inference: norms and factors into convolutions, parallel convolutions into one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from resnet_factory.layers import (
    BatchNorm,
    Conv,
    DropBlock,
    Dropout,
    DropPath,
    EvoNorm,
    Identity,
    Layer,
    Linear,
    Multiply,
    Scale,
    ScaledConv,
    Shift,
    StandardizedConv,
)
from resnet_factory.layers.axes import axes_entries
from resnet_factory.planning.kernels import fits_in_kernel, with_plain_kernel
from resnet_factory.planning.network_plan import Plan, PlanBlock, PlanStage
from resnet_factory.planning.nodes import SUM, Chain, Node, Parallel, dotted_node_name, parallel_nodes

CONVOLUTIONS = (Conv, StandardizedConv, ScaledConv)
MATRICES = (*CONVOLUTIONS, Linear)
"""Layers that a factor and an offset per channel fold into."""
IDLE = (Dropout, DropPath, DropBlock, Identity)
"""Layers that return their input in inference; so does a factor of 1."""

# Layers of one's own may derive from ours and compute something else, so classes are compared as they are.


@dataclass(frozen=True)
class FoldedSum:
    """Branches over one map that became one convolution."""

    layer: Conv
    """The convolution."""
    terms: tuple[Origin, ...]
    """The layers of each branch; none for the map itself."""


Origin = tuple[str | FoldedSum, ...]
"""The layers that one was made of, in the order of the data flow: dotted names, or a sum of branches."""


def origin_within_folded(prefix: str, origin: Origin) -> Origin:
    """Return an origin with dotted names inside of `prefix`."""
    return tuple(
        dotted_node_name(prefix, part)
        if isinstance(part, str)
        else FoldedSum(part.layer, tuple(origin_within_folded(prefix, term) for term in part.terms))
        for part in origin
    )


class FoldedPlan(NamedTuple):
    """A folded plan, and what its layers were made of."""

    plan: Plan
    origins: dict[str, Origin]
    """The dotted name of each changed layer -> its origin in the plan before; the others are as they were."""


def fold_plan(plan: Plan) -> FoldedPlan:
    """Fold a plan for inference, where that is exact algebra; the function computed stays the same.

    - Batch normalisation (with its running statistics), learnable factors and offsets, constant factors, and
      EvoNorm without its nonlinearity become part of the convolution or linear layer directly before them;
      so do those directly after them, if they add nothing or the convolution does not pad: an offset
      before a padded convolution is missing at the borders. Other norms depend on their input, and stay.
    - Weight-standardised convolutions become plain ones.
    - Dropout, stochastic depth and identities are left out.
    - A sum of convolutions of one map becomes the one with the largest kernel, if it reaches what the others
      read at the same stride, and so do norms and the map itself beside it (RepVGG, Ding et al. 2021,
      section 3.3; MobileOne, Vasu et al. 2023).

    Layers keep their dotted names; a norm that gave a feature map gives its name to the convolution.
    """
    kept = frozenset(feature.name for feature in plan.features)
    folder = _PlanFolder(kept)
    stem = folder.chain(plan.stem, "", top=True)
    stages = tuple(folder.stage(stage) for stage in plan.stages)
    head = folder.chain(plan.head, "", top=True)
    name = f"{plan.name} folded" if plan.name else ""
    return FoldedPlan(
        replace(plan, stem=stem, stages=stages, head=head, name=name, whole=None), folder.changed_layers()
    )


def shifts(layer: Layer) -> bool:
    """Return whether a layer that folds adds an offset, too."""
    return type(layer) in (BatchNorm, EvoNorm, Shift)


def folds_as_affine(node: Node) -> bool:
    """Return whether a node multiplies each channel by a number and adds another, whatever the map."""
    if type(node) is EvoNorm:
        return not node.act
    return type(node) in (BatchNorm, Scale, Shift, Multiply)


class _PlanFolder:
    """Folds the chains of a plan and notes the origin of each layer."""

    def __init__(self, kept: frozenset[str]) -> None:
        self.kept = kept
        """Children of the network whose outputs are feature maps."""
        self.origins: dict[str, Origin] = {}
        self.blocks: dict[int, tuple[PlanBlock, dict[str, Origin]]] = {}
        """Folded blocks, and the origins of their layers inside of them, by the identity of the original."""
        self.own: set[str] = set()
        """Layers that changed, whatever their origin."""

    def changed_layers(self) -> dict[str, Origin]:
        """Return the origins of the layers that changed."""
        return {
            name: origin for name, origin in self.origins.items() if origin != (name,) or name in self.own
        }

    def stage(self, stage: PlanStage) -> PlanStage:
        """Return a stage with its transition and its blocks folded; equal blocks stay one object."""
        transition = self.chain(stage.transition, dotted_node_name(stage.name, "transition"))
        blocks: list[PlanBlock] = []
        for i, block in enumerate(stage.blocks):
            if id(block) not in self.blocks:
                inner = _PlanFolder(frozenset())
                self.blocks[id(block)] = inner.block(block), inner.changed_layers()
            done, origins = self.blocks[id(block)]
            blocks.append(done)
            prefix = f"{stage.name}.{i}"
            for name, origin in origins.items():
                self.note(dotted_node_name(prefix, name), origin_within_folded(prefix, origin))
        return replace(stage, transition=transition, blocks=tuple(blocks))

    def block(self, block: PlanBlock) -> PlanBlock:
        """Return a block folded; it is residual as long as a shortcut is left."""
        node = self.chain(block.node, "")
        residual = block.residual and any(entry.shortcut for _, entry in parallel_nodes(node))
        return replace(block, node=node, residual=residual, projects=residual and block.projects)

    def note(self, name: str, origin: Origin) -> None:
        """Note the origin of a changed layer."""
        self.origins[name] = origin
        self.own.add(name)

    def chain(self, chain: Chain, prefix: str, *, top: bool = False) -> Chain:
        """Return a chain folded; `top` tells that its children are the network's."""
        done: list[tuple[str, Node]] = []
        kept = self.kept if top else frozenset()
        for name, child in chain.children:
            for piece in self.pieces(name, child, prefix, kept):
                last = piece
                while done and (merged := self.merged(done[-1], last, prefix, kept)):
                    done.pop()
                    last = merged
                done.append(last)
        return Chain(tuple(done), chain.taps)

    def pieces(self, name: str, child: Node, prefix: str, kept: frozenset[str]) -> Iterator[tuple[str, Node]]:
        """Yield what a child of a chain becomes: itself folded, nothing, or children of its own."""
        inner = dotted_node_name(prefix, name)
        if isinstance(child, Layer):
            idle = type(child) in IDLE or (type(child) is Multiply and child.by == 1)
            if not idle or name in kept:
                self.origins[inner] = (inner,)
                if isinstance(child, Conv) and type(child) in CONVOLUTIONS[1:]:
                    child = with_plain_kernel(child, child.bias)
                    self.own.add(inner)
                yield name, child
        elif isinstance(child, Chain):
            chain = self.chain(child, inner)
            if not name and not chain.taps:
                yield from chain.children
            elif chain.children or name in kept:
                yield name, chain
        elif isinstance(child, Parallel):
            yield from self.parallel(name, child, inner)
        else:
            yield name, child

    def parallel(self, name: str, node: Parallel, prefix: str) -> Iterator[tuple[str, Node]]:
        """Yield a join with folded branches, or what is left of it: the layers of a single branch."""
        branches = [self.chain(branch, inner) for inner, branch in node.items(prefix)]
        if node.join == SUM and not node.split and not node.linked:
            branches = self.summed(branches, prefix)
        if len(branches) > 1 or len(node.branches) == 1:
            yield name, replace(node, branches=tuple(branches))
        elif name:
            yield name, branches[0]
        else:
            yield from branches[0].children

    def summed(self, branches: list[Chain], prefix: str) -> list[Chain]:
        """Return the branches of a sum, those that are linear in one."""
        terms = {
            i: end
            for i, branch in enumerate(branches)
            if (end := _foldable_branch_layer(branch, prefix)) is not None
        }
        hosts = {i: end[1] for i, end in terms.items() if type(end[1]) is Conv}
        for host, conv in sorted(hosts.items(), key=lambda entry: -entry[1].params()):
            absorbed = [i for i, (_, other) in terms.items() if i == host or fits_in_kernel(other, conv)]
            if len(absorbed) < 2:
                continue
            origins = [self.origins[terms[i][0]] if terms[i][0] else () for i in absorbed]
            layers = [layer for _, layer in map(terms.__getitem__, absorbed)]
            offset = any(layer is not None and _has_offset_to_fold(layer) for layer in layers)
            made, name = replace(conv, bias=offset, init=1.0), terms[host][0]
            for i in absorbed:
                self.origins.pop(terms[i][0], None)
            self.note(name, (FoldedSum(made, tuple(origins)),))
            branches[host] = _with_folded_branch_layer(branches[host], made)
            left = [branch for i, branch in enumerate(branches) if i == host or i not in absorbed]
            return self.summed(left, prefix)
        return branches

    def merged(
        self, first: tuple[str, Node], second: tuple[str, Node], prefix: str, kept: frozenset[str]
    ) -> tuple[str, Node] | None:
        """Return the one child that two in a row become; None if they stay two."""
        (before, one), (after, other) = first, second
        names = dotted_node_name(prefix, before), dotted_node_name(prefix, after)
        if before in kept or not isinstance(other, Layer):
            return None
        if (chain := _chain_to_fold(one)) is not None:
            ended = None if after in kept else self.ended(chain, names[0], other, names[1])
            return None if ended is None else (before, ended)
        if not isinstance(one, Layer):
            return None
        name = after if after in kept or folds_as_affine(one) else before
        layer = self.one_layer(one, names[0], other, names[1], dotted_node_name(prefix, name))
        return None if layer is None else (name, layer)

    def ended(self, chain: Chain, prefix: str, layer: Layer, name: str) -> Chain | None:
        """Return a chain whose last layer has the one after the chain in it; None if it stays outside."""
        if not chain.children:
            return None
        *others, (last, child) = chain.children
        inner = dotted_node_name(prefix, last)
        end: Node | None = None
        if (within := _chain_to_fold(child)) is not None:
            end = self.ended(within, inner, layer, name)
        elif isinstance(child, Layer) and folds_as_affine(layer):
            end = self.one_layer(child, inner, layer, name, inner)
        return None if end is None else Chain((*others, (last, end)), chain.taps)

    def one_layer(self, one: Layer, before: str, other: Layer, after: str, name: str) -> Layer | None:
        """Return the layer called `name` that two in a row become, and note its origin; None for none."""
        if type(one) in MATRICES and folds_as_affine(other):
            matrix, offset = one, shifts(other)
        elif folds_as_affine(one) and type(other) in MATRICES and (not shifts(one) or _unpadded(other)):
            matrix, offset = other, shifts(one)
        else:
            return None
        assert isinstance(matrix, Conv | Linear)
        self.note(name, self.origins.pop(before) + self.origins.pop(after))
        return with_plain_kernel(matrix, matrix.bias or offset)


def _chain_to_fold(node: Node) -> Chain | None:
    """Return a node that is a chain; None for any other."""
    return node if isinstance(node, Chain) else None


def _has_offset_to_fold(layer: Layer) -> bool:
    return layer.bias if isinstance(layer, Conv) else shifts(layer)


def _unpadded(layer: Layer) -> bool:
    """Return whether a layer reads no positions beyond the map."""
    return isinstance(layer, Linear) or not any(axes_entries(getattr(layer, "padding", 0)))


def _foldable_branch_layer(branch: Chain, prefix: str) -> tuple[str, Layer | None] | None:
    """Return the one layer of a linear branch, with its dotted name; no layer for the map itself."""
    if branch.taps or len(branch.children) > 1:
        return None
    if not branch.children:
        return "", None
    ((name, child),) = branch.children
    inner = dotted_node_name(prefix, name)
    if (within := _chain_to_fold(child)) is not None:
        return _foldable_branch_layer(within, inner)
    if isinstance(child, Layer) and (type(child) is Conv or folds_as_affine(child)):
        return inner, child
    return None


def _with_folded_branch_layer(branch: Chain, layer: Layer) -> Chain:
    """Return a branch of one layer with another in its place."""
    ((name, child),) = branch.children
    within = _chain_to_fold(child)
    return Chain(((name, layer if within is None else _with_folded_branch_layer(within, layer)),))
