"""A network runs its plan: random structures against an interpreter of the plan, and swaps found.

The interpreter below shares no code with the builder: it reads nodes and calls torch.nn.functional.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from references import randomise
from strategies import CONV, SQUEEZE, WIDTH, structured_models
from torch import Tensor
from torch.nn import functional

import resnet_factory as rf
from resnet_factory import layers
from resnet_factory.network.data_flow import verify_data_flow
from resnet_factory.planning.nodes import Chain, Node, Parallel, Read, Tap


class Interpreter:
    """Runs a plan with functions alone, the tensors looked up by name."""

    def __init__(self, state: dict[str, Tensor], *, training: bool) -> None:
        self.state, self.training = state, training
        self.maps: dict[str, Tensor] = {}
        self.tapped: dict[tuple[str, str], Tensor] = {}
        """Maps by the module that names them, and their name."""

    def run(self, node: Node, x: Tensor, name: str) -> Tensor:
        """What leaves `node`."""
        match node:
            case Chain(children=children):
                for key, child in children:
                    below = ".".join(filter(None, (name, key)))
                    x = self.maps[below] = self.run(child, x, below)
                return x
            case Tap(of=of):
                self.tapped[name, of] = x
                return x
            case Read(of=of):
                return self.tapped[name, of]
            case Parallel(branches=(Chain(()), gate), join="select", parts=parts, groups=groups):
                pieces = x.chunk(parts, 1)
                summed = torch.stack(pieces).sum(0)
                weights = self.run(gate, summed, name)
                if parts == 1:
                    return x * weights.sigmoid()
                # Channels of the weights: group by group, in each the parts one after the other.
                columns = weights.shape[1] // (groups * parts)
                by = [torch.split(group, columns, 1) for group in weights.chunk(groups, 1)]
                logits = [torch.cat([group[part] for group in by], 1) for part in range(parts)]
                shares = torch.stack(logits).softmax(0)
                return torch.stack([piece * share for piece, share in zip(pieces, shares, strict=True)]).sum(
                    0
                )
            case Parallel(branches=branches, join=join):
                ends: list[Tensor] = []
                for i, branch in enumerate(branches):
                    below = f"{name}.{i}" if join == "concat" and not node.inline else name
                    ends.append(self.run(branch, self.entry(node, i, x, ends), below))
                if join == "concat":
                    return torch.cat(ends, 1)
                return sum(ends, torch.zeros(())) if join == "sum" else product(ends)
            case _:
                return self.layer(node, x, name)

    def entry(self, node: Parallel, branch: int, x: Tensor, ends: list[Tensor]) -> Tensor:
        """What a branch reads."""
        if node.split:
            equal = (x.shape[1] // len(node.branches),) * len(node.branches)
            sizes = node.split if isinstance(node.split, tuple) else equal
            before = sum(sizes[:branch])
            x = x[:, before : before + sizes[branch]]
        if branch == 0 or branch >= node.linked:
            return x
        match node.reads:
            case "previous":
                return ends[-1]
            case "cascade":
                return x + ends[-1]
            case _:
                return torch.cat([x, *ends], 1)

    def layer(self, layer: Any, x: Tensor, name: str) -> Tensor:
        """What leaves one layer."""
        weight, bias = self.state.get(f"{name}.weight"), self.state.get(f"{name}.bias")
        match layer:
            case layers.Conv():
                assert weight is not None
                return functional.conv2d(x, weight, bias, layer.stride, layer.kernel // 2)
            case layers.BatchNorm():
                mean, variance = self.state[f"{name}.running_mean"], self.state[f"{name}.running_var"]
                return functional.batch_norm(
                    x, mean, variance, weight, bias, self.training, layer.momentum, layer.eps
                )
            case layers.Scale():
                assert weight is not None
                return x * weight.view(1, -1, 1, 1)
            case layers.MaxPool():
                return functional.max_pool2d(x, layer.kernel, layer.stride, layer.padding)
            case layers.GlobalPool():
                return functional.adaptive_avg_pool2d(x, 1)
            case layers.Flatten():
                return x.flatten(1)
            case layers.Linear():
                assert weight is not None
                return functional.linear(x, weight, bias)
            case layers.Activation(function=function):
                return functional.relu(x) if function == "relu" else torch.sigmoid(x)
        raise NotImplementedError(type(layer).__name__)


def product(factors: list[Tensor]) -> Tensor:
    """The factors multiplied from left to right."""
    result = factors[0]
    for factor in factors[1:]:
        result = result * factor
    return result


REPVGG_STEM = [CONV, {"residual": {"body": ["norm"], "shortcut": [{"conv": {"to": WIDTH}}, "norm"]}}]
UNNAMED = {"residual": {"body": [{"gate": {"layers": SQUEEZE}}]}}


def with_stem_and_head(stem: list[Any], head: list[Any]) -> dict[str, Any]:
    """The smallest model around a stem and a head."""
    return {
        "depths": [1], "widths": WIDTH, "num_classes": 3, "act": "relu",
        "norm": {"layer": "batch_norm"}, "conv": {"layer": "conv2d"},
        "stem": {"layers": stem}, "shortcut": {"when": "never"},
        "block": {"out": "width", "body": [CONV, "norm", "act"]},
        "head": {"layers": [*head, "global_pool", "flatten", {"linear": {"to": "num_classes"}}]},
    }  # fmt: skip


@given(structured_models())
@settings(max_examples=40)
@example(with_stem_and_head([CONV, UNNAMED], [UNNAMED]))
@example(with_stem_and_head(REPVGG_STEM, []))
def test_a_network_runs_its_plan(data: dict[str, Any]) -> None:
    plan = rf.plan(rf.read(data))
    network = rf.build(plan).double()
    randomise(network)
    verify_data_flow(network, (3, 7, 7))
    for training in (False, True):
        network.train(training)
        state = {key: value.detach().clone() for key, value in network.state_dict().items()}
        for key, _ in network.named_parameters():
            state[key].requires_grad_()
        x = torch.randn(2, 3, 7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        output = network(ours)
        expected = Interpreter(state, training=training).run(plan.root, theirs, "")
        torch.testing.assert_close(output, expected, rtol=1e-10, atol=1e-10)
        network.zero_grad()
        output.square().sum().backward()
        expected.square().sum().backward()  # type: ignore[no-untyped-call]
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-7, atol=1e-7)
        for key, parameter in network.named_parameters():
            torch.testing.assert_close(parameter.grad, state[key].grad, rtol=1e-7, atol=1e-7)
        for key, buffer in network.named_buffers():
            if buffer.is_floating_point():
                torch.testing.assert_close(buffer, state[key], rtol=1e-10, atol=1e-10)


@given(structured_models())
@settings(max_examples=15)
@example(with_stem_and_head([CONV, UNNAMED, "act"], [UNNAMED]))
def test_a_backbone_returns_the_maps_of_its_plan(data: dict[str, Any]) -> None:
    whole = rf.plan(rf.read(data))
    named = [name for name, child in whole.root.children if name.startswith(("conv", "layer", "act"))]
    plan = rf.plan(rf.read(data | {"features": named}))
    network = rf.build(plan).double().eval()
    randomise(network)
    x = torch.randn(2, 3, 7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    interpreter = Interpreter(network.state_dict(), training=False)
    interpreter.run(plan.root, x, "")
    with torch.no_grad():
        maps = network(x)
    assert list(maps) == named
    for name, found in maps.items():
        torch.testing.assert_close(found, interpreter.maps[name], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "name", ["resnet18", "resnest14d", "res2net50_26w_4s", "seresnet18", "preact_resnet50"]
)
def test_shipped_networks_run_their_plans(name: str) -> None:
    verify_data_flow(rf.create_model(name), (3, 64, 64))


def swap_layers(network: Any) -> None:
    """Run a block's last two layers the other way round."""
    block = network.layer1[0]
    body, shortcut = block.steps[0].runs
    block.steps = (
        block.steps[0]._replace(runs=((*body[:-2], body[-1], body[-2]), shortcut)),
        *block.steps[1:],
    )


