"""Whatever is right plans, and is what its plan says; whatever is wrong is a ConfigError, and nothing else.

A fixed number of examples in every run; `pytest --hypothesis-profile=long tests/test_fuzz.py` for many more.
"""

from __future__ import annotations

import re
import string
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import JUNK, images, models, spoiled
from torch.utils.flop_counter import FlopCounterMode

import resnet_factory as rf
from resnet_factory.cli import main
from resnet_factory.layers.expressions import ExpressionError, parse_expression

SHIPPED = rf.compose("resnet50", "model/attention=se", "model/drop_path=linear").to_dict()
BOTTLENECK = Path(rf.conf_dir(), "model/block/bottleneck.yaml").read_text(encoding="utf-8")


@pytest.mark.slow
@settings(max_examples=settings().max_examples // 2)  # building takes longest
@given(models(), images())
def test_a_right_config_is_what_its_plan_says(data: dict[str, Any], size: tuple[int, int]) -> None:
    """Shapes, parameters and multiply-adds from the plan are the built module's."""
    plan = rf.plan(rf.read(data))
    with torch.device("meta"):
        network = rf.build(plan).eval()
        image = torch.empty(2, plan.in_channels, *size)
    try:
        cost = rf.cost(plan, (plan.in_channels, *size))
    except rf.ConfigError:
        with pytest.raises(RuntimeError):  # too small an image for torch, too
            network(image)
        return
    with FlopCounterMode(display=False) as counter:
        output = network(image)
    assert tuple(output.shape) == (2, *cost.shape)
    assert counter.get_total_flops() == 2 * 2 * cost.macs
    assert sum(parameter.numel() for parameter in network.parameters()) == cost.params
    assert rf.plan(rf.read(rf.read(data).to_dict())) == plan


def planned(data: Any) -> None:
    """What a spoiled model may do: plan after all, or say what is wrong."""
    error = None
    try:
        rf.cost(rf.plan(rf.read(data)))
    except rf.ConfigError as raised:
        error = raised
    assert error is None or (error.faults and str(error).encode("utf-8"))


@given(st.data(), models())
def test_a_spoiled_config_is_a_clean_error(data: st.DataObject, model: dict[str, Any]) -> None:
    planned(data.draw(spoiled(model)))


@given(spoiled(SHIPPED))
def test_a_spoiled_recipe_is_a_clean_error(model: dict[str, Any]) -> None:
    planned(model)


@given(JUNK | st.dictionaries(st.text(max_size=8) | st.integers(), JUNK, max_size=4))
def test_any_data_is_a_clean_error(data: Any) -> None:
    with pytest.raises(rf.ConfigError):
        rf.read(data)


@given(models(), st.sampled_from(["dephts", "stemm", "act_", "widthss", "nrom"]), JUNK)
def test_an_unknown_key_is_always_found(model: dict[str, Any], key: str, value: Any) -> None:
    with pytest.raises(rf.ConfigError, match=f"{key}: unknown key '{key}'.*did you mean"):
        rf.read({**model, key: value})


def composed(folder: Path, name: str, raw: bytes, *words: str) -> None:
    """A file of a user's own, read through the whole of composing."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(raw)
    error = None
    try:
        rf.plan(rf.compose(*words, config_dir=folder))
    except rf.ConfigError as raised:
        error = raised
    assert error is None or all(fault.where for fault in error.faults), error


@given(raw=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_a_clean_error(raw: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    composed(tmp_path_factory.mktemp("mine"), "model/mine.yaml", raw, "mine")


_PIECES = r"""
defaults:·[resnet18,·_self_]⏎ depths:·3⏎ norm:⏎ ··eps:·1e-3⏎ -· ··-· ?· :· { } [ ] ,· &a· *a !!int· !x· |· >·
' " # ---⏎ ...⏎ <<:· → ⏎ ${model.depths} ${ ??? null ~ 0x 1_0 .nan block:· basic layers @ % ` é
"""
PIECES = [piece.replace("·", " ").replace("⏎", "\n").replace("→", "\t") for piece in _PIECES.split()]


@given(pieces=st.lists(st.sampled_from(PIECES), max_size=25))
def test_any_pieces_of_yaml_are_a_clean_error(
    pieces: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    composed(tmp_path_factory.mktemp("mine"), "model/mine.yaml", "".join(pieces).encode(), "mine")


@given(
    cut=st.integers(0, len(BOTTLENECK)), length=st.integers(0, 12), put=st.text(string.printable, max_size=6)
)
def test_a_damaged_recipe_is_a_clean_error(
    cut: int, length: int, put: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = BOTTLENECK[:cut] + put + BOTTLENECK[cut + length :]
    folder = tmp_path_factory.mktemp("mine")
    composed(folder, "model/block/mine.yaml", text.encode(), "resnet18", "model/block=mine")


_WORDS = r"""
model = resnet18 . depths / stem block deep [ ] { } ( ) , : 2 -1 1e9 ' " + ++ ~ @ $ ${ null norm eps
choice range glob * \ é hydra --cfg -m --config-dir input.size 0 features save
"""
WORDS = _WORDS.split()


@given(
    words=st.lists(st.lists(st.sampled_from([*WORDS, " "]), max_size=7).map("".join), min_size=1, max_size=3)
)
def test_any_words_are_a_clean_error(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("here")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", sys.argv)
        patch.setattr(sys, "stdout", open_null := (folder / "out").open("w"))
        patch.setattr(sys, "stderr", open_null)
        running = any(re.match(r"-(m|-multirun|-cfg|-info)", word) for word in words)
        code = 2 if running else main.main(["describe", *words])
        open_null.close()
    assert code in (0, 2)
    assert {path.name for path in folder.iterdir()} <= {"out"}


_TERMS = r"""
width 2 0 1.5 + - * // / % ** ( ) , min max( round divisible if else not and < == . in 1e99 [ lambda
é := ' # @ ~
"""
TERMS = _TERMS.split()


@given(text=st.lists(st.sampled_from([*TERMS, "9" * 40, "\0"]), max_size=10).map(" ".join))
def test_any_arithmetic_is_a_clean_error(text: str) -> None:
    try:
        value = parse_expression(text).value({"width": 64, "in": 3})
    except (ExpressionError, KeyError):
        return
    assert isinstance(value, (int, float))
