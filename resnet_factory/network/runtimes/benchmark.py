"""Networks timed in several runtimes, number types and batch sizes, against the limits of the machine."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from resnet_factory.costing.complexity import compute_complexity
from resnet_factory.network.builder import build
from resnet_factory.network.folding import fold
from resnet_factory.network.network import Network
from resnet_factory.network.runtimes.export import export_program
from resnet_factory.network.runtimes.formats import FORMATS
from resnet_factory.network.runtimes.program import silence_exporters
from resnet_factory.network.runtimes.timing import (
    WARM,
    Latency,
    MachineLimits,
    Run,
    measure_machine_limits,
    peak_memory_of_call,
    time_interleaved,
    timing_clock,
)
from resnet_factory.network.threads import num_threads
from resnet_factory.planning.folding import fold_plan
from resnet_factory.planning.network_plan import Plan

EXPORTED = {"onnxruntime": ("onnx", "n.onnx"), "openvino": ("openvino", "n.xml")}
"""Runtime -> the format of its file, and the file's name."""


@dataclass(frozen=True)
class BenchmarkCase:
    """One network to be timed."""

    plan: Plan
    runtime: str
    """eager; folded: eager after `fold`; compile: torch.compile of the folded one; onnxruntime; openvino."""
    dtype: str
    batch: int
    image: tuple[int, ...]
    """(C, H, W) in 2 dimensions."""


@dataclass(frozen=True)
class BenchmarkTiming:
    """The latency of a case, and what it means on this machine."""

    case: BenchmarkCase
    latency: Latency
    macs: int
    """Multiply-adds of one call, those of the plan that was run."""
    bytes: int
    """Bytes that one call moves at least: weights, and each counted activation written and read."""
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

    Networks are freshly initialised, and run in evaluation mode on random images.

    Raises:
        ConfigError: a runtime is not installed, or cannot run a network.
    """
    with num_threads(threads), tempfile.TemporaryDirectory() as folder, torch.no_grad(), silence_exporters():
        found = {
            dtype: measure_machine_limits(_benchmark_dtype(dtype), device)
            for dtype in dict.fromkeys(case.dtype for case in cases)
        }
        torch.manual_seed(seed)
        networks = {plan: build(plan).eval() for plan in dict.fromkeys(case.plan for case in cases)}
        exported: dict[tuple[object, ...], Callable[[Tensor], object]] = {}
        runs = [
            _prepare_benchmark_run(case, networks[case.plan], device, threads, Path(folder), exported)
            for case in cases
        ]
        latencies = time_interleaved(runs, rounds, device)
        memories = [
            None if case.runtime in EXPORTED else peak_memory_of_call(run, device)
            for case, run in zip(cases, runs, strict=True)
        ]
    timings = []
    for case, latency, memory in zip(cases, latencies, memories, strict=True):
        plan = case.plan if case.runtime == "eager" else fold_plan(case.plan).plan
        costed, size = compute_complexity(plan, case.image), _benchmark_dtype(case.dtype).itemsize
        moved = costed.params + 2 * case.batch * costed.activations
        timings.append(
            BenchmarkTiming(case, latency, costed.macs * case.batch, moved * size, memory, found[case.dtype])
        )
    return timings


def _benchmark_dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype


def _prepare_benchmark_run(
    case: BenchmarkCase,
    network: Network,
    device: str,
    threads: int | None,
    folder: Path,
    exported: dict[tuple[object, ...], Callable[[Tensor], object]],
) -> Run:
    """Return a function that runs a case once; files are written once for each network and runtime."""
    images = torch.randn(case.batch, *case.image).to(device, _benchmark_dtype(case.dtype))
    if case.runtime in EXPORTED:
        key = case.plan, case.runtime, case.image
        if key not in exported:
            to, name = EXPORTED[case.runtime]
            place = folder / str(len(exported))
            place.mkdir()
            done = export_program(network, place / name, to, image=case.image, dynamic="batch")
            exported[key] = FORMATS[to].read(done.file, threads)
        return partial(exported[key], images)
    return partial(benchmarked_module(network, case.runtime, case.dtype, device), images)


def benchmarked_module(network: Network, runtime: str, dtype: str, device: str) -> nn.Module:
    """Return a copy of a network as one of torch's runtimes runs it."""
    made = copy.deepcopy(network) if runtime == "eager" else fold(network, in_place=runtime == "folded")
    made = made.to(device, _benchmark_dtype(dtype))
    if runtime == "compile":
        compiled = torch.compile(made, dynamic=False)
        assert isinstance(compiled, nn.Module)
        return compiled
    return made


REST = "stem and head"


@dataclass(frozen=True)
class StageBenchmark:
    """The share of a stage in the time and in the multiply-adds of a network."""

    name: str
    latency: Latency
    macs: int


def benchmark_by_stage(
    case: BenchmarkCase, *, device: str, rounds: int, threads: int | None
) -> list[StageBenchmark]:
    """Time the stem, each stage and the head of one network in eager mode, folded or not."""
    with num_threads(threads), torch.no_grad():
        module = benchmarked_module(build(case.plan).eval(), case.runtime, case.dtype, device)
        assert isinstance(module, Network)
        images = torch.randn(case.batch, *case.image).to(device, _benchmark_dtype(case.dtype))
        return _benchmark_stages(module, images, case, device, rounds)


def _benchmark_stages(
    network: Network, images: Tensor, case: BenchmarkCase, device: str, rounds: int
) -> list[StageBenchmark]:
    names = [stage.name for stage in network.plan.stages]
    seconds: dict[str, list[float]] = {name: [] for name in (*names, REST)}
    begun = 0.0

    def begin(_module: nn.Module, _given: object) -> None:
        nonlocal begun
        begun = timing_clock(device)

    def end(name: str) -> Callable[[nn.Module, object, object], None]:
        def note(_module: nn.Module, _given: object, _output: object) -> None:
            seconds[name].append(timing_clock(device) - begun)

        return note

    for _ in range(WARM):
        network(images)
    for name in names:
        stage = network.get_submodule(name)
        stage.register_forward_pre_hook(begin)
        stage.register_forward_hook(end(name))
    for _ in range(rounds):
        start = timing_clock(device)
        network(images)
        whole = timing_clock(device) - start
        seconds[REST].append(whole - sum(seconds[name][-1] for name in names))
    macs = {
        row.name: row.tally.macs * case.batch for row in compute_complexity(network.plan, case.image).sections
    }
    macs[REST] = sum(number for name, number in macs.items() if name not in names)
    return [StageBenchmark(name, Latency(tuple(found)), macs.get(name, 0)) for name, found in seconds.items()]
