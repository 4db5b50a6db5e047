"""Training: stopped anywhere it ends in the same bits; divergence is an outcome; machines agree."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partialmethod
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from study_rooms import ALONE, HERE, SHORT, small, source, with_train

import resnet_factory as rf
from resnet_factory.planning.paths import path_depth
from resnet_factory.study import checkpoint, training_result
from resnet_factory.study.distributed import ProcessGroup
from resnet_factory.study.jobs import StudyJob
from resnet_factory.study.probes import (
    gradient_probe_layers,
    probe_gradients_and_responses,
    response_probe_points,
)
from resnet_factory.study.settings import ArrayData, MachineSettings, TrainSettings
from resnet_factory.study.trainer import Trainer
from resnet_factory.study.training import Training, run_training
from resnet_factory.study.training_result import TrainingResult

VARIED = ArrayData(source="digits", channels=1, classes=10, size=8, pad=2, flip=True)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / training_result.WEIGHTS)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def after(iterations: int) -> Callable[[], bool]:
    """Says stop when asked for the n-th time; training asks after every iteration."""
    count = itertools.count(1)
    return lambda: next(count) >= iterations


@pytest.fixture(scope="module")
def varied() -> StudyJob:
    """Random at every turn: order, crops, flips, drop-path; a schedule in steps with a warm-up."""
    recipe = TrainSettings(iterations=60, batch=32, schedule="steps", warmup=5, weight_decay=1e-3, clip=1.0)
    return small("resnet20", "model/drop_path=linear", data=VARIED, train=recipe)


@pytest.fixture(scope="module")
def uninterrupted(varied: StudyJob, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingResult]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, run_training(varied, ALONE, source(VARIED), folder)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(legs=st.lists(st.integers(1, 25), min_size=1, max_size=3))
def test_resumed_is_uninterrupted(
    legs: list[int],
    varied: StudyJob,
    uninterrupted: tuple[Path, TrainingResult],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Left after any iteration, in the middle of an epoch or between two, and taken up: the same bits."""
    folder = tmp_path_factory.mktemp("legs")
    at = 0
    for leg in legs:
        stopped = run_training(varied, ALONE, source(VARIED), folder, stop=after(leg))
        at += leg
        if stopped.state == training_result.DONE:
            break
        assert stopped.iteration == at
        assert training_result.read_result(folder) == stopped
    found = run_training(varied, ALONE, source(VARIED), folder)
    whole_folder, whole = uninterrupted
    assert same(weights(folder), weights(whole_folder))
    assert replace(found, seconds=0.0) == replace(whole, seconds=0.0)
    assert not (folder / training_result.CHECKPOINT).exists()


def test_global_random_state_does_not_matter(
    varied: StudyJob, uninterrupted: tuple[Path, TrainingResult], tmp_path: Path
) -> None:
    torch.manual_seed(1234)
    torch.rand(7)
    run_training(varied, ALONE, source(VARIED), tmp_path)
    assert same(weights(tmp_path), weights(uninterrupted[0]))


