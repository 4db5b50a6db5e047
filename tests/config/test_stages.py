"""One block for each stage, chosen by a list: the same at every door, and refused where one holds for all."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import flat_recipes

import resnet_factory as rf
from resnet_factory.cli.main import main

BLOCKS = [name for name in flat_recipes("block") if "pyramid" not in name]


def write(folder: Path, name: str, text: str) -> None:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def kinds(config: rf.ModelConfig) -> list[str]:
    return [block.title for block in config.blocks]


@given(blocks=st.lists(st.sampled_from(BLOCKS), min_size=4, max_size=4))
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_list_is_one_block_per_stage_at_every_door(blocks: list[str], tmp_path: Path) -> None:
    said = ", ".join(blocks)
    write(
        tmp_path, "model/chosen.yaml", f"# mine\ndefaults: [resnet18, {{override block: [{said}]}}, _self_]\n"
    )
    none = "defaults: [resnet18, {override block: null}, _self_]"
    write(tmp_path, "model/valued.yaml", f"# mine\n{none}\nblock: [{said}]\n")
    write(tmp_path, "model/child.yaml", "# mine\ndefaults: [chosen, _self_]\nnum_classes: 10\n")
    experiment = f"  - override /model: resnet18\n  - override /model/block: [{said}]\n"
    write(tmp_path, "experiment/e.yaml", f"# @package _global_\n# mine\ndefaults:\n{experiment}")
    wanted = rf.compose("resnet18", f"model.block=[{said}]")
    assert kinds(wanted) == blocks
    doors = [
        rf.compose("resnet18", f"model/block=[{said}]"),
        rf.compose("chosen", config_dir=tmp_path),
        rf.compose("valued", config_dir=tmp_path),
        rf.compose("resnet18", "experiment=e", config_dir=tmp_path),
    ]
    for config in doors:
        assert config == wanted
        assert kinds(config) == blocks
    assert rf.compose("child", config_dir=tmp_path) == rf.compose(
        "resnet18", f"model.block=[{said}]", num_classes=10
    )


def test_what_builds_on_a_list_may_choose_again(tmp_path: Path) -> None:
    """A file of its own, and the command line, in either form."""
    mine = "# mine\ndefaults: [resnet18, {override block: [basic, basic, bottleneck, bottleneck]}, _self_]\n"
    write(tmp_path, "model/mine.yaml", mine)
    write(tmp_path, "model/one.yaml", "# one\ndefaults: [mine, {override block: bottleneck}, _self_]\n")
    write(
        tmp_path, "model/other.yaml",
        "# other\ndefaults: [mine, {override block: [bottleneck, basic, basic, basic]}, _self_]\n",
    )  # fmt: skip
    bottleneck = ["bottleneck"] * 4
    assert kinds(rf.compose("one", config_dir=tmp_path)) == bottleneck
    assert kinds(rf.compose("mine", "model/block=bottleneck", config_dir=tmp_path)) == bottleneck
    other = ["bottleneck", "basic", "basic", "basic"]
    assert kinds(rf.compose("other", config_dir=tmp_path)) == other
    assert kinds(rf.compose("mine", f"model/block=[{','.join(other)}]", config_dir=tmp_path)) == other


def test_commands_and_multiruns_take_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    mine = "# mine\ndefaults: [resnet18, {override block: [basic, basic, bottleneck, bottleneck]}, _self_]\n"
    write(tmp_path, "conf/model/mine.yaml", mine)
    wanted = rf.plan(rf.compose("resnet18", "model.block=[basic,basic,bottleneck,bottleneck]")).id
    by_list = "model/block=[basic,basic,bottleneck,bottleneck]"
    for words in (["model=mine", "--config-dir", "conf"], ["model=resnet18", by_list]):
        assert main(["describe", *words]) == 0
        assert f"id {wanted}" in capsys.readouterr().out
        assert main(["describe", "-m", *words, "model.num_classes=1000,10"]) == 0
        assert f"id {wanted}" in capsys.readouterr().out
    sweep = ["sweep", "model=mine", "--config-dir", "conf", "space.vary={stem:{width:{range:[64,64]}}}"]
    assert main([*sweep, "samples=1", "report=false", "out=s"]) == 0
    assert wanted in (tmp_path / "s" / "archs.csv").read_text()


@pytest.mark.parametrize(
    ("group", "said"),
    [("attention", "[none, none, se, se]"), ("stem", "[imagenet, deep]"), ("norm", "[batch]")],
)
def test_lists_of_what_holds_for_all_stages_are_refused(group: str, said: str, tmp_path: Path) -> None:
    write(
        tmp_path,
        "model/mine.yaml",
        f"# mine\ndefaults:\n  - resnet18\n  - override {group}: {said}\n  - _self_\n",
    )
    with pytest.raises(
        rf.ConfigError, match=rf"mine.yaml:4:5: .*expected one name for 'model/{group}', found \["
    ):
        rf.compose("mine", config_dir=tmp_path)
    form = "" if group == "stem" else ".*when: stage > 2"  # there is one stem
    with pytest.raises(rf.ConfigError, match=rf"expected one name for 'model/{group}', found \[{form}"):
        rf.compose("resnet18", f"model/{group}={said.replace(' ', '')}")
