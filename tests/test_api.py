"""The Python API: names, configs and plans taken anywhere, and wrong kinds of things answered in a line."""

from __future__ import annotations

import ast
import copy
import importlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from torch import nn

import resnet_factory as rf
from resnet_factory.layers import Layer

SMALL = ("model.depths=1", "model.widths=8", "model.stem.width=8", "model.image_size=32")


def small() -> rf.Network:
    return rf.create_model("resnet18", *SMALL)


@pytest.mark.parametrize("of", [str, rf.compose, lambda name: rf.plan(rf.compose(name))])
def test_a_name_a_config_and_a_plan_mean_the_same(of: Callable[[str], Any]) -> None:
    plan = rf.plan(rf.compose("resnet18"))
    assert rf.plan(of("resnet18")) == plan
    assert rf.cost(of("resnet18")).params == 11_689_512
    assert str(rf.explain(of("resnet18"))) == str(rf.explain(plan))
    assert rf.draw(of("resnet18"), format="mermaid") == rf.draw(plan, format="mermaid")
    assert rf.build(of("resnet18"), device="meta").plan == plan


def test_differences_take_names() -> None:
    assert str(rf.diff("resnet50", "resnet50d")) == str(
        rf.diff(rf.compose("resnet50"), rf.compose("resnet50d"))
    )


def test_models_are_listed() -> None:
    numbers = (18, 20, 26, 32, 34, 44, 50, 56)
    assert rf.list_models("resnet??") == [f"resnet{number}" for number in numbers]
    assert set(rf.list_models("*se*50*")) < set(rf.list_models())
    assert rf.list_models("nothing*") == []