def test_one_interrupted_save_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash while writing: the file there before is whole, and nothing else stays behind."""
    checkpoint.save_checkpoint({"step": 1}, tmp_path)

    def crash(_state: object, file: object) -> None:
        file.write(b"half a file")  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", crash)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save_checkpoint({"step": 2}, tmp_path)
    assert checkpoint.load_checkpoint(tmp_path) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == [training_result.CHECKPOINT]


def test_broken_checkpoint_is_a_row_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / training_result.CHECKPOINT).write_bytes(b"not a checkpoint")
    found = Trainer(ALONE).attempt(small(), tmp_path)
    assert found.state == training_result.FAILED
    assert "cannot be read" in found.reason
    assert str(tmp_path / training_result.CHECKPOINT) in found.reason


@pytest.mark.parametrize("rate", [1e30, 1e38])
def test_divergence_is_an_outcome(rate: float, tmp_path: Path) -> None:
    found = run_training(small(rate=rate), ALONE, source(), tmp_path)
    assert found.state == training_result.DIVERGED
    assert found.reason.startswith("the loss is nan at iteration ")
    assert found.train is None
    assert training_result.read_result(tmp_path) == found
    assert {file.name for file in tmp_path.iterdir()} == {training_result.RESULT_FILE}


def test_divergence_in_the_last_step_is_seen() -> None:
    found = run_training(small(rate=1e30, train=replace(SHORT, iterations=1)), ALONE, source())
    assert found.state == training_result.DIVERGED
    assert found.reason.startswith("the trained network's loss over the training set is ")
    assert found.train is None


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        (small(train=replace(SHORT, batch=2000)), "a batch of 2000 is more than the 1437 training images"),
        (
            small(data=ArrayData(source="digits", channels=1, classes=10, size=9)),
            "images of digits are (1, 8, 8)",
        ),
    ],
    ids=["batch", "size"],
)
def test_what_cannot_be_trained_is_an_outcome(job: StudyJob, reason: str) -> None:
    found = Trainer(ALONE).attempt(job)
    assert found.state == training_result.FAILED
    assert reason in found.reason


def test_a_batch_must_divide_among_processes() -> None:
    with pytest.raises(ValueError, match="a batch of 63 does not divide among 2 processes"):
        Training(with_train(small(), batch=63), ProcessGroup(torch.device("cpu"), 0, 2), source())


def test_twins_start_from_the_same_weights() -> None:
    """Plain and residual, option A: as many parameters, and for one seed the same ones."""
    plain, residual = (
        Training(small(name, seed=3), ALONE, source()).network for name in ("plain20", "resnet20")
    )
    assert same(plain.state_dict(), residual.state_dict())


def test_twins_see_the_same_batches() -> None:
    first, again = (list(source(VARIED).training(0, 64, 3, 0)) for _ in range(2))
    assert len(first) == 1437 // 64
    for (images, labels), (images_again, labels_again) in zip(first, again, strict=True):
        assert torch.equal(images, images_again)
        assert torch.equal(labels, labels_again)
    later = next(source(VARIED).training(0, 64, 3, 5))
    assert torch.equal(later[0], first[5][0])
    for other in (next(source(VARIED).training(1, 64, 3, 0)), next(source(VARIED).training(0, 64, 4, 0))):
        assert not torch.equal(other[0], first[0][0])


def test_an_epoch_is_every_image_once() -> None:
    images = torch.cat([labels for _, labels in source().training(0, 3, 0, 0)])
    assert len(images) == 1437
    assert torch.equal(images.bincount(), source().sets[True][1].bincount())  # type: ignore[attr-defined]


def test_crops_and_flips_are_of_the_image_itself() -> None:
    """Every augmented image is found among all shifts and mirrorings of its original."""
    data = ArrayData(source="digits", channels=1, classes=10, size=8, pad=1, flip=True)
    here = source(data)
    plain, _ = here.sample(20)
    down, right, flips = here.moves(0, 0, 0, 20)  # type: ignore[attr-defined]
    made = here.augmented(plain, down, right, flips)  # type: ignore[attr-defined]
    padded = torch.nn.functional.pad(plain, (1, 1, 1, 1))
    for i in range(20):
        cut = padded[i, :, down[i] : down[i] + 8, right[i] : right[i] + 8]
        assert torch.equal(made[i], cut.flip(2) if flips[i] else cut)
    assert flips.any()
    assert not flips.all()
    assert down.unique().tolist() == [0, 1, 2]


def test_data_is_centred_as_told() -> None:
    pixel = source(replace(VARIED, center="pixel", scale=False))
    images, _ = pixel.sample(1437)
    assert images.mean(0).abs().max() < 1e-5
    channel, _ = source().sample(1437)
    assert channel.mean().abs() < 1e-5
    assert channel.std().item() == pytest.approx(1.0, abs=1e-4)


def test_digits_are_split_by_class() -> None:
    here = source()
    counts = [sum(len(labels) for _, labels in here.whole(train=train, batch=100)) for train in (True, False)]
    assert counts == [1437, 360]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]),
        ("steps", [0.01, 0.01, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001]),
        ("cosine", [0.05 * (1 + math.cos(math.pi * i / 8)) for i in range(8)]),
    ],
)
def test_learning_rates(schedule: str, expected: list[float]) -> None:
    """The paper's steps: a tenth at half time and at three quarters, and a tenth while warming up."""
    warmup = 2 if schedule == "steps" else 0
    job = with_train(small(), schedule=schedule, warmup=warmup)
    training = Training(job, ALONE, source())
    rates = []
    for images, labels in training.batches():
        rates.append(training.optimizer.param_groups[0]["lr"])
        training.step(images, labels)
        training.result.iteration += 1
    assert rates == pytest.approx(expected)


def test_one_cycle_rises_and_falls_to_nothing() -> None:
    training = Training(with_train(small(), iterations=40), ALONE, source())
    rates = []
    for images, labels in training.batches():
        rates.append(training.optimizer.param_groups[0]["lr"])
        training.step(images, labels)
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(0.1)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 1e-3 * max(rates)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_it_learns(optimizer: str) -> None:
    train_it = TrainSettings(iterations=88, batch=32, optimizer=optimizer)  # type: ignore[arg-type]
    found = run_training(small(train=train_it, rate=0.1 if optimizer == "sgd" else 0.01), ALONE, source())
    assert found.train is not None
    assert found.train.error < 15
    assert [epoch.iteration for epoch in found.history] == [44, 88]
    assert found.history[0].train_error > found.history[1].train_error


