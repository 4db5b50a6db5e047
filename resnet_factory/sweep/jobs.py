"""The jobs of a sweep's workers: JSON in, one row per metric as JSON out."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from resnet_factory.config import pruning
from resnet_factory.network.runtimes.choices import EAGER
from resnet_factory.planning.planner import run_planner as make_plan
from resnet_factory.study.metric import TrainedError, TrainedErrorInterrupted
from resnet_factory.study.signals import watch_stop_signals
from resnet_factory.study.summary import SeedSummary
from resnet_factory.study.training_result import FAILED
from resnet_factory.sweep.environment import machine_environment
from resnet_factory.sweep.init_scores import MetricConditions, MetricNotApplicable, MetricValue
from resnet_factory.sweep.metrics import measure_metric, own_metric_value
from resnet_factory.sweep.model_numbers import model_image_sides
from resnet_factory.sweep.objectives import TRAINED
from resnet_factory.sweep.own_metrics import OwnMetric, find_own_metric

ATTRIBUTES = {"error": "test_error", "loss": "test_loss", "train_error": "train_error"}
"""Metric of a trained network -> attribute of its summary."""


def measure_sweep_job(job: str) -> str:
    """Measure one architecture.

    Raises:
        ConfigError: the model cannot be planned.
        ValueError: its plan has another id than the job says.
        KeyboardInterrupt: the process was asked to stop; checkpoints of trainings are kept.
    """
    data = json.loads(job)
    plan = make_plan(pruning.read_pruned(data["model"]))
    if plan.id != data["plan"]:
        raise ValueError(f"the model plans to {plan.id}, not to {data['plan']}: another version made it")
    keys = ("batch", "repeats", "seeds", "threads", "device", "dtype", "channels_last", "runtime", "seed")
    image = plan.image[1:] if data["image"] is None else model_image_sides(data["image"], plan.dims)
    conditions = MetricConditions(image=image, **{key: data[key] for key in keys if key in data})
    trained = TrainedSweepJob(data) if set(data["metrics"]) & set(TRAINED) else None
    threads = trained.metric.machine.threads if trained else conditions.threads
    rows, own = [], {name: _own_metric_of_sweep_job(name, one) for name, one in data.get("own", {}).items()}
    runtime = conditions.runtime if "latency" in data["metrics"] else EAGER
    made = json.dumps(machine_environment(data.get("concurrency"), threads, runtime))
    for metric in data["metrics"]:
        try:
            if metric in own:
                value = own_metric_value(own[metric], plan, data, conditions)
            else:
                value = trained.value(metric) if trained else measure_metric(plan, metric, conditions)
            rows.append([metric, "ok", value.value, value.low, value.high, value.note, made])
        except MetricNotApplicable as reason:
            rows.append([metric, "not applicable", None, None, None, str(reason), made])
    return json.dumps(rows)


def _own_metric_of_sweep_job(name: str, data: dict[str, Any]) -> OwnMetric:
    """Return a metric of one's own: this process's, or the one that the job says where to find."""
    return find_own_metric(name) or OwnMetric(**data)


class TrainedSweepJob:
    """The network of a job, trained from several seeds as `measuring.study` says.

    Checkpoints are kept in the job's folder, if it exists here, and a training that was begun continues.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        folder = job.get("folder")
        kept = folder if folder is not None and Path(folder).is_dir() else None
        self.metric = replace(TrainedError.from_dict(job["study"]), folder=kept)
        try:
            with watch_stop_signals() as asked:
                self.summary = self.metric(job["model"], stop=asked)
        except TrainedErrorInterrupted:
            raise KeyboardInterrupt from None
        if failed := [run for run in self.summary.runs if run.state == FAILED]:
            raise RuntimeError(failed[0].reason)

    def value(self, metric: str) -> MetricValue:
        """Return the mean over the seeds that were trained to the end, and their quartiles.

        Raises:
            MetricNotApplicable: there are none.
        """
        spread: SeedSummary | None = getattr(self.summary, ATTRIBUTES[metric])
        runs, done = len(self.summary.runs), len(self.summary.done)
        if spread is None:
            raise MetricNotApplicable(self.summary.runs[0].reason)
        note = f"mean of {self.metric}, rate {self.summary.rate:g}"
        if done < runs:
            note += f", {runs - done} of which did not finish"
        if done == 1:
            return MetricValue(spread.mean, note=note)
        low, _, high = statistics.quantiles(spread.values, n=4, method="inclusive")
        return MetricValue(spread.mean, low, high, note)
