"""The benchmark command: what is timed, in which runtimes, and what it says where one is missing."""

from __future__ import annotations

import csv
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import resnet_factory as rf
from resnet_factory.cli import main
from resnet_factory.network.runtimes import packages
from resnet_factory.network.runtimes.benchmark import TRAINING_PASSES, BenchmarkCase, BenchmarkTiming
from resnet_factory.network.runtimes.parts_timing import measure_parts
from resnet_factory.network.runtimes.runnable import torch_module, training_step
from resnet_factory.network.runtimes.timing import (
    Latency,
    MachineLimits,
    peak_memory_of_call,
    time_interleaved,
)

WORDS = ["benchmark", "model.depths=1", "model.widths=8", "input.size=32", "rounds=2", "threads=1"]


def test_every_combination_is_timed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "t.csv"
    words = [*WORDS, "model=resnet18,resnet50", "batch=1,2", "runtime=eager,folded", f"file={file}"]
    assert main.main(words) == 0
    out = capsys.readouterr().out
    assert "limits in float32: " in out
    rows = list(csv.DictReader(file.read_text().splitlines()))
    found = {(row["model"], row["batch"], row["runtime"]) for row in rows}
    assert len(rows) == len(found) == 8
    for row in rows:
        assert float(row["milliseconds"]) > 0
        assert float(row["images_per_second"]) * float(row["milliseconds"]) == pytest.approx(
            1e3 * int(row["batch"])
        )
        assert row["image"] == "3x32x32"


