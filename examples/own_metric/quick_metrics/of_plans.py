"""Metrics of plans; no network is built for them."""

import resnet_factory as rf


def intensity(plan: rf.Plan, image: tuple[int, ...]) -> float:
    """Return the multiply-adds per parameter and activation: how seldom numbers are moved."""
    cost = rf.cost(plan, image)
    return cost.macs / (cost.params + cost.activations)
