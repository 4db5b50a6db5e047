"""Initial weights: the same seed gives those of the libraries that the schemes come from."""

from __future__ import annotations

import copy
import importlib
import warnings

import pytest
import torch
from torch import nn

import resnet_factory as rf
from resnet_factory.layers import AttentionPool
from resnet_factory.network.initialisation import initialise
from resnet_factory.network.modules import make_module as module_of
from resnet_factory.network.truncated_normal import draw_truncated_normal


@pytest.mark.parametrize("std", [0.02, 0.5, 1.0, 2.0])
def test_the_truncated_normal_is_timms(std: float) -> None:
    timm_layers = pytest.importorskip("timm.layers")
    ours, theirs = torch.empty(50, 60), torch.empty(50, 60)
    torch.manual_seed(3)
    timm_layers.trunc_normal_(theirs, std=std)
    torch.manual_seed(3)
    draw_truncated_normal(ours, std)
    assert torch.equal(ours, theirs)


def test_convolutions_and_linear_layers_are_drawn_as_timms_convnext_draws_them() -> None:
    convnext = pytest.importorskip("timm.models.convnext")
    network = rf.create_model("resnet18", "model/init=trunc_normal", "model/norm=none")
    reference = copy.deepcopy(network)
    torch.manual_seed(5)
    initialise(network, network.plan)
    torch.manual_seed(5)
    for name, module in reference.named_modules():
        convnext._init_weights(module, name)
    theirs = reference.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in network.state_dict().items())
    assert not network.get_submodule("conv1").bias.any()  # type: ignore[operator]


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("dims", [1, 3])
def test_monais_scheme(depth: int, dims: int) -> None:
    with warnings.catch_warnings():  # of torch.jit, which parts of MONAI use
        warnings.simplefilter("ignore")
        monai = importlib.import_module("monai.networks.nets.resnet")
    torch.manual_seed(1)
    theirs = getattr(monai, f"resnet{depth}")(spatial_dims=dims, n_input_channels=2).state_dict()
    torch.manual_seed(1)
    changes = f"model.dims={dims}", "model.in_channels=2", "model.image_size=64", "model/init=monai"
    ours = rf.create_model(f"monai_resnet{depth}", *changes).state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


def test_a_seed_gives_timms_attention_pool() -> None:
    attention_pool2d = pytest.importorskip("timm.layers.attention_pool2d")

    torch.manual_seed(2)
    theirs: nn.Module = attention_pool2d.AttentionPool2d(32, 7, 10, num_heads=4, qkv_separate=True)
    torch.manual_seed(2)
    ours = module_of(AttentionPool(32, 10, 4, 7))
    wanted = theirs.state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in ours.state_dict().items())
