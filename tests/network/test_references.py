"""Every named network of torchvision and timm: keys, order, shapes, params, MACs and outputs, all equal.

Keys and shapes are held at full size on the meta device. Outputs are held with randomised weights and
running statistics, in train and eval mode; networks too large for that are held at fewer blocks, both
sides cut alike. The run ends with a table: family, models, equal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
import timm
import torch
import torchvision
from conftest import ROOT
from references import MODELS, digest, randomise
from timm.models import resnetv2
from torch import nn

import resnet_factory as rf
from resnet_factory.config.model_index import index_models
from resnet_factory.network.weights import key_map

KEYS = {
    "timm resnet": None,
    "timm resnest": None,
    "torchvision resnet": None,
    "timm resnetv2": "timm_resnetv2",
    "timm regnet": "timm_regnet",
    "timm res2net": "timm_res2net",
    "timm sknet": "timm_sknet",
    "torchvision regnet": "torchvision_regnet",
}
"""Family -> the key map its names need; None where they are ours."""

# nf_* have no entry in the reference table; their figures are taken from timm itself.
OTHERS = [f"timm/nf_{kind}resnet{depth}" for kind in ("", "se", "eca") for depth in (26, 50, 101)]
FULL = 30_000_000
"""Networks of more parameters than this run at a depth of one or two blocks a stage."""


def family(name: str) -> str:
    """`timm regnet`: the library, and its file."""
    library = name.split("/", maxsplit=1)[0]
    if name not in MODELS:
        return "timm nf_resnet"
    return f"{library} {MODELS[name]['source'].split()[-1]}"


@contextmanager
def undrawn() -> Iterator[None]:
    """Skip drawing initial weights, which is most of the time: every tensor is randomised afterwards."""
    names = [name for name in vars(nn.init) if name.endswith("_") and not name.startswith("_")]
    patches = [mock.patch.object(nn.init, name, lambda tensor, *a, **k: tensor) for name in names]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


def reference(name: str, **arguments: Any) -> nn.Module:
    """The other library's network."""
    library, model = name.split("/")
    if model.endswith("_bit") and arguments:
        # These builders fix their depths; the function they all end in takes any.
        create = resnetv2._create_resnetv2_bit
        with mock.patch.object(
            resnetv2, "_create_resnetv2_bit", lambda *a, **given: create(*a, **{**given, **arguments})
        ):
            return reference(name)
    made = (
        timm.create_model(model, **arguments) if library == "timm" else getattr(torchvision.models, model)()
    )
    assert isinstance(made, nn.Module)
    return made


def renamed(name: str, plan: rf.Plan, keys: list[str]) -> Mapping[str, str]:
    """Our key -> the reference's, in the reference's order."""
    chosen = "timm_nf_resnet" if name not in MODELS else KEYS[family(name)]
    if name.startswith("timm/regnetv"):
        chosen = "timm_regnetv"
    if chosen is None:
        return {key: key for key in keys}
    names = key_map.find_named_key_map(chosen).names(plan, keys)
    assert not names.unnamed
    return names.theirs


def smaller(name: str, plan: rf.Plan) -> tuple[list[str], dict[str, Any]]:
    """Overrides for ours and arguments for theirs that cut a large network down in the same way."""
    if rf.cost(plan).params <= FULL or name.startswith("torchvision"):
        return [], {}
    if "regnet" in name:
        spec = rf.compose(name.split("/")[1]).to_dict()["generator"]["regnet"]
        width, group = spec["initial_width"] // 32 * 8, max(spec["group_width"] // 4, 8)
        slope = spec["slope"] / 4
        ours = {"initial_width": width, "group_width": group, "slope": slope}
        theirs = {"w0": width, "group_size": group, "wa": slope}
        return [f"model.generator.regnet.{key}={value}" for key, value in ours.items()], theirs
    if "pruned" in name:
        return [], {}
    depths = [1, 2, 2, 1]
    argument = "layers" if name in MODELS else "depths"
    return [f"model.depths={depths}".replace(" ", "")], {argument: tuple(depths)}


