"""Layers of one's own, registered in this process: the words they may have, the classes, and their errors."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch import Tensor, nn

import resnet_factory as rf
from resnet_factory.config.recipe import recipe_arguments
from resnet_factory.layers import VOCABULARY, Conv, Layer, registry
from resnet_factory.layers.registration_checks import probe_layer_class
from resnet_factory.network.data_flow import verify_data_flow
from resnet_factory.sweep.population import Population, cost_population, population_parts

SMALL = ("model.depths=1", "model.widths=8", "model.stem.width=8", "model.image_size=32")


@dataclass(frozen=True, slots=True)
class Affine(Layer):
    """A weight per group of channels; and with `offset: separate` a bias."""

    groups: int
    offset: Literal["none", "separate"] = "none"

    family: ClassVar[str] = "affine"
    elementwise: ClassVar[bool] = True

    def params(self) -> int:
        return self.channels // self.groups * (2 if self.offset == "separate" else 1)

    def valid(self) -> bool:
        return (self.groups > 0) and self.channels % self.groups == 0

    def faults(self) -> Iterator[tuple[str, str]]:
        yield "groups", f"{self.channels} channels are not {self.groups} groups"


class AffineModule(nn.Module):
    """Multiplies each channel."""

    def __init__(self, layer: Affine) -> None:
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(torch.full((layer.params(),), 2.0))])
        self.groups = layer.groups

    def forward(self, x: Tensor) -> Tensor:
        weights: Tensor = self.weights[0]
        return x * weights.repeat_interleave(self.groups).view(-1, 1, 1)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty registry."""
    monkeypatch.setattr(registry.REGISTRY, "words", {})
    monkeypatch.setattr(registry.REGISTRY, "classes", {})
    yield
    recipe_arguments.cache_clear()


def subclass(body: str, bases: str = "Layer", decorator: str = "@dataclass(frozen=True)") -> Any:
    """A class from the lines of its body."""
    scope: dict[str, Any] = {"math": math, **globals()}
    exec(f"{decorator}\nclass Mine({bases}):\n    'Mine.'\n    {body}", scope)
    return scope["Mine"]


# What a registered layer is good for -------------------------------------------------------------------


