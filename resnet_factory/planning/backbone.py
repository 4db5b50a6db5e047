"""Backbones: a plan cut off after the last of the requested feature maps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from resnet_factory.errors import Fault, unknown
from resnet_factory.layers import MAP, Axes, Layer, multiply_axes
from resnet_factory.planning.network_plan import Plan, PlanFeature, PlanStage
from resnet_factory.planning.nodes import IDENTITY, Chain, Node, Parallel, Tap, Walk, names_of_read_nodes
from resnet_factory.planning.paths import PathChannelCount

STAGES, STRIDES = "stages", "strides"
"""Values of `features` that select every stage, or the last map of stem and stages of each stride above 1."""


def possible_backbone_features(plan: Plan) -> tuple[PlanFeature, ...]:
    """Return all available feature maps: of stem layers, stages and head layers up to the pool, and of taps
    between them; a later tap of a name takes it over.
    """
    found: dict[str, PlanFeature] = {}
    channels, form = plan.in_channels, MAP
    stride: Axes = 1
    count, flow = PathChannelCount(), _BackboneStride()
    for name, child in plan.root.children:
        channels = count.through(child, channels)
        stride, form = flow.through(child, (stride, form))
        if form != MAP:
            break
        if name := _offered_name(name, child):
            found.pop(name, None)
            found[name] = PlanFeature(name, channels, stride)
    return tuple(found.values())


def _offered_name(name: str, child: Node) -> str:
    """Return the name of the map after a child of the top level; empty for none."""
    return child.of if isinstance(child, Tap) else name


def backbone_stem_and_stages(plan: Plan) -> tuple[PlanFeature, ...]:
    """Return the maps of all stages, after the stem's last map of each stride that the first stage lacks."""
    names = [stage.name for stage in plan.stages]
    maps = possible_backbone_features(plan)
    stages = tuple(feature for feature in maps if feature.name in names)
    stem = {name for name, _ in plan.stem.children}
    first = stages[0].stride if stages else 1
    before = {map_.stride: map_ for map_ in maps if map_.name in stem and map_.stride not in (1, first)}
    return (*before.values(), *stages)


def cut_backbone(plan: Plan, names: tuple[str, ...], path: str, faults: list[Fault]) -> Plan:
    """Return the plan of the backbone that returns the maps called `names`, in the network's order.

    Unknown names go to `faults`. State-dict keys keep the names they have in the whole network.
    """
    possible = possible_backbone_features(plan)
    if names == (STAGES,):
        names = tuple(stage.name for stage in plan.stages)
    elif names == (STRIDES,):
        names = tuple(
            {stride: name for name, _, stride in backbone_stem_and_stages(plan) if stride != 1}.values()
        )
        names = names or (plan.stages[-1].name,)
    known = {feature.name: feature for feature in possible}
    for i, name in enumerate(names):
        if name not in known:
            faults.append(Fault(f"{path}.{i}", unknown("feature", name, (*known, STAGES, STRIDES))))
        elif name in names[:i]:
            faults.append(Fault(f"{path}.{i}", f"{name!r} is named twice"))
    # A tap comes before all that read it, so what is kept lacks none.
    named = (*plan.stem.children, *((stage.name, stage.node) for stage in plan.stages), *plan.head.children)
    taken = [i for i, child in enumerate(named) if (name := _offered_name(*child)) in names and name in known]
    if not taken:
        return plan
    last = taken[-1] + 1
    stem, stages = len(plan.stem.children), len(plan.stages)
    head = Chain(plan.head.children[: max(last - stem - stages, 0)])
    return replace(
        plan,
        stem=Chain(plan.stem.children[:last]),
        stages=tap_backbone_stages(plan.stages[: max(last - stem, 0)], head),
        head=head,
        features=tuple(feature for feature in possible if feature.name in names),
        whole=plan,
    )


def backbone_stage_stride(stage: PlanStage) -> Axes:
    """Return the stride of a stage; only its transition and its first block shrink the map."""
    step: Axes = 1
    if stage.transition.children:
        step, _ = _BackboneStride().through(stage.transition, (1, MAP))
    for block in stage.blocks[:1]:
        step = multiply_axes(step, block.step)
    return step


def tap_backbone_stages(stages: Iterable[PlanStage], head: Chain) -> tuple[PlanStage, ...]:
    """Return stages whose outputs are tapped where a head reads them."""
    wanted = set(names_of_read_nodes(head))
    taps = {name: Chain((("", Tap(name)),)) for name in wanted}
    return tuple(
        stage if stage.tap == (tap := taps.get(stage.name, IDENTITY)) else replace(stage, tap=tap)
        for stage in stages
    )


class _BackboneStride(Walk[tuple[Axes, str]]):
    """The stride with respect to the image, and the form of the data."""

    def layer(self, layer: Layer, value: tuple[Axes, str], name: str) -> tuple[Axes, str]:
        return multiply_axes(value[0], layer.step), layer.produces or value[1]

    def join(
        self, node: Parallel, value: tuple[Axes, str], ends: list[tuple[Axes, str]], name: str
    ) -> tuple[Axes, str]:
        return next((end for end in ends if end[1] == MAP), ends[0])
