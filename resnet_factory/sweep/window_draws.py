"""Draws inside a window on a cost: each stage given what those before it cost and that the later ones fit.

The costs of the stages are rounded down to units of the window, and the probability that the later stages end
inside it is computed backwards for every width, order and sum of costs so far. A stage is then drawn from its
exact conditional distribution. As whole networks are held against the window afterwards, those that are kept
have the distribution of free draws that satisfy it.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from resnet_factory.errors import ConfigError, Fault
from resnet_factory.sweep.relation import Relation
from resnet_factory.sweep.samplers import BATCH
from resnet_factory.sweep.space import Space
from resnet_factory.sweep.stage_costs import StageCosts
from resnet_factory.sweep.stage_options import sampled_stage_options
from resnet_factory.sweep.vector import Array
from resnet_factory.sweep.window_stage import LastStageDraw, RowDraw, WindowStage

WINDOW_SAMPLER = "conditional"
"""The sampler that draws inside a window."""
UNITS = 8
"""Units of a window: more waste fewer draws just outside it, and take longer to prepare."""
LEAST, MOST = 48, 256
"""The fewest and the most units up to the window's end."""
ROUNDS = 40
"""Times that options are proposed before the rest is drawn from all options."""
ROWS = 512
"""Draws from all options at a time."""
ROUNDING = 1e-9
"""Added to units before they are rounded down: the error of a division does not cost a whole one."""
SINGLE = 2**18
"""Products of a matrix product small enough to stay in one thread: two would only wait for each other."""


