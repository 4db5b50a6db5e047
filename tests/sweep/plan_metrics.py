"""Metrics for tests, of plans alone, so that nothing is built for them."""

from __future__ import annotations

import math
import time

import resnet_factory as rf


def odd(plan: rf.Plan, image: tuple[int, ...]) -> float | None:
    """The parameters modulo 97; undefined where that is 0."""
    return rf.cost(plan, image).params % 97 or None


def weight(plan: rf.Plan, image: tuple[int, ...]) -> float:
    """The logarithm of the parameters."""
    return math.log(rf.cost(plan, image).params)


def late(plan: rf.Plan, image: tuple[int, ...]) -> float:
    """The activations; fails for networks of more than 12,000 parameters."""
    cost = rf.cost(plan, image)
    if cost.params > 12_000:
        raise RuntimeError("too large for this metric")
    return cost.activations


def slowly(plan: rf.Plan, image: tuple[int, ...]) -> float:
    """The multiply-adds, after a while."""
    time.sleep(0.1)
    return rf.cost(plan, image).macs
