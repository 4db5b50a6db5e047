"""Draws of one stage inside a window on a cost, by tables of all its options."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from resnet_factory.sweep.stage_options import StageOptions
from resnet_factory.sweep.vector import Array


@dataclass(frozen=True, kw_only=True)
class WindowStage:
    """One stage: `z` counts its options, `c` what a stage before it was, `k` units of cost so far."""

    options: StageOptions
    ordered: list[int]
    """The dimensions that follow those of the stage before."""
    bounds: Array
    """[order, 2, h, c]: from which place up to which each of them may be."""
    units: Array
    """[h, i, z]: the cost; one more than the most where it does not fit."""
    state: Array
    """[h, z]: the `c` of the stage after it."""
    place: Array
    """[h, c]: the width `i` of the stage before."""
    complete: Array
    """[h, c, k]: the probability that it and the later stages end inside the window."""
    best: Array
    """[h, i, k]: the most that the same may be after it, whatever it is."""

    def propose(self, h: Array, c: Array, random: np.random.Generator) -> Array:
        """Return options by their probabilities, in the order."""
        found = np.zeros(len(h), np.int64)
        for at, odds in enumerate(self.options.odds):
            total = np.append(0, np.cumsum(odds))
            low, high = 0, len(odds)
            if at in self.ordered:
                low, high = self.bounds[self.ordered.index(at)][:, h, c]
            unit = total[low] + random.random(len(h)) * (total[high] - total[low])
            own = np.searchsorted(total, unit, "right") - 1
            found = found * len(odds) + np.clip(own, low, np.maximum(high - 1, low))
        return np.minimum(found, len(self.options) - 1)

    def allowed(self, h: Array, c: Array, z: Array) -> Array:
        """Return whether options may follow the stage before."""
        found = np.ones(np.broadcast_shapes(c.shape, z.shape), bool)
        for at, bounds in zip(self.ordered, self.bounds, strict=True):
            low, high = bounds[:, h, c]
            places = self.options.places[at][z]
            found &= (places >= low) & (places < high)
        return np.asarray(found)


class RowDraw:
    """Draws from rows of options, each by its own weights [row, option]."""

    def __init__(self, weights: Array) -> None:
        self.size = weights.shape[1]
        sums = np.cumsum(weights, axis=1)
        sums /= np.maximum(sums[:, -1:], np.finfo(float).tiny)
        self.sums: Array = (sums + np.arange(len(weights))[:, None]).reshape(-1)  # rising over all rows

    def draw(self, row: Array, low: Array, high: Array, unit: Array) -> Array:
        """Return for each row an option from `low` up to `high`, by numbers in [0, 1)."""
        start = row * self.size
        first = np.where(low > 0, self.sums[start + low - 1], row)
        unit = first + unit * (self.sums[start + high - 1] - first)
        found: Array = np.clip(np.searchsorted(self.sums, unit, "right") - start, low, high - 1)
        return found


class LastStageDraw:
    """Draws of the last stage: its options by rising cost, so that those inside the window are one range."""

    def __init__(self, stage: WindowStage, first: int, most: int) -> None:
        self.first, self.most = first, most
        self.order = np.argsort(stage.units, axis=2, kind="stable").astype(np.int32)
        self.rows = RowDraw(stage.options.chances[self.order].reshape(-1, len(stage.options)))
        below = np.zeros((*stage.units.shape[:2], most + 3), np.int64)
        for h, i in np.ndindex(*stage.units.shape[:2]):
            below[h, i, 1:] = np.bincount(stage.units[h, i], minlength=most + 2).cumsum()
        self.below = below
        """[h, i, u]: the number of options of fewer than `u` units."""

    def propose(self, h: Array, i: Array, spent: Array, random: np.random.Generator) -> Array:
        """Return options inside the window, by their probabilities."""
        low = self.below[h, i, np.maximum(self.first - spent, 0)]
        high = self.below[h, i, self.most - spent + 1]
        row = h * self.below.shape[1] + i
        return self.order[h, i, self.rows.draw(row, low, high, random.random(len(h)))]
