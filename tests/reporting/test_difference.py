"""Differences: complete, exact in what they cost, nothing where nothing differs; and the diff command."""

from __future__ import annotations

import html
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import resnet_factory as rf
from resnet_factory.cli.main import main
from resnet_factory.config.model_index import index_models
from resnet_factory.config.schema import ModelConfig
from resnet_factory.planning.nodes import leaves
from resnet_factory.planning.plan_text import layer_plan_text
from resnet_factory.reporting.difference import Difference
from resnet_factory.reporting.difference.alignment import AlignedLine, AlignmentEdit, align_lines
from resnet_factory.reporting.difference.config_changes import find_config_changes

MODELS = index_models().names()
SAMPLE = [
    "plain20", "resnet18", "resnet20", "resnet34", "resnet50", "resnet50d", "resnet101", "resnext50_32x4d",
    "preact_resnet50", "regnety_032", "res2net50_26w_4s", "skresnet18", "nf_resnet50", "seresnet50t",
]  # fmt: skip


def config(name: str, *overrides: str) -> ModelConfig:
    return rf.compose(name, *overrides) if overrides else index_models().config(name)


def told(text: str, part: str) -> list[str]:
    """The lines of one part of a report, without its heading."""
    lines = text.split(f"\n{part}", 1)[1].split("\n\n", 1)[0]
    return lines.splitlines()[1:]


# Nothing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLE)
def test_a_model_against_itself_is_nothing(name: str) -> None:
    difference = rf.diff(config(name), rf.read(config(name).to_dict()))
    assert not difference
    assert str(difference) == ""
    assert (difference.config, difference.places) == ((), ())


@pytest.mark.slow
def test_every_model_against_itself_is_nothing() -> None:
    for name in MODELS:
        assert not rf.diff(config(name), config(name)), name


def test_the_same_said_differently_is_nothing() -> None:
    said = "model.depths=[2,2,2,2]", "model.groups=[1,1,1,1]", "model.base_width=[64,64,64,64]"
    assert not rf.diff(config("resnet18"), config("resnet18", *said))
    assert not rf.diff(config("resnet18"), rf.read(config("resnet18").to_dict(), path="backbone"))


@pytest.mark.parametrize("kinds", ["pn", "np", "pc", "cp", "pp", "nc", "cn"])
def test_plans_configs_and_names_in_any_mix(kinds: str) -> None:
    whole = rf.diff(config("resnet18"), config("resnet34"))
    given: list[Any] = [
        {"n": name, "c": config(name), "p": rf.plan(name)}[kind]
        for kind, name in zip(kinds, ("resnet18", "resnet34"), strict=True)
    ]
    found = rf.diff(*given)
    assert found.places == whole.places
    assert (found.before, found.after) == (whole.before, whole.after)
    assert found.config == (() if "p" in kinds else whole.config)
    assert not rf.diff(rf.plan("resnet18"), "resnet18")


def test_a_folded_plan_against_its_network() -> None:
    """A plan that no config has."""
    found = rf.diff("resnet18", rf.fold(rf.create_model("resnet18").eval()).plan)
    assert found.after.params < found.before.params
    assert "batch_norm" in str(found)


def test_in_a_notebook_the_text_displays_nothing_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    import rich.console
    import rich.jupyter

    difference = rf.diff("resnet18", "resnet34")
    before, shown = str(difference), list[object]()
    monkeypatch.setattr(rich.console, "_is_jupyter", lambda: True)
    monkeypatch.setattr(rich.jupyter, "display", lambda *given: shown.append(given))
    assert str(difference) == before
    assert html.unescape(difference._repr_html_()) == f"<pre>{before}</pre>"
    assert not shown


def test_another_image_alone_costs_but_changes_no_layer() -> None:
    one, two = (rf.cost(rf.plan(config("resnet18")), (3, side, side)) for side in (224, 160))
    from resnet_factory.reporting.difference import difference_of_costs

    difference = difference_of_costs(config("resnet18"), config("resnet18"), one, two)
    assert difference
    assert (difference.config, difference.places) == ((), ())
    assert "image 3x224x224 -> 3x160x160" in str(difference)
    assert "layers" not in str(difference)


