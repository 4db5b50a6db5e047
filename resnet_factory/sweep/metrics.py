"""Metrics of networks without training: latency, peak memory, and scores at initialisation that need no data.

A metric leaves its network unchanged, and draws random numbers only from the seed it is given.
"""

from __future__ import annotations

import copy
import statistics
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from resnet_factory.config import pruning
from resnet_factory.errors import ConfigError
from resnet_factory.network.builder import build
from resnet_factory.network.network import Network
from resnet_factory.network.runtimes.program import silence_exporters
from resnet_factory.network.runtimes.runnable import runnable, torch_dtype
from resnet_factory.network.runtimes.timing import WARM, time_interleaved
from resnet_factory.network.threads import num_threads
from resnet_factory.planning.network_plan import Plan
from resnet_factory.planning.planner import run_planner as make_plan
from resnet_factory.study.data import load_data
from resnet_factory.study.distributed import process_group
from resnet_factory.study.jobs import study_job_config
from resnet_factory.study.metric import TrainedError
from resnet_factory.sweep.init_scores import (
    MetricConditions,
    MetricNotApplicable,
    MetricValue,
    gradient_range_score,
    naswot_score,
    noise_for_scores,
    seeded_for_scores,
    synflow_score,
    zen_score,
)
from resnet_factory.sweep.own_metrics import OwnMetric

WARM_UP = WARM + 1
"""Forward passes before the clock starts: one of them tells how long a pass takes."""


def measure_metric(plan: Plan, metric: str, conditions: MetricConditions) -> MetricValue:
    """Measure one metric of networks freshly built from a plan; a score is the mean over `seeds` of them.

    Raises:
        MetricNotApplicable: with the reason.
    """
    function, values = METRIC_FUNCTIONS[metric], []
    seeds = 1 if function in (latency_metric, peak_memory_metric) else conditions.seeds
    with num_threads(conditions.threads):
        for seed in range(conditions.seed, conditions.seed + seeds):
            with seeded_for_scores(seed):
                network = build(plan)
            values.append(function(network, replace(conditions, seed=seed)))
    if len(values) == 1:
        return values[0]
    numbers = [each.value for each in values]
    low, _, high = statistics.quantiles(numbers, n=4, method="inclusive")
    return MetricValue(statistics.fmean(numbers), low, high, f"mean of {len(values)} seeds, {values[0].note}")


def own_metric_value(
    own: OwnMetric, plan: Plan, job: dict[str, Any], conditions: MetricConditions
) -> MetricValue:
    """Measure a metric of one's own; with `network`, the mean over `seeds` networks, as scores are.

    Raises:
        MetricNotApplicable: it has no value here.
        TypeError: its function returns no number.
    """
    values: list[float] = []
    seeds = conditions.seeds if own.needs == "network" else 1
    shape = (plan.in_channels, *conditions.image)
    with num_threads(conditions.threads):
        for seed in range(conditions.seed, conditions.seed + seeds):
            with seeded_for_scores(seed):
                if own.needs == "plan":
                    value = own.value(plan, shape)
                elif own.needs == "network":
                    network = build(plan).to(conditions.device)
                    value = own.value(network, noise_for_scores(network, replace(conditions, seed=seed)))
                else:
                    value = _metric_on_study_data(own, job)
            if value is None:
                raise MetricNotApplicable("it has no value for this network")
            values.append(value)
    note = "" if own.needs == "plan" else f"batch {conditions.batch} of noise"
    if own.needs == "data":
        note = f"data {job['study']['data']['source']}"
    if len(values) == 1:
        return MetricValue(values[0], note=note)
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return MetricValue(statistics.fmean(values), low, high, f"mean of {len(values)} seeds, {note}")


def _metric_on_study_data(own: OwnMetric, job: dict[str, Any]) -> float | None:
    """Return the value of a network with the data's channels, classes and image size."""
    study = TrainedError.from_dict(job["study"])
    with process_group(study.machine.device) as group:
        network = build(make_plan(study_job_config(pruning.read_pruned(job["model"]), study.data)))
        return own.value(network.to(group.device), load_data(study.data, group, 0))


