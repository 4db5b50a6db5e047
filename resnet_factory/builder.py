"""A plan as torch modules: plain nn.Modules, children named as the plan names them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from resnet_factory import layers
from resnet_factory.initialisation import initialise
from resnet_factory.modules import module
from resnet_factory.nodes import Branches, Chain, Gate, Node, Plan, Residual, Select
from resnet_factory.planner import plan as make_plan


class Add(NamedTuple):
    """body(x) + shortcut(x)."""

    body: tuple[Step, ...]
    shortcut: tuple[Step, ...]


class Times(NamedTuple):
    """x * gate(x)."""

    gate: tuple[Step, ...]


class Weigh(NamedTuple):
    """The parts of x, weighted by what `gate` makes of their sum, and summed."""

    gate: tuple[Step, ...]
    parts: int
    groups: int


Step = str | Add | Times | Weigh
"""What a block runs next: a child, by name, or a combination of runs."""


class Block(nn.Module):
    """Runs its children in the order its plan says: in a row, summed, gated or selected.

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
            elif isinstance(step, Add):
                x = self._run(step.body, x) + self._run(step.shortcut, x)
            elif isinstance(step, Times):
                x = x * self._run(step.gate, x)
            else:
                batch, channels, height, width = x.shape
                x = x.reshape(batch, step.parts, channels // step.parts, height, width)
                weights = self._run(step.gate, x.sum(dim=1))
                if step.parts == 1:
                    weights = torch.sigmoid(weights)
                else:
                    weights = weights.view(batch, step.groups, step.parts, -1).transpose(1, 2).softmax(dim=1)
                x = (x * weights.reshape(batch, step.parts, -1, 1, 1)).sum(dim=1)
        return x


class Parallel(nn.Module):
    """Chains side by side: their outputs concatenated as channels."""

    def __init__(self, branches: list[nn.Module], *, split: bool, linked: int) -> None:
        super().__init__()
        for i, branch in enumerate(branches):
            self.add_module(str(i), branch)
        self.split, self.linked = split, linked

    def forward(self, x: Tensor) -> Tensor:
        branches = list(self.children())
        shares = x.chunk(len(branches), 1) if self.split else [x] * len(branches)
        outputs: list[Tensor] = []
        for i, (branch, share) in enumerate(zip(branches, shares, strict=True)):
            outputs.append(branch(outputs[-1] + share if 0 < i < self.linked else share))
        return torch.cat(outputs, 1)

    def extra_repr(self) -> str:
        return f"split={self.split}, linked={self.linked}"


class Network(nn.Sequential):
    """A whole network; `plan` is what it was built from."""

    plan: Plan


class Backbone(Network):
    """A network that returns maps from inside: {name: (N, C, H, W)}, in the order of `plan.features`."""

    def forward(self, input: Tensor) -> dict[str, Tensor]:
        wanted = [feature.name for feature in self.plan.features]
        maps: dict[str, Tensor] = {}
        for name, child in self._modules.items():
            assert child is not None
            input = child(input)
            if name in wanted:
                maps[name] = input
        return maps


def assemble(plan: Plan) -> Network:
    """The modules a plan describes, each as torch initialises it; on the meta device they hold no numbers."""
    network = (Backbone if plan.features else Network)(OrderedDict(_children(plan.root)[0]))
    network.plan = plan
    return network


def build(plan: Plan) -> Network:
    """The torch network a plan describes, freshly initialised.

    A plan with features gives a `Backbone`, whose `forward` returns {name: map} instead of one tensor.
    State-dict keys and their order are the plan's. Weights are drawn in the order torchvision and timm
    draw them, so one seed gives the same weights here and there: modules are constructed in order, a
    shortcut before its body; then every convolution is redrawn by the plan's scheme.
    """
    network = assemble(plan)
    initialise(network, plan)
    return network


def create_model(
    name: str,
    *overrides: str,
    config_dir: str | Path | None = None,
    features: Sequence[str] | str | None = None,
) -> Network:
    """Compose, plan and build the model called `name` in one call.

    `features` names the maps of a backbone (`["layer3", "layer4"]`, or `"stages"` for every stage), as
    the override `model.features=[layer3,layer4]` does.

    Raises:
        ConfigError: with every fault in the configuration.
    """
    from resnet_factory.composer import compose  # Hydra takes longer to import than a network to build

    if features is not None:
        names = features if isinstance(features, str) else ",".join(features)
        overrides = (*overrides, f"++model.features=[{names}]")
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
                steps.append(Add(main, short))
            case Gate(gate=gate):
                inside, main = _children(gate)
                children |= inside
                steps.append(Times(main))
            case Select(gate=gate, parts=parts, groups=groups):
                inside, main = _children(gate)
                children |= inside
                steps.append(Weigh(main, parts, groups))
            case Chain():
                inside, main = _children(child)
                children |= inside
                steps.extend(main)
            case _:
                raise AssertionError("planned layers and branches always have a name")
    return children, tuple(steps)


def _module(node: Node) -> nn.Module:
    match node:
        case layers.Layer():
            return module(node)
        case Branches(branches=branches, split=split, linked=linked):
            return Parallel([_module(branch) for branch in branches], split=split, linked=linked)
        case Residual() | Gate() | Select():
            return Block(*_children(Chain((("", node),))))
        case Chain():
            children, steps = _children(node)
            if steps == tuple(children):
                return nn.Sequential(OrderedDict(children))
            return Block(children, steps)
