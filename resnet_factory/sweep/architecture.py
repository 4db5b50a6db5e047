"""Architectures of a sweep in Python: config, plan, and all numbers that are known."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from resnet_factory.config import pruning
from resnet_factory.config.schema import ModelConfig
from resnet_factory.planning.network_plan import Plan
from resnet_factory.planning.planner import run_planner
from resnet_factory.sweep.evaluation import EvaluatedCandidate
from resnet_factory.sweep.measuring import measuring_model
from resnet_factory.sweep.population import BASIC_COSTS
from resnet_factory.sweep.store import StoredMeasurement, SweepStore
from resnet_factory.sweep.structure_numbers import structure_number_lists
from resnet_factory.sweep.templates import ModelTemplate
from resnet_factory.sweep.winners import winner_name


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """An architecture of a sweep: config, plan and numbers; equal ids mean equal architectures."""

    id: str
    """Its plan id; followed by `-` and the image size where that varies."""
    name: str = field(compare=False)
    """The name of its model where it is written as a winner."""
    sample: int = field(compare=False)
    """The first sample of it."""
    values: Mapping[str, Any] = field(compare=False)
    """Drawn or proposed values, by key of the space."""
    numbers: Mapping[str, float] = field(compare=False)
    """Costs, numbers of the stages and metrics with a value, by the names that `by=` and `where=` use."""
    depths: tuple[int, ...] = field(compare=False)
    widths: tuple[int, ...] = field(compare=False)
    measurements: Mapping[str, StoredMeasurement] = field(compare=False, repr=False)
    """Each metric measured or told, with its spread, and the reason where it has no value."""
    candidate: EvaluatedCandidate = field(compare=False, repr=False)
    """Its row of the store."""
    template: ModelTemplate = field(compare=False, repr=False)
    """The model that it shares with others but for its numbers."""

    @cached_property
    def model(self) -> dict[str, Any]:
        """Return the config as plain data."""
        return measuring_model(self.candidate, self.template)

    @cached_property
    def config(self) -> ModelConfig:
        """Return the config, which `rf.plan`, `rf.cost` and `rf.build` take."""
        return pruning.read_pruned(self.model)

    @cached_property
    def plan(self) -> Plan:
        """Return the plan."""
        return run_planner(self.config)


def architectures_of(
    store: SweepStore, candidates: Iterable[EvaluatedCandidate], measured: Iterable[StoredMeasurement]
) -> Iterator[Architecture]:
    """Yield candidates of a store with what is `measured` of them."""
    templates, base = store.structures(), store.run()["base"]
    by_plan: dict[str, dict[str, StoredMeasurement]] = {}
    for one in measured:
        by_plan.setdefault(one.plan, {})[one.metric] = one
    for candidate in candidates:
        template = templates[candidate.structure]
        depths, widths = structure_number_lists(template.model or {}, json.loads(candidate.changes))
        numbers = {cost: getattr(candidate, cost) for cost in BASIC_COSTS}
        numbers |= json.loads(candidate.further)
        numbers |= {"stages": len(depths), "total_depth": sum(depths), "max_width": max(widths)}
        own = by_plan.get(candidate.plan, {})
        numbers |= {metric: one.value for metric, one in own.items() if one.value is not None}
        yield Architecture(
            id=candidate.plan, name=winner_name(base, candidate, template), sample=candidate.sample,
            values=json.loads(candidate.numbers), numbers=numbers, depths=tuple(depths),
            widths=tuple(widths), measurements=own, candidate=candidate,
            template=template,
        )  # fmt: skip