def latency_metric(network: Network, conditions: MetricConditions) -> MetricValue:
    """Measure milliseconds of the forward pass of a batch in evaluation mode: median and quartiles.

    Raises:
        MetricNotApplicable: the runtime cannot run the network.
    """
    layout = _layout_for_metric(network, conditions)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad(), silence_exporters():
        try:
            run = runnable(
                copy.deepcopy(network).eval(),
                conditions.runtime,
                image=(network.plan.in_channels, *conditions.image),
                folder=Path(folder),
                dtype=conditions.dtype,
                device=conditions.device,
                threads=conditions.threads,
                layout=layout,
            )
        except ConfigError as error:
            raise MetricNotApplicable(str(error)) from None
        images = _images_for_metric(network, conditions, layout)
        # Single passes, in contrast to a benchmark: a sweep has many networks, and each its time limit.
        (found,) = time_interleaved([partial(run, images)], conditions.repeats, conditions.device, shortest=0)
    times = [seconds * 1e3 for seconds in found.rounds]
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else times * 3
    note = f"{conditions}, median of {conditions.repeats} after {WARM_UP} to warm up"
    return MetricValue(middle, low, high, note)


def peak_memory_metric(network: Network, conditions: MetricConditions) -> MetricValue:
    """Measure the peak bytes of a forward pass in evaluation mode: parameters, buffers and activations.

    On a CPU live tensors are counted, without the workspace of operations. On a GPU it is the allocator's
    peak.
    """
    module, images = _prepare_network_for_metric(network, conditions)
    with torch.inference_mode():
        if conditions.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(conditions.device)
            module(images)
            peak = torch.cuda.max_memory_allocated(conditions.device)
            return MetricValue(float(peak), note=f"{conditions}, allocator's peak")
        with _PeakMemoryMetricMode([*module.parameters(), *module.buffers(), images]) as live:
            module(images)
    return MetricValue(float(live.peak), note=f"{conditions}, tensors alive")


class _PeakMemoryMetricMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all live tensors."""

    def __init__(self, fixed: list[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self.known: weakref.WeakSet[Any] = weakref.WeakSet()
        for tensor in fixed:
            self.count(tensor)

    def count(self, tensor: Any) -> None:
        """Count a tensor's storage until it is freed; views share a known storage."""
        if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage()) not in self.known:
            self.known.add(storage)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.free, storage.nbytes()).atexit = False

    def free(self, size: int) -> None:
        """Subtract a storage that was freed."""
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for part in result if isinstance(result, (tuple, list)) else (result,):
            self.count(part)
        return result


def _prepare_network_for_metric(network: Network, conditions: MetricConditions) -> tuple[nn.Module, Tensor]:
    """Return a copy in evaluation mode and a batch of noise, as the conditions say."""
    layout = _layout_for_metric(network, conditions)
    module = copy.deepcopy(network).to(conditions.device, torch_dtype(conditions.dtype)).eval()
    module.to(memory_format=layout)  # type: ignore[call-overload]
    return module, _images_for_metric(network, conditions, layout)


def _layout_for_metric(network: Network, conditions: MetricConditions) -> torch.memory_format:
    if not conditions.channels_last:
        return torch.contiguous_format
    if network.plan.dims == 1:
        raise MetricNotApplicable("torch has no layout of sequences with channels last")
    return torch.channels_last if network.plan.dims == 2 else torch.channels_last_3d


def _images_for_metric(network: Network, conditions: MetricConditions, layout: torch.memory_format) -> Tensor:
    with seeded_for_scores(conditions.seed):
        return (
            noise_for_scores(network, conditions).to(torch_dtype(conditions.dtype)).to(memory_format=layout)
        )


METRIC_FUNCTIONS: dict[str, Callable[[Network, MetricConditions], MetricValue]] = {
    "latency": latency_metric,
    "memory": peak_memory_metric,
    "synflow": synflow_score,
    "naswot": naswot_score,
    "zen": zen_score,
    "gradients": gradient_range_score,
}
