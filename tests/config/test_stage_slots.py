"""Slots with one recipe per stage: activations, norms, attention that differ between stages."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import resnet_factory as rf
from resnet_factory.config.schema import ModelConfig
from resnet_factory.sweep.population import Population, cost_population


def test_each_stage_has_its_own_activation() -> None:
    network = rf.create_model("resnet18", "model.act=[relu,relu,silu,gelu]")
    kinds = {
        name: {type(part) for part in stage.modules() if isinstance(part, (nn.ReLU, nn.SiLU, nn.GELU))}
        for name, stage in network.named_children()
    }
    assert kinds["act1"] == kinds["layer1"] == kinds["layer2"] == {nn.ReLU}
    assert (kinds["layer3"], kinds["layer4"]) == ({nn.SiLU}, {nn.GELU})
    plain = rf.create_model("resnet18")
    network.load_state_dict(plain.state_dict(), strict=True)
    x = torch.randn(2, 3, 64, 64)
    for name in ("conv1", "bn1", "act1", "maxpool", "layer1", "layer2"):
        x = plain.get_submodule(name)(x)
    for name in ("layer3", "layer4"):  # torch's modules put in by hand
        stage = plain.get_submodule(name)
        for block in stage.children():
            for act in ("act1", "act2"):
                block.set_submodule(act, nn.SiLU() if name == "layer3" else nn.GELU())
    assert torch.equal(plain.layer4(plain.layer3(x)), network.layer4(network.layer3(x)))  # type: ignore[operator]


def test_the_stem_has_the_first_and_the_head_the_last() -> None:
    plan = rf.plan(
        rf.compose(
            "preact_resnet50", "model.act=[relu,elu,silu,gelu]", "model.norm=[batch,batch,batch,group]"
        )
    )
    words = dict(plan.leaves)
    assert [layer for name, layer in words.items() if name.startswith("layer1.0.act1")]
    head = [type(layer).__name__ for name, layer in plan.leaves if "." not in name and name.startswith("bn")]
    assert head[-1] == "GroupNorm"


def test_an_empty_slot_is_empty_in_its_stage_only() -> None:
    """A condition on a slot is asked stage by stage: convolutions have a bias where no norm follows."""
    plan = rf.plan(rf.compose("resnet18", "model.norm=[batch,batch,group,none]"))
    for name, layer in plan.leaves:
        if "conv" in name or name.endswith("downsample.0"):
            assert layer.bias is name.startswith("layer4"), name  # type: ignore[attr-defined]


def test_it_is_saved_read_changed_and_compared() -> None:
    config = rf.compose(
        "resnet18", "model.attention=[none,none,se,{layers: [{gate: {layers: [global_pool, sigmoid]}}]}]"
    )
    assert rf.read(config.to_dict()) == config
    changed = config.changed({"depths": [1, 1, 1, 1]})
    assert isinstance(changed, ModelConfig)
    assert rf.plan(changed).id == rf.plan(rf.read(changed.to_dict())).id
    told = [(change.key, change.before, change.after) for change in rf.diff("resnet18", config).config]
    assert [key for key, _, _ in told] == ["attention"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.act=[relu,silu]", "2 entries, but depths, widths and strides have 4"),
        ("model.act=[relu,relu,silu,sliu]", "model.act.3: unknown act 'sliu'"),
        ("model.act=[]", "model.act: an empty list"),
        (
            "model.norm=[batch,batch,batch,{layer: batch_norm, epz: 1}]",
            "model.norm.3.epz: unknown argument 'epz'",
        ),
        ("model.conv=[plain,plain,plain,{layer: max_pool, kernel: 3}]", "recipes pass 'to'"),
    ],
)
def test_faults(override: str, message: str) -> None:
    with pytest.raises(rf.ConfigError) as error:
        rf.compose("resnet18", override)
    assert message in str(error.value)


def test_populations_cost_what_each_costs() -> None:
    config = rf.compose("resnet18", "model.attention=[none,se,se,eca]", "model.act=[relu,relu,silu,silu]")
    random = np.random.default_rng(0)
    columns = {f"widths.{stage}": 8 * random.integers(1, 20, 40) for stage in range(4)}
    columns |= {f"depths.{stage}": random.integers(1, 4, 40) for stage in range(4)}
    population = Population(config=config, columns=columns, image=(64, 64))
    costs = cost_population(population)
    for member in range(40):
        alone = rf.cost(rf.plan(population.member(member)), image=(3, 64, 64))
        found = (costs.params[member], costs.macs[member], costs.activations[member])
        assert found == (alone.params, alone.macs, alone.activations)
