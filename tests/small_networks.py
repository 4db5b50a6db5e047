"""Shipped models made small: few blocks of few channels, with every kind of layer that they have."""

from __future__ import annotations

import re
from functools import cache

import resnet_factory as rf
from resnet_factory.config.model_index import index_models

GENERATOR = {"regnet": {"initial_width": 32, "slope": 36.0, "multiplier": 2.5, "depth": 7, "group_width": 16}}
"""Few blocks of few channels, in as many stages as RegNets have."""


def small_plan(name: str) -> rf.Plan:
    """Return a model of two blocks, then one per stage, at a quarter of the width where recipes allow it."""
    config = index_models().config(name)
    if any(type(leaf.layer).__name__ == "AttentionPool" for leaf in rf.plan(config).leaves):
        config = config.changed({"image_size": 64})  # positions are learned for one size
    if "generator" in config.to_dict():
        return rf.plan(config.changed({"generator": GENERATOR}))
    depths = [min(depth, 1 + (stage == 0)) for stage, depth in enumerate(config.depths)]
    narrow = [max(width // 4, 8) for width in config.widths]
    rounded = [max(width // 32 * 32, 32) for width in narrow]  # what 32 groups divide
    for change in ({"widths": narrow}, {"widths": rounded}, {}):
        try:
            return rf.plan(config.changed({"depths": depths, **change}))
        except rf.ConfigError:
            continue  # widths per block, or groups that do not divide a narrower one
    return rf.plan(config)


@cache
def small_plans() -> dict[str, rf.Plan]:
    """Return the small networks of all shipped models that differ in more than numbers, each by a model."""
    found: dict[frozenset[str], tuple[str, rf.Plan]] = {}
    for name in index_models().names():
        plan = small_plan(name)
        lines = frozenset(re.sub(r"[\d.]+", "", line) for line in str(plan).splitlines()[1:])
        found.setdefault(lines, (name, plan))
    return dict(found.values())


def image_of(plan: rf.Plan) -> tuple[int, ...]:
    """Return the shape of a small image for a network."""
    if plan.dims == 1:
        return (plan.in_channels, 512)  # OpenVINO takes no pool whose window is larger than its map
    side = 16 if plan.dims == 3 else 24 if plan.image[1] < 64 else 64
    return (plan.in_channels, *[side] * plan.dims)