# What is told ---------------------------------------------------------------------------------

PAIRS = [
    ("resnet50", "resnet50d"),
    ("resnet50", "resnet101"),
    ("resnet50", "resnext50_32x4d"),
    ("resnet50", "preact_resnet50"),
    ("resnet50", "res2net50_26w_4s"),
    ("resnet34", "resnet50"),
    ("resnet18", "plain18"),
    ("resnet18", "skresnet18"),
    ("resnet20", "resnet18"),
    ("resnet110", "resnet1202"),
]


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_report(golden: Callable[[str, str], None], before: str, after: str) -> None:
    text = str(rf.diff(config(before), config(after)))
    golden(f"diff_{before}_{after}.txt", f"{text}\n")
    assert len(text.splitlines()) < 60  # told together, not block by block
    assert text == "\n".join(line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize(
    ("overrides", "part", "lines"),
    [
        (["model.act=silu"], "config", ["  act  relu -> silu"]),
        (
            ["model.act=silu"],
            "layers",
            [
                "  stem",
                "    ~ act1  relu -> silu",
                "  every block",
                "    ~ act1, act2, act3  relu -> silu",
            ],
        ),
        (
            ["model/drop_path=linear"],
            "layers",
            [
                "  layer1.1-2, layer2.0-3, layer3.0-5, layer4.0-2",
                "    + drop_path  stochastic_depth 256/512/1024/2048 rate=0.006667 … 0.1",
            ],
        ),
        (["model.depths=[3,4,6]", "model.widths=64", "model.strides=1"], "config", [
            "  depths   [3, 4, 6, 3] -> [3, 4, 6]",
            "  widths   [64, 128, 256, 512] -> 64",
            "  strides  [1, 2, 2, 2] -> 1",
        ]),
        (["model.depths=[3,4,6,4]"], "layers", [
            "  + layer4.3  bottleneck 2048 -> 2048  (+4,462,592 parameters, +218,365,952 MACs)",
        ]),
        (["model.stem.layers.0.conv.kernel=5", "model.block.body.3.conv.dilation=2"], "config", [
            "  stem.layers.0.conv.kernel   7 -> 5",
            "  block.body.3.conv.dilation  entry_dilation -> 2",
        ]),
        (["model/shortcut=none"], "layers", [
            "  every block",
            "    - shortcut  layers/identity, from before conv1",
            "  layer1.0, layer2.0, layer3.0, layer4.0  (-2,776,576 parameters, -359,661,568 MACs)",
            "    - downsample.0  conv2d 64/256/512/1024 -> 256/512/1024/2048 stride=1/2",
            "    - downsample.1  batch_norm 256/512/1024/2048",
        ]),
        (["model/init=regnet"], "config", [
            "  init.conv    he -> fan_out_per_group",
            "  init.linear  torch -> normal",
            "  init.bias    torch -> zero",
        ]),
        (["model.num_classes=10"], "layers", [
            "  head  (-2,028,510 parameters, -2,027,520 MACs)",
            "    ~ fc  out 1000 -> 10",
        ]),
    ],
)  # fmt: skip
def test_edits_of_resnet50(overrides: list[str], part: str, lines: list[str]) -> None:
    assert told(str(rf.diff(config("resnet50"), config("resnet50", *overrides))), part) == lines


def test_a_layer_put_into_a_list_is_one_line_of_the_config() -> None:
    data = config("resnet18").to_dict()
    data["block"]["body"].insert(3, {"dropout": {"rate": 0.5}})
    found = find_config_changes(config("resnet18"), rf.read(data))
    assert [(c.key, c.before, c.after) for c in found] == [
        ("block.body.3", "", "{dropout: {rate: 0.5}}"),
    ]
    gone = find_config_changes(rf.read(data), config("resnet18"))
    assert [(c.key, c.before, c.after) for c in gone] == [
        ("block.body.3", "{dropout: {rate: 0.5}}", ""),
    ]


# What it costs --------------------------------------------------------------------------------


def parameters(difference: Difference) -> int:
    return sum(place.change.params for place in difference.places)


def check(before: ModelConfig, after: ModelConfig) -> None:
    """The edits turn one into the other, and their parameters add up; both ways round."""
    there, back = rf.diff(before, after), rf.diff(after, before)
    assert parameters(there) == there.after.params - there.before.params
    assert parameters(back) == -parameters(there)
    assert bool(there) == bool(back)
    for difference in (there, back):
        assert rebuilt(difference) == layers(difference.after)
    str(there)


def layers(cost: rf.Cost) -> Counter[tuple[str, str]]:
    """Name and word of each layer; a convolution's is the same over any number of axes."""
    words = ((leaf.name, layer_plan_text(leaf.layer).split(" ", 1)[0]) for leaf in leaves(cost.plan.root))
    return Counter((name, re.sub(r"^conv\dd$", "conv2d", word)) for name, word in words)


def by_spot(cost: rf.Cost) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """The layers of each block by ("layer1", "0"), those of a transition by ("layer1", "transition")."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for name, word in layers(cost):
        section, own, *_ = (*name.split("."), "")
        found.setdefault((section, own), []).append((name, word))
    return found


def rebuilt(difference: Difference) -> Counter[tuple[str, str]]:
    """The layers of the network before, changed as the difference says."""
    found = layers(difference.before)
    sides = {"-": by_spot(difference.before), "+": by_spot(difference.after), "~": {}}
    for place in difference.places:
        for i, spot in enumerate(place.spots):
            prefix = "" if spot[0] in ("stem", "head") else f"{'.'.join(spot)}."
            for name, word in sides[place.sign].get(spot, ()):
                found[name, word] += 1 if place.sign == "+" else -1
            for edits in place.edits:
                for entry, sign in ((edits[i].before, -1), (edits[i].after, 1)):
                    if entry is not None and not entry.meets:
                        found[prefix + entry.name, entry.word] += sign
    return +found


@pytest.mark.parametrize(("before", "after"), [*PAIRS, *pairwise(SAMPLE)])
def test_edits_lead_from_one_to_the_other(before: str, after: str) -> None:
    check(config(before), config(after))


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(MODELS), st.sampled_from(MODELS))
def test_edits_lead_from_any_model_to_any_other(before: str, after: str) -> None:
    check(config(before), config(after))


def test_costs_are_those_of_the_two_networks() -> None:
    difference = rf.diff(config("resnet50"), config("resnet101"))
    one, two = (rf.cost(rf.plan(config(name))) for name in ("resnet50", "resnet101"))
    assert (difference.before, difference.after) == (one, two)
    figures = told(str(difference), "costs")
    for line, old, new in zip(figures, one.total, two.total, strict=False):
        assert line.split()[1:4] == [f"{old:,}", f"{new:,}", f"{new - old:+,}"]
    assert [line[:18].strip() for line in figures[3:]] == ["weights", "training, maps a", "receptive field"]
    assert figures[-1].split()[2:5] == ["427", "971", "+544"]


def test_what_unedited_layers_change_by_is_said() -> None:
    difference = rf.diff(config("resnet50"), config("resnet50", "model.output_stride=8"))
    assert "unchanged layers, on maps of another size  (+5,857,345,536 MACs)" in str(difference)
    edited = sum(place.change.macs for place in difference.places)
    assert edited + 5_857_345_536 == difference.after.macs - difference.before.macs
    assert "stride" in str(difference)
    assert "last map" in str(difference)


def test_python_shows_it_in_short_and_notebooks_in_full() -> None:
    difference = rf.diff(config("resnet18"), config("resnet34"))
    assert repr(difference) == (
        "<Difference of resnet18 f07561185758 and resnet34 3b11b55b1e19: "
        "+10,108,160 parameters, +1,849,688,064 MACs>"
    )
    assert "layer1.2  basic" in difference._repr_html_()
    assert rf.diff(config("resnet18"), config("resnet18"))._repr_html_() == "<pre>no difference</pre>"


# Alignment ------------------------------------------------------------------------------------


def entries(*lines: str) -> list[AlignedLine]:
    """`conv1 conv2d 64` as name, word and channels."""
    parts = (line.split() for line in lines)
    return [AlignedLine(name, word, {"channels": int(channels)}) for name, word, channels in parts]


def told_as(edit: AlignmentEdit) -> tuple[str, str, str | None]:
    return (edit.before.name if edit.before else "", edit.after.name if edit.after else "", edit.follows)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (["conv1 conv2d 8"], ["conv1 conv2d 8"], []),
        (["conv1 conv2d 8"], ["conv1 conv2d 9"], [("conv1", "conv1", None)]),
        (["act relu 8"], ["act silu 8"], [("act", "act", None)]),
        (["a relu 8", "b relu 8"], ["b relu 8"], [("a", "", None)]),
        (["b relu 8"], ["a relu 8", "b relu 8"], [("", "a", None)]),
        # a line that is first in a list pushes the others on: they are renamed, not replaced
        (["d.0 conv2d 8", "d.1 norm 8"], ["d.0 pool 8", "d.1 conv2d 8", "d.2 norm 8"],
         [("", "d.0", None), ("d.0", "d.1", None), ("d.1", "d.2", None)]),
        (["d.0 conv2d 8"], ["d.0 pool 8"], [("d.0", "d.0", None)]),
        # the same number in another list is another line
        (["d.0 conv2d 8"], ["e.0 conv2d 8"], [("d.0", "", None), ("", "e.0", None)]),
        (["a x 1", "b y 1", "c z 1"], ["b y 1", "c z 1", "a x 1"], [("a", "a", "c")]),
        (["a x 1", "b y 1", "c z 1"], ["c z 1", "a x 1", "b y 1"], [("c", "c", "")]),
    ],
)  # fmt: skip
def test_alignment(
    before: Sequence[str], after: Sequence[str], expected: list[tuple[str, str, str | None]]
) -> None:
    assert [told_as(edit) for edit in align_lines(entries(*before), entries(*after))] == expected


# The command ----------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["diff", *arguments]) == 0
    return capsys.readouterr().out


def test_command_says_nothing_where_nothing_differs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "model=resnet18", "with=resnet18"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "no difference\n")


IDIOMS = [
    (["with=resnet50d"], ("resnet50d",)),
    (["with=resnet50d model.act=silu"], ("resnet50d", "model.act=silu")),
    (["with='resnet50d model.act=silu'"], ("resnet50d", "model.act=silu")),
    (["with=[resnet50d,model.act=silu]"], ("resnet50d", "model.act=silu")),
    (["with=['resnet50d','model.act=silu']"], ("resnet50d", "model.act=silu")),
    (["with=model=resnet50d"], ("resnet50d",)),
    (["with=model/stem=deep"], ("resnet50", "model/stem=deep")),
    (["with=model.depths=[3, 4, 23, 3] model/stem=deep"],
     ("resnet50", "model.depths=[3,4,23,3]", "model/stem=deep")),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "other"), IDIOMS, ids=" ".join)
def test_idioms(capsys: pytest.CaptureFixture[str], arguments: list[str], other: tuple[str, ...]) -> None:
    expected = str(rf.diff(rf.compose("resnet50"), rf.compose(*other)))
    assert run(capsys, "model=resnet50", *arguments) == f"{expected}\n"


def test_overrides_alone_are_added_to_this_network(capsys: pytest.CaptureFixture[str]) -> None:
    before = rf.compose("resnet18", "model.act=silu")
    after = rf.compose("resnet18", "model.act=silu", "model/stem=deep")
    said = run(capsys, "model=resnet18", "model.act=silu", "with=model/stem=deep")
    assert said == f"{rf.diff(before, after)}\n"


def test_a_name_stands_for_itself_at_the_same_image(capsys: pytest.CaptureFixture[str]) -> None:
    """Another network does not inherit this one's overrides, but it is shown the same image."""
    before, after = rf.compose("resnet18", "model.act=silu"), rf.compose("resnet18")
    said = run(capsys, "model=resnet18", "model.act=silu", "input.size=160", "with=resnet18")
    assert said == f"{rf.diff(before, after, (3, 160, 160))}\n"


def test_two_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for folder, act in (("one", "silu"), ("two", "gelu")):
        (tmp_path / folder / "model").mkdir(parents=True)
        text = f"# mine\ndefaults: [resnet18, _self_]\nact: {act}\n"
        (tmp_path / folder / "model" / "mine.yaml").write_text(text, encoding="utf-8")
    one, two = (str(tmp_path / folder) for folder in ("one", "two"))
    other = f"with={tmp_path / 'two' / 'model' / 'mine.yaml'}"
    said = run(capsys, "model=mine", other, "--config-dir", one)
    assert said == f"{rf.diff(rf.compose('mine', config_dir=one), rf.compose('mine', config_dir=two))}\n"
    assert told(said, "config") == ["  act  silu -> gelu"]
    assert run(capsys, "model=mine", "with=mine model.act=relu", "--config-dir", one).count("silu -> relu")


def test_multirun(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["diff", "-m", "model=resnet18,resnet34", "with=model.act=silu"]) == 0
    said = capfd.readouterr().out
    assert said.count("  act  relu -> silu\n") == 2
    assert "\nresnet18  id " in said
    assert "\nresnet34  id " in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "command line 'diff': with: is missing; with=resnet50d names a network"),
        (["with="], "command line 'with=': with: expected another network, found ''"),
        (["with=7"], "command line 'with=7': with: expected another network, found 7"),
        (["with=[]"], "with: expected another network, found []"),
        (["with={a: 1}"], "with: expected another network, found {'a': 1}"),
        (["with=resnet5d"], "command line 'with=resnet5d': unknown model 'resnet5d'"),
        (["with=model/stem=dep"], "command line 'with=model/stem=dep': unknown model/stem 'dep'"),
        (["with=model/stm=deep"], "command line 'with=model/stm=deep': unknown config group 'model/stm'"),
        (["with=resnet18 deep"], "expected an override, as key=value, found 'deep'"),
        (["with=model.act=sliu"], "command line 'with=model.act=sliu': model.act: unknown act 'sliu'"),
        (["model=resnet18", "with=model.groups=7"], "64 input channels are not divisible by 7 groups"),
        (["with=no/model/x.yaml"], "line 'with=no/model/x.yaml': with: there is no file 'no/model/x.yaml'"),
        (["with=stray.yaml"], "with: 'stray.yaml' is not in a folder called 'model', as in my_conf/m"),
        (["with=my/model/bad.yaml"], "my/model/bad.yaml:2:1: model.dephts: unknown key 'dephts'"),
        (["with=resnet18 input.size=-1"], "line 'with=resnet18 input.size=-1': input.size: expected p"),
        (["wiht=resnet18"], "command line 'wiht=resnet18': wiht: unknown key 'wiht'; known are"),
        (["model=resnet5d", "with=resnet18"], "command line 'model=resnet5d': unknown model 'resnet5d'"),
        (["input.size=0", "with=resnet18"], "command line 'input.size=0': input.size: expected pixels"),
    ],
)  # fmt: skip
def test_mistakes(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("stray.yaml").write_text("# stray\ndefaults: [resnet18]\n", encoding="utf-8")
    os.makedirs("my/model")
    bad = "# bad\ndephts: 3\ndefaults: [resnet18, _self_]\n"
    Path("my/model/bad.yaml").write_text(bad, encoding="utf-8")
    assert main(["diff", *arguments]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""
    assert "Traceback" not in said.err
