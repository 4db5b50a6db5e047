"""A plan as torch modules: plain nn.Modules, children named as the plan names them."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from torch import Tensor, nn

from resnet_factory import layers
from resnet_factory.composer import compose
from resnet_factory.modules import module
from resnet_factory.nodes import Chain, Gate, Node, Plan, Residual
from resnet_factory.planner import plan as make_plan

Step = str | tuple[str, tuple["Step", ...], tuple["Step", ...]]
"""A child to run by name, or ("add", body, shortcut), or ("gate", layers, ())."""


class Block(nn.Module):
    """Runs its children in the order its plan says: chains, body(x) + shortcut(x), x * gate(x).

    Every child is a registered module found by its name, so replacing one takes effect.
    """

    def __init__(self, children: dict[str, nn.Module], steps: tuple[Step, ...]) -> None:
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        return self._run(self.steps, x)

    def _run(self, steps: tuple[Step, ...], x: Tensor) -> Tensor:
        for step in steps:
            if isinstance(step, str):
                x = getattr(self, step)(x)
            elif step[0] == "add":
                x = self._run(step[1], x) + self._run(step[2], x)
            else:
                x = x * self._run(step[1], x)
        return x


class Gated(nn.Sequential):
    """x * layers(x), for example squeeze-and-excitation."""

    def forward(self, input: Tensor) -> Tensor:
        x = input
        for part in self:
            x = part(x)
        return input * x


class Network(nn.Sequential):
    """A whole network; `plan` is what it was built from."""

    plan: Plan


def build(plan: Plan) -> Network:
    """The torch network a plan describes, freshly initialised.

    State-dict keys and their order are the plan's. Weights are drawn in the order torchvision and timm
    draw them, so one seed gives the same weights here and there: modules are constructed in order, a
    shortcut before its body; then every convolution is redrawn (He et al. 2015, fan-out); then the
    norms marked `zero_init` are set to 0.
    """
    network = Network(OrderedDict(_children(plan.root)[0]))
    network.plan = plan
    _initialise(network, plan)
    return network


def create_model(name: str, *overrides: str, config_dir: str | Path | None = None) -> Network:
    """Compose, plan and build the model called `name` in one call.

    Raises:
        ConfigError: with every fault in the configuration.
    """
    return build(make_plan(compose(name, *overrides, config_dir=config_dir)))


def _children(chain: Chain) -> tuple[dict[str, nn.Module], tuple[Step, ...]]:
    """A chain's named modules in state-dict order, and the steps that run them."""
    children: dict[str, nn.Module] = {}
    steps: list[Step] = []
    for name, child in chain.children:
        if name:
            children[name] = _module(child)
            steps.append(name)
            continue
        match child:
            case Residual(body=body, shortcut=shortcut):
                beside, short = _children(shortcut)
                inside, main = _children(body)
                children |= inside | beside
                steps.append(("add", main, short))
            case Gate(gate=gate):
                inside, main = _children(gate)
                children |= inside
                steps.append(("gate", main, ()))
            case Chain():
                inside, main = _children(child)
                children |= inside
                steps.extend(main)
            case _:
                raise AssertionError("a planned layer always has a name")
    return children, tuple(steps)


def _module(node: Node) -> nn.Module:
    match node:
        case layers.Layer():
            return module(node)
        case Gate(gate=gate):
            return Gated(OrderedDict(_children(gate)[0]))
        case Residual():
            return Block(*_children(Chain((("", node),))))
        case Chain():
            children, steps = _children(node)
            if steps == tuple(children):
                return nn.Sequential(OrderedDict(children))
            return Block(children, steps)


def _initialise(network: Network, plan: Plan) -> None:
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
    for name, layer in plan.leaves:
        if isinstance(layer, layers.Norm) and layer.zero_init:
            weight = network.get_submodule(name).weight
            assert isinstance(weight, nn.Parameter)
            nn.init.zeros_(weight)
