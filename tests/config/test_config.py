"""A config is a value: whatever composed it, it is written down, read, pickled and trained as itself."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import FrozenInstanceError
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import resnet_factory as rf
from resnet_factory.cli import main
from resnet_factory.config.composition import group_choices
from resnet_factory.config.model_index import index_models
from resnet_factory.config.unread_fields import NEUTRAL
from resnet_factory.study.jobs import study_job_config
from resnet_factory.study.settings import ArrayData

MODELS = index_models()
BODY = "model.block.body=[{conv:{kernel:3,to:out,stride:stride}},norm]"
REPLACED = [
    ("resnet50", BODY),
    ("resnext50_32x4d", BODY),
    ("seresnet50", BODY),
    ("res2net50_26w_4s", BODY),
    ("regnety_002", BODY),
    ("wide_resnet50_2", "model.block.body=[{conv:{kernel:1,to:out,stride:stride}}]"),
    ("resnet50d", "model.stem.layers=[{conv:{kernel:3,to:24,stride:2}},norm,act]"),
    ("resnet18", "model.head.layers=[global_pool,flatten]"),
    ("resnet18", "model.block.body=[{conv:{kernel:3,to:out,stride:stride}}]", "model.block.post=[]"),
    ("nf_resnet50", "model.block.body=[{conv:{kernel:1,to:out,stride:stride}}]"),
    ("preact_resnet50", "model.block.body=[{conv:{kernel:1,to:out,stride:stride}}]"),
]
"""Overrides that leave numbers of a shipped recipe, or fields of its model, without a reader."""


def hold(config: rf.ModelConfig) -> None:
    """Every way in which a config leaves and comes back gives an equal one, with an equal plan."""
    plan = rf.plan(config)
    for again in (
        rf.read(config.to_dict()),
        pickle.loads(pickle.dumps(config)),
        copy.deepcopy(config),
        copy.copy(config),
    ):
        assert again == config
        assert hash(again) == hash(config)
        assert rf.plan(again) == plan
        assert rf.plan(again).id == plan.id


@pytest.mark.parametrize("name", MODELS.names())
def test_every_shipped_config_is_a_value(name: str) -> None:
    hold(MODELS.config(name))


@pytest.mark.parametrize("words", REPLACED, ids=lambda words: f"{words[0]}-{words[1][:30]}")
def test_what_an_override_orphans_is_no_part_of_the_config(words: tuple[str, ...], tmp_path: Path) -> None:
    """At every door: Python, a saved file, a sweep of one sample, a study of one step."""
    config = rf.compose(*words)
    hold(config)
    small = rf.compose(*words, *([] if "regnety" in words[0] else ["model.depths=1"]))
    hold(small)
    rf.save(rf.build(rf.plan(small)), small, tmp_path / "w.safetensors")
    assert rf.load(tmp_path / "w.safetensors").plan == rf.plan(small)


def test_a_sweep_and_a_study_take_what_composes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    body = "model.block.body=[{conv:{kernel:3,to:out,stride:stride}},norm,act]"
    model = ["model=resnet50", "model.depths=[1,1,1,1]", "model.widths=8", "model.stem.width=8", body]
    sweep = ["space.vary={depths:{range:[1,2],each:stage}}", "samples=1", "report=false", "out=s"]
    assert main.main(["sweep", *model, *sweep]) == 0
    assert (tmp_path / "s" / "archs.csv").read_text().count("\n") == 2
    study = ["study=single", "train.epochs=null", "train.iterations=1", "data=digits", "out=t", "seeds=[0]"]
    assert main.main(["study", *model, *study, "machine.device=cpu", "machine.jobs=0"]) == 0


GROUPS = ["stem", "block", "shortcut", "head", "norm", "attention", "antialias", "drop_path", "drop_block"]
VALUES = [
    "model.depths=[1,2,1,1]", "model.widths=[16,32,64,128]", "model.groups=2", "model.base_width=32",
    "model.act=silu", "model.zero_init_residual=true", "model.num_classes=7", "model.in_channels=1",
    "model.output_stride=16", BODY, "model.block.post=[]", "model.transition.layers=[norm]",
    "model.block=[basic,bottleneck,basic,bottleneck]", "model.features=[layer2]",
]  # fmt: skip


@given(
    st.sampled_from([*islice(MODELS.names(), 0, None, 7)]),
    st.lists(
        st.sampled_from(VALUES)
        | st.sampled_from(GROUPS).flatmap(
            lambda group: st.sampled_from(
                [f"model/{group}={choice}" for choice in group_choices(f"model/{group}")]
            )
        ),
        max_size=4,
        unique_by=lambda word: word.split("=")[0].replace("/", ".").split(".")[1],
    ),
)
@settings(max_examples=80)
def test_whatever_composes_is_a_value(name: str, overrides: list[str]) -> None:
    try:
        config = rf.compose(name, *overrides)
    except rf.ConfigError:
        return
    hold(config)
    data = ArrayData(source="digits", channels=1, classes=10, size=8)
    try:
        hold(study_job_config(config, data))
    except rf.ConfigError as error:
        assert any(word in str(error) for word in ("num_classes", "channels", "dims", "image_size"))  # noqa: PT017


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (("nf_resnet50", "model.groups=4"), "model.groups"),
        (("nf_resnet50", "model.base_width=[64,64,128,64]"), "model.base_width"),
        (("nf_resnet50", "model/norm=group"), "model.norm"),
        (("nf_resnet50", "model/drop_block=late"), "model.drop_block"),
        (("fixup_resnet20", "model.zero_init_residual=true"), "model.zero_init_residual"),
        (("fixup_resnet20", "model.dilations=2"), "model.dilations"),
        (("fixup_resnet20", "model/attention=se"), "model.attention"),
        (("resnet18", BODY.replace("out,", "64,"), "model.block.out=64", "model.widths=32"), "model.widths"),
        (("resnet18", "model.head.layers=[global_pool,flatten]", "model.num_classes=5"), "model.num_classes"),
        (("resnet20", "model.stem_pool.layers=[{avg_pool:{kernel:2,stride:2}}]"), "model.stem_pool"),
        (("seresnet50", BODY, "model.attention.ratio=0.5"), "model.attention"),
    ],
    ids=lambda case: "-".join(case) if isinstance(case, tuple) else case,
)
def test_what_somebody_wrote_and_nothing_reads_is_said(words: tuple[str, ...], key: str) -> None:
    with pytest.raises(rf.ConfigError) as caught:
        rf.compose(*words)
    said = str(caught.value)
    assert f"command line '{next(word for word in words if word.replace('/', '.').startswith(key))}'" in said
    assert f"{key}: nothing in this network" in said


def test_a_file_and_a_mapping_say_so_too(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    file = tmp_path / "model" / "mine.yaml"
    inner = tmp_path / "model" / "inner.yaml"
    inner.write_text(
        "# mine\ndefaults: [resnet20, _self_]\nstem_pool:\n  layers: [{max_pool: {kernel: 2}}]\n"
    )
    with pytest.raises(rf.ConfigError, match=f"{inner}:3:1: model.stem_pool: nothing in this network"):
        rf.compose("inner", config_dir=tmp_path)
    file.write_text(
        "# mine\ndefaults:\n  - nf_resnet50\n  - override drop_block: late\n  - _self_\ngroups: 4\n"
    )
    with pytest.raises(rf.ConfigError) as caught:
        rf.compose("mine", config_dir=tmp_path)
    assert f"{file}:6:1: model.groups: nothing in this network reads 'groups'" in str(caught.value)
    assert f"{file}:4:5: model.drop_block: nothing in this network calls 'drop_block'" in str(caught.value)
    data = rf.compose("nf_resnet50").to_dict()
    for key, value in (("groups", 4), ("zero_init_residual", True)):
        with pytest.raises(rf.ConfigError, match=f"model.{key}: nothing in this network reads"):
            rf.read(data | {key: value})
    assert rf.read(data | {"groups": 1}) is not None, "as all models have it, though nothing reads it"


def test_fields_that_nothing_reads_have_the_values_of_the_first_model() -> None:
    first = MODELS.config("resnet18").to_dict()
    for key, values in NEUTRAL.items():
        assert first[key] == values[0], key


def test_a_config_replaced_by_hand_is_another() -> None:
    config = rf.compose("resnet18")
    replaced = dataclasses.replace(config, depths=(3, 4, 6, 3))
    assert replaced != config
    assert config != replaced
    assert config.changed({"depths": [3, 4, 6, 3]}) == rf.compose("resnet18", "model.depths=[3,4,6,3]")


def test_a_model_whose_recipes_read_no_width_needs_none() -> None:
    data = rf.compose("resnet18").to_dict()
    del data["widths"]
    data["stem"] = {"layers": [{"conv": {"to": 16}}]}
    with pytest.raises(rf.ConfigError, match=r"model\.widths: missing"):
        rf.read(data)
    data["block"] = {"out": 16, "body": [{"conv": {"to": "out", "stride": "stride"}}]}
    assert rf.plan(rf.read(data)).stages[-1].out_channels == 16


def test_a_config_is_frozen_and_equal_by_what_it_says() -> None:
    config = rf.compose("resnet18")
    with pytest.raises(FrozenInstanceError):
        config.depths = (1, 1, 1, 1)  # type: ignore[misc]
    assert config != rf.compose("resnet34")
    assert config == rf.compose("resnet18", "model.depths=[2,2,2,2]")
    assert len({config, rf.compose("resnet18"), rf.compose("resnet34")}) == 2
    values: dict[str, Any] = vars(config)
    assert not [key for key, value in values.items() if callable(value)], "no cache, no function inside"
