"""Measured metrics: repeatable, seeded, leaving the network as it is, and silent where they mean nothing."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import resnet_factory as rf
from resnet_factory.cli.main import main
from resnet_factory.layers import Activation
from resnet_factory.network.runtimes import packages, timing
from resnet_factory.planning.nodes import Parallel
from resnet_factory.sweep import init_scores
from resnet_factory.sweep.environment import machine_environment
from resnet_factory.sweep.init_scores import MetricConditions, MetricNotApplicable
from resnet_factory.sweep.jobs import measure_sweep_job
from resnet_factory.sweep.metrics import METRIC_FUNCTIONS, measure_metric

SMALL = MetricConditions(image=(8, 8), batch=4, repeats=3)
SCORES = ("synflow", "naswot", "zen", "gradients")


def plan_of(*overrides: str) -> rf.Plan:
    return rf.plan(rf.compose("resnet20", "model.in_channels=1", "model.depths=1", *overrides))


@pytest.mark.parametrize("metric", [*METRIC_FUNCTIONS])
def test_a_metric_leaves_everything_as_it_was(metric: str) -> None:
    network = rf.build(plan_of())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.random.get_rng_state()
    METRIC_FUNCTIONS[metric](network, SMALL)
    assert torch.equal(torch.random.get_rng_state(), state)
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert network.training
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())


@pytest.mark.parametrize("metric", [*SCORES, "memory"])
def test_a_score_is_the_same_every_time_and_another_with_another_seed(metric: str) -> None:
    plan = plan_of()
    first = measure_metric(plan, metric, SMALL)
    torch.randn(3)
    assert measure_metric(plan, metric, SMALL) == first
    other = measure_metric(plan, metric, MetricConditions(image=(8, 8), batch=4, seed=5))
    assert (other.value == first.value) == (metric == "memory")


def test_synflow_is_what_the_paper_says_on_a_network_worked_by_hand() -> None:
    """One 1x1 path: R is a product of the weights' absolute values, and each w * dR/dw is R itself."""
    plan = rf.plan(
        rf.compose("plain20", "model.in_channels=1", "model.depths=[1]", "model.widths=[1]",
                   "model.strides=[1]",
                   "model.num_classes=1", "model.stem.width=1", "model.act=identity")
    )  # fmt: skip
    network = rf.build(plan)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
            if parameter.dim() == 4:
                parameter[:, :, 1, 1] = -2.0
            elif parameter.dim() == 2:
                parameter.fill_(3.0)
    convolutions = sum(parameter.dim() == 4 for parameter in network.parameters())
    score = init_scores.synflow_score(network, SMALL)
    assert score.value == pytest.approx(math.log10((convolutions + 1) * 2**convolutions * 3))


def test_what_means_nothing_says_why() -> None:
    with pytest.raises(MetricNotApplicable, match="silu"):
        measure_metric(plan_of("model.act=silu"), "naswot", SMALL)
    with pytest.raises(MetricNotApplicable, match="batch normalisation"):
        measure_metric(plan_of("model/norm=group", "model.norm.groups=4"), "zen", SMALL)
    with pytest.raises(MetricNotApplicable, match="singular"):
        measure_metric(plan_of("model.widths=1", "model.stem.width=1", "model/shortcut=none"), "naswot",
                 MetricConditions(image=(1, 1), batch=64))  # fmt: skip
    with pytest.raises(MetricNotApplicable, match=r"the gradient of .* is 0"):
        measure_metric(plan_of("model.zero_init_residual=true"), "gradients", SMALL)


def test_naswot_counts_equal_answers() -> None:
    """Two inputs: K is [[n, s], [s, n]] of n rectifiers, s of them alike, so the score is log(n^2 - s^2)."""
    network = rf.build(plan_of())
    found = init_scores.naswot_score(network, MetricConditions(image=(8, 8), batch=2)).value
    codes = []
    for name, layer in network.plan.leaves:
        if isinstance(layer, Activation):
            part = network.get_submodule(name)
            part.register_forward_hook(lambda _m, _i, out: codes.append((out.flatten(1) > 0).int()))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        network(torch.randn(2, 1, 8, 8))
    code = torch.cat(codes, dim=1)
    total, alike = code.shape[1], int((code[0] == code[1]).sum())
    assert found == pytest.approx(math.log(total**2 - alike**2))


def test_memory_counts_tensors_that_are_alive() -> None:
    plan = plan_of()
    batch_1, batch_8 = (
        measure_metric(plan, "memory", MetricConditions(image=(8, 8), batch=batch)).value for batch in (1, 8)
    )
    network = rf.build(plan)
    fixed = sum(t.numel() * t.element_size() for t in (*network.parameters(), *network.buffers()))
    assert fixed < batch_1 < batch_8
    # Activations grow with the batch, parameters do not.
    assert batch_8 - fixed == pytest.approx(8 * (batch_1 - fixed))


