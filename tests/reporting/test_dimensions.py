"""Reports on sequences, volumes and windows that differ from axis to axis, through every door."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from strategies import axial_models
from test_drawing import check, picture, texts

import resnet_factory as rf
from resnet_factory.cli.main import main
from resnet_factory.config.model_index import index_models

Run = Callable[..., str]
ODD_STEM = {
    "layers": [
        {"conv": {"kernel": [1, 7], "stride": [1, 2], "padding": [[0, 0], [2, 3]], "to": 16}},
        "norm",
        "act",
        {"max_pool": {"kernel": [1, 3], "stride": [1, 2], "padding": "same"}},
    ]
}
"""A stem whose windows reach along the width only, as for spectrograms."""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command, and return what it prints."""
    monkeypatch.chdir(tmp_path)

    def command(*words: str, code: int = 0) -> str:
        assert main(list(words)) == code
        return capsys.readouterr()[code > 1]

    return command


def odd_network() -> rf.Plan:
    data = rf.compose("resnet18", "model.widths=[16,32,64,128]").to_dict() | {"stem": ODD_STEM}
    return rf.plan(rf.read(data))


# Pictures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [1, 3])
@pytest.mark.parametrize("name", ["resnet18", "resnet50d", "res2net50_26w_4s", "resnest50d", "resnetblur50"])
def test_sequences_and_volumes_are_drawn(name: str, dims: int) -> None:
    plan = rf.plan(rf.compose(name, f"model.dims={dims}", "model.image_size=64"))
    root = picture(plan)
    check(root)
    said = {part.text or "" for _, part in texts(root)}
    kernel = {1: "3", 3: "3×3×3"}[dims]
    assert any((words + ",").startswith(f"{kernel}, ") for words in said)
    assert not any(word in words for words in said for word in ("conv1d", "conv3d", "image"))
    chart = rf.draw(plan, format="mermaid")
    assert f"input {' × '.join(['3', *['64'] * dims])}" in chart


@pytest.mark.slow
def test_every_model_can_be_drawn_for_sequences_or_volumes() -> None:
    configs = [config for config in map(index_models().config, index_models().names()) if config.dims == 2]
    for i, config in enumerate(configs):
        plan = rf.plan(config.changed({"dims": 1 + 2 * (i % 2), "image_size": 64}))
        check(picture(plan))
        rf.draw(plan, format="mermaid")


@given(axial_models())
def test_windows_that_differ_from_axis_to_axis_are_drawn_and_told_apart(data: dict[str, Any]) -> None:
    plan = rf.plan(rf.read(data))
    try:
        cost = rf.cost(plan)
    except rf.ConfigError:
        return  # nothing left of a map
    check(picture(plan))
    assert not re.search(r"\(\d+, ", rf.draw(plan) + rf.draw(plan, format="mermaid")), "a tuple"
    frame = cost.to_dict("layer")
    assert {"length", "map_depth", "height", "width"} & set(frame) == {
        1: {"length"},
        2: {"height", "width"},
        3: {"map_depth", "height", "width"},
    }[plan.dims]


# Tables ---------------------------------------------------------------------------------------


def test_columns_are_the_sides_of_the_maps(run: Run) -> None:
    words = "columns=[name,channels,length,map_depth,height,width]", "format=csv", "model=resnet18"
    assert "layer4,512,157,,,\n" in run("describe", "model.dims=1", "input.size=5000", *words)
    volume = run("describe", "model.dims=3", "input.size=[16,112,112]", *words)
    assert "layer1,64,,4,28,28\n" in volume
    assert "head,1000,,,,\n" in volume


def test_receptive_fields_are_per_axis_where_they_differ() -> None:
    cost = rf.cost(odd_network())
    rows = cost.to_dict("stage", ["name", "receptive_field", "stride", "padding"])
    assert rows["receptive_field"][0] == (1, 11)
    assert rows["stride"][:2] == [(1, 4), (1, 4)]
    text = str(rf.explain(cost.plan))
    assert "stem 1x11" in text
    assert "⌊(224−7+2+3)/2⌋+1 = 112 wide" in text
    assert "1·7·3·16 = 336" in text


def test_receptive_fields_per_axis_are_printed_and_sorted(run: Run, tmp_path: Path) -> None:
    data = rf.compose("resnet18", "model.widths=[16,32,64,128]").to_dict() | {"stem": ODD_STEM}
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "odd.yaml").write_text(json.dumps(data))
    words = "--config-dir", str(tmp_path), "model=odd"
    text = run("describe", *words, "columns=[name,receptive_field,stride]", "sort=-receptive_field")
    rows = [line.split() for line in text.split("\n\n")[1].splitlines()]
    assert rows[1][0] == "layer4"
    assert rows[-3] == ["stem", "1x11", "1x4"]
    stem = json.loads(run("describe", *words, "format=json"))["rows"][0]
    assert stem["receptive_field"] == [1, 11]
    assert "receptive field" in run("diff", *words, "with=resnet18")


