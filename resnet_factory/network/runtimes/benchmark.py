"""Networks timed in several runtimes, number types and batch sizes, against the limits of the machine."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from resnet_factory.costing.complexity import compute_complexity
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.layers import axes_text
from resnet_factory.network.builder import build
from resnet_factory.network.network import Network
from resnet_factory.network.runtimes.choices import EAGER, EXPORTED_RUNTIMES, INFERENCE, TRAINING
from resnet_factory.network.runtimes.program import silence_exporters
from resnet_factory.network.runtimes.runnable import Runnable, runnable, torch_dtype
from resnet_factory.network.runtimes.timing import (
    Latency,
    MachineLimits,
    Run,
    measure_machine_limits,
    peak_memory_of_call,
    time_interleaved,
)
from resnet_factory.network.threads import num_threads
from resnet_factory.planning.folding import fold_plan
from resnet_factory.planning.network_plan import Plan

TRAINING_PASSES = 3
"""Multiply-adds of a training step, in those of the forward pass: the backward pass has gradients of maps and
of weights, but for the image's, which count all the same."""
STEP_MOVES = {INFERENCE: (1, 2), TRAINING: (5, 5)}
"""Times that a step moves each weight and each counted activation at least.

In inference, weights are read, and activations written and read. In training, weights are read forward and
backward, their gradient is written and read, and they are written; activations are written, read forward and
backward, and their gradient is written and read."""


@dataclass(frozen=True)
class BenchmarkCase:
    """One network to be timed."""

    plan: Plan
    runtime: str
    """One of choices.RUNTIMES."""
    dtype: str
    batch: int
    image: tuple[int, ...]
    """(C, H, W) in 2 dimensions."""
    step: str = INFERENCE
    """One of choices.STEPS."""


@dataclass(frozen=True)
class BenchmarkTiming:
    """The latency of a case, and what it means on this machine."""

    case: BenchmarkCase
    latency: Latency
    macs: int
    """Multiply-adds of one call, those of the plan that was run."""
    bytes: int
    """Bytes that one call moves at least, as `STEP_MOVES` says."""
    memory: int | None
    """Bytes needed at most beyond weights and input; None for other runtimes than torch's."""
    limits: MachineLimits

    @property
    def images(self) -> float:
        """Images per second."""
        return self.case.batch / self.latency.median

    @property
    def matrix_share(self) -> float:
        """The rate of multiply-adds, as a share of the machine's for matrix products."""
        return self.macs / self.latency.median / self.limits.macs

    @property
    def bandwidth_share(self) -> float:
        """The least bytes per second that it must move, as a share of the machine's bandwidth."""
        return self.bytes / self.latency.median / self.limits.bytes


def measure_benchmark(
    cases: Sequence[BenchmarkCase], *, device: str, rounds: int, threads: int | None, seed: int = 0
) -> list[BenchmarkTiming]:
    """Time all cases in interleaved rounds, with the limits of the machine in the same run.

    Networks are freshly initialised, and run on random images.

    Raises:
        ConfigError: a runtime is not installed, or cannot run a network.
    """
    with num_threads(threads), tempfile.TemporaryDirectory() as folder, torch.no_grad(), silence_exporters():
        found = {
            dtype: measure_machine_limits(torch_dtype(dtype), device)
            for dtype in dict.fromkeys(case.dtype for case in cases)
        }
        torch.manual_seed(seed)
        networks = {plan: build(plan).eval() for plan in dict.fromkeys(case.plan for case in cases)}
        exported: dict[tuple[object, ...], Runnable] = {}
        runs = [
            _prepare_benchmark_run(case, networks[case.plan], device, threads, Path(folder), exported)
            for case in cases
        ]
        latencies = _timed(cases, runs, rounds, device)
        memories = [
            None if case.runtime in EXPORTED_RUNTIMES else peak_memory_of_call(run, device)
            for case, run in zip(cases, runs, strict=True)
        ]
    timings = []
    for case, latency, memory in zip(cases, latencies, memories, strict=True):
        plain = case.runtime == EAGER or case.step == TRAINING
        costed = compute_complexity(case.plan if plain else fold_plan(case.plan).plan, case.image)
        weights, activations = STEP_MOVES[case.step]
        moved = weights * costed.params + activations * case.batch * costed.activations
        macs = costed.macs * case.batch * (TRAINING_PASSES if case.step == TRAINING else 1)
        size = torch_dtype(case.dtype).itemsize
        timings.append(BenchmarkTiming(case, latency, macs, moved * size, memory, found[case.dtype]))
    return timings


def _timed(cases: Sequence[BenchmarkCase], runs: Sequence[Run], rounds: int, device: str) -> list[Latency]:
    """Time the runs; what a norm says about too few values to train on is a fault of the batch."""
    try:
        return time_interleaved(runs, rounds, device)
    except ValueError as error:
        small = [case for case in cases if case.step == TRAINING and "more than 1 value" in str(error)]
        if not small:
            raise
        message = f"a training step on so few images of {axes_text(small[0].image)} is not possible: {error}"
        raise ConfigError([Fault("batch", message)]) from None


def _prepare_benchmark_run(
    case: BenchmarkCase,
    network: Network,
    device: str,
    threads: int | None,
    folder: Path,
    exported: dict[tuple[object, ...], Runnable],
) -> Run:
    """Return a function that runs a case once; files are written once for each network and runtime."""
    images = torch.randn(case.batch, *case.image).to(device, torch_dtype(case.dtype))
    key = case.plan, case.runtime, case.image
    if key in exported:
        return partial(exported[key], images)
    place = folder / str(len(exported))
    place.mkdir(exist_ok=True)
    run = runnable(
        network,
        case.runtime,
        image=case.image,
        folder=place,
        dtype=case.dtype,
        device=device,
        threads=threads,
        step=case.step,
    )
    if case.runtime in EXPORTED_RUNTIMES:
        exported[key] = run
    return partial(run, images)