@pytest.mark.parametrize(
    "machine",
    [replace(HERE, precision="bfloat16"), replace(HERE, channels_last=True), replace(HERE, threads=2)],
    ids=["bfloat16", "channels_last", "threads"],
)
def test_machines_agree(machine: MachineSettings) -> None:
    """Half precision, another memory order: near the same losses, though not the same bits."""
    job = with_train(small(), iterations=4, schedule="constant")
    other = replace(job, machine=machine)
    here, there = (run_training(each, ALONE, source()) for each in (job, other))
    assert there.state == training_result.DONE
    near = 5e-2 if other.machine.precision == "bfloat16" else 1e-4
    assert there.history[-1].train_loss == pytest.approx(here.history[-1].train_loss, rel=near)
    assert (other.id == job.id) == (other.machine.threads == 2)


def test_float16_scales_its_loss() -> None:
    """Gradient scaling is switched on with float16; a scaler's state travels with the checkpoint."""
    training = Training(small(machine=replace(HERE, precision="float16")), ALONE, source())
    assert training.scaler.is_enabled()
    assert "scale" in training.state()["scaler"]
    assert not Training(small(), ALONE, source()).scaler.is_enabled()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's compiler trips over torch's own warnings
def test_compiled_is_near_and_its_weights_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced and differentiated ahead of time; C++ for every kernel, the last step, takes minutes."""
    eager = partialmethod(torch.nn.Module.compile, backend="aot_eager")
    monkeypatch.setattr(torch.nn.Module, "compile", eager)
    job = with_train(small("resnet8"), iterations=3, schedule="constant")
    compiled = replace(job, machine=replace(HERE, compile=True))
    found = run_training(compiled, ALONE, source(), tmp_path)
    plain = run_training(job, ALONE, source())
    assert found.history[-1].train_loss == pytest.approx(plain.history[-1].train_loss, rel=1e-3)
    network = rf.build(rf.plan(job.config))
    network.load_state_dict(weights(tmp_path))


def test_weights_load_back(tmp_path: Path) -> None:
    """What is written is our own format: the network comes back from the file alone."""
    job = small()
    found = run_training(job, ALONE, source(), tmp_path)
    network = rf.load(tmp_path / training_result.WEIGHTS).eval()
    assert network.plan.id == job.plan_id
    wrong = 0
    with torch.no_grad():
        for images, labels in source().whole(train=False, batch=100):
            wrong += int((network(images).argmax(1) != labels).sum())
    assert found.test is not None
    assert 100 * wrong / 360 == pytest.approx(found.test.error)


def test_looking_changes_nothing() -> None:
    training = Training(small("resnet20"), ALONE, source())
    before = {name: tensor.clone() for name, tensor in training.network.state_dict().items()}
    training.probe()
    assert same(before, training.network.state_dict())
    assert all(parameter.grad is None for parameter in training.network.parameters())


def test_look_measures_what_autograd_says() -> None:
    """Gradient norms and response deviations against hand-written hooks on the network itself."""
    training = Training(small("plain20"), ALONE, source())
    network, (images, labels) = training.network, source().sample(64)
    found = probe_gradients_and_responses(network, images, labels)
    network.train()
    seen: list[torch.Tensor] = []
    norm, conv = (network.get_submodule(f"layer2.0.{name}1") for name in ("bn", "conv"))
    norm.register_forward_hook(lambda _module, _input, output: seen.append(output))
    torch.nn.functional.cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
    at = found.gradient_layers.index("layer2.0.conv1")
    gradient = conv.get_parameter("weight").grad
    assert gradient is not None
    assert found.gradients[at] == pytest.approx(gradient.norm().item(), rel=1e-5)
    deviation = found.responses[found.response_layers.index("layer2.0.conv1")]
    assert deviation == pytest.approx(seen[0].std().item(), rel=1e-5)
    assert found.gradient_layers[0] == "conv1"
    assert found.gradient_layers[-1] == "fc"


@pytest.mark.parametrize(
    ("name", "layers"),
    [("resnet20", 20), ("plain56", 56), ("resnet110", 110), ("resnet18", 18), ("resnet50", 50)],
)
def test_depth_is_the_number_in_the_name(name: str, layers: int) -> None:
    planned = rf.plan(rf.compose(name))
    assert path_depth(planned.root) == layers
    assert len(response_probe_points(planned)) == layers - 1
    assert not [name for name in gradient_probe_layers(planned) if "downsample" in name]


def test_responses_are_behind_the_norm_where_there_is_one() -> None:
    found = response_probe_points(rf.plan(rf.compose("preact20")))
    assert found["layer1.0.conv1"] == "layer1.0.bn2"
    assert found["layer1.0.conv2"] == "layer1.0.conv2"
    assert response_probe_points(rf.plan(rf.compose("resnet20")))["conv1"] == "bn1"