def test_other_counters_of_images_are_not_asked(run: Run) -> None:
    text = run("describe", "model=resnet18", "model.dims=1")
    assert "counts networks for images only" in text
    assert "image " not in text
    tools = {
        peer["tool"]
        for peer in json.loads(run("describe", "model=resnet18", "model.dims=1", "format=json"))["peers"]
    }
    assert tools == {"torch FlopCounterMode", "torchinfo"}


def test_the_list_names_sizes_that_are_no_square(run: Run, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for name, more in (("ecg", "dims: 1, image_size: 5000"), ("clip", "dims: 3, image_size: [16, 112, 112]")):
        (tmp_path / "model" / f"{name}.yaml").write_text(
            f"# a test\ndefaults: [resnet18, _self_]\n{more.replace(', ', chr(10), 1)}\n"
        )
    rows = [line.split() for line in run("list", "--config-dir", str(tmp_path)).splitlines()]
    assert ["ecg", "2-2-2-2", "5000", "long", "4,357,800"] in [row[:5] for row in rows]
    assert ["clip", "2-2-2-2", "16x112x112", "33,716,904"] in [row[:4] for row in rows]


# Differences ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [1, 3])
def test_other_dimensions_are_one_key_and_the_axes_of_kernels(dims: int) -> None:
    two, other = rf.compose("resnet18"), rf.compose("resnet18", f"model.dims={dims}")
    difference = rf.diff(two, other)
    assert [(change.key, change.before, change.after) for change in difference.config] == [
        ("dims", "2", str(dims))
    ]
    edits = [line for line in str(difference).splitlines() if line.startswith("    ")]
    assert edits
    assert all(line.endswith(f"dims 2 -> {dims}") for line in edits)
    assert f"input 3x224x224 -> 3{'x224' * dims}" in str(difference)
    assert not rf.diff(other, rf.read(other.to_dict()))


def test_layers_are_named_by_their_dimensions() -> None:
    one = rf.diff(rf.compose("resnet18", "model.dims=1"), rf.compose("resnet50", "model.dims=1"))
    assert "conv1d 64 -> 256" in str(one)
    assert "conv2d" not in str(one)


def test_arguments_per_axis_are_told_as_the_plan_writes_them() -> None:
    plain = rf.compose("resnet18", "model.widths=[16,32,64,128]")
    data = plain.to_dict() | {"stem": ODD_STEM}
    text = str(rf.diff(plain, rf.read(data)))
    assert "kernel 7 -> 1x7" in text
    assert "stride 2 -> 1x2" in text


# Doors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "shape"),
    [
        (["model.dims=1", "input.size=1000"], "3x1000"),
        (["model.dims=3", "input.size=[16,64,64]"], "3x16x64x64"),
    ],
)
def test_commands_take_sequences_and_volumes(run: Run, words: list[str], shape: str, tmp_path: Path) -> None:
    words = ["model=resnet18", "model.widths=8", *words]
    for command in ("describe", "explain"):
        assert f"input {shape}" in run(command, *words)
    assert "input " in run("draw", *words)
    assert "as planned" in run("build", *words)
    assert "Conv" in run("build", *words, "layers=true")
    assert run("-m", "describe", *words).count(f"input {shape}") == 1
    run("diff", *words, "with=model.widths=16")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["model.dims=4"],
            "command line 'model.dims=4': model.dims: expected a whole number from 1 to 3, found 4",
        ),
        (["model.dims=two"], "model.dims: expected a whole number from 1 to 3, found 'two'"),
        (
            ["model.dims=1", "input.size=[224,224]"],
            "expected a length from 1 to 1048576, as 5000, found [224, 224]; 2 sides need model.dims=2",
        ),
        (
            ["model.dims=3", "model.image_size=[16,112]"],
            "model.image_size: expected one number, or one for each of 3 axes, found [16, 112]",
        ),
        (["model.image_size=[16,112,112]"], "axes, found [16, 112, 112]; 3 sides need model.dims=3"),
        (["input.size=[16,112,112]"], "[224, 320], found [16, 112, 112]; 3 sides need model.dims=3"),
        (["model.dims=1", "input.size=0"], "expected a length from 1 to 1048576, as 5000, found 0"),
    ],
)
def test_faults_say_what_is_allowed(run: Run, words: list[str], says: str) -> None:
    (line,) = run("describe", "model=resnet18", *words, code=2).splitlines()
    assert says in line