def test_exported_runtimes(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    file = tmp_path / "t.csv"
    assert main.main([*WORDS, "model=resnet18", "runtime=openvino", f"file={file}"]) == 0
    (row,) = csv.DictReader(file.read_text().splitlines())
    assert row["runtime"] == "openvino"
    assert row["peak_megabytes"] == ""


def test_stages_of_one_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([*WORDS, "model=resnet18", "by=stage", "runtime=folded"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("layer1", "layer4", "stem and head", "of the MACs"))


@pytest.mark.parametrize("by", ["stage", "block"])
@pytest.mark.parametrize("runtime", ["eager", "folded"])
def test_parts_are_all_of_the_network(by: str, runtime: str) -> None:
    """Their multiply-adds are the network's, and their times those of its calls."""
    plan = rf.plan(rf.compose("resnet26", "model.widths=8"))
    case = BenchmarkCase(plan, runtime, "float32", 2, (3, 32, 32))
    parts = measure_parts(case, by, device="cpu", rounds=3, threads=1)
    whole = plan if runtime == "eager" else rf.fold(rf.build(plan).eval()).plan
    assert sum(part.macs for part in parts) == 2 * rf.cost(whole, (3, 32, 32)).macs
    names = [stage.name for stage in plan.stages]
    if by == "block":
        names = [f"{stage.name}.{i}" for stage in plan.stages for i, _ in enumerate(stage.blocks)]
    assert [part.name for part in parts] == [*names, "stem and head"]
    assert all(seconds > 0 for part in parts for seconds in part.latency.rounds)


def test_slow_parts_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that sleeps has that time, and no other has it."""
    from resnet_factory.network import builder
    from resnet_factory.network.runtimes import parts_timing

    def slowed(plan: rf.Plan) -> rf.Network:
        made = builder.build(plan)
        made.get_submodule("layer2.0.act1").register_forward_hook(lambda *_: time.sleep(0.05))
        return made

    monkeypatch.setattr(parts_timing, "build", slowed)
    plan = rf.plan(rf.compose("resnet20", "model.depths=1"))
    parts = measure_parts(
        BenchmarkCase(plan, "eager", "float32", 1, (3, 32, 32)), "block", device="cpu", rounds=3, threads=1
    )
    found = {part.name: part.latency.median for part in parts}
    assert found.pop("layer2.0") > 0.05
    assert max(found.values()) < 0.05


def test_training_steps_train() -> None:
    """Every weight moves, in a copy; the multiply-adds are those that torch counts, but for the image's."""
    network = rf.create_model("resnet18", "model.widths=8").eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    step = training_step(network, "eager", "float32", "cpu")
    images = torch.randn(4, 3, 64, 64)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        step(images)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not network.training
    cost = rf.cost(network.plan, (3, 64, 64))
    stem = next(row.tally.macs for row in cost.rows("layer") if row.name == "conv1")
    assert counter.get_total_flops() == 2 * 4 * (TRAINING_PASSES * cost.macs - stem)


def test_training_is_timed_beside_inference(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    words = [*WORDS, "model=resnet18", "step=inference,training", "batch=4", "input.size=64", f"file={file}"]
    assert main.main(words) == 0
    inference, training = csv.DictReader(file.read_text().splitlines())
    assert (inference["step"], training["step"]) == ("inference", "training")
    assert float(training["milliseconds"]) > float(inference["milliseconds"])


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (["batch=1,2,4", "runtime=eager,folded"], ["resnet18 eager", "resnet18 folded", "images in a batch"]),
        (["runtime=eager,folded"], ["resnet18 eager", "resnet50 folded", "latency (ms), batch 1: median"]),
        (["by=stage"], ["resnet18, eager, float32, batch 1", "layer1", "stem and head", "of the MACs"]),
        (["by=block"], ["resnet50, eager, float32, batch 1", "layer4.0", "of the time"]),
    ],
)  # fmt: skip
def test_pictures(words: list[str], texts: list[str], tmp_path: Path) -> None:
    file = tmp_path / "t.svg"
    assert main.main([*WORDS, "model=resnet18,resnet50", *words, f"file={file}"]) == 0
    drawn = " ".join(ET.fromstring(file.read_text()).itertext())
    for text in texts:
        assert text in drawn


def test_parts_are_written_as_a_table(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    assert main.main([*WORDS, "model=resnet18,resnet50", "by=block", f"file={file}"]) == 0
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert len(rows) == 2 * 5
    assert rows[0]["part"] == "layer1.0"
    assert int(rows[0]["macs"]) > 0


def test_multirun_is_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for place in (0, 1):
        words = ["model=resnet18,resnet50", "file=t.csv"]
        words.insert(place, "-m")
        assert main.main([*WORDS, *words]) == 0
        rows = csv.DictReader(Path("t.csv").read_text().splitlines())
        assert [row["model"] for row in rows] == ["resnet18", "resnet50"]
    assert [file.name for file in tmp_path.iterdir()] == ["t.csv"]


def test_missing_runtimes_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    assert main.main([*WORDS, "model=resnet18", "runtime=eager,onnxruntime"]) == 2
    said = capsys.readouterr().err
    assert "'onnxruntime' needs onnx, onnxscript, onnxruntime, not installed here; in " in said
    assert main.main([*WORDS, "model=resnet18"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runtime=tensorrt"], "unknown runtime 'tensorrt'; known are eager, folded"),
        (["batch=0"], "batch: expected a whole number of at least 1, found 0"),
        (["device=cuda:99"], "torch finds no 'cuda:99' on this machine"),
        (["device=gpu"], "unknown device 'gpu'; known are cpu, cuda"),
        (["runtime=openvino", "dtype=bfloat16"], "openvino runs only in single precision here"),
        (["runtime=compile", "by=stage"], "stages are timed in eager mode only"),
        (["step=training", "by=block"], "blocks are timed at inference only: use step=inference"),
        (["step=training", "runtime=folded"], "'folded' runs inference only; step=training takes eager or"),
        (["step=train"], "unknown step 'train'; known are inference, training; did you mean 'training'?"),
        (["step=training"], "command line 'batch=1': batch: a training step on so few images of 3x32x32"),
        (["rounds=2,3"], "expected one value for all measurements, found several"),
        (["file=t.txt"], "does not end in .csv or .svg, as tables and pictures do"),
    ],
)
def test_mistakes_exit_with_2(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([*WORDS, "model=resnet18", "batch=1", *words]) == 2
    caught = capsys.readouterr()
    assert message in caught.err
    assert "Traceback" not in caught.err


def test_shares_are_arithmetic() -> None:
    case = BenchmarkCase(rf.plan("resnet18"), "eager", "float32", 4, (3, 224, 224))
    timing = BenchmarkTiming(case, Latency((0.5, 0.25, 1.0)), 10**9, 10**8, None, MachineLimits(4e9, 8e8))
    assert timing.latency.median == 0.5
    assert timing.images == 8
    assert timing.matrix_share == 0.5
    assert timing.bandwidth_share == 0.25
    assert Latency((1.0, 3.0)).spread == 0.5


def test_functions_are_called_in_turn() -> None:
    called: list[str] = []

    def run(name: str, seconds: float) -> None:
        called.append(name)
        time.sleep(seconds)

    latencies = time_interleaved([lambda: run("a", 0.03), lambda: run("b", 0.03)], 3)
    assert [len(each.rounds) for each in latencies] == [3, 3]
    assert "".join(called).endswith("ababab")


def test_peak_memory_sees_what_a_call_needs() -> None:
    found = peak_memory_of_call(lambda: torch.ones(2**26).sum(), "cpu")
    assert found is None or found > 2**27


def test_runtimes_of_torch_are_copies() -> None:
    network = rf.create_model("resnet18", "model.depths=1", "model.widths=8").eval()
    for runtime in ("eager", "folded"):
        made = torch_module(network, runtime, "bfloat16", "cpu")
        assert isinstance(made, nn.Module)
        assert {each.dtype for each in made.parameters()} == {torch.bfloat16}
    assert {each.dtype for each in network.parameters()} == {torch.float32}
