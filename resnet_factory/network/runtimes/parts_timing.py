"""The parts of a network, stages or blocks, timed in eager mode beside their multiply-adds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from resnet_factory.costing.complexity import compute_complexity
from resnet_factory.network.builder import build
from resnet_factory.network.network import Network
from resnet_factory.network.runtimes.benchmark import BenchmarkCase
from resnet_factory.network.runtimes.runnable import torch_dtype, torch_module
from resnet_factory.network.runtimes.timing import WARM, Latency, timing_clock
from resnet_factory.network.threads import num_threads
from resnet_factory.planning.network_plan import Plan

REST, REST_WITH_TRANSITIONS = "stem and head", "stem, transitions and head"


@dataclass(frozen=True)
class TimedPart:
    """The share of a stage or a block in the time and in the multiply-adds of a network."""

    name: str
    latency: Latency
    macs: int
    """For the whole batch."""


def measure_parts(
    case: BenchmarkCase, by: str, *, device: str, rounds: int, threads: int | None, seed: int = 0
) -> list[TimedPart]:
    """Time each part of one network in eager mode, folded or not, in the same calls.

    `by` is `stage` or `block`; what lies outside of these is one part, the last.
    """
    with num_threads(threads), torch.no_grad():
        torch.manual_seed(seed)
        module = torch_module(build(case.plan).eval(), case.runtime, case.dtype, device)
        assert isinstance(module, Network)
        images = torch.randn(case.batch, *case.image).to(device, torch_dtype(case.dtype))
        seconds = _times(module, timed_part_names(module.plan, by), images, device, rounds)
    macs = {
        row.name: row.tally.macs * case.batch for row in compute_complexity(module.plan, case.image).rows(by)
    }
    named = [
        TimedPart(name, Latency(tuple(found)), macs.pop(name)) for name, found in seconds.items() if name
    ]
    transitions = by == "block" and any(stage.transition.children for stage in module.plan.stages)
    rest = REST_WITH_TRANSITIONS if transitions else REST
    return [*named, TimedPart(rest, Latency(tuple(seconds[""])), sum(macs.values()))]


def timed_part_names(plan: Plan, by: str) -> list[str]:
    """Return the names of the stages, or of their blocks."""
    if by == "stage":
        return [stage.name for stage in plan.stages]
    return [f"{stage.name}.{i}" for stage in plan.stages for i in range(len(stage.blocks))]


def _times(
    network: Network, names: list[str], images: Tensor, device: str, rounds: int
) -> dict[str, list[float]]:
    """Return the seconds of each part in each round; those of the rest under an empty name."""
    seconds: dict[str, list[float]] = {name: [] for name in (*names, "")}
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
        part = network.get_submodule(name)
        part.register_forward_pre_hook(begin)
        part.register_forward_hook(end(name))
    for _ in range(rounds):
        start = timing_clock(device)
        network(images)
        whole = timing_clock(device) - start
        seconds[""].append(whole - sum(seconds[name][-1] for name in names))
    return seconds
