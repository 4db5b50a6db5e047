"""Backbones: a plan cut off after the last of the requested feature maps."""

from __future__ import annotations

from dataclasses import replace

from resnet_factory.errors import Fault, unknown
from resnet_factory.layers import MAP, Axes, Layer, times
from resnet_factory.planning.network_plan import Feature, Plan
from resnet_factory.planning.nodes import Chain, Parallel, Walk
from resnet_factory.planning.paths import out_channels

STAGES = "stages"
"""The value of `features` that selects every stage."""


def possible_features(plan: Plan) -> tuple[Feature, ...]:
    """Return all available feature maps: of stem layers, stages and head layers up to the pool."""
    found: list[Feature] = []
    channels, form = plan.in_channels, MAP
    stride: Axes = 1
    for name, child in plan.root.children:
        channels = out_channels(child, channels)
        stride, form = _Flow().through(child, (stride, form))
        if form != MAP:
            break
        if name:
            found.append(Feature(name, channels, stride))
    return tuple(found)


def cut(plan: Plan, names: tuple[str, ...], path: str, faults: list[Fault]) -> Plan:
    """Return the plan of the backbone that returns the maps called `names`, in the network's order.

    Unknown names go to `faults`. State-dict keys keep the names they have in the whole network.
    """
    if names == (STAGES,):
        names = tuple(stage.name for stage in plan.stages)
    known = {feature.name: feature for feature in possible_features(plan)}
    for i, name in enumerate(names):
        if name not in known:
            faults.append(Fault(f"{path}.{i}", unknown("feature", name, (*known, STAGES))))
        elif name in names[:i]:
            faults.append(Fault(f"{path}.{i}", f"{name!r} is named twice"))
    taken = [i for i, (name, _) in enumerate(plan.root.children) if name in names and name in known]
    if not taken:
        return plan
    last = taken[-1] + 1
    stem, stages = len(plan.stem.children), len(plan.stages)
    return replace(
        plan,
        stem=Chain(plan.stem.children[:last]),
        stages=plan.stages[: max(last - stem, 0)],
        head=Chain(plan.head.children[: max(last - stem - stages, 0)]),
        features=tuple(known[name] for name, _ in plan.root.children if name in names and name in known),
        whole=plan,
    )


class _Flow(Walk[tuple[Axes, str]]):
    """The stride with respect to the image, and the form of the data."""

    def layer(self, layer: Layer, value: tuple[Axes, str], name: str) -> tuple[Axes, str]:
        return times(value[0], layer.step), layer.produces or value[1]

    def join(
        self, node: Parallel, value: tuple[Axes, str], ends: list[tuple[Axes, str]], name: str
    ) -> tuple[Axes, str]:
        return ends[0]
