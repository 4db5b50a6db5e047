"""Folded networks: the function of the network before, in fewer layers; a plan that costs what they count."""

from __future__ import annotations

import copy
from typing import Any, Literal

import pytest
import timm
import torch
from hypothesis import given, settings
from references import randomise
from small_networks import image_of, small_plans
from strategies import structured_models
from test_families import FOLDERS
from timm.utils.model import reparameterize_model
from torch import Tensor, fx, nn
from torch.utils.flop_counter import FlopCounterMode

import resnet_factory as rf
from resnet_factory.network.builder import assemble_network
from resnet_factory.network.data_flow import verify_data_flow
from resnet_factory.network.runtimes.program import outputs_as_tuple
from resnet_factory.network.steps import Gate
from resnet_factory.planning.folding import fold_plan

TOLERANCE = 1e-10
"""Largest difference of float64 outputs, relative to the largest output; as `fold` says."""
TINY = {
    "depths": [1], "widths": 8, "strides": [1], "num_classes": 3, "in_channels": 3,
    "shortcut": {"when": "never", "add": "never"},
    "head": {"layers": ["global_pool", "flatten", {"linear": {"to": "num_classes"}}]},
}  # fmt: skip


def random_network(plan: rf.Plan) -> rf.Network:
    """Return a network in double precision with random weights and statistics."""
    network = assemble_network(plan).double().eval()
    randomise(network)
    return network


def difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / one.abs().max())


def check(network: rf.Network, image: tuple[int, ...]) -> rf.Network:
    """Fold a network and compare its outputs, parameters, multiply-adds and data flow; return it folded."""
    done = rf.fold(network)
    x = torch.randn(2, *image, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        output = done(x)
    with torch.no_grad():
        assert difference(network(x), output) < TOLERANCE
    cost = rf.cost(done.plan, image=image)
    assert sum(parameter.numel() for parameter in done.parameters()) == cost.params
    assert counter.get_total_flops() == 2 * len(x) * cost.macs
    verify_data_flow(done, image)
    assert fold_plan(done.plan).plan == done.plan
    return done


@pytest.mark.parametrize("name", small_plans())
def test_every_model_keeps_its_function(name: str) -> None:
    plan = small_plans()[name]
    done = check(random_network(plan), image_of(plan))
    before, after = (rf.cost(entry, image=image_of(plan)) for entry in (plan, done.plan))
    assert after.macs <= before.macs
    assert not any(type(module).__name__.startswith("Standardized") for module in done.modules())


@pytest.mark.parametrize("name", ["repvgg_a0", "mobileone_s0"])
def test_branches_become_one_convolution(name: str) -> None:
    """As many parameters as timm's own re-parameterised network has."""
    plan = rf.plan(rf.compose(name, config_dir=FOLDERS[name]))
    done = check(random_network(plan), (3, 32, 40))
    theirs = reparameterize_model(timm.create_model(name))
    assert sum(each.numel() for each in done.parameters()) == sum(
        each.numel() for each in theirs.parameters()
    )
    assert not any(block.residual for stage in done.plan.stages for block in stage.blocks)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in done.modules())


@pytest.mark.parametrize("name", ["dla34", "ghostnet_100", "rexnet_100"])
def test_families_keep_their_function(name: str) -> None:
    plan = rf.plan(rf.compose(name, config_dir=FOLDERS[name]))
    check(random_network(plan), (3, 64, 64))


@pytest.mark.parametrize(
    "name",
    ["resnet50d", "seresnet50", "regnety_032", "resnest50d", "res2net50d", "r2plus1d_18", "skresnet50"],
)
def test_no_norm_is_left_after_convolutions(name: str) -> None:
    done = fold_plan(rf.plan(name)).plan
    assert "batch_norm" not in str(done)


def stem_network(*layers: Any) -> rf.Plan:
    """Return the plan of a small network that begins with these layers."""
    block = {"body": [{"conv2d": {"kernel": 3, "to": "width"}}, "relu"], "out": "width"}
    return rf.plan(rf.read(TINY | {"stem": {"layers": list(layers)}, "block": block}))


def layer_words(plan: rf.Plan) -> list[str]:
    """Return the layers of a plan's stem as its text names them."""
    return [line.split(": ")[1].split(" ")[0] for line in str(plan).splitlines()[1:] if "layer1" not in line]


CONV = {"conv2d": {"kernel": 3, "to": 8}}
BATCH: dict[str, Any] = {"batch_norm": {}}


