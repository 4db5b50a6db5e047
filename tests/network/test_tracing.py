"""torch.fx traces every network: symbolic_trace, and torchvision's feature extraction on top of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from conftest import ROOT
from torch import fx, nn
from torchvision.models.feature_extraction import create_feature_extractor

import resnet_factory as rf
from resnet_factory import layers
from resnet_factory.config.model_index import index_models
from resnet_factory.network.builder import assemble_network
from resnet_factory.network.modules import make_module
from resnet_factory.planning.plan_text import plan_text_lines

FAMILIES = {file.stem: file.parent.parent for file in (ROOT / "examples" / "families").glob("*/model/*.yaml")}
RUN = [
    "fixup_resnet20", "time_series_resnet", "shufflenet_v2_x1_0", "convnextv2_atto", "tf_efficientnet_b0",
    "mobilenetv3_small_100", "starnet_s1", "poolformer_s12", "hgnetv2_b0", "fasternet_t0", "hara_resnet10",
    "tresnet_m", "nf_ecaresnet26", "ecg_resnet34", "gcresnet33ts", "resnest14d", "botnet26t_256", "dla34",
    "res2net50_14w_8s", "resnest50d_1s4x24d", "resnetv2_50d_evos", "resnetv2_50d_frn", "resnet50_clip",
    "hrnet_w18",
]  # fmt: skip
"""Networks that are run: together they have every class of module and every kind of join."""
SMALL = {"botnet26t_256": "model.image_size=64", "resnet50_clip": "model.image_size=64"}
"""Attention at positions is made for one size of image."""


def once(plan: rf.Plan) -> rf.Plan:
    """Return a plan with each of its distinct blocks once: fewer layers, the same modules."""
    stages = tuple(replace(stage, blocks=tuple(block for block, _ in stage.runs)) for stage in plan.stages)
    return replace(plan, stages=stages)


def novel() -> Iterator[tuple[str, rf.Plan]]:
    """Yield every network with a line of plan text, its numbers left out, that none before it has."""
    seen: set[str] = set()
    for name in [*index_models().names(), *sorted(FAMILIES)]:
        plan = once(rf.plan(rf.compose(name, config_dir=FAMILIES.get(name))))
        lines = {re.sub(r"[\d.]+", "", line).strip() for line in plan_text_lines(plan.root)}
        if lines - seen:
            yield name, plan
        seen |= lines


def test_every_network_is_traced() -> None:
    """On the meta device, in training mode, which runs more than evaluation; each class is run below."""
    classes: set[str] = set()
    for name, plan in novel():
        with torch.device("meta"):
            network = assemble_network(plan)
        try:
            fx.symbolic_trace(network)
        except Exception as error:
            error.add_note(name)
            raise
        classes |= own_classes(network)
    run: set[str] = set()
    for name in RUN:
        with torch.device("meta"):
            run |= own_classes(assemble_network(planned(name)))
    assert classes == run, "a network of RUN has each class"


def own_classes(network: nn.Module) -> set[str]:
    """Return the names of our classes in a network."""
    return {type(part).__name__ for part in network.modules() if type(part).__module__.startswith("resnet_f")}


def planned(name: str) -> rf.Plan:
    """Return the plan of a network that is run."""
    changes = [SMALL[name]] if name in SMALL else []
    return once(rf.plan(rf.compose(name, *changes, config_dir=FAMILIES.get(name))))


@pytest.mark.parametrize("name", RUN)
def test_a_traced_network_is_the_network(name: str) -> None:
    plan = planned(name)
    network = rf.build(plan).eval()
    image = torch.randn(2, plan.in_channels, *(64 if plan.dims < 3 else 32,) * plan.dims)
    traced = fx.symbolic_trace(network)
    with torch.no_grad():
        assert torch.equal(traced(image), network(image))
    assert dict(traced.named_parameters()).keys() == dict(network.named_parameters()).keys()


@pytest.mark.parametrize(
    "layer",
    [
        layers.Narrow(8, 2, 3),
        layers.DepthToSpace(8, 2, "position"),
        layers.SpaceToDepth(8, 2, "position"),
        layers.Reduce(8, "channels", "norm"),
        layers.Softmax(8, "positions"),
        layers.ScaledConv(8, to=4, kernel=3, padding="same", stride=2),  # type: ignore[arg-type]
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_that_no_shipped_network_has(layer: layers.Layer) -> None:
    part = make_module(layer)
    image = torch.randn(2, 8, 6, 6)
    assert torch.equal(fx.symbolic_trace(part)(image), part(image))


def test_padding_of_same_follows_the_image() -> None:
    network = rf.build(planned("tf_efficientnet_b0")).eval()
    traced = fx.symbolic_trace(network)
    for side in (63, 70):
        image = torch.randn(1, 3, side, side)
        with torch.no_grad():
            assert torch.equal(traced(image), network(image))


@pytest.mark.parametrize("part", ["drop_path", "drop_block"])
def test_random_layers_are_traced_in_training(part: str) -> None:
    """The graph draws what the network draws from the same seed."""
    chosen = {"drop_path": "linear", "drop_block": "late"}[part]
    network = rf.create_model("resnet18", f"model/{part}={chosen}", "model.depths=2")
    traced = fx.symbolic_trace(network)
    image = torch.randn(16, 3, 64, 64)
    torch.manual_seed(0)
    wanted = network(image)
    torch.manual_seed(0)
    assert torch.equal(traced(image), wanted)
    torch.manual_seed(1)
    assert not torch.equal(traced(image), wanted)


def test_torchvision_extracts_features() -> None:
    """Of a network with selections of parts, which was not traceable once; by name, and in both modes."""
    network = rf.build(planned("skresnet18"))
    extract = create_feature_extractor(network, {"layer1": "low", "layer4": "high"}).eval()
    whole = rf.build(replace(planned("skresnet18"), features=())).eval()
    whole.load_state_dict(network.state_dict())
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps = extract(image)
        head = nn.Sequential(*list(whole.children())[-3:])
        assert list(maps) == ["low", "high"]
        assert torch.equal(head(maps["high"]), whole(image))


@pytest.mark.filterwarnings("ignore:.*script_method.*:DeprecationWarning")
def test_fx_fuses_convolution_and_norm() -> None:
    """torch's own pass over the graph; up to rounding, in double precision."""
    from torch.fx.experimental.optimization import fuse

    network = rf.build(planned("resnet18")).double().eval()
    image = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    fused = fuse(network)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in fused.modules())
    with torch.no_grad():
        assert torch.allclose(fused(image), network(image), rtol=0, atol=1e-10)
