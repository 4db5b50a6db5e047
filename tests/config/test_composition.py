"""Composition without Hydra's runner gives what Hydra itself composes: every model, command and group."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import resnet_factory as rf
from resnet_factory.config import library, override_grammar, provenance
from resnet_factory.config.composition import compose_all

CONF = ROOT / "conf"
MODELS = sorted(file.stem for file in (CONF / "model").glob("*.yaml"))
GROUPS = {
    f"model/{folder.name}": sorted(file.stem for file in folder.glob("*.yaml"))
    for folder in sorted((CONF / "model").iterdir())
    if folder.is_dir()
}
COMMANDS = sorted(file.stem for file in CONF.glob("*.yaml") if file.stem != "config")
NUMBERS = ["model.depths=[2,3,2,1]", "model.widths=[8,16,24,32]", "model.num_classes=7", "model.act=silu",
           "model.groups=1", "input.size=96", "+model.output_stride=16", "++model.zero_init_residual=true",
           "model.drop_path={rate: 0.1}", "++model.stem.width=24"]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def hydra() -> Iterator[None]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield
    GlobalHydra.instance().clear()


def by_hydra(command: str, words: list[str]) -> Any:
    """The configuration as Hydra's compose API gives it."""
    return OmegaConf.to_container(compose(command, words), resolve=True)


def test_a_choice_that_a_file_replaces_is_refused(tmp_path: Path) -> None:
    """A key of the file stands after its defaults list: the choice would have no effect."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "own.yaml").write_text(
        "defaults: [resnet18, _self_]\nnorm: layer\n", encoding="utf-8"
    )
    with pytest.raises(rf.ConfigError) as error:
        rf.compose("own", "model/norm=group", config_dir=tmp_path)
    (fault,) = error.value.faults
    assert fault.where == "command line 'model/norm=group'"
    assert (
        "own.yaml:2:1 sets 'norm' later and overrides this choice; write 'model.norm=group' to replace that"
        in fault.message
    )
    assert rf.compose("own", "model.norm=group", config_dir=tmp_path).slots["norm"].title == "group"


def test_a_config_has_no_input() -> None:
    with pytest.raises(
        rf.ConfigError, match=r"input: a config contains only the model; change 'model.image_size'"
    ):
        rf.compose("resnet18", "model.dims=1", "input.size=5000")
    with pytest.raises(rf.ConfigError, match="objective: a config contains only the model"):
        rf.compose("resnet18", "objective=macs")


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_every_model(model: str) -> None:
    words = [f"model={model}"]
    assert compose_all("build", words).data == by_hydra("build", words)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command(command: str) -> None:
    assert compose_all(command, []).data == by_hydra(command, [])


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(MODELS),
    st.dictionaries(st.sampled_from(sorted(GROUPS)), st.integers(0, 99), max_size=3),
    st.lists(st.sampled_from(NUMBERS), max_size=4, unique_by=lambda word: word.lstrip("+").split("=")[0]),
)
def test_any_choices_and_overrides(model: str, picks: dict[str, int], words: list[str]) -> None:
    choices = [f"{group}={GROUPS[group][pick % len(GROUPS[group])]}" for group, pick in picks.items()]
    overrides = [f"model={model}", *choices, *words]
    try:
        ours = compose_all("describe", overrides).data
    except rf.ConfigError:
        reject()  # more is refused here than Hydra refuses: parts that do not fit together
    assert ours == by_hydra("describe", overrides)


@pytest.mark.parametrize(
    "words",
    [
        ["model.depths=[3,4,23,3]"],
        ["model/stem=deep", "model.act=silu"],
        ["model.block.body=[{conv:{kernel:3,to:out,stride:stride}},norm]"],
        ["model.block=[basic,basic,bottleneck,bottleneck]"],
    ],
)
def test_what_is_right_is_not_located(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a position nor Hydra is asked for where nothing is wrong, also of keys that are pruned."""

    def refuse(*arguments: Any) -> Any:
        raise AssertionError(f"located: {arguments}")

    monkeypatch.setattr(provenance, "yaml_position", refuse)
    monkeypatch.setattr(library, "yaml_position", refuse)
    monkeypatch.setattr(override_grammar, "_parse_override_by_hydra", refuse)
    assert rf.compose("resnet50", *words)
