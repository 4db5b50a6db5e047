"""Metrics of a sweep and their better direction, as `by=` and `pareto=` name them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from resnet_factory.errors import ConfigError, Fault, unknown
from resnet_factory.study.settings import setting_minimum

_SCORE = ("batch", "seeds", "threads", "device")
_LATENCY = ("batch", "repeats", "threads", "device", "dtype", "channels_last", "runtime")


class ObjectiveMetric(NamedTuple):
    """A metric with a better direction."""

    label: str
    """Axis label, with its unit."""
    reads: tuple[str, ...] = ()
    """The keys of `measuring` that its values depend on."""
    maximize: bool = False
    quality: bool = False
    """Whether it measures how well a network does its task; without such a metric nothing is called best."""


METRICS = {
    "params": ObjectiveMetric("parameters"),
    "macs": ObjectiveMetric("MACs"),
    "activations": ObjectiveMetric("activations"),
    "receptive_field": ObjectiveMetric("receptive field (pixels)"),
    "inference_memory": ObjectiveMetric("inference memory (MiB)"),
    "training_memory": ObjectiveMetric("training memory (MiB)"),
    "latency": ObjectiveMetric("latency (ms)", _LATENCY),
    "memory": ObjectiveMetric("peak memory (MiB)", ("batch", "device", "dtype", "channels_last")),
    "synflow": ObjectiveMetric("log synflow", ("seeds", "threads", "device"), maximize=True),
    "naswot": ObjectiveMetric("NASWOT", _SCORE, maximize=True),
    "zen": ObjectiveMetric("Zen score", _SCORE, maximize=True),
    "gradients": ObjectiveMetric("gradient spread (decades)", _SCORE),
    "error": ObjectiveMetric("error", ("study",), quality=True),
    "loss": ObjectiveMetric("loss", ("study",), quality=True),
    "train_error": ObjectiveMetric("train_error", ("study",), quality=True),
    "accuracy": ObjectiveMetric("accuracy", maximize=True, quality=True),
}
TRAINED = ("error", "loss", "train_error")
"""Metrics of a trained network."""
MEASURED = ("latency", "memory", "synflow", "naswot", "zen", "gradients")
"""Metrics of a network without training."""
INTEGER_METRICS = ("params", "macs", "activations", "receptive_field")
BYTE_METRICS = ("memory", "inference_memory", "training_memory")
"""Metrics that tables and figures show in MiB."""
MIB = 2**20
DIRECTIONS = {":min": False, ":max": True}


class Objective(NamedTuple):
    """A metric to rank by."""

    metric: str
    maximize: bool

    def __str__(self) -> str:
        usual = self.metric in METRICS and self.maximize == METRICS[self.metric].maximize
        return self.metric if usual else f"{self.metric}:{'max' if self.maximize else 'min'}"


@dataclass(frozen=True, kw_only=True)
class ObjectiveRankingOptions:
    """Options of a sweep's report, as in `conf/sweep.yaml`."""

    by: str | None
    top: int = setting_minimum(0)
    errors: str | None
    where: str | None = None
    """A condition that the winners and the fronts satisfy."""
    pareto: tuple[tuple[str, ...], ...]
    """Pairs of metrics."""


REPORT_KEYS = ("pareto", "by", "top", "errors", "where")
"""The keys of `ObjectiveRankingOptions`."""


class ObjectiveRanking(NamedTuple):
    """Objectives of the winners and of the Pareto fronts."""

    by: Objective | None
    pareto: list[tuple[Objective, Objective]]


def parse_objective(text: str, metrics: Collection[str]) -> tuple[str, bool | None]:
    """Parse `zen:max`, `zen:min` or `-zen`, which is `zen:max`, to a metric and whether to maximise it.

    None stands for no direction. A metric of `metrics` with such a name comes first.
    """
    if text in metrics:
        return text, None
    for suffix, maximize in DIRECTIONS.items():
        if text.endswith(suffix):
            return text.removesuffix(suffix), maximize
    return (text[1:], True) if text.startswith("-") else (text, None)


def read_objective(
    text: str, metrics: Collection[str], key: str, own: Mapping[str, ObjectiveMetric], faults: list[Fault]
) -> Objective | None:
    """Read one objective of `metrics`; those of `own` have directions as the shipped ones do."""
    metric, maximize = parse_objective(text, metrics)
    known = METRICS.get(metric) or own.get(metric)
    if metric not in metrics:
        faults.append(Fault(key, unknown("metric", metric, metrics)))
    elif maximize is None and known is None:
        forms = f"'{metric}:max' where more is better, '{metric}:min' where less is"
        faults.append(Fault(key, f"{metric!r} has no direction of its own; write {forms}"))
    else:
        return Objective(metric, known.maximize if maximize is None and known is not None else bool(maximize))
    return None


def read_objective_ranking(
    options: ObjectiveRankingOptions,
    metrics: Collection[str],
    own: Mapping[str, ObjectiveMetric] | None = None,
) -> ObjectiveRanking:
    """Return the objectives of `by` and `pareto`, which must be among `metrics`.

    Raises:
        ConfigError: for every unknown metric, and every one without a direction.
    """
    faults: list[Fault] = []

    def objectives(key: str, texts: Collection[str]) -> list[Objective]:
        found = [read_objective(text, metrics, key, own or {}, faults) for text in texts]
        return [objective for objective in found if objective is not None]

    by = next(iter(objectives("by", [options.by])), None) if options.by else None
    pairs = [objectives("pareto", pair) for pair in options.pareto]
    if faults:
        raise ConfigError(faults)
    return ObjectiveRanking(by, [(first, second) for first, second in pairs])
