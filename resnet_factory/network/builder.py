"""A plan as torch modules: plain nn.Modules, children named as the plan names them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from resnet_factory import layers
from resnet_factory.network.initialisation import initialise
from resnet_factory.network.modules import module
from resnet_factory.planning.nodes import Branches, Chain, Gate, Node, Plan, Residual, Select
from resnet_factory.planning.planner import plan as make_plan


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


def run(module: nn.Module, steps: tuple[Step, ...], x: Tensor) -> Tensor:
    """The output of `steps`, whose names are children of `module`, for the input `x`."""
    for step in steps:
        if isinstance(step, str):
            x = getattr(module, step)(x)
        elif isinstance(step, Add):
            x = run(module, step.body, x) + run(module, step.shortcut, x)
        elif isinstance(step, Times):
            x = x * run(module, step.gate, x)
        else:
            batch, channels, height, width = x.shape
            x = x.reshape(batch, step.parts, channels // step.parts, height, width)
            weights = run(module, step.gate, x.sum(dim=1))
            if step.parts == 1:
                weights = torch.sigmoid(weights)
            else:
                weights = weights.view(batch, step.groups, step.parts, -1).transpose(1, 2).softmax(dim=1)
            x = (x * weights.reshape(batch, step.parts, -1, 1, 1)).sum(dim=1)
    return x


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
        return run(self, self.steps, x)


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
    """A whole network; `plan` is what it was built from.

    Most networks run their children in a row, as any `nn.Sequential` does; where the plan's stem or head
    joins paths at the top level, `steps` says how.
    """

    plan: Plan
    steps: tuple[Step, ...] = ()
    """Empty where the children run in a row."""

    def forward(self, input: Tensor) -> Tensor:
        return run(self, self.steps or tuple(self._modules), input)

    def __getitem__(self, index: int | slice) -> nn.Module:
        """One child; for a slice an `nn.Sequential` of several.

        Raises:
            TypeError: a slice of a network whose top level is more than a row of children.
        """
        if not isinstance(index, slice):
            return super().__getitem__(index)
        if self.steps:
            raise TypeError(
                "this network joins paths at its top level, which a slice would lose; "
                "name the maps instead: create_model(…, features=[…])"
            )
        return nn.Sequential(OrderedDict(list(self._modules.items())[index]))


class Backbone(Network):
    """A network that returns maps from inside: {name: (N, C, H, W)}, in the order of `plan.features`."""

    def forward(self, input: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        wanted = [feature.name for feature in self.plan.features]
        maps: dict[str, Tensor] = {}
        for step in self.steps or tuple(self._modules):
            input = run(self, (step,), input)
            if step in wanted:
                maps[str(step)] = input
        return maps


def assemble(plan: Plan) -> Network:
    """The modules a plan describes, each as torch initialises it; on the meta device they hold no numbers."""
    children, steps = _children(plan.root)
    network = (Backbone if plan.features else Network)(OrderedDict(children))
    network.plan = plan
    if steps != tuple(children):
        network.steps = steps
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
    from resnet_factory.planning.models import compose  # Hydra takes longer to import than a network to build

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
