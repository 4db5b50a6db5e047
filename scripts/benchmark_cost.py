"""What a network costs, from its plan, against torchinfo and torch's FlopCounterMode: everything in one run.

Ours is timed from an already composed config. Cold: one that was never planned before. Warm: one that was,
planned and costed anew. Theirs are timed with the module already built, and from the constructor on, on the
meta device, where nothing is computed. Rounds are interleaved; the best of each is shown, and how many times
as long as our cold run it takes.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from functools import partial

import torch
import torchinfo
from torch.utils.flop_counter import FlopCounterMode

import resnet_factory as rf
from resnet_factory.reporting.other_counters import counts_of_other_tools


def main() -> int:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--models", nargs="+", default=["resnet18", "resnet50", "resnet152"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--image", type=int, default=224)
    parser.add_argument("--cpu-clock", action="store_true", help="time this process alone, on a busy machine")
    options = parser.parse_args()
    clock = time.process_time if options.cpu_clock else time.perf_counter
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, torchinfo {torchinfo.__version__}, {options.rounds} rounds")
    for name in options.models:
        measure(name, options.image, options.rounds, clock)
    return 0


def measure(name: str, side: int, rounds: int, clock: Callable[[], float]) -> None:
    """One network, counted by all."""
    config = rf.compose(name)
    plan = rf.plan(config)
    image = (plan.in_channels, side, side)
    network = constructed(plan)
    runs: dict[str, Callable[[], int]] = {
        "plan and cost, warm": partial(from_config, config, image),
        "cost, of a plan": lambda: rf.cost(plan, image).macs,
        "with receptive fields and memory": lambda: everything(plan, image),
        "FlopCounterMode, of a module": lambda: flops(network, image),
        "FlopCounterMode, with constructing": lambda: flops(constructed(plan), image),
        "torchinfo, of a module": lambda: multiply_adds(network, image),
        "torchinfo, with constructing": lambda: multiply_adds(constructed(plan), image),
    }
    times: dict[str, list[float]] = {}
    counts: dict[str, int] = {}
    for _ in range(rounds):
        gc.collect()
        for _ in range(20):
            fresh = rf.read(config.to_dict())
            record(times, counts, "plan and cost, cold", partial(from_config, fresh, image), clock)
        for label, run in runs.items():
            for _ in range(1 if "Flop" in label or "torchinfo" in label else 20):
                record(times, counts, label, run, clock)
    cold = min(times["plan and cost, cold"])
    print(f"\n{name} at {side}x{side}")
    print(f"{'':36}{'ms':>10}{'times ours':>12}  multiply-adds")
    for label in ["plan and cost, cold", *runs]:
        best = min(times[label])
        print(f"{label:36}{1000 * best:10.3f}{best / cold:12.1f}  {counts[label]:,}")
    expected = {
        peer.tool: peer.number for peer in counts_of_other_tools(rf.cost(plan, image)) if peer.tool != "pycls"
    }
    assert counts["FlopCounterMode, of a module"] == expected["torch FlopCounterMode"] // 2
    assert counts["torchinfo, of a module"] == expected["torchinfo"]


def record(
    times: dict[str, list[float]],
    counts: dict[str, int],
    label: str,
    run: Callable[[], int],
    clock: Callable[[], float],
) -> None:
    """Time one run, without collections of garbage that others left."""
    gc.disable()
    start = clock()
    counts[label] = run()
    times.setdefault(label, []).append(clock() - start)
    gc.enable()


def from_config(config: rf.ModelConfig, image: tuple[int, int, int]) -> int:
    """Plan and cost."""
    return rf.cost(rf.plan(config), image).macs


def constructed(plan: rf.Plan) -> torch.nn.Module:
    """The module on the meta device: no memory, no initial weights."""
    with torch.device("meta"):
        return rf.build(plan).eval()


def everything(plan: rf.Plan, image: tuple[int, int, int]) -> int:
    """All that `describe` prints of the network as a whole."""
    cost = rf.cost(plan, image)
    assert cost.receptive_field
    assert cost.memory().training
    return cost.macs


def flops(network: torch.nn.Module, image: tuple[int, int, int]) -> int:
    """Multiply-adds by torch's counter, which counts each as two."""
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, *image, device="meta"))
    return int(counter.get_total_flops()) // 2


def multiply_adds(network: torch.nn.Module, image: tuple[int, int, int]) -> int:
    """Multiply-adds by torchinfo, biases and norms among them."""
    return int(torchinfo.summary(network, input_size=(1, *image), device="meta", verbose=0).total_mult_adds)


if __name__ == "__main__":
    raise SystemExit(main())
