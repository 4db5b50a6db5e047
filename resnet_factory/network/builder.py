"""Build the torch modules of a plan: plain nn.Modules with the plan's names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from resnet_factory.config.schema import ModelConfig
from resnet_factory.errors import shown
from resnet_factory.network.capacity import check_capacity
from resnet_factory.network.initialisation import initialise
from resnet_factory.network.modules import module
from resnet_factory.network.own_modules import module_of
from resnet_factory.network.steps import (
    Block,
    Branches,
    Composite,
    Gate,
    JoinStep,
    ReadStep,
    Step,
    TapStep,
    run,
)
from resnet_factory.planning.models import Source, compose, config_of, plan_of
from resnet_factory.planning.network_plan import Plan
from resnet_factory.planning.nodes import SELECT, Chain, Mark, Node, Parallel, Tap, leaves


class Network(nn.Sequential):
    """A whole network, built from `plan`.

    Most networks run their children in sequence, as `nn.Sequential` does; if the plan's stem or head joins
    paths at the top level, `steps` defines the data flow.
    """

    plan: Plan
    steps: tuple[Step, ...] = ()
    """Empty if the children run in sequence."""
    config: ModelConfig | None = None
    """The config it was built from; None if it was built from a plan."""

    def forward(self, input: Tensor) -> Tensor:
        return run(self, self.steps or tuple(self._modules), input, {})

    def __getitem__(self, index: int | slice) -> nn.Module:
        """Return one child, or an `nn.Sequential` for a slice.

        Raises:
            TypeError: a slice of a network whose top level is not a sequence of children.
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
    """A network that returns feature maps, {name: (N, C, H, W)}, in the order of `plan.features`."""

    def forward(self, input: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        wanted = [feature.name for feature in self.plan.features]
        maps: dict[str, Tensor] = {}
        taps: dict[str, Tensor] = {}
        for step in self.steps or tuple(self._modules):
            input = run(self, (step,), input, taps)
            if step in wanted:
                maps[str(step)] = input
        return maps


def assemble(plan: Plan) -> Network:
    """Return a plan's modules with torch's default initialisation; on the meta device without data."""
    children, steps = _named_modules(plan.root, {stage.name for stage in plan.stages})
    network = (Backbone if plan.features else Network)(OrderedDict(children))
    network.plan = plan
    if steps != tuple(children):
        network.steps = steps
    return network


def build(plan: Source, *, device: str | torch.device | None = None) -> Network:
    """Build the network of a plan, config or named model, freshly initialised.

    A plan with features gives a `Backbone`, whose `forward` returns {name: map} instead of one tensor.
    State-dict keys and their order are the plan's. Weights are drawn in the order torchvision and timm
    draw them, so the same seed gives the same weights: modules are constructed in order, a shortcut
    before its body; then every convolution is redrawn by the plan's scheme. On the meta device the
    network has shapes, but no data.

    Raises:
        ConfigError: there is no such model, or its recipes do not fit together.
        TypeError: it is neither a name nor a config nor a plan.
    """
    config = config_of(plan, "build()") if isinstance(plan, str | ModelConfig) else None
    planned = plan_of(plan if config is None else config, "build()")
    chosen = torch.get_default_device() if device is None else _checked_device(device)
    if chosen.type == "cpu":
        check_capacity(planned, torch.get_default_dtype().itemsize)
    with nullcontext() if device is None else chosen:
        network = assemble(planned)
        initialise(network, planned)
    network.config = config
    return network


def _checked_device(device: str | torch.device) -> torch.device:
    """Return the device of a name after checking it."""
    if not isinstance(device, str | torch.device):
        raise TypeError(f"device takes a name, as 'cuda' or 'meta', found {shown(device)}")
    try:
        return torch.device(device)
    except RuntimeError:
        raise ValueError(f"unknown device {device!r}; known are cpu, cuda, cuda:1, mps, meta, …") from None


def create_model(
    name: str,
    *changes: str,
    overrides: Iterable[str] = (),
    config_dir: str | Path | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    features: Iterable[str] | str | None = None,
    device: str | torch.device | None = None,
) -> Network:
    """Compose, plan and build the model called `name` in one call.

    The arguments are those of `compose` and `build`: overrides one by one or as a list; `features` names
    the maps of a backbone (`["layer3", "layer4"]`, or `"stages"` for every stage).

    Raises:
        ConfigError: with every fault in the configuration.
        TypeError: an argument is of another type.
    """
    config = compose(
        name,
        *changes,
        overrides=overrides,
        config_dir=config_dir,
        num_classes=num_classes,
        in_channels=in_channels,
        features=features,
    )
    return build(config, device=device)


def reset_classifier(network: Network, num_classes: int) -> Network:
    """Replace the classifier by a freshly initialised one of `num_classes`; updates config and plan as well.

    The network is changed in place and returned. Layers that do not depend on the number of classes keep
    their parameters, so optimisers that hold these stay valid.

    Raises:
        ConfigError: no layer of the network reads `num_classes`, or the number is out of range.
        TypeError: it is not a network built by this package.
        ValueError: the network was built from a plan without a config, or lacks layers that it would need.
    """
    if not isinstance(network, Network):
        raise TypeError("reset_classifier() takes a network as build or create_model gives it")
    if network.config is None:
        raise ValueError("the network was built from a plan alone; build it from a config or name instead")
    config = network.config.changed({"num_classes": num_classes})
    planned = plan_of(config, "reset_classifier()")
    before, after = dict(network.plan.leaves), dict(planned.leaves)
    changed = [name for name in after if before.get(name) != after[name]]
    if not set(changed) <= before.keys() or before.keys() != after.keys():
        raise ValueError(f"{num_classes} classes want other layers than the network has; build it anew")
    fresh = build(planned) if changed else network
    for name in changed:
        made = fresh.get_submodule(name)
        for old in network.get_submodule(name).parameters():
            made = made.to(old.device, old.dtype)
        network.set_submodule(name, made)
    network.plan, network.config = planned, config
    return network


def _named_modules(
    chain: Chain, stages: Collection[str] = ()
) -> tuple[dict[str, nn.Module], tuple[Step, ...]]:
    """Return a chain's modules by name in state-dict order, and the steps that run them.

    `stages` are the names of those children that are stages, whose children are blocks.
    """
    children: dict[str, nn.Module] = {}
    steps: list[Step] = []
    for name, child in chain.children:
        if isinstance(child, Mark):
            steps.append(TapStep(child.of) if isinstance(child, Tap) else ReadStep(child.of))
        elif name:
            made = _stage(child) if name in stages and isinstance(child, Chain) else module_of(child)
            children[name] = made
            steps.append(name)
        elif isinstance(child, Parallel) and not child.indexed:
            # Constructed from the last to the first, as torchvision and timm do: a shortcut before its body.
            inner = [_named_modules(branch) for branch in reversed(child.branches)][::-1]
            for modules, _ in inner:
                children |= modules
            steps.append(_join_step(child, tuple(runs for _, runs in inner)))
        elif isinstance(child, Chain):
            modules, runs = _named_modules(child)
            children |= modules
            steps.extend(runs)
        else:
            raise AssertionError("planned layers and numbered branches always have a name")
    return children, tuple(steps)


def _stage(stage: Chain) -> nn.Module:
    """Return the module of a stage: its blocks in sequence, after its transition if it has one."""
    children = {
        name: Block(*_named_modules(child))
        if name.isdecimal() and isinstance(child, Chain)
        else module_of(child)
        for name, child in stage.children
    }
    return nn.Sequential(OrderedDict(children))


@module.register
def _make_chain(node: Chain) -> nn.Module:
    children, steps = _named_modules(node)
    if steps == tuple(children):
        return nn.Sequential(OrderedDict(children))
    return _composite(node.children)(children, steps)


@module.register
def _make_parallel(node: Parallel) -> nn.Module:
    if node.indexed:
        children = {str(i): module_of(branch) for i, branch in enumerate(node.branches)}
        return Branches(children, (_join_step(node, tuple((name,) for name in children)),))
    return _composite((("", node),))(*_named_modules(Chain((("", node),))))


def _composite(children: Iterable[tuple[str, Node]]) -> type[Composite]:
    """Return the class of the module of some nodes that are not all in sequence: by their first join."""
    joins = (child for name, child in children if not name and isinstance(child, Parallel))
    first = next(joins, None)
    return Gate if first is not None and first.gates else Branches


def _join_step(node: Parallel, runs: tuple[tuple[Step, ...], ...]) -> JoinStep:
    sources = tuple(node.source(i) for i in range(len(runs)))
    # Only a selection counts axes, and it always has layers, those of its logits.
    dims = next(leaves(node)).layer.dims if node.join == SELECT else 2
    return JoinStep(node.join, runs, sources, node.split, node.parts, node.groups, dims)