def test_a_word_composed_before_it_was_registered_is_known_afterwards() -> None:
    override = "model.act={layer: affine, groups: 2}"
    with pytest.raises(rf.ConfigError, match="unknown layer 'affine'"):
        rf.compose("resnet18", *SMALL, override)
    rf.register_layer("affine", Affine, AffineModule)
    network = rf.create_model("resnet18", *SMALL, override)
    assert rf.cost(network.plan).params == sum(p.numel() for p in network.parameters())
    verify_data_flow(network, (3, 32, 32))
    network(torch.randn(2, 3, 32, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert "affine1: affine 8 groups=2" in str(network.plan)
    assert "affine" in str(rf.draw(network.plan, format="mermaid"))
    assert network.config is not None
    assert "relu -> affine" in str(rf.diff(rf.compose("resnet18", *SMALL), network.config))


def test_mistakes_in_its_arguments_are_located() -> None:
    rf.register_layer("affine", Affine, AffineModule)
    with pytest.raises(rf.ConfigError) as caught:
        rf.compose("resnet18", *SMALL, "model.act={layer: affine, groups: 3}")
    assert "command line 'model.act={layer: affine, groups: 3}': model.act.groups: 8 channels" in str(
        caught.value
    )
    for wrong, message in {
        "{layer: affine, grups: 2}": "unknown argument 'grups' of 'affine'; known are groups, offset",
        "{layer: affine, groups: 2, offset: 3}": "expected a choice by name, found 3",
        "{layer: afine, groups: 2}": "unknown layer 'afine'; known are .*affine",
        "{layers: [{affine: {}}]}": "'affine' needs 'groups'",
    }.items():
        with pytest.raises(rf.ConfigError, match=message):
            rf.compose("resnet18", *SMALL, f"model.act={wrong}")


def test_a_subclass_of_a_shipped_layer_has_its_own_module() -> None:
    made = subclass("def params(self): return Conv.params(self) + 1", "Conv")

    class More(nn.Conv2d):
        def __init__(self, layer: Conv) -> None:
            super().__init__(layer.channels, layer.to, layer.kernel, layer.stride, layer.padding, bias=False)
            self.more = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * self.more

    rf.register_layer("more_conv", made, More)
    network = rf.create_model("resnet18", *SMALL, "model.conv={layer: more_conv}")
    assert rf.cost(network.plan).macs == rf.cost(rf.compose("resnet18", *SMALL)).macs
    assert isinstance(network.conv1, More)


def test_saved_and_loaded_in_this_process(tmp_path: Path) -> None:
    rf.register_layer("affine", Affine, AffineModule)
    network = rf.create_model("resnet18", *SMALL, "model.act={layer: affine, groups: 2}").eval()
    file = rf.save(network, tmp_path / "w.safetensors")
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(rf.load(file).eval()(x), network(x))
    registry.REGISTRY.words.clear()
    with pytest.raises(rf.ConfigError) as caught:
        rf.load(file)
    assert str(caught.value) == (
        f"weights: '{file}': layer 'affine' is not registered here; the network was saved with the one from "
        f"module '{__name__}'; register it first, as rf.register_layer does"
    )


def test_files_without_layers_of_ones_own_say_nothing_of_them(tmp_path: Path) -> None:
    from safetensors import safe_open

    file = rf.save(rf.create_model("resnet18", *SMALL), tmp_path / "w.safetensors")
    with safe_open(file, "pt") as opened:
        assert "resnet_factory.layers" not in opened.metadata()


# Populations -------------------------------------------------------------------------------------------

BODIES = {
    "holds for columns": "def params(self): return self.channels // self.groups",
    "raises": "def params(self): return int(math.ceil(math.sqrt(self.groups)))",
    "has no power": "def params(self): return self.groups ** 2",
    "gives other numbers": "def params(self): return self.groups if type(self.groups) is int else 7",
    "asks": "def params(self): return self.groups if self.groups > 5 else 2 * self.groups",
}


@pytest.mark.parametrize("body", BODIES)
def test_costs_of_populations_are_those_of_each_member(body: str) -> None:
    refused = "def valid(self): return self.groups > 0\n    def faults(self): yield 'groups', 'none'"
    made = subclass(f"groups: int = 1\n    {refused}\n    {BODIES[body]}")
    rf.register_layer("grouped", made, AffineModule)
    config = rf.compose("resnet18", *SMALL, "model.act={layer: grouped, groups: 1}")
    groups = np.array([1, 2, 4, 8, 3, 6, 5, 7, 9, 16])
    population = Population(config=config, columns={"act.groups": groups}, image=(32, 32))
    found = cost_population(population)
    assert found.valid.all()
    alone = [rf.cost(rf.plan(population.member(i)), (3, 32, 32)).params for i in range(len(groups))]
    assert found.params.tolist() == alone
    assert len(set(alone)) > 1
    alike = [part for part in population_parts(population) if part.members.size > 1]
    assert bool(alike) == (body in ("holds for columns", "asks"))


# Words and classes that are refused --------------------------------------------------------------------

WORDS: dict[Any, str] = {
    "conv2d": "a layer of the vocabulary",
    "relu": "a layer of the vocabulary",
    "norm": "is a slot",
    "gate": "is a structure",
    "depths": "is a key",
    "layers": "is a key",
    "in": "cannot be the word",
    "my-layer": "cannot be the word",
    "2d": "cannot be the word",
    "": "cannot be the word",
}


@pytest.mark.parametrize("word", WORDS)
def test_words_that_mean_something_else(word: str) -> None:
    with pytest.raises(ValueError, match=rf"^register_layer\(\): .*{WORDS[word]}"):
        rf.register_layer(word, Affine, AffineModule)
    assert not registry.REGISTRY.words


def test_a_word_and_a_class_are_registered_once() -> None:
    rf.register_layer("affine", Affine, AffineModule)
    rf.register_layer("affine", Affine, AffineModule)
    with pytest.raises(
        ValueError, match=r"'affine' is registered already, for .*Affine; choose another word"
    ):
        rf.register_layer("affine", subclass("pass"), AffineModule)
    with pytest.raises(ValueError, match="Affine is the layer 'affine' already"):
        rf.register_layer("affine2", Affine, AffineModule)
    with pytest.raises(ValueError, match="Conv is the layer 'conv2d' already"):
        rf.register_layer("mine", Conv, AffineModule)


CLASSES: dict[str, tuple[Any, type[Exception], str]] = {
    "not a class": (Affine(8, 1), TypeError, "a class derived from resnet_factory.layers.Layer"),
    "a module": (AffineModule, TypeError, "a class derived from resnet_factory.layers.Layer"),
    "the base": (Layer, TypeError, "a class derived from"),
    "no dataclass": (subclass("x: int = 1", decorator=""), TypeError, "Mine is not a dataclass"),
    "identity": (
        subclass("x: int = 1", decorator="@dataclass(frozen=True, eq=False)"),
        TypeError,
        "identity",
    ),
    "unknown type": (subclass("x: 'Nowhere' = 1"), TypeError, "cannot be read: name 'Nowhere'"),
    "text": (
        subclass("x: str = ''"),
        TypeError,
        "'x' of Mine is not an int, float, bool, Axes, Padding or Literal",
    ),
    "constant": (subclass("family: str = 'act'"), TypeError, r"write ClassVar: family: ClassVar\[…\]"),
    "default": (
        subclass("x: int = 1.5"),
        TypeError,
        "'x' of Mine has a default that does not match its type",
    ),
    "name": (subclass("when: int = 1"), TypeError, "'when' of Mine has a name that is reserved in recipes"),
    "accepts": (
        subclass("accepts: ClassVar[tuple] = 'map'"),
        TypeError,
        "Mine.accepts is 'map'; expected a tuple",
    ),
    "produces": (subclass("produces: ClassVar[str] = 'volume'"), TypeError, "Mine.produces is 'volume'"),
    "no number": (
        subclass("def params(self): return self.channels / 2"),
        ValueError,
        r"Mine\(channels=64\): params\(\) is 32.0; expected an int of at least 0",
    ),
    "fails": (
        subclass("x: int = 1\n    def valid(self): return self.channels % self.x == 0"),
        ValueError,
        r"Mine\(channels=64, x=.*\): .*ZeroDivisionError|faults\(\) does not say why",
    ),
    "divides by zero": (
        subclass("x: int\n    def params(self): return 6 // self.x"),
        ValueError,
        r"Mine\(channels=64, x=0\): params\(\) fails: ZeroDivisionError",
    ),
    "no faults": (
        subclass("x: int\n    def valid(self): return self.x > 1"),
        ValueError,
        r"Mine\(channels=64, x=1\): valid\(\) is False, but faults\(\) does not say why",
    ),
    "faults of nothing": (
        subclass("x: int\n    def valid(self): return self.x > 1\n    def faults(self): yield 'y', 'wrong'"),
        ValueError,
        "yield an argument's name and what is wrong with it",
    ),
    "no truth": (
        subclass("def valid(self): return 1"),
        ValueError,
        r"valid\(\) is 1; expected True or False",
    ),
    "saves": (
        subclass("saves = 'all'"),
        ValueError,
        "saves is 'all'; expected 'input', 'output', 'both' or 'neither'",
    ),
    "reach": (subclass("reach = (1, 1.5)"), ValueError, "reach is .*; expected None, or two ints"),
}


@pytest.mark.parametrize("case", CLASSES)
def test_classes_that_are_refused(case: str) -> None:
    layer, kind, message = CLASSES[case]
    with pytest.raises(kind, match=rf"^register_layer\(\): .*{message}") as caught:
        rf.register_layer("mine", layer, AffineModule)
    assert type(caught.value) is kind
    assert not registry.REGISTRY.words


@pytest.mark.parametrize("word", VOCABULARY)
def test_shipped_layers_pass_the_same_checks(word: str) -> None:
    probe_layer_class(VOCABULARY[word][0])


# Modules -----------------------------------------------------------------------------------------------

MAKERS: dict[str, tuple[Any, str]] = {
    "nowhere": ("no_such_package:make", "cannot be imported: ModuleNotFoundError: No module named"),
    "no function": ("math:pi", "is 3.141592653589793, not a function"),
    "nothing in it": ("math:make", "cannot be imported: AttributeError"),
    "no module": (lambda layer: layer, "its module function returns a Affine, not a torch.nn.Module"),
    "other parameters": (
        lambda layer: nn.BatchNorm2d(layer.channels),
        r"its module has 16 parameters, Affine.params\(\) says 4 for 'affine 8 groups=2'",
    ),
}


@pytest.mark.parametrize("case", MAKERS)
def test_makers_that_do_not_fit_are_told_on_building(case: str) -> None:
    maker, message = MAKERS[case]
    rf.register_layer("affine", Affine, maker)
    config = rf.compose("resnet18", *SMALL, "model.act={layer: affine, groups: 2}")
    rf.explain(config)
    with pytest.raises(rf.ConfigError, match=rf"^layer 'affine': .*{message}"):
        rf.build(config)


def test_an_exception_of_a_maker_names_the_layer() -> None:
    rf.register_layer("affine", Affine, lambda layer: AffineModule(layer.nothing))
    with pytest.raises(AttributeError) as caught:
        rf.create_model("resnet18", *SMALL, "model.act={layer: affine, groups: 2}")
    assert caught.value.__notes__ == ["raised where layer 'affine' creates the module of 'affine 8 groups=2'"]


@pytest.mark.parametrize("wrong", ["make", "a b:c", ":make", ""])
def test_makers_named_in_another_way(wrong: str) -> None:
    with pytest.raises(
        ValueError, match=r"'package\.module:function' for the function that returns the module, found"
    ):
        rf.register_layer("affine", Affine, wrong)


# Packages, as their metadata tells of them ---------------------------------------------------------------


def install(folder: Path, name: str, word: str, value: str, source: str = "") -> None:
    """A package with one entry point and one module, as pip leaves it."""
    (folder / f"{name}-1.2.dist-info").mkdir(parents=True)
    told = {"METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n"}
    told["entry_points.txt"] = f"[{registry.GROUP}]\n{word} = {value}\n"
    for file, text in told.items():
        (folder / f"{name}-1.2.dist-info" / file).write_text(text)
    (folder / f"{value.partition(':')[0]}.py").write_text(source)


LAYER = """
from dataclasses import dataclass
from resnet_factory.layers import Layer

@dataclass(frozen=True)
class Mine(Layer):
    "Mine."

PAIR = Mine, "torch.nn:Identity"
"""


def test_a_package_installed_meanwhile_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(rf.ConfigError, match="unknown act 'found_one'"):
        rf.compose("resnet18", "model.act=found_one")
    install(tmp_path, "found", "found_one", "found_module:PAIR", LAYER)
    monkeypatch.syspath_prepend(tmp_path)
    config = rf.compose("resnet18", "model.act=found_one")
    assert rf.plan(config).leaves[2].layer.__class__.__module__ == "found_module"
    with pytest.raises(ValueError, match="'found_one' is registered already"):
        rf.register_layer("found_one", Affine, AffineModule)
    registry.REGISTRY.words.clear()
    with pytest.raises(ValueError, match=r"'found_one' is a layer of package 'found 1\.2'; choose another"):
        rf.register_layer("found_one", Affine, AffineModule)


BROKEN = {
    "import": ("raise ImportError('no libfoo')", "broken_module:PAIR", "ImportError: no libfoo"),
    "no such name": ("", "broken_module:PAIR", "AttributeError: .*PAIR"),
    "no pair": ("PAIR = 3", "broken_module:PAIR", "'broken_module:PAIR' is 3, not a pair of"),
    "no layer": (
        "PAIR = int, 'a:b'",
        "broken_module:PAIR",
        "a class derived from resnet_factory.layers.Layer",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_package_disturbs_only_those_who_use_it(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, value, message = BROKEN[case]
    install(tmp_path, "broken", "broken_one", value, source)
    install(tmp_path, "second", "second_one", "second_module:PAIR", LAYER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_module", raising=False)
    monkeypatch.delitem(sys.modules, "second_module", raising=False)
    rf.compose("resnet18", "model.act=second_one")
    with pytest.raises(rf.ConfigError, match=r"unknown act 'brokn_one'.*did you mean 'broken_one'"):
        rf.compose("resnet18", "model.act=brokn_one")
    for override in ("model.act=broken_one", "model.attention={layers: [broken_one]}"):
        with pytest.raises(rf.ConfigError) as caught:
            rf.compose("resnet18", override)
        assert caught.match(
            rf"^command line '.*': model.*: layer 'broken_one' of package 'broken 1\.2' cannot be used: "
            rf".*{message}"
        )


def test_two_packages_of_one_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "other"):
        install(tmp_path, name, "twice_there", f"{name}_module:PAIR", LAYER)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(rf.ConfigError, match=r"in several packages, 'first 1\.2' and 'other 1\.2'|'other 1"):
        rf.compose("resnet18", "model.act=twice_there")


def test_shipped_models_read_no_entry_points() -> None:
    """What is known without them asks for none."""
    code = (
        "import importlib.metadata as m\n"
        "m.entry_points = None\n"
        "import resnet_factory as rf, sys\n"
        "rf.explain(rf.compose('resnet50', 'model.act=silu'))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT)})


def test_registering_and_costing_import_no_torch() -> None:
    code = (
        "import sys\n"
        "from dataclasses import dataclass\n"
        "import resnet_factory as rf\n"
        "from resnet_factory.layers import Layer\n"
        "@dataclass(frozen=True)\n"
        "class Mine(Layer):\n"
        "    pass\n"
        "rf.register_layer('mine', Mine, 'torch.nn:Identity')\n"
        "rf.cost(rf.compose('resnet18', 'model.act=mine'))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT)})


def test_the_group_is_told_where_packages_are_made() -> None:
    text = (ROOT / "examples" / "own_layer" / "pyproject.toml").read_text(encoding="utf-8")
    assert f'[project.entry-points."{registry.GROUP}"]' in text
    assert not metadata.entry_points(group=registry.GROUP), "the tests run without layers of packages"
