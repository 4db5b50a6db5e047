"""Objectives: a metric and its better direction, as `by=` and `pareto=` name them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from resnet_factory.errors import ConfigError, Fault, unknown
from resnet_factory.sweep.population import COSTS, FURTHER

TRAINED = ("error", "loss", "train_error")
"""Metrics of a trained network."""
MEASURED = ("latency", "memory", "synflow", "naswot", "zen", "gradients")
"""Metrics of a network as it is built."""
MAXIMIZED = ("synflow", "naswot", "zen", "accuracy")
"""Metrics of which more is better."""
DIRECTED = (*COSTS, *FURTHER, *MEASURED, *TRAINED, "accuracy")
"""Metrics with a better direction of their own."""
SUFFIXES = {":min": False, ":max": True}


class Objective(NamedTuple):
    """A metric to rank by."""

    metric: str
    maximize: bool

    def __str__(self) -> str:
        usual = self.metric in DIRECTED and self.maximize == maximized(self.metric)
        return self.metric if usual else f"{self.metric}:{'max' if self.maximize else 'min'}"


class Ranking(NamedTuple):
    """What results are ranked by."""

    by: Objective | None
    pareto: Sequence[tuple[Objective, Objective]]


def maximized(metric: str) -> bool:
    """Whether more is better, of a metric with a direction of its own."""
    return metric in MAXIMIZED


def split(text: str, metrics: Collection[str]) -> tuple[str, bool | None]:
    """`zen:max`, `zen:min` or `-zen` (the most first, as `zen:max`) -> metric, whether to maximise.

    None where no direction is written. A metric that is called so itself comes first.
    """
    if text in metrics:
        return text, None
    for suffix, maximize in SUFFIXES.items():
        if text.endswith(suffix):
            return text.removesuffix(suffix), maximize
    return (text[1:], True) if text.startswith("-") else (text, None)


def read_ranking(views: Mapping[str, Any], metrics: Collection[str]) -> Ranking:
    """The objectives of `by` and `pareto`; `metrics` are those there are.

    Raises:
        ConfigError: for every unknown metric, and every one without a direction.
    """
    faults: dict[Fault, None] = {}

    def read(key: str, text: str) -> Iterator[Objective]:
        metric, maximize = split(text, metrics)
        if metric not in metrics:
            faults[Fault(key, unknown("metric", metric, metrics))] = None
        elif maximize is None and metric not in DIRECTED:
            forms = f"'{metric}:max' where more is better, '{metric}:min' where less is"
            faults[Fault(key, f"{metric!r} has no direction of its own; write {forms}")] = None
        else:
            yield Objective(metric, maximized(metric) if maximize is None else maximize)

    by = next(read("by", views["by"]), None) if views["by"] else None
    pairs = [[one for name in pair for one in read("pareto", name)] for pair in views["pareto"]]
    if faults:
        raise ConfigError(faults)
    return Ranking(by, [(first, second) for first, second in pairs])
