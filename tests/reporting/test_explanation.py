"""Explanations: the study notebook's numbers, equations that hold, and every odd configuration."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from strategies import axial_models, images, models

import resnet_factory as rf
from resnet_factory.cli import main
from resnet_factory.config.model_index import index_models
from resnet_factory.layers.attention import AttentionPool
from resnet_factory.reporting.explanation.equations import EQUATION

Golden = Callable[[str, str], None]
MODELS = index_models()
SIDES = (64, 224, 192)
"""Sides of an input for every model; the last ones for fewer dimensions."""


def explained(name: str, *overrides: str) -> str:
    return str(rf.explain(rf.plan(rf.compose(name, *overrides))))


def value(term: str) -> float:
    """What one side of an equation comes to."""
    python = term.replace(",", "").replace("·", "*").replace("−", "-")
    for sign, function in (("⌊⌋", "math.floor"), ("⌈⌉", "math.ceil")):
        python = python.replace(sign[0], f"{function}(").replace(sign[1], ")")
    assert re.fullmatch(r"[\d+*/() -]*", re.sub(r"math\.(floor|ceil)", "", python))
    return float(eval(python, {"math": math}))


def equations(text: str) -> list[str]:
    found = [match[0] for match in re.finditer(EQUATION, text)]
    for equation in found:
        assert len({value(term) for term in equation.split(" = ")}) == 1, equation
    return found


# The study notebook ---------------------------------------------------------------------------------

STEM = [
    "⌊(224−7+2·3)/2⌋+1 = 112, so 64x112x112",  # "results in 112x112 because O = ⌊(224 − 7 + 2·3) / 2⌋ + 1"
    "7·7·3·64 = 9,408",  # "the math is 7 × 7 × 3 × 64 = 9,408"
]
FILTERS = [
    "3·3·64 = 576 weights, summed into one number",  # "a cube of 3 × 3 × 64 = 576 weights"
    "1·1·64 = 64 weights, mixing the channels",  # "one filter is a cube of 1 × 1 × 64 = 64 weights"
]
BALLOON = ["layer1.0 64→256, layer1.1 and layer1.2 256→64→256"]  # "the first block expands 64 to 256 …"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("resnet18", ["1+2·(2+2+2+2)+1 = 1+2·8+1 = 18", "64→64"]),
        ("resnet34", ["1+2·(3+4+6+3)+1 = 1+2·16+1 = 34"]),
        ("notebook_resnet50", ["1+3·(3+4+6+3)+1 = 1+3·16+1 = 50", *BALLOON]),
        ("notebook_resnet101", ["1+3·(3+4+23+3)+1 = 1+3·33+1 = 101", *BALLOON]),
        ("notebook_resnet152", ["1+3·(3+8+36+3)+1 = 1+3·50+1 = 152", *BALLOON]),
    ],
)
def test_every_number_of_the_notebook(name: str, says: list[str]) -> None:
    text = explained(name)
    for words in [*STEM, *FILTERS, *says]:
        assert words in text
    assert "a block costs the same in every stage" in text  # "to maintain constant computational complexity"
    assert "each 7x7 map is averaged over" in text  # "collapses the final 7x7 spatial grid"
    # "used only in the first block of a stage"; ResNet-18 and 34 need none in their first stage.
    projecting = re.findall(r"^  (layer\d)\.(\d+): .*On the shortcut", text, re.M)
    assert {block for _, block in projecting} == {"0"}
    assert len(projecting) == (4 if "notebook" in name else 3)


# Every configuration --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS.names())
def test_every_equation_about_every_shipped_network_holds(name: str) -> None:
    plan = rf.plan(MODELS.config(name))
    explanation = rf.explain(plan)
    assert len(equations(str(explanation))) >= 5
    titles = [title for title, _ in explanation.sections]
    expected = ["The stages", "The depth", "Parameters and MACs by section", "Receptive field"]
    if plan.stem.children:
        expected.append("The stem")
    assert set(expected) <= set(titles)


@pytest.mark.parametrize("dims", [1, 3])
@pytest.mark.parametrize("name", MODELS.names())
def test_every_equation_about_sequences_and_volumes_holds(name: str, dims: int) -> None:
    config = MODELS.config(name)
    if config.dims != 2:
        return  # explained as it is above
    plan = rf.plan(config.changed({"dims": dims}))
    fixed = any(isinstance(layer, AttentionPool) for _, layer in plan.leaves)  # to the size of its map
    explanation = rf.explain(plan, plan.image if fixed else (plan.in_channels, *SIDES[-dims:]))
    assert len(equations(str(explanation))) >= 5
    assert not re.search(r"\b([Ii]mages?|[Pp]ixels?)\b", str(explanation)), "words for images only"


@given(axial_models())
def test_every_equation_about_windows_that_differ_from_axis_to_axis_holds(data: dict[str, Any]) -> None:
    plan = rf.plan(rf.read(data))
    try:
        text = str(rf.explain(plan))
    except rf.ConfigError:
        return  # nothing left of a map
    assert len(equations(text)) >= 3
    assert not re.search(r"\b(None|nan|inf)\b|\{|  \n|\(\)|\(\d+, ", text), "a tuple as Python writes it"


@given(models(), images())
def test_every_equation_about_any_network_holds(data: dict[str, Any], size: tuple[int, int]) -> None:
    plan = rf.plan(rf.read(data))
    try:
        explanation = rf.explain(plan, (plan.in_channels, *size))
    except rf.ConfigError:
        return  # too small an image
    text = str(explanation)
    equations(text)
    assert explanation.markdown().count("### ") == len(explanation.sections)
    assert not re.search(r"\b(None|nan|inf)\b|\{|  \n|\(\)", text)


@pytest.mark.parametrize("name", ["resnet18", "notebook_resnet50", "resnet20", "plain34", "resnest50d"])
def test_golden(golden: Golden, name: str) -> None:
    golden(f"explain_{name}.txt", explained(name))


def test_golden_of_an_odd_one(golden: Golden) -> None:
    golden(
        "explain_odd.txt",
        explained(
            "resnet50d", "model.depths=[1,3,2]", "model.widths=[20,64,48]", "model.strides=[3,1,2]",
            "model.dilations=[1,2,1]", "model.groups=[1,16,1]", "model.base_width=[64,4,256]",
            "model/block=bottleneck_v1", "model/attention=se", "model/norm=none", "model.image_size=50",
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "overrides", "says"),
    [
        ("resnet18", ["model.image_size=32"], "The stem leaves 8x8 of 32x32"),
        ("resnet18", ["model.image_size=32"], "The last map is 1x1"),
        ("resnet18", ["model.image_size=32"], "layer4.0.conv2 reads 1x1: 8 of the 9 weights of its 3x3"),
        ("resnext50_32x4d", [], "groups under 8 channels wide, down to 4: layer1.0.conv2"),
        (
            "resnet18",
            ["model.widths=[60,128,256,512]"],
            "not multiples of 8 use matrix units poorly: 60 (l",
        ),
        (
            "resnet50",
            ["model/block=bottleneck_v1"],
            "reads 1 of 4 positions and drops the rest: layer2",
        ),
        ("resnet18", ["model.image_size=230"], "230 pixels are not a multiple of the stride of 32"),
        ("plain34", [], "34 layers and no shortcut"),
        ("resnet18", ["model/norm=none"], "Nothing normalises the maps"),
        ("resnet50", ["+model.conv.bias=1"], "with a bias before a batch norm"),
        ("resnet18", ["model.depths=[1,1,1,1]"], "The receptive field of the last map is 195 of 224 pixels"),
        ("resnet18", ["model.widths=[64,128,96,512]"], "layer3 is narrower than layer2, 96 against 128"),
    ],
)
def test_warnings_that_matter(name: str, overrides: list[str], says: str) -> None:
    warnings = explained(name, *overrides).partition("\nWarnings\n")[2]
    assert says in warnings


@pytest.mark.parametrize("side", [224, 225, 256, 257])
def test_images_that_nothing_is_left_over_of_get_no_warning(side: int) -> None:
    assert "multiple of the stride" not in explained("resnet18", f"model.image_size={side}")


def test_a_basic_block_of_other_width_is_no_bottleneck() -> None:
    assert "bottleneck" not in explained("resnet18", "model.widths=[63,60,50,40]", "model.depths=[1,3,1,2]")


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet20", "resnet101", "wide_resnet50_2"])
def test_sound_networks_get_no_warning(name: str) -> None:
    assert "Warnings" not in explained(name)


@pytest.mark.parametrize(
    ("name", "overrides", "says"),
    [
        ("resnet50d", [], "Most names count a stem of 3 convolutions as one: 52−2 = 50"),
        ("resnet34", ["model/shortcut=projection_always"], "its shape stays, but the shortcut projects"),
        ("resnet20", [], "In all, 2 shortcuts of this kind, without parameters"),
        ("plain20", [], "None of 9 blocks adds its input to its output: a plain network"),
        ("resnet50", [], "2·3·3·256·256 = 1,179,648: ≈ 16.9 times as many"),
        ("regnetz_005", [], "An inverted bottleneck"),
        ("regnetx_040", [], "times as many"),
        ("resnext50_32x4d", [], "In all, 16 grouped convolutions: 1,414,656 parameters (5.7 % of all)"),
        ("seresnet50", [], "the gates of 16 blocks: 2,530,992 parameters (9.0 % of all)"),
        ("resnet50", ["model.output_stride=8"], "2048x28x28 out, dilation 2 in layer4.0, 4 in layer4.1 and"),
        ("skresnet50", [], "1+3·(3+4+6+3)+1 = 1+3·16+1 = 50"),
        ("resnest101e", [], "103−2 = 101"),
        ("wrn28_10", [], "count the 3 projections too, but not the head: 26+3−1 = 28"),
        ("resnet56_c", [], "In 25 of 27 blocks they do, and all of these project x nevertheless"),
        (
            "resnet50",
            ["model.features=[layer2,layer3]"],
            "it returns 2 maps. layer2, 512 channels in steps of 8",
        ),
        (
            "resnet18",
            ["model.image_size=430"],
            "430: the receptive field covers it at no position of the last map",
        ),
        (
            "resnet18",
            ["model.image_size=224"],
            "224: the receptive field covers it in the middle of the last map",
        ),
        (
            "resnet18",
            ["model.image_size=218"],
            "435 is at least 2·218−1 = 435: it covers the image even at",
        ),
        ("resnet18", ["model.num_classes=0"], "1+2·(2+2+2+2) = 1+2·8 = 17"),
        ("pyramidnet110_a48", [], "In the same way 42 blocks more, up to layer3.17"),
    ],
)
def test_what_else_is_said(name: str, overrides: list[str], says: str) -> None:
    assert says in explained(name, *overrides)


CONVS = [{"conv": {"to": "width"}}, "norm", "act", {"conv": {"kernel": 3, "to": "width"}}, "norm", "act"]
INNER_JOINS = {
    "a depthwise convolution in a residual (ConvMixer)": (
        [{"residual": {"body": [{"conv": {"kernel": 3, "to": "in", "groups": "in"}}, "act"]}}, *CONVS[:3]],
        "In 24 of 24 blocks a sum adds the input of some layers to their output",
        50,
    ),
    "two residuals in a block (PoolFormer)": (
        [{"residual": {"body": CONVS}}, {"residual": {"body": CONVS}}],
        "In 24 of 24 blocks (48 times) a sum adds the input of some layers to their output",
        98,
    ),
    "the input concatenated with what layers make of it (DenseNet)": (
        [{"branches": {"count": 1, "each": [], "last": CONVS}}, {"conv": {"to": "width"}}],
        "In 24 of 24 blocks a concatenation keeps the input of some layers next to their output",
        74,
    ),
    "parallel convolutions and an identity (RepVGG)": (
        [
            {
                "residual": {
                    "body": ["norm"],
                    "shortcut": [{"residual": {"body": CONVS[3:5], "shortcut": CONVS[:2]}}],
                }
            }
        ],
        "In 24 of 24 blocks parallel branches are joined, each of them with weights",
        26,
    ),
}


@pytest.mark.parametrize(("body", "says", "layers"), INNER_JOINS.values(), ids=INNER_JOINS)
def test_joins_inside_blocks_are_no_plain_network(body: list[Any], says: str, layers: int) -> None:
    data = rf.compose("plain34", "model.depths=[3,6,6,9]", "model.widths=64", "model.strides=1").to_dict()
    data["stem"] = {"layers": [{"conv": {"to": 64}}]}
    explanation = str(rf.explain(rf.plan(rf.read(data | {"block": {"out": "width", "body": body}}))))
    assert says in explanation
    assert f"= {layers}." in explanation, "one depth, everywhere"
    for lie in ("plain network", "no shortcut", "train worse", "On the shortcut"):
        assert lie not in explanation


def test_no_block_and_no_stage_is_no_reason_to_fail() -> None:
    text = explained("resnet18", "++model.features=[conv1]")
    assert "7·7·3·64 = 9,408" in text
    assert "The shortcuts" not in text


# The command ----------------------------------------------------------------------------------------


def test_the_command_prints_the_image_it_was_given(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.main(["explain", "model=resnet18", "input.size=[64,96]"]) == 0
    out, err = capsys.readouterr()
    assert "33−3" not in out
    assert "⌊(64−7+2·3)/2⌋+1 = 32 high, ⌊(96−7+2·3)/2⌋+1 = 48 wide" in " ".join(out.split())
    assert not err
    assert not [line for line in out.splitlines() if line != line.rstrip() or "\x1b" in line]
    assert main.main(["explain", "model=resnet18", "format=json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data == rf.explain(rf.plan(rf.compose("resnet18"))).to_dict()
    assert main.main(["explain", "model=resnet18", "format=markdown"]) == 0
    assert capsys.readouterr().out.startswith("## resnet18  id ")
    assert main.main(["explain", "model=resnet18", "format=txt"]) == 2
    assert "did you mean 'text'" in capsys.readouterr().err
