"""Batches of samples costed by several processes, in the order in which one process would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from typing import Any, NamedTuple

from resnet_factory.study.worker_pool import Perform, Send, WorkerPool
from resnet_factory.sweep.draws import SpaceDraws
from resnet_factory.sweep.evaluation import (
    BatchEvaluation,
    EvaluatedCandidate,
    InvalidEvaluation,
    evaluate_samples,
)
from resnet_factory.sweep.sampled_populations import CostConditions
from resnet_factory.sweep.space import Space
from resnet_factory.sweep.templates import ModelTemplate, ModelTemplates

Compose = Callable[[Sequence[str]], Mapping[str, Any]]
BatchJob = tuple[int, int, int]
"""The first sample of a batch, one past its last, and of how many invalid samples the reason is kept."""
FIELDS = tuple(entry.name for entry in fields(EvaluatedCandidate))


class CostedBatch(NamedTuple):
    """A batch as a process sends it; structures are indices into its templates."""

    rows: list[tuple[Any, ...]]
    rejected: dict[str, int]
    invalid: list[InvalidEvaluation]
    templates: list[ModelTemplate]
    """Those of the batch, in the order in which it needed them."""


@contextmanager
def prepare_costing_process(
    _slot: int, space: Space, draws: SpaceDraws, conditions: CostConditions, compose: Compose
) -> Iterator[Perform]:
    """Prepare a process that costs batches."""
    templates = ModelTemplates(space, compose)

    def perform(job: BatchJob, send: Send) -> CostedBatch:
        start, stop, examples = job
        send("begun")
        found = evaluate_samples(space, templates, draws.samples(start, stop), start, conditions, examples)
        place = {number: at for at, number in enumerate(found.templates)}
        at = FIELDS.index("structure")
        rows = [tuple(getattr(one, name) for name in FIELDS) for one in found.candidates]
        rows = [(*row[:at], place[row[at]], *row[at + 1 :]) for row in rows]
        known = [templates.known[number] for number in found.templates]
        return CostedBatch(rows, dict(found.rejected), found.invalid, known)

    yield perform


class CostingPool:
    """Costs batches ahead, in several processes; a context manager."""

    def __init__(
        self, workers: int, draws: SpaceDraws, conditions: CostConditions, templates: ModelTemplates
    ) -> None:
        setup = partial(
            prepare_costing_process,
            space=draws.space,
            draws=draws,
            conditions=conditions,
            compose=templates.compose,
        )
        self.pool = WorkerPool(setup, workers)
        self.templates = templates
        self.events: Any = None
        self.done: dict[int, CostedBatch | None] = {}

    def __enter__(self) -> CostingPool:
        return self

    def __exit__(self, *error: object) -> None:
        self.pool.__exit__(*error)

    def begin(self, jobs: Iterator[BatchJob]) -> None:
        """Take the batches that are to be costed, in their order."""
        self.events = self.pool.run(jobs)

    def take(self, start: int) -> BatchEvaluation | None:
        """Return the next batch; None where its process was lost."""
        while start not in self.done:
            event = next(self.events)
            if event.kind in ("done", "stopped", "timeout", "died"):
                self.done[event.job[0]] = event.value if isinstance(event.value, CostedBatch) else None
        if (batch := self.done.pop(start)) is None:
            return None
        numbers = [self.templates.add(template) for template in batch.templates]
        candidates = []
        for row in batch.rows:
            values = dict(zip(FIELDS, row, strict=True))
            values["structure"] = numbers[values["structure"]]
            candidates.append(EvaluatedCandidate(**values))
        return BatchEvaluation(candidates, Counter(batch.rejected), batch.invalid, numbers)
