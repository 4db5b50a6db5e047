"""Build, load and run against timm and torchvision: everything in one run, interleaved, as ratios.

Columns: ours and theirs in milliseconds (the best of the rounds), and ours / theirs as the median over
rounds, in which both were timed one after the other. Below 1 we are quicker.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

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
    parser.add_argument("--only", choices=("build", "load", "run"), nargs="+", default=["build", "load", "run"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
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
    _, torchvision = references()
    config = rf.compose(name)
    network = rf.build(rf.plan(config))
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder) / "ours.safetensors", Path(folder) / "theirs.pth"
        rf.save(network, config, ours)
        torch.save(network.state_dict(), theirs)
        size = ours.stat().st_size

        def construct() -> nn.Module:
            made = torchvision.get_model(name)
            made.load_state_dict(torch.load(theirs, weights_only=True))
            return made  # type: ignore[no-any-return]

        compare(f"{name}: load, torchvision", lambda: rf.load(ours), construct, rounds)
        compare(
            f"{name}: load and read every weight", lambda: read(rf.load(ours)), lambda: read(construct()), rounds
        )
        del network
        peaks = [peak(lambda run=run: read(run())) / size for run in (lambda: rf.load(ours), construct)]
        print(f"{name + ': peak memory, copies of the weights':<46}{peaks[0]:>9.2f}{peaks[1]:>10.2f}")


def measure_run(name: str, rounds: int, batch: int, side: int, device: str) -> None:
    """Forward, and forward with backward, of the same weights in the same memory format."""
    timm, torchvision = references()
    state = rf.create_model(name).state_dict()
    for layout in (torch.contiguous_format, torch.channels_last):
        image = torch.rand(batch, 3, side, side, device=device).to(memory_format=layout)
        made = {"ours": rf.create_model(name), "timm": timm.create_model(name), "torchvision": torchvision.get_model(name)}
        for network in made.values():
            network.load_state_dict(state)
            network.to(device, memory_format=layout)
        form = "channels_last" if layout is torch.channels_last else "contiguous"
        for library in ("timm", "torchvision"):
            for what, run in (("forward", forward), ("forward+backward", backward)):
                label = f"{name}: {what}, {form}, {library}"
                ours, theirs = made["ours"], made[library]
                compare(label, lambda: run(ours, image), lambda: run(theirs, image), rounds)


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
    start = time.perf_counter()
    run()
    taken = time.perf_counter() - start
    gc.enable()
    return taken


def read(network: nn.Module) -> float:
    """Touch every weight."""
    return sum(float(tensor.sum()) for tensor in network.state_dict().values())


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


def references() -> tuple[object, object]:
    """timm, and torchvision's models; torchvision's compiled operators need not load for these."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator, threshold in (("nms", "iou_threshold"), ("qnms", "iou_threshold")):
        if not hasattr(torch.ops.torchvision, operator):
            library.define(f"{operator}(Tensor dets, Tensor scores, float {threshold}) -> Tensor")
    KEPT.append(library)
    import timm
    from torchvision import models

    return timm, models


KEPT: list[object] = []

if __name__ == "__main__":
    raise SystemExit(main())