@pytest.mark.parametrize("name", [*MODELS, *OTHERS])
def test_network_equals_the_reference(name: str) -> None:
    plan = rf.plan(index_models().config(name.split("/")[1]))
    facts = MODELS.get(name)
    with torch.device("meta"), undrawn():
        ours = rf.build(plan).state_dict()
    names = renamed(name, plan, list(ours))
    if facts is not None:
        cost = rf.cost(plan, image=(3, facts["input"], facts["input"]))
        assert (cost.params, cost.macs) == (facts["params"], facts["macs"])
        shapes = {theirs: ours[key] for key, theirs in names.items()}
        assert digest(shapes) == facts["state_dict_sha256"], "keys, order and shapes"

    overrides, arguments = smaller(name, plan)
    plan = rf.plan(rf.compose(name.split("/")[1], *overrides))
    with undrawn():
        network = rf.build(plan)
        other = reference(name, **arguments) if not name.startswith("torchvision") else reference(name)
    if name.startswith("torchvision") and rf.cost(plan).params > 4 * FULL:
        return  # its builder cannot be cut; the same plan runs above under timm's name
    randomise(other)
    theirs = other.state_dict()
    names = renamed(name, plan, list(network.state_dict()))
    assert list(names.values()) == list(theirs)
    network.load_state_dict({key: theirs[value] for key, value in names.items()}, strict=True)
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(network.train()(image), other.train()(image))
        assert torch.equal(network.eval()(image), other.eval()(image))


@pytest.mark.parametrize(
    "name",
    [
        "resnet50",
        "resnet18",
        "resnet50d",
        "seresnet50",
        "resnet10t",
        "resnetaa50",
        "resnetblur18",
        "ecaresnet26t",
        "resnetrs50",
        "resnet50_gn",
        "skresnet18",
        "senet154",
    ],
)
def test_same_seed_same_initial_weights_as_timm(name: str) -> None:
    """timm zeroes the last norm of a branch by default; torchvision, which shares some names, does not."""
    torch.manual_seed(5)
    theirs = timm.create_model(name).state_dict()
    torch.manual_seed(5)
    overrides = ["model.zero_init_residual=true"] if not name.startswith("skresnet") else []
    ours = rf.create_model(name, *overrides).state_dict()
    mine = [ours[key] for key in renamed("timm/" + name, rf.plan(rf.compose(name)), list(ours))]
    assert all(torch.equal(a, b) for a, b in zip(mine, theirs.values(), strict=True))


@pytest.mark.parametrize(
    "name",
    [
        "timm/regnetx_002",
        "timm/regnety_002",
        "timm/regnety_040_sgn",
        "torchvision/regnet_x_400mf",
        "torchvision/regnet_y_400mf",
        "timm/nf_resnet26",
    ],
)
def test_same_seed_same_initial_weights_for_other_schemes(name: str) -> None:
    torch.manual_seed(5)
    theirs = reference(name).state_dict()
    torch.manual_seed(5)
    network = rf.create_model(name.split("/")[1])
    ours = network.state_dict()
    names = renamed(name, network.plan, list(ours))
    assert [key for key, value in names.items() if not torch.equal(ours[key], theirs[value])] == []


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "resnet50d",
        "resnetaa50",
        "seresnext26d_32x4d",
        "resnetv2_50",
        "resnetv2_18d",
        "regnety_002",
        "res2net50_26w_4s",
        "resnest14d",
    ],
)
def test_output_stride_equals_timms(name: str, stride: int) -> None:
    key = f"timm/{name}"
    with undrawn():
        other = reference(key, output_stride=stride)
        network = rf.create_model(name, f"model.output_stride={stride}")
    randomise(other)
    theirs = other.state_dict()
    names = renamed(key, network.plan, list(network.state_dict()))
    network.load_state_dict({ours: theirs[value] for ours, value in names.items()}, strict=True)
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(network.eval()(image), other.eval()(image))


def test_names_of_timm_that_are_not_here_are_counted() -> None:
    """README says how many of timm's residual networks are missing."""
    theirs = timm.list_models(exclude_filters="rf_*")  # ours, where another test has registered them
    names = [name for name in theirs if "resnet" in name or "resnext" in name]
    missing = set(names) - set(rf.list_models())
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"that contain `resnet` or `resnext`, {len(missing)} are missing" in readme
    assert all(re.search(r"csp|tresnet|lambda|bat_|vit_|inception", name) for name in missing), sorted(
        missing
    )