@pytest.mark.parametrize(
    ("layers", "left"),
    [
        ([CONV, BATCH, "relu"], ["conv2d", "relu"]),
        ([CONV, {"group_norm": {"groups": 2}}, "relu"], ["conv2d", "group_norm", "relu"]),
        ([CONV, {"layer_norm": {}}], ["conv2d", "layer_norm"]),
        ([CONV, "relu", BATCH, {"conv2d": {"kernel": 1, "to": 8}}], ["conv2d", "relu", "conv2d"]),
        # A padded convolution would read the offset beyond the border, where there is none.
        ([CONV, "relu", BATCH, CONV], ["conv2d", "relu", "batch_norm", "conv2d"]),
        ([CONV, "relu", {"shift": {}}, CONV], ["conv2d", "relu", "shift", "conv2d"]),
        ([CONV, "relu", {"scale": {}}, {"multiply": {"by": 0.5}}, CONV], ["conv2d", "relu", "conv2d"]),
        ([CONV, {"border": {"width": 1}}, BATCH], ["conv2d", "border", "batch_norm"]),
        ([CONV, {"dropout": {"rate": 0.5}}, BATCH, {"scale": {}}], ["conv2d"]),
        ([CONV, {"tap": "map"}, BATCH, {"read": "map"}], ["conv2d", "tap", "batch_norm", "read"]),
        ([{"standardized_conv": {"kernel": 3, "to": 8}}, BATCH], ["conv2d"]),
        ([CONV, {"evo_norm": {"groups": 2, "act": False}}], ["conv2d"]),
        ([CONV, {"evo_norm": {"groups": 2}}], ["conv2d", "evo_norm"]),
    ],
)
def test_what_is_exact_is_folded_and_no_more(layers: list[Any], left: list[str]) -> None:
    plan = stem_network(*layers)
    done = check(random_network(plan), (3, 9, 10))
    assert layer_words(done.plan)[: len(left)] == left
    assert layer_words(done.plan)[len(left)] == "global_pool"


def branch(kernel: int, **arguments: Any) -> list[Any]:
    return [{"conv2d": {"kernel": kernel, "to": 8, **arguments}}, BATCH]


@pytest.mark.parametrize(
    ("branches", "convolutions"),
    [
        ([branch(3), branch(1), [BATCH], []], 1),
        ([branch(5), branch(3, dilation=2), branch(3), branch(1)], 1),
        ([branch(5, padding=1), branch(3, padding=0)], 1),
        ([branch(3, padding=[[0, 1], [1, 2]], stride=2), branch(2, padding=[[0, 0], [0, 1]], stride=2)], 1),
        ([branch(3, groups=4), branch(1, groups=4), []], 1),
        ([branch(3, groups=4), branch(1, groups=2)], 2),
        ([branch(3, dilation=2), branch(3)], 2),  # neither reads all that the other reads
        ([branch(3, stride=2), branch(2, stride=2, padding=0)], 2),  # maps of one size, of even ones alone
        ([[*branch(3), "relu"], branch(1), branch(1), [BATCH]], 2),
        ([branch(3, padding="same"), branch(3, padding="same")], 1),
    ],
)
def test_parallel_convolutions(branches: list[Any], convolutions: int) -> None:
    plan = stem_network({"conv2d": {"to": 8}}, "relu", {"parallel": {"join": "sum", "branches": branches}})
    for size in ((8, 8), (9, 12)):
        try:
            rf.cost(plan, image=(3, *size))
        except rf.ConfigError:
            continue  # of some sizes, the maps cannot be added
        done = check(random_network(plan), (3, *size))
        assert layer_words(done.plan).count("conv2d") == 1 + convolutions


@given(structured_models())
@settings(max_examples=10)
def test_random_structures_keep_their_function(data: dict[str, Any]) -> None:
    plan = rf.plan(rf.read(data | {"image_size": 48}))
    check(random_network(plan), plan.image)


def test_maps_of_backbones_stay() -> None:
    """The maps are those before folding, under their names, whatever runs in place after them."""
    names = ["conv1", "layer1", "layer3"]
    for features in (names, ["bn1", "act1", "layer2"], ["stages"]):
        plan = rf.plan(rf.compose("resnet18", "model.widths=[8,8,16,16]", features=features))
        network = random_network(plan)
        done, x = rf.fold(network), torch.randn(1, 3, 64, 64, dtype=torch.float64)
        with torch.no_grad():
            wanted, found = network(x), done(x)
        assert list(wanted) == list(found)
        assert all(difference(wanted[name], found[name]) < TOLERANCE for name in wanted)
        assert [feature.name for feature in done.plan.features] == list(wanted)


