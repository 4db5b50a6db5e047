"""One job of a sweep's workers: JSON in, one row per metric as JSON out."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from resnet_factory.config import pruning
from resnet_factory.planning.planner import plan as make_plan
from resnet_factory.study.metric import Interrupted, TrainedError
from resnet_factory.study.result import FAILED
from resnet_factory.study.signals import leaving
from resnet_factory.study.summary import Spread
from resnet_factory.sweep.environment import environment
from resnet_factory.sweep.metrics import Conditions, NotApplicable, Score, measured
from resnet_factory.sweep.objectives import TRAINED

SPREADS = {"error": "test_error", "loss": "test_loss", "train_error": "train_error"}
"""Metric of a trained network -> where a study's row has it."""


def measure(job: str) -> str:
    """Measure one architecture.

    Raises:
        ConfigError: the model cannot be planned.
        ValueError: it does not plan to the id it came with.
        KeyboardInterrupt: the process was asked to leave; what was trained is kept.
    """
    data = json.loads(job)
    plan = make_plan(pruning.read(data["model"]))
    if plan.id != data["plan"]:
        raise ValueError(f"the model plans to {plan.id}, not to {data['plan']}: another version made it")
    known = ("batch", "repeats", "seeds", "threads", "device", "dtype", "channels_last", "seed")
    image = tuple(data["image"] or (plan.image_size, plan.image_size))
    conditions = Conditions(image, **{key: data[key] for key in known if key in data})
    rows = []
    trained = Trained(data) if set(data["metrics"]) & set(TRAINED) else None
    threads = trained.metric.machine.threads if trained else conditions.threads
    made = json.dumps(environment(data.get("concurrency"), threads))
    for metric in data["metrics"]:
        try:
            score = trained.score(metric) if trained else measured(plan, metric, conditions)
            rows.append([metric, "ok", score.value, score.low, score.high, score.note, made])
        except NotApplicable as reason:
            rows.append([metric, "not applicable", None, None, None, str(reason), made])
    return json.dumps(rows)


class Trained:
    """One job's network, trained as `measuring.study` says, from several seeds.

    Where the job's folder is there (on a cluster it may not be), checkpoints are kept in it, and a training
    that was begun goes on.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        folder = job.get("folder")
        kept = folder if folder is not None and Path(folder).is_dir() else None
        self.metric = replace(TrainedError.from_dict(job["study"]), folder=kept)
        try:
            with leaving() as asked:
                self.row = self.metric(job["model"], stop=asked)
        except Interrupted:
            raise KeyboardInterrupt from None
        if failed := [run for run in self.row.runs if run.state == FAILED]:
            raise RuntimeError(failed[0].reason)

    def score(self, metric: str) -> Score:
        """The mean over the seeds that came to their end, and the middle half of them.

        Raises:
            NotApplicable: none did.
        """
        spread: Spread | None = getattr(self.row, SPREADS[metric])
        runs, done = len(self.row.runs), len(self.row.done)
        if spread is None:
            raise NotApplicable(self.row.runs[0].reason)
        note = f"mean of {self.metric}, rate {self.row.rate:g}"
        if done < runs:
            note += f", {runs - done} of which did not come to their end"
        if done == 1:
            return Score(spread.mean, note=note)
        low, _, high = statistics.quantiles(spread.values, n=4, method="inclusive")
        return Score(spread.mean, low, high, note)
