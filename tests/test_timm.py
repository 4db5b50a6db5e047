"""Our models in timm's registry: whatever builds timm's models by name builds ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

import resnet_factory as rf
import resnet_factory.timm as registry

create: Any = timm.create_model


def test_every_model_is_registered() -> None:
    assert {f"rf_{name}" for name in rf.list_models()} <= set(timm.list_models("rf_*"))
    library: Any = timm
    assert library.models.get_pretrained_cfg("rf_resnet20").input_size == (3, 32, 32)
    assert library.models.get_pretrained_cfg("rf_resnetv2_50").mean == (0.5, 0.5, 0.5)


def test_it_is_our_network_with_timms_arguments() -> None:
    torch.manual_seed(0)
    found = create("rf_resnet18", num_classes=7, in_chans=1, overrides=["model.act=silu"])
    torch.manual_seed(0)
    wanted = rf.create_model("resnet18", "model.act=silu", num_classes=7, in_channels=1)
    assert found.plan == wanted.plan
    assert all(
        torch.equal(one, other) for one, other in zip(found.parameters(), wanted.parameters(), strict=True)
    )
    assert found.config == wanted.config
    with torch.device("meta"):
        dropped = create("rf_resnet18", drop_path_rate=0.2, output_stride=8)
    assert dropped.plan == rf.plan(
        rf.compose("resnet18", "model/drop_path=linear", "model.drop_path.rate=0.2", "model.output_stride=8")
    )


@pytest.mark.parametrize("name", ["resnet18", "regnety_002"])
@pytest.mark.parametrize("indices", [None, 2, (1, 2, 4), (-1,)])
def test_features_only(name: str, indices: Any) -> None:
    """The channels, strides and shapes of timm's own network of that name."""
    ours, theirs = (
        create(f"{prefix}{name}", features_only=True, out_indices=indices).eval() for prefix in ("rf_", "")
    )
    assert ours.feature_info.channels() == theirs.feature_info.channels()
    assert ours.feature_info.reduction() == theirs.feature_info.reduction()
    image = torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        found = ours(image)
        assert [m.shape for m in found] == [m.shape for m in theirs(image)]
    assert isinstance(found, list)


def test_settings_that_timm_passes_are_kept() -> None:
    """Its scripts resolve the settings of a name first, and pass them."""
    library: Any = timm
    arguments = library.models.resolve_model_input_args("rf_resnet20", {"num_classes": 5})
    network = create(**arguments, num_classes=5, pretrained_cfg_overlay={"crop_pct": 0.5})
    settings = library.data.resolve_model_data_config(network)
    assert (settings["input_size"], settings["crop_pct"], network.num_classes) == ((3, 32, 32), 0.5, 5)
    assert network.pretrained_cfg["classifier"] == "fc"


def test_a_checkpoint_is_loaded(tmp_path: Path) -> None:
    network = create("rf_resnet20")
    torch.save({"state_dict": network.state_dict()}, tmp_path / "last.pth.tar")
    again = create("rf_resnet20", checkpoint_path=str(tmp_path / "last.pth.tar"))
    assert torch.equal(again.fc.weight, network.fc.weight)


def test_own_yaml_is_registered(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "my-net.v2.yaml").write_text(
        "# mine\ndefaults: [resnet20, _self_]\ndepths: [1, 1, 1]\n"
    )
    assert registry.register(config_dir=tmp_path) == ["rf_my_net_v2"]
    network = create("rf_my_net_v2", num_classes=3)
    assert (network.plan.name, network.num_classes) == ("my-net.v2", 3)
    with pytest.raises(rf.ConfigError, match=r"resnet5000"):
        registry.register("resnet5000")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pretrained": True}, "rf_resnet18 has no pretrained weights; load some with checkpoint_path=FILE"),
        ({"drop_rate": 0.1}, "drop_rate is part of the head's recipe"),
        ({"global_pool": "max"}, "global_pool is part of the head's recipe"),
        ({"features_only": True, "feature_cls": "hook"}, "unknown form of outputs 'hook'"),
    ],
)
def test_what_it_does_not_do_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create("rf_resnet18", **arguments)
    with pytest.raises(TypeError, match="unexpected keyword argument 'block_size'"):
        create("rf_resnet18", block_size=2)
