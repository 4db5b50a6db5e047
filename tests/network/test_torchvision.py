"""The ten torchvision ResNets: keys, order, shapes, initial weights, outputs, params and MACs, all equal."""

from __future__ import annotations

import pytest
import torch
from references import MODELS, randomise
from torchvision import models

import resnet_factory as rf

NAMES = [name.split("/")[1] for name, facts in MODELS.items() if facts["source"] == "torchvision 0.28 resnet"]


@pytest.mark.parametrize("name", NAMES)
def test_network_equals_torchvisions(name: str) -> None:
    facts = MODELS[f"torchvision/{name}"]
    plan = rf.plan(rf.compose(name))
    cost = rf.cost(plan, image=(3, 224, 224))
    assert (cost.params, cost.macs) == (facts["params"], facts["macs"])

    torch.manual_seed(7)
    reference = getattr(models, name)()
    torch.manual_seed(7)
    ours = rf.build(plan)
    theirs, mine = reference.state_dict(), ours.state_dict()
    assert list(mine) == list(theirs)
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs), "same seed, same initial weights"

    randomise(reference)
    ours.load_state_dict(reference.state_dict(), strict=True)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours.train()(x), reference.train()(x))
        assert torch.equal(ours.eval()(x), reference.eval()(x))
    mine, theirs = ours.state_dict(), reference.state_dict()
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs), "same running statistics after a step"


def test_all_ten_are_there() -> None:
    assert len(NAMES) == 10


def test_zero_init_residual_equals_torchvisions() -> None:
    torch.manual_seed(3)
    reference = models.resnet50(zero_init_residual=True).state_dict()
    torch.manual_seed(3)
    ours = rf.create_model("resnet50", "model.zero_init_residual=true").state_dict()
    assert all(torch.equal(ours[key], reference[key]) for key in reference)
    assert not ours["layer1.0.bn3.weight"].any()


def test_dilation_equals_torchvisions() -> None:
    """The first block of a dilated stage keeps the previous dilation (replace_stride_with_dilation)."""
    reference = models.resnet50(replace_stride_with_dilation=[False, True, True])
    ours = rf.create_model("resnet50", "model.strides=[1,2,1,1]", "model.dilations=[1,1,2,4]")
    randomise(reference)
    ours.load_state_dict(reference.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours.eval()(x), reference.eval()(x))