def test_models_of_ones_own_are_listed(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("# mine\ndefaults: [resnet18, _self_]\n")
    assert rf.list_models("mi*", config_dir=tmp_path) == ["mine"]


def test_what_everybody_changes_has_keywords() -> None:
    words, more = "model.depths=1", ["model.widths=8"]
    network = rf.create_model("resnet18", words, overrides=more, num_classes=7, in_channels=1)
    assert network(torch.randn(2, 1, 32, 32)).shape == (2, 7)
    assert network.plan.stages[0].out_channels == 8
    assert rf.compose("resnet18", num_classes=7) == rf.compose("resnet18", "model.num_classes=7")
    assert rf.compose("resnet18", features="stages") == rf.compose("resnet18", "++model.features=[stages]")


def test_faults_of_keywords_are_located_at_them() -> None:
    with pytest.raises(rf.ConfigError) as caught:
        rf.create_model("resnet18", features=["layer9"], num_classes=-1)
    assert "argument 'num_classes=-1': model.num_classes: expected a whole number" in str(caught.value)
    with pytest.raises(
        rf.ConfigError, match=r"^argument 'features=\['layer9'\]': model.features.0: unknown feature"
    ):
        rf.compose("resnet18", features=["layer9"])


# Networks and their configs -------------------------------------------------------------------------


def test_a_network_carries_its_config(tmp_path: Path) -> None:
    network = small()
    config = rf.compose("resnet18", *SMALL)
    assert network.config == config
    assert rf.build(config).config == config
    assert rf.build(rf.plan(config)).config is None
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    network(torch.randn(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    for again in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert again.config == config
        assert again.plan == network.plan
    file = rf.save(network, tmp_path / "a.safetensors")
    loaded = rf.load(file)
    assert loaded.config == config
    second = rf.save(loaded, tmp_path / "b.safetensors")
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(rf.load(second).eval()(x), network.eval()(x))


@pytest.mark.parametrize("name", ["resnet18", "resnetv2_50d_gn", "regnetx_002", "nf_resnet26", "seresnet18"])
def test_a_new_classifier(name: str, tmp_path: Path) -> None:
    """Everything else is what it was, as the same objects; saving and loading know the new number."""
    network = rf.create_model(name)
    before = dict(network.state_dict())
    parameters = {id(parameter) for parameter in network.parameters()}
    same = rf.reset_classifier(network, 7)
    assert same is network
    assert network.config == rf.compose(name, "model.num_classes=7")
    assert network.plan == rf.plan(network.config)
    changed = [key for key, value in network.state_dict().items() if value.shape != before[key].shape]
    assert len(changed) == 2
    assert all(value.shape[0] == 7 for key, value in network.state_dict().items() if key in changed)
    assert sum(id(parameter) not in parameters for parameter in network.parameters()) == 2
    loaded = rf.load(rf.save(network, tmp_path / "w.safetensors"))
    assert loaded.config == network.config
    assert [stage.blocks[0].kind for stage in network.plan.stages] == [
        stage.blocks[0].kind for stage in rf.plan(name).stages
    ]


def test_a_new_classifier_is_drawn_by_the_networks_scheme() -> None:
    """On the network's device and in its precision."""
    network = rf.reset_classifier(rf.create_model("regnetx_002").double(), 9)
    (weight,) = (value for key, value in network.named_parameters() if key.endswith("fc.weight"))
    assert weight.dtype == torch.float64
    assert 0.005 < weight.std().item() < 0.02, "normal_(0, 0.01), as torchvision's and timm's RegNets"


def test_saving_says_what_no_longer_fits(tmp_path: Path) -> None:
    network = small()
    network.fc = nn.Linear(8, 7)
    network.extra = nn.Conv2d(1, 1, 1)
    with pytest.raises(rf.ConfigError) as caught:
        rf.save(network, tmp_path / "w.safetensors")
    said = str(caught.value)
    assert "fc.weight [7, 8], planned [1000, 8]" in said
    assert "extra.weight [1, 1, 1, 1], planned nothing" in said
    assert "reset_classifier(network, N)" in said
    assert not list(tmp_path.iterdir())
    with pytest.raises(TypeError, match="built from a plan alone; give the plan's config"):
        rf.save(rf.build(rf.plan("resnet18"), device="meta"), tmp_path / "w.safetensors")


@pytest.mark.parametrize("classes", [0, -1, "7", None])
def test_numbers_of_classes_that_cannot_be(classes: Any) -> None:
    with pytest.raises((ValueError, rf.ConfigError)):
        rf.reset_classifier(small(), classes)


def test_a_network_without_classes_has_no_classifier_to_reset() -> None:
    network = rf.create_model("resnet18", *SMALL, "model.head.layers=[global_pool,flatten]")
    with pytest.raises(rf.ConfigError, match="nothing in this network reads 'num_classes'"):
        rf.reset_classifier(network, 7)


# Wrong kinds of things --------------------------------------------------------------------------------

WRONG: list[Any] = [
    None, 3, 2.5, True, b"resnet18", ["resnet18"], {"name": "resnet18"}, object(), torch.zeros(1),
    nn.Linear(1, 1), Path("resnet18"), "no such thing", "", "resnet18\n", rf, int,
]  # fmt: skip
CALLS: dict[str, Callable[[Any], Any]] = {
    "build": rf.build,
    "build outputs": lambda wrong: rf.build("resnet18", device="meta", outputs=wrong),
    "build device": lambda wrong: rf.build("resnet18", device=wrong),
    "compose": rf.compose,
    "compose override": lambda wrong: rf.compose("resnet18", wrong),
    "compose overrides": lambda wrong: rf.compose("resnet18", overrides=wrong),
    "compose config_dir": lambda wrong: rf.compose("resnet18", config_dir=wrong),
    "compose num_classes": lambda wrong: rf.compose("resnet18", num_classes=wrong),
    "compose in_channels": lambda wrong: rf.compose("resnet18", in_channels=wrong),
    "compose features": lambda wrong: rf.compose("resnet18", features=wrong),
    "cost": rf.cost,
    "cost image": lambda wrong: rf.cost("resnet18", wrong),
    "create_model": rf.create_model,
    "create_model override": lambda wrong: rf.create_model("resnet18", wrong),
    "create_model features": lambda wrong: rf.create_model("resnet18", features=wrong),
    "compare_sweeps": rf.compare_sweeps,
    "compare_sweeps overrides": lambda wrong: rf.compare_sweeps("a", overrides=wrong),
    "diff": lambda wrong: rf.diff("resnet18", wrong),
    "diff before": lambda wrong: rf.diff(wrong, "resnet18"),
    "diff image": lambda wrong: rf.diff("resnet18", "resnet34", wrong),
    "draw": rf.draw,
    "draw image": lambda wrong: rf.draw("resnet18", wrong),
    "draw format": lambda wrong: rf.draw("resnet18", format=wrong),
    "explain": rf.explain,
    "explain image": lambda wrong: rf.explain("resnet18", wrong),
    "export": lambda wrong: rf.export(wrong, "a.safetensors", to="timm"),
    "export file": lambda wrong: rf.export(small(), wrong, to="timm"),
    "export to": lambda wrong: rf.export(small(), "a.safetensors", to=wrong),
    "fold": rf.fold,
    "list_models": rf.list_models,
    "list_models config_dir": lambda wrong: rf.list_models(config_dir=wrong),
    "load": rf.load,
    "load_weights": lambda wrong: rf.load_weights(wrong, "a.safetensors"),
    "load_weights file": lambda wrong: rf.load_weights(small(), wrong),
    "merge_sweeps": lambda wrong: rf.merge_sweeps(wrong, wrong, out="merged"),
    "merge_sweeps out": lambda wrong: rf.merge_sweeps("a", "b", out=wrong),
    "open_search": rf.open_search,
    "open_search override": lambda wrong: rf.open_search("digits", wrong, out="search"),
    "open_sweep": rf.open_sweep,
    "plan": rf.plan,
    "push_to_hub": lambda wrong: rf.push_to_hub(wrong, "owner/name"),
    "push_to_hub name": lambda wrong: rf.push_to_hub(small(), wrong),
    "read": rf.read,
    "register_layer": lambda wrong: rf.register_layer(wrong, Layer, "a:b"),
    "register_layer class": lambda wrong: rf.register_layer("mine", wrong, "a:b"),
    "register_layer module": lambda wrong: rf.register_layer("relu", Layer, wrong),
    "register_metric": lambda wrong: rf.register_metric(wrong, 3),  # type: ignore[arg-type]
    "reset_classifier": lambda wrong: rf.reset_classifier(wrong, 7),
    "reset_classifier classes": lambda wrong: rf.reset_classifier(small(), wrong),
    "run_sweep": rf.run_sweep,
    "run_sweep override": lambda wrong: rf.run_sweep("digits", wrong, out="sweep"),
    "run_sweep config_dir": lambda wrong: rf.run_sweep("no space", config_dir=wrong),
    "save": lambda wrong: rf.save(wrong, "a.safetensors"),
    "save file": lambda wrong: rf.save(small(), wrong),
}
FUNCTIONS = {name for name in rf.__all__ if name[0].islower() and name != "conf_dir"}


def test_the_table_has_every_public_function() -> None:
    assert {call.split()[0] for call in CALLS} == FUNCTIONS


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: repr(wrong)[:20])
def test_wrong_kinds_of_things_are_answered_in_a_line(
    call: str, wrong: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = raised(CALLS[call], wrong)
    if error is None:
        return
    assert str(error)
    assert "\n" not in str(error) or isinstance(error, rf.ConfigError)
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    assert place is not None
    assert "resnet_factory" in place.tb_frame.f_code.co_filename, "raised by us, not by what we call"
    assert not list(tmp_path.iterdir())


def raised(function: Callable[[Any], Any], wrong: Any) -> Exception | None:
    """What a call raises of what a wrong argument may raise."""
    try:
        function(wrong)
    except (TypeError, ValueError) as error:
        return error
    return None


def test_every_public_name_is_there() -> None:
    """By name, and in the file that type checkers are told of."""
    told: dict[str, str] = {}
    for node in ast.walk(ast.parse((ROOT / "resnet_factory" / "__init__.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("resnet_factory."):
            told |= {alias.name: str(node.module) for alias in node.names}
    assert sorted(told) == sorted(rf.__all__)
    for name, module in told.items():
        assert getattr(rf, name) is getattr(importlib.import_module(module), name)
