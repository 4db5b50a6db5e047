"""RegNet's generator for many networks at once, equal to `generators.RegNetGenerator`.

Source: Radosavovic et al. 2020, equations 2 to 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from resnet_factory.config.generators import generated_block_width
from resnet_factory.layers.expressions import divisible
from resnet_factory.sweep.vector import Array

QUANTUM = 8
"""Widths are multiples of it."""
PREFIX = "generator.regnet."
SKIPPED = "skipped_stages"
"""A number of its networks: levels between two widths that no block has."""
PARAMETERS = ("initial_width", "slope", "multiplier", "depth", "group_width", "ratio")


class RegNetStages(NamedTuple):
    """Stages of many networks, one row each; columns beyond a network's own stages hold 0."""

    valid: Array
    """Mask of valid parameters; those of others have one stage without meaning."""
    stages: Array
    """Number of stages."""
    depths: Array
    widths: Array
    groups: Array
    """Groups of the convolutions in each stage."""
    skipped: Array
    """Levels of the multiplier that no block has: pycls's sampler only takes networks with none."""


def generate_regnet_stages(numbers: Mapping[str, Any], rounding: str = "nearest") -> RegNetStages:
    """Return depths, widths and groups for one array per parameter.

    `rounding` makes widths fit whole groups: `nearest` (pycls, timm) or `divisible` (torchvision).
    """
    initial, slope, multiplier, depth, group, ratio = (np.asarray(numbers[name]) for name in PARAMETERS)
    valid = (
        (initial >= QUANTUM) & (initial % QUANTUM == 0) & (slope >= 0) & (multiplier > 1)
        & (depth >= 1) & (depth <= 10_000) & (group >= 1) & (ratio > 0)
    )  # fmt: skip
    safe = (np.where(valid, values, 2) for values in (initial, slope, multiplier, depth, group, ratio))
    initial, slope, multiplier, depth, group, ratio = safe
    blocks = _regnet_block_widths(initial, slope, multiplier, depth)
    first = np.ones_like(blocks, bool)
    first[:, 1:] = blocks[:, 1:] != blocks[:, :-1]
    first &= blocks >= 0
    stage = np.cumsum(first, axis=1) - 1
    count = first.sum(axis=1)
    depths, widths = (np.zeros((len(depth), int(count.max())), np.int64) for _ in range(2))
    rows, columns = np.nonzero(blocks >= 0)
    np.add.at(depths, (rows, stage[rows, columns]), 1)
    widths[rows, stage[rows, columns]] = blocks[rows, columns]
    widths, groups = _fit_regnet_groups(widths, group[:, None], ratio[:, None], rounding)
    there = depths > 0
    levels = 1 + np.rint(np.log((initial + slope * (depth - 1)) / initial) / np.log(multiplier)).astype(
        np.int64
    )
    return RegNetStages(
        valid, count, depths, np.where(there, widths, 0), np.where(there, groups, 0), levels - count
    )


def _regnet_block_widths(initial: Array, slope: Array, multiplier: Array, depth: Array) -> Array:
    """Return the width of every block, one row per network, padded with -1."""
    block = np.arange(int(depth.max()))
    initial, slope, multiplier = (column[:, None] for column in (initial, slope, multiplier))
    widths = generated_block_width(initial, slope, multiplier, block, np.log, np.rint).astype(np.int64)
    return np.where(block < depth[:, None], widths, -1)


def _fit_regnet_groups(widths: Array, group: Array, ratio: Array, rounding: str) -> tuple[Array, Array]:
    inner = np.maximum(np.floor(widths * ratio).astype(np.int64), 1)
    own = np.minimum(group, inner)
    if rounding == "nearest":
        fits = np.rint(inner / own).astype(np.int64) * own
    else:
        pairs, where = np.unique(np.stack([inner, own]).reshape(2, -1), axis=1, return_inverse=True)
        fitted = np.array([divisible(value, unit) for value, unit in pairs.T.tolist()])
        fits = fitted[where.reshape(-1)].reshape(inner.shape)
    return np.floor(fits / ratio).astype(np.int64), fits // own