def test_several_seeds_are_a_mean_with_a_spread() -> None:
    score = measure_metric(plan_of(), "zen", MetricConditions(image=(8, 8), batch=4, seeds=3))
    single = [
        measure_metric(plan_of(), "zen", MetricConditions(image=(8, 8), batch=4, seed=seed)).value
        for seed in range(3)
    ]
    assert score.value == pytest.approx(sum(single) / 3)
    assert score.low is not None
    assert score.high is not None
    assert min(single) <= score.low <= score.high <= max(single)


def test_latency_names_its_conditions() -> None:
    score = measure_metric(
        plan_of(), "latency", MetricConditions(image=(8, 8), batch=2, repeats=5, channels_last=True)
    )
    assert score.low is not None
    assert score.high is not None
    assert 0 < score.low <= score.value <= score.high
    for word in ("batch 2 of 8x8", "cpu", "1 thread", "float32", "channels_last", "median of 5"):
        assert word in score.note


@pytest.mark.parametrize("runtime", ["folded", "onnxruntime", "openvino"])
def test_latency_of_other_runtimes(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The function that is timed computes what the network computes, in that runtime."""
    if runtime != "folded":
        pytest.importorskip(runtime)
    called = []
    from resnet_factory.sweep import metrics

    def watched(runs: list[Any], rounds: int, device: str, shortest: float) -> Any:
        (run,) = runs
        output = run()
        called.append((run.args[0], output[0] if isinstance(output, tuple) else output))
        return timing.time_interleaved(runs, rounds, device, shortest)

    monkeypatch.setattr(metrics, "time_interleaved", watched)
    network = rf.build(plan_of())
    value = METRIC_FUNCTIONS["latency"](network, replace(SMALL, runtime=runtime))
    assert value.value > 0
    assert f", {runtime}, 1 thread" in value.note
    ((images, output),) = called
    with torch.no_grad():
        assert torch.allclose(output, network.eval()(images), atol=1e-4)


def test_the_version_of_another_runtime_is_recorded() -> None:
    assert machine_environment(1, 1, "eager")["versions"].startswith(
        f"torch {torch.__version__}, resnet-factory"
    )
    version = pytest.importorskip("openvino").__version__.partition("-")[0]
    assert f", openvino {version}, resnet-factory" in machine_environment(1, 1, "openvino")["versions"]


def test_a_runtime_that_cannot_run_a_network_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(MetricNotApplicable, match="not installed here; in "):
        METRIC_FUNCTIONS["latency"](rf.build(plan_of()), replace(SMALL, runtime="onnxruntime"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["measuring.runtime=openvinoo"], "unknown runtime 'openvinoo'; known are eager, fo"),
        (
            ["measuring.runtime=onnxruntime"],
            "measuring.runtime: 'onnxruntime' needs onnx, onnxscript, onnxru",
        ),
        (
            ["measuring.runtime=openvino", "measuring.dtype=bfloat16"],
            "measuring.dtype: openvino runs only in single",
        ),
        (["measuring.runtime=openvino", "measuring.channels_last=true"], "openvino has a layout of its own"),
    ],
)
def test_what_a_runtime_cannot_do_is_said_first(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    swept = ["sweep", "model=resnet20", "model.depths=1,2", "samples=2", "report=false", "out=s"]
    assert main(["sweep", *swept[1:], "measure=[latency]", *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_a_job_is_json_and_holds_its_plan() -> None:
    config = rf.compose("resnet20", "model.in_channels=1", "model.depths=1", "model.act=silu")
    job = {"model": config.to_dict(), "plan": rf.plan(config).id, "image": [8, 8], "batch": 4, "seed": 0}
    rows = json.loads(measure_sweep_job(json.dumps(job | {"metrics": ["synflow", "naswot"]})))
    assert rows[0][:2] == ["synflow", "ok"]
    assert rows[1][:3] == ["naswot", "not applicable", None]
    with pytest.raises(ValueError, match="another version"):
        measure_sweep_job(json.dumps(job | {"metrics": [], "plan": "0"}))


def test_zen_leaves_no_shortcut_in() -> None:
    stage = rf.plan(rf.compose("resnet18", "model.depths=1")).stages[1]
    stripped = init_scores._zen_stage_without_shortcuts(stage)
    assert any(isinstance(child, Parallel) for _, child in stage.blocks[0].node.children)
    assert not any(isinstance(child, Parallel) for _, child in stripped.blocks[0].node.children)