def add_nothing(network: Any) -> None:
    """Leave out a shortcut."""
    block = network.layer1[1]
    block.steps = (*block.steps[0].runs[0], *block.steps[1:])


def skip_a_layer(network: Any) -> None:
    """Hand on what the stem's norm reads."""
    network.steps = tuple(name for name in network._modules if name != "bn1")


@pytest.mark.parametrize("spoil", [swap_layers, add_nothing, skip_a_layer])
def test_what_runs_otherwise_is_found(spoil: Any) -> None:
    """Parameter counts agree with the plan in all of these."""
    network = rf.create_model("resnet18")
    spoil(network)
    with pytest.raises(AssertionError, match="does not run its plan"):
        verify_data_flow(network, (3, 64, 64))


@pytest.mark.parametrize("parts", [1, 2])
def test_weights_of_a_select_are_one_for_each_channel(parts: int) -> None:
    select = {"select": {"parts": parts, "layers": [{"conv": {"to": WIDTH}}]}}
    with pytest.raises(rf.ConfigError, match="must end in a 1x1 map; add global_pool"):
        rf.plan(rf.read(with_stem_and_head([CONV, select, CONV], [])))


def test_a_slice_keeps_a_row_and_refuses_what_it_would_lose() -> None:
    network = rf.create_model("resnet18").eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert network[:5](x).shape == (1, 64, 16, 16)
        assert torch.equal(network[5:](network[:5](x)), network(x))
    joined = rf.build(rf.plan(rf.read(with_stem_and_head([CONV, UNNAMED], []))))
    with pytest.raises(TypeError, match="joins paths at its top level"):
        joined[:2]
