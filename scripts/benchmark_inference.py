"""Inference against timm and torchvision: eager, compiled, and torchvision's network exported by hand.

    scripts/benchmark_inference [--models resnet50] [--batch 1 8] [--image 224] [--rounds 9] [--threads 2]

All run in interleaved rounds of one process with the same weights: the median per call, and the median over
rounds of its ratio to timm's in eager mode in the same round. Below 1 is quicker than that. The last line of
each case is the best of ours against the best of theirs.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from benchmark_build import references
from torch import nn

import resnet_factory as rf
from resnet_factory.errors import ConfigError
from resnet_factory.network.runtimes.export import export_program
from resnet_factory.network.runtimes.formats import FORMATS
from resnet_factory.network.runtimes.timing import measure_machine_limits, time_interleaved


def main() -> int:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["resnet18", "resnet50"])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--image", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    names = ("torch", "torchvision", "timm", "onnxruntime", "openvino")
    print(
        f"{_processor()}, {given.threads} threads; " + ", ".join(f"{name} {_version(name)}" for name in names)
    )
    with torch.no_grad():
        limit = measure_machine_limits(torch.float32, "cpu")
        print(f"matrix product {limit.macs / 1e9:.1f} G MACs/s, copy {limit.bytes / 1e9:.1f} GB/s\n")
        print("| network | batch | | ms | of timm eager | of the matrix rate |\n|---|---|---|---|---|---|")
        for name in given.models:
            for batch in given.batch:
                _measure(name, batch, given.image, given.rounds, given.threads, limit.macs)
    return 0


def _measure(name: str, batch: int, image: int, rounds: int, threads: int, rate: float) -> None:
    timm, models = references()
    ours = rf.create_model(name).eval()
    theirs: nn.Module = timm.create_model(name).eval()
    theirs.load_state_dict(ours.state_dict())
    second: nn.Module = getattr(models, name)().eval()
    second.load_state_dict(ours.state_dict())
    x = torch.randn(batch, 3, image, image)
    compiled = torch.compile(theirs)
    compiled(x)  # the compiling itself is not timed
    runs: dict[str, Callable[[], object]] = {
        "timm eager": partial(theirs, x),
        "timm compiled": partial(compiled, x),
        "torchvision eager": partial(second, x),
        "ours eager": partial(ours, x),
        "ours folded, not in place": partial(rf.fold(ours, in_place=False), x),
        "ours folded": partial(rf.fold(ours), x),
    }
    with tempfile.TemporaryDirectory() as folder:
        for to, run in _exported_by_hand(second, x, Path(folder) / "theirs.onnx", threads).items():
            runs[f"torchvision, exported by hand to {to}"] = run
        for to, file in (("onnx", "n.onnx"), ("openvino", "n.xml")):
            try:
                done = export_program(ours, Path(folder) / file, to, image=(3, image, image), dynamic="batch")
            except ConfigError as error:
                print(f"{to}: {error}")
                continue
            runs[f"ours, export to={to}"] = partial(FORMATS[to].read(done.file, threads), x)
        found = dict(zip(runs, time_interleaved(list(runs.values()), rounds), strict=True))
    macs, base = rf.cost(ours.plan, image=(3, image, image)).macs * batch, found["timm eager"].rounds
    for label, latency in found.items():
        ratio = _ratio(latency.rounds, base)
        share = macs / latency.median / rate
        print(
            f"| {name} | {batch} | {label} | {latency.median * 1e3:.1f} | {ratio:.3f} | {share:.0%} |",
            flush=True,
        )
    rivals = {label for label in found if not label.startswith("ours")}
    best, rival = (
        min(labels, key=lambda label: found[label].median) for labels in (found.keys() - rivals, rivals)
    )
    ratio = _ratio(found[best].rounds, found[rival].rounds)
    print(f"best of ours, {best}, takes {ratio:.3f} of the time of the best of theirs, {rival}", flush=True)


def _exported_by_hand(
    network: nn.Module, x: torch.Tensor, file: Path, threads: int
) -> dict[str, Callable[[], object]]:
    """Return torchvision's network as the runtimes' own documentation exports and runs one."""
    onnxruntime: Any = import_module("onnxruntime")
    openvino: Any = import_module("openvino")
    torch.onnx.export(network, (x,), file, dynamo=True, verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    fed = {session.get_inputs()[0].name: x.numpy()}
    converted = openvino.convert_model(network, example_input=x, input=[list(x.shape)])
    given = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.compile_model(converted, "CPU", given)
    return {"onnx": lambda: session.run(None, fed), "openvino": lambda: model(x.numpy())}


def _ratio(rounds: Sequence[float], base: Sequence[float]) -> float:
    return statistics.median(one / other for one, other in zip(rounds, base, strict=True))


def _version(name: str) -> str:
    try:
        return version(name)
    except ModuleNotFoundError:
        return "missing"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "")


if __name__ == "__main__":
    raise SystemExit(main())
