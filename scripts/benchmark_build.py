"""Build, load and run against timm and torchvision: everything in one run, interleaved, as ratios.

Columns: ours and theirs in milliseconds (the best of the rounds), and ours / theirs as the median over
rounds, in which both were timed one after the other. Below 1 we are quicker.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import resnet_factory as rf

Run = Callable[[], object]


def main() -> int:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--models", nargs="+", default=["resnet18", "resnet50", "resnet152"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--image", type=int, default=160)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--only", choices=("build", "load", "run"), nargs="+", default=["build", "load", "run"]
    )
    parser.add_argument("--cpu-clock", action="store_true", help="time this process alone, on a busy machine")
    parser.add_argument("--peak", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak is not None:
        ours = options.peak.suffix == ".safetensors"
        load = partial(rf.load if ours else partial(construct_then_load, options.models[0]), options.peak)
        references()
        print(peak(lambda: read(load())))
        return 0
    print(f"torch {torch.__version__}, {options.threads} threads, {options.rounds} rounds, {options.device}")
    for name in options.models:
        if "build" in options.only:
            measure_build(name, options.rounds)
        if "load" in options.only:
            measure_load(name, options.rounds)
        if "run" in options.only:
            measure_run(name, options.rounds, options.batch, options.image, options.device)
    return 0


def measure_build(name: str, rounds: int) -> None:
    """Constructors: ours from the plan and from the name, timm's and torchvision's."""
    timm, torchvision = references()
    plan = rf.plan(rf.compose(name))
    theirs = {"timm": lambda: timm.create_model(name), "torchvision": lambda: torchvision.get_model(name)}
    for library, construct in theirs.items():
        compare(f"{name}: build, {library}", lambda: rf.build(plan), construct, rounds)
    compare(f"{name}: create_model, timm", lambda: rf.create_model(name), theirs["timm"], rounds)


def measure_load(name: str, rounds: int) -> None:
    """`rf.load` of a file, against constructing torchvision's network and loading the same weights."""
    config = rf.compose(name)
    network = rf.build(rf.plan(config))
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder) / "ours.safetensors", Path(folder) / "theirs.pth"
        rf.save(network, config, ours)
        torch.save(network.state_dict(), theirs)
        size = ours.stat().st_size

        construct = partial(construct_then_load, name, theirs)
        compare(f"{name}: load, torchvision", partial(rf.load, ours), construct, rounds)
        touched = f"{name}: load and read every weight, torchvision"
        compare(touched, lambda: read(rf.load(ours)), lambda: read(construct()), rounds)
        peaks = [peak_elsewhere(name, file) / size for file in (ours, theirs)]
        print(f"{name + ': peak memory, copies of the weights':<46}{peaks[0]:>9.2f}{peaks[1]:>10.2f}")


def construct_then_load(name: str, file: Path) -> nn.Module:
    """What torchvision's documentation says to do."""
    network: nn.Module = references()[1].get_model(name)
    network.load_state_dict(torch.load(file, weights_only=True))
    return network


def measure_run(name: str, rounds: int, batch: int, side: int, device: str) -> None:
    """Forward, and forward with backward, of the same weights in the same memory format."""
    timm, torchvision = references()
    state = rf.create_model(name).state_dict()
    for layout in (torch.contiguous_format, torch.channels_last):
        image = torch.rand(batch, 3, side, side, device=device).to(memory_format=layout)
        made = {
            "ours": rf.create_model(name),
            "timm": timm.create_model(name),
            "torchvision": torchvision.get_model(name),
        }
        for network in made.values():
            network.load_state_dict(state)
            network.to(device, memory_format=layout)
        form = "channels_last" if layout is torch.channels_last else "contiguous"
        for library in ("timm", "torchvision"):
            for what, run in (("forward", forward), ("forward+backward", backward)):
                label = f"{name}: {what}, {form}, {library}"
                compare(label, partial(run, made["ours"], image), partial(run, made[library], image), rounds)


def forward(network: nn.Module, image: torch.Tensor) -> None:
    """One inference."""
    network.eval()
    with torch.inference_mode():
        network(image)
    synchronise(image)


def backward(network: nn.Module, image: torch.Tensor) -> None:
    """One training step without the optimiser's."""
    network.train()
    network.zero_grad()
    network(image).sum().backward()
    synchronise(image)


def synchronise(tensor: torch.Tensor) -> None:
    """Wait for an accelerator."""
    if tensor.is_cuda:
        torch.cuda.synchronize()


def clock() -> float:
    """Seconds: of the day, or of this process alone where the machine is busy with others."""
    return time.process_time() if "--cpu-clock" in sys.argv else time.perf_counter()


def compare(label: str, ours: Run, theirs: Run, rounds: int) -> None:
    """Time both in turn, the order changing from round to round."""
    times: list[tuple[float, float]] = []
    ours(), theirs()
    for turn in range(rounds):
        order: Sequence[Run] = (ours, theirs) if turn % 2 else (theirs, ours)
        taken = {run: timed(run) for run in order}
        times.append((taken[ours], taken[theirs]))
    best = [min(column) * 1e3 for column in zip(*times, strict=True)]
    ratio = statistics.median(a / b for a, b in times)
    print(f"{label:<46}{best[0]:>9.2f}{best[1]:>10.2f}   ratio {ratio:.3f}", flush=True)


def timed(run: Run) -> float:
    """Seconds of one run, without the collector."""
    gc.collect()
    gc.disable()
    start = clock()
    run()
    taken = clock() - start
    gc.enable()
    return taken


def read(network: nn.Module) -> float:
    """Touch every weight."""
    return sum(float(tensor.sum()) for tensor in network.state_dict().values())


def peak_elsewhere(name: str, file: Path) -> int:
    """`peak` of loading and reading a file, in a process of its own."""
    command = [sys.executable, __file__, "--models", name, "--peak", str(file)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def peak(run: Run) -> int:
    """Bytes by which the resident memory grows at most (Linux)."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    run()
    return status("VmHWM") - before


def status(key: str) -> int:
    """One figure of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


def references() -> tuple[Any, Any]:
    """timm, and torchvision's models; torchvision's compiled operators need not load for these."""
    for operator, threshold in (("nms", "iou_threshold"), ("qnms", "iou_threshold")):
        if not hasattr(torch.ops.torchvision, operator):
            torch.library.define(
                f"torchvision::{operator}", f"(Tensor a, Tensor b, float {threshold}) -> Tensor"
            )
    import timm
    from torchvision import models

    return timm, models


if __name__ == "__main__":
    raise SystemExit(main())
