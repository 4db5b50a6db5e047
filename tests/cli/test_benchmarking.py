"""The benchmark command: what is timed, in which runtimes, and what it says where one is missing."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import resnet_factory as rf
from resnet_factory.cli import main
from resnet_factory.network.runtimes import packages
from resnet_factory.network.runtimes.benchmark import BenchmarkCase, BenchmarkTiming, benchmarked_module
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


def test_missing_runtimes_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    assert main.main([*WORDS, "model=resnet18", "runtime=eager,onnxruntime"]) == 2
    said = capsys.readouterr().err
    assert "'onnxruntime' needs onnx, onnxscript, onnxruntime, not installed here: pip install" in said
    assert main.main([*WORDS, "model=resnet18"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runtime=tensorrt"], "unknown runtime 'tensorrt'; known are eager, folded"),
        (["batch=0"], "batch: expected a whole number from 1 on, found 0"),
        (["device=cuda:99"], "torch finds no 'cuda:99' on this machine"),
        (["device=gpu"], "unknown device 'gpu'; known are cpu, cuda"),
        (["runtime=openvino", "dtype=bfloat16"], "openvino runs in single precision here"),
        (["runtime=compile", "by=stage"], "stages are timed in eager mode"),
        (["rounds=2,3"], "one value holds for all that is measured"),
        (["file=t.txt"], "does not end in .csv"),
    ],
)
def test_mistakes_exit_with_2(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([*WORDS, "model=resnet18", *words]) == 2
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
        made = benchmarked_module(network, runtime, "bfloat16", "cpu")
        assert isinstance(made, nn.Module)
        assert {each.dtype for each in made.parameters()} == {torch.bfloat16}
    assert {each.dtype for each in network.parameters()} == {torch.float32}