def test_the_network_itself_is_untouched() -> None:
    network = random_network(rf.plan(rf.compose("seresnet18", "model.depths=1", "model.widths=16")))
    state = copy.deepcopy(network.state_dict())
    done = rf.fold(network.train())
    assert network.training
    assert not done.training
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())
    pointers = {tensor.data_ptr() for tensor in network.state_dict().values()}
    assert not pointers & {tensor.data_ptr() for tensor in done.state_dict().values()}
    assert not any(getattr(module, "inplace", False) for module in network.modules())


def test_in_place_where_nothing_else_reads() -> None:
    done = rf.fold(rf.create_model("preact_resnet50", "model.depths=1"))
    in_place = {name: module.inplace for name, module in done.named_modules() if hasattr(module, "inplace")}
    # The first block's input is also the shortcut's, but a norm lies between; bn1 -> act1 is read by both.
    assert all(in_place.values())
    done = rf.fold(rf.create_model("nf_resnet26", "model.depths=1"))
    assert not done.get_submodule("layer1.0.act1").inplace  # reads the block's input


def test_folded_networks_are_traced_and_differentiated() -> None:
    done = rf.fold(random_network(rf.plan(rf.compose("resnet18", "model.depths=1", "model.widths=8"))))
    x = torch.randn(1, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    traced = fx.symbolic_trace(done)
    assert torch.equal(traced(x), done(x))
    (gradient,) = torch.autograd.grad(done(x).sum(), x)
    assert gradient.abs().sum() > 0


def test_float32_rounds_once() -> None:
    network = rf.create_model("resnet18", "model.depths=1", "model.widths=16").eval()
    randomise(network)
    done = rf.fold(network)
    assert {parameter.dtype for parameter in done.parameters()} == {torch.float32}
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert difference(network(x), done(x)) < 1e-5


def test_replaced_modules_are_refused_by_name() -> None:
    network = rf.create_model("resnet18", "model.depths=1", "model.widths=8")
    network.bn1 = nn.InstanceNorm2d(8)
    network.layer1[0].bn1 = nn.BatchNorm2d(8, track_running_stats=False)  # type: ignore[index, union-attr]
    network.fc = nn.Linear(8, 7)  # nothing folds into it: it stays
    with pytest.raises(rf.ConfigError) as caught:
        rf.fold(network)
    said = str(caught.value)
    assert "bn1: is a InstanceNorm2d, but the plan has a BatchNorm2d" in said
    assert "layer1.0.bn1: keeps no running statistics" in said
    network = rf.create_model("resnet18", "model.depths=1", "model.widths=8")
    network.fc = nn.Linear(8, 7)
    synchronised: Any = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    assert rf.fold(synchronised)(torch.zeros(1, 3, 32, 32)).shape == (1, 7)
    with pytest.raises(TypeError, match="takes a network"):
        rf.fold("resnet18")  # type: ignore[arg-type]


def test_a_folded_plan_is_a_plan() -> None:
    plan = rf.plan("resnet50")
    done = fold_plan(plan).plan
    assert done.name == "resnet50 folded"
    assert done.id != plan.id
    assert "conv1: conv2d 3 -> 64 kernel=7 stride=2 padding=3 bias=True" in str(done)
    assert "bn1" not in str(done)
    # Equal blocks stay one object, which is costed once.
    assert [len(stage.runs) for stage in done.stages] == [len(stage.runs) for stage in plan.stages]
    assert "<svg" in str(rf.draw(done))
    assert rf.explain(done)


@pytest.mark.parametrize("outputs", ["dict", "list", "tuple"])
def test_a_folded_backbone_returns_its_maps_in_the_same_form(
    outputs: Literal["dict", "list", "tuple"],
) -> None:
    network = rf.create_model("resnet18", "model.depths=1", features="stages", outputs=outputs).eval()
    with torch.no_grad():
        one, other = (made(torch.ones(1, 3, 64, 64)) for made in (network, rf.fold(network)))
    assert type(other) is type(one)
    for wanted, found in zip(outputs_as_tuple(one), outputs_as_tuple(other), strict=True):
        torch.testing.assert_close(found, wanted)


def test_activations_of_gates_are_in_place_too() -> None:
    folded = rf.fold(rf.create_model("seresnet50", "model.depths=1").eval())
    gates = [module for module in folded.modules() if isinstance(module, Gate)]
    assert len(gates) == 4
    for gate in gates:
        (act,) = (part for part in gate.modules() if isinstance(part, nn.ReLU))
        assert act.inplace