class WindowDraws:
    """Samples of a space near or inside a window, by their numbers: the same for the same space and seed."""

    def __init__(self, space: Space, costs: StageCosts, seed: int) -> None:
        """Prepare the draws.

        Raises:
            ConfigError: no architecture is inside the window.
        """
        self.space, self.costs, self.seed = space, costs, seed
        low, high = space.windows[costs.metric]
        costly = max(float(np.max(each[np.isfinite(each)], initial=0)) for each in costs.costs)
        top = min(high, costly * len(costs.costs))
        self.most = int(np.clip(math.ceil(UNITS * top / max(top - low, 1)), LEAST, MOST))
        self.unit = max(top / self.most, 1e-9)
        self.first = max(math.floor(low / self.unit) - len(costs.costs) + 1, 0) if low > 0 else 0
        self.orders = _orders_drawn_by_stage(space, costs)
        self.stages = self._prepare()
        self.last = LastStageDraw(self.stages[-1], self.first, self.most)
        self.shared = costs.shared.chances * self.stages[0].complete[:, 0, 0]
        if not self.shared.any():
            message = f"no architecture of the space has {' and '.join(self.met)}"
            raise ConfigError([Fault(f"space.constraints.{costs.metric}", message)])
        self._known: tuple[int, dict[str, Array]] | None = None

    @property
    def met(self) -> dict[str, float]:
        """Return what is met by construction, with the share of free draws that meet it."""
        low, high = (f"{k * self.unit:,.0f}" for k in (self.first, self.most + 1))
        texts = [relation.text for relation in self.orders]
        return {" and ".join([*texts, f"{self.costs.metric} near {low} to {high}"]): float(self.shared.sum())}

    def samples(self, start: int, stop: int) -> dict[str, Array]:
        """Return samples `start` to `stop` by key, within one batch of `samplers.BATCH`."""
        batch = start // BATCH
        if self._known is None or self._known[0] != batch:
            self._known = batch, self._batch(np.random.default_rng([self.seed, batch]))
        first = start - batch * BATCH
        return {key: values[first : first + stop - start] for key, values in self._known[1].items()}

    def _batch(self, random: np.random.Generator) -> dict[str, Array]:
        state = spent = np.zeros(BATCH, np.int64)
        at = RowDraw(self.shared[None]).draw(state, state, state + len(self.shared), random.random(BATCH))
        drawn = []
        for stage, after in zip(self.stages, [*self.stages[1:], None], strict=True):
            own = self._draw(stage, after, at, state, spent, random)
            spent = spent + stage.units[at, stage.place[at, state], own]
            state = stage.state[at, own]
            drawn.append(own)
        return sampled_stage_options(self.costs.shared, self.costs.stages, at, drawn)

    def _draw(
        self, stage: WindowStage, after: WindowStage | None, at: Array, state: Array, spent: Array,
        random: np.random.Generator,
    ) -> Array:  # fmt: skip
        """Return the option of each draw; what proposals do not find is drawn from all options."""
        own, place = np.zeros(len(at), np.int64), stage.place[at, state]
        limit = stage.best[at, place, spent]
        waiting = np.arange(len(at))
        for _ in range(ROUNDS):
            h, c, i, so_far = at[waiting], state[waiting], place[waiting], spent[waiting]
            if after is None:
                z = self.last.propose(h, i, so_far, random)
                good = stage.allowed(h, c, z)
            else:
                z = stage.propose(h, c, random)
                likely = self._completed(stage, after, h, i, z, so_far)
                good = random.random(len(waiting)) * limit[waiting] < likely
            own[waiting[good]] = z[good]
            waiting = waiting[~good]
        z = np.arange(len(stage.options))[None]
        for first in range(0, len(waiting), ROWS):
            some = waiting[first : first + ROWS]
            h, c, i, so_far = (each[some][:, None] for each in (at, state, place, spent))
            likely = self._completed(stage, after, h, i, z, so_far)
            rows = RowDraw(likely * stage.options.chances * stage.allowed(h, c, z))
            row = np.arange(len(some))
            own[some] = rows.draw(row, row * 0, row * 0 + z.size, random.random(len(some)))
        return own

    def _completed(
        self, stage: WindowStage, after: WindowStage | None, h: Array, i: Array, z: Array, spent: Array
    ) -> Array:
        """Return the probability that the stages after an option end inside the window."""
        spent = np.minimum(spent + stage.units[h, i, z], self.most + 1)
        if after is None:
            return ((spent >= self.first) & (spent <= self.most)).astype(float)
        return after.complete[h, stage.state[h, z], spent]

    # Preparation ----------------------------------------------------------------------------------

    def _prepare(self) -> list[WindowStage]:
        """Return the stages with what is known of the later ones, from the last to the first."""
        many, last = len(self.costs.shared), len(self.costs.stages) - 1
        place, bounds = np.zeros((many, 1), np.int64), np.zeros((0, 2, many, 1), np.int64)
        forward = []
        for number, options in enumerate(self.costs.stages):
            state = np.zeros((many, len(options)), np.int64)
            forward.append((number, bounds, state, place))
            if number < last:
                place, bounds = self._states(number, state)
        found: list[WindowStage] = []
        for number, bounds, state, place in reversed(forward):
            found.insert(0, self._complete(number, bounds, state, place, found[0] if found else None))
        return found

    def _ordered(self, number: int) -> list[int]:
        """Return the dimensions of a stage that are in order with those of other stages."""
        options = self.costs.stages[number]
        found = [options.find(f"{relation.key}.{number}") for relation in self.orders]
        return [at for at in found if at is not None]

    def _states(self, number: int, state: Array) -> tuple[Array, Array]:
        """Fill in the state of each option of a stage; return the width of each state, and its bounds."""
        before, after = self.costs.stages[number : number + 2]
        ordered = self._ordered(number)
        rows = []
        for h, widths in enumerate(self.costs.widths[number]):
            own, state[h] = np.unique(
                np.stack([widths, *before.places[ordered]]), axis=1, return_inverse=True
            )
            rows.append(own)
        most = max(own.shape[1] for own in rows)
        place, *places = np.stack([np.pad(own, ((0, 0), (0, most - own.shape[1]))) for own in rows], axis=1)
        pairs = zip(self.orders, places, ordered, self._ordered(number + 1), strict=True)
        bounds = [
            _order_bounds(relation.order, before.numbers(mine)[each], after.numbers(theirs))
            for relation, each, mine, theirs in pairs
        ]
        return place, np.array(bounds).reshape(len(bounds), 2, *place.shape)

    def _complete(
        self, number: int, bounds: Array, state: Array, place: Array, after: WindowStage | None
    ) -> WindowStage:
        options, exact, outside = self.costs.stages[number], self.costs.costs[number], self.most + 1
        units = np.minimum(exact / self.unit + ROUNDING, outside).astype(np.int16)
        complete = np.zeros((*place.shape, outside + 1))
        best = np.zeros((*units.shape[:2], outside + 1))
        stage = WindowStage(
            options=options, ordered=self._ordered(number) if number else [], bounds=bounds, units=units,
            state=state, place=place, complete=complete, best=best,
        )  # fmt: skip
        so_far = np.arange(outside)[None]
        for h, i in np.ndindex(*units.shape[:2]):
            states = np.flatnonzero(place[h] == i)
            z = np.flatnonzero(units[h, i] < outside)
            allowed = stage.allowed(np.array(h), states[:, None], z[None])
            z, allowed = z[allowed.any(axis=0)], allowed[:, allowed.any(axis=0)]
            step = max(SINGLE // max(len(states) * outside, 1), 1)
            for first in range(0, len(z), step):
                some = z[first : first + step]
                ends = self._completed(stage, after, np.array(h), np.array(i), some[:, None], so_far)
                best[h, i, :outside] = np.maximum(best[h, i, :outside], ends.max(axis=0))
                complete[h, states, :outside] += (
                    allowed[:, first : first + step] * options.chances[some]
                ) @ ends
        return stage


def _orders_drawn_by_stage(space: Space, costs: StageCosts) -> list[Relation]:
    """Return the orders of the stages' own numbers, one for each."""
    found: dict[str, Relation] = {}
    for relation in space.relations:
        known = [
            options.find(f"{relation.key}.{stage}") is not None for stage, options in enumerate(costs.stages)
        ]
        if relation.order and all(known):
            found.setdefault(relation.key, relation)
    return list(found.values())


def _order_bounds(order: str, before: Array, after: Array) -> tuple[Array, Array]:
    """Return from which place up to which the rising numbers `after` may follow each of `before`."""
    rising = order in ("non_decreasing", "increasing")
    side: Literal["left", "right"] = "left" if order in ("non_decreasing", "decreasing") else "right"
    at = np.searchsorted(after, before, side)
    return (at, np.full_like(at, len(after))) if rising else (np.zeros_like(at), at)
