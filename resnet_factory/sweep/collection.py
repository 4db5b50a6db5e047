"""Architectures collected for a sweep: samples drawn, costed and stored, until there are enough of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

from rich.progress import Progress

from resnet_factory.sweep.costing_pool import CostingPool
from resnet_factory.sweep.draws import SpaceDraws
from resnet_factory.sweep.evaluation import BatchEvaluation, evaluate_samples
from resnet_factory.sweep.options import SweepOptions
from resnet_factory.sweep.progress import advance_sweep_progress
from resnet_factory.sweep.sampled_populations import CostConditions
from resnet_factory.sweep.samplers import BATCH
from resnet_factory.sweep.space import Space
from resnet_factory.sweep.store import SweepStore
from resnet_factory.sweep.templates import ModelTemplates

INVALID_EXAMPLES = 64
"""Samples that cannot be planned of which the reasons are stored."""
LEAST = 1_024
"""The fewest samples costed together while few architectures are missing."""
IDLE = 16
"""Batches without a new architecture after which no more are looked for."""


class Collector:
    """Collects architectures batch by batch; what is stored does not depend on where it was interrupted."""

    def __init__(
        self,
        space: Space,
        templates: ModelTemplates,
        options: SweepOptions,
        store: SweepStore,
        draws: SpaceDraws,
    ) -> None:
        self.space, self.templates, self.store, self.draws = space, templates, store, draws
        self.wanted, self.most = options.architectures, options.samples
        self.conditions = CostConditions(options.image, options.measuring.batch, options.measuring.dtype)
        self.invalid = json.loads(store.run().get("invalid", "[]"))
        self.workers = options.executor.workers if options.executor.kind == "processes" else 1
        self.pool: CostingPool | None = None

    def run(self, progress: Progress, tick: Callable[[], None] = lambda: None) -> None:
        """Cost what is not stored yet: all samples, or as many as the architectures asked for take.

        `tick` is called after each batch.
        """
        with ExitStack() as stack:
            self._run(progress, stack, tick)

    def _run(self, progress: Progress, stack: ExitStack, tick: Callable[[], None]) -> None:
        done = self.store.batches()
        kept = self.store.kept_by_batch() if self.wanted is not None else {}
        total, idle = 0, 0
        starts = [s for s in range(0, self.most, BATCH) if done.get(s, 0) < min(s + BATCH, self.most)]
        if self.workers > 1 and len(starts) > 1 and (self.wanted is None or self.wanted > BATCH):
            pool = CostingPool(self.workers, self.draws, self.conditions, self.templates)
            self.pool = stack.enter_context(pool)
            self.pool.begin(
                (s, min(s + BATCH, self.most), 0 if self.invalid else INVALID_EXAMPLES) for s in starts
            )
        task = progress.add_task("costing", total=self.wanted or self.most, rate="")
        for start in range(0, self.most, BATCH):
            stop = min(start + BATCH, self.most)
            if self.wanted is not None and (total >= self.wanted or idle >= IDLE):
                return
            if done.get(start, 0) < stop and not self._is_cut(start, done, kept, total):
                new = self._collect(start, stop, None if self.wanted is None else self.wanted - total)
            else:
                new = kept.get(start, 0)
            total, idle = total + new, 0 if new else idle + 1
            tick()
            advance_sweep_progress(progress, task, total if self.wanted is not None else stop)

    def _is_cut(self, start: int, done: dict[int, int], kept: dict[int, int], total: int) -> bool:
        """Return whether a batch ends early because there were enough architectures, as there still are."""
        return self.wanted is not None and start in done and total + kept[start] >= self.wanted

    def _collect(self, start: int, stop: int, missing: int | None) -> int:
        """Cost and store a batch, up to the last architecture that is missing; return how many are new."""
        sizes = [stop - start] if missing is None else _collection_batch_sizes(missing, stop - start)
        found = BatchEvaluation([], Counter(), [], [])
        for size in sizes:
            stop = start + size
            found = self._evaluate(start, stop)
            if missing is None or len(found.candidates) < missing:
                continue
            samples = [one.sample for one in self.store.new_among(found.candidates, start)]
            if len(samples) >= missing:
                stop = samples[missing - 1] + 1
                found = self._evaluate(start, stop)
                break
        new = self.store.add_batch(start, stop, found.candidates, found.rejected, self.templates.known)
        if found.invalid and not self.invalid:
            self.invalid = found.invalid
            self.store.note("invalid", json.dumps(self.invalid))
        return new

    def _evaluate(self, start: int, stop: int) -> BatchEvaluation:
        whole = stop == min(start + BATCH, self.most)
        if self.pool is not None and whole and (found := self.pool.take(start)) is not None:
            return found
        samples = self.draws.samples(start, stop)
        examples = 0 if self.invalid else INVALID_EXAMPLES
        return evaluate_samples(self.space, self.templates, samples, start, self.conditions, examples)


def _collection_batch_sizes(missing: int, size: int) -> Iterator[int]:
    """Yield how many samples of a batch are costed: few at first, where few architectures are missing."""
    first = max(LEAST, 2 * missing)
    if first < size // 2:
        yield first
    yield size


class CollectionShortfall(NamedTuple):
    """Reasons for fewer architectures than were asked for."""

    found: int
    wanted: int
    samples: int
    most: int
    rates: dict[str, float]
    """The share of the samples that each reason rejected."""

    def __str__(self) -> str:
        often = f"1 sample in {self.samples / self.found:,.0f} is kept" if self.found else "none is kept"
        text = f"{self.found:,} of {self.wanted:,} architectures in {self.samples:,} samples: {often}"
        ordered = sorted(self.rates.items(), key=lambda item: -item[1])
        text += "".join(f"; {100 * rate:.3g} % {reason}" for reason, rate in ordered)
        if self.samples < self.most:
            return f"{text}; the last {IDLE} batches had no new one: the space seems to have no more"
        return f"{text}; relax the limit that rejects most, or raise max_samples={self.most}"


def collection_shortfall(store: SweepStore) -> CollectionShortfall | None:
    """Return why a sweep has fewer architectures than were asked for; None if it has them, or goes on."""
    run = store.run()
    wanted, most = json.loads(run.get("architectures", "null")), int(run.get("samples", 0))
    found, samples = store.count(), store.sampled()
    if wanted is None or found >= wanted or samples == 0:
        return None
    rejected = store.rejected()
    last = [kept for _, kept in sorted(store.kept_by_batch().items())][-IDLE:]
    if samples < most and (any(last) or len(last) < IDLE):
        return None  # interrupted
    return CollectionShortfall(
        found, wanted, samples, most, {key: n / samples for key, n in rejected.items() if n}
    )
