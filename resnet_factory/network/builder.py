"""Build the torch modules of a plan: plain nn.Modules with the plan's names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Literal, cast

import torch
from torch import nn

from resnet_factory.config.schema import ModelConfig
from resnet_factory.errors import shown
from resnet_factory.network.capacity import check_capacity
from resnet_factory.network.initialisation import initialise
from resnet_factory.network.modules import make_module
from resnet_factory.network.network import Backbone, Network, check_network_outputs
from resnet_factory.network.own_modules import own_or_vocabulary_module
from resnet_factory.network.steps import (
    Block,
    Branches,
    Composite,
    Gate,
    JoinStep,
    ReadStep,
    Step,
    TapStep,
)
from resnet_factory.planning.models import Source, compose, config_of_model, plan_of_model
from resnet_factory.planning.network_plan import Plan
from resnet_factory.planning.nodes import SELECT, Chain, MarkNode, Parallel, Tap, leaves


def assemble_network(plan: Plan, outputs: str = "dict") -> Network:
    """Return a plan's modules with torch's default initialisation; on the meta device without data."""
    children, steps = _named_modules(plan.root, {stage.name for stage in plan.stages})
    network = (Backbone if plan.features else Network)(OrderedDict(children))
    network.plan = plan
    if isinstance(network, Backbone) and outputs != "dict":
        network.outputs = outputs
    if steps != tuple(children):
        network.steps = steps
    return network


def build(
    plan: Source,
    *,
    device: str | torch.device | None = None,
    outputs: Literal["dict", "list", "tuple"] = "dict",
) -> Network:
    """Build the network of a plan, config or named model, freshly initialised.

    A plan with features gives a `Backbone`, whose `forward` returns maps instead of one tensor: {name: map},
    or with `outputs` a list or tuple of them.
    State-dict keys and their order are the plan's. Weights are drawn in the order torchvision and timm
    draw them, so the same seed gives the same weights: modules are constructed in order, a shortcut
    before its body; then every convolution is redrawn by the plan's scheme. On the meta device the
    network has shapes, but no data.

    Raises:
        ConfigError: there is no such model, or its recipes do not fit together.
        TypeError: it is neither a name nor a config nor a plan.
        ValueError: there is no such device, or no such form of outputs.
    """
    check_network_outputs(outputs)
    config = config_of_model(plan, "build()") if isinstance(plan, str | ModelConfig) else None
    planned = plan_of_model(plan if config is None else config, "build()")
    chosen = torch.get_default_device() if device is None else _checked_device(device)
    if chosen.type == "cpu":
        check_capacity(planned, torch.get_default_dtype().itemsize)
    with nullcontext() if device is None else chosen:
        network = assemble_network(planned, outputs)
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
    outputs: Literal["dict", "list", "tuple"] = "dict",
) -> Network:
    """Compose, plan and build the model called `name` in one call.

    The arguments are those of `compose` and `build`: overrides one by one or as a list; `features` names
    the maps of a backbone (`["layer3", "layer4"]`, `"stages"` for every stage, `"strides"` for the last map
    of every stride above 1).

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
    return build(config, device=device, outputs=outputs)


def _named_modules(
    chain: Chain, stages: Collection[str] = ()
) -> tuple[dict[str, nn.Module], tuple[Step, ...]]:
    """Return a chain's modules by name in state-dict order, and the steps that run them.

    `stages` are the names of those children that are stages, whose children are blocks.
    """
    children: dict[str, nn.Module] = {}
    steps: list[Step] = []
    for name, child in chain.children:
        if isinstance(child, MarkNode):
            steps.append(TapStep(child.of) if isinstance(child, Tap) else ReadStep(child.of))
        elif name:
            made = _build_stage(cast(Chain, child)) if name in stages else own_or_vocabulary_module(child)
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


def _build_stage(stage: Chain) -> nn.Module:
    """Return the module of a stage: its blocks in sequence, after its transition if it has one."""
    children = {
        name: Block(*_named_modules(cast(Chain, child)))
        if name.isdecimal()
        else own_or_vocabulary_module(child)
        for name, child in stage.children
    }
    return nn.Sequential(OrderedDict(children))


@make_module.register
def _make_chain(node: Chain) -> nn.Module:
    children, steps = _named_modules(node)
    if steps == tuple(children):
        return nn.Sequential(OrderedDict(children))
    return _composite_class(steps)(children, steps)


@make_module.register
def _make_parallel(node: Parallel) -> nn.Module:
    if node.indexed:
        children = {str(i): own_or_vocabulary_module(branch) for i, branch in enumerate(node.branches)}
        return Branches(children, (_join_step(node, tuple((name,) for name in children)),))
    children, steps = _named_modules(Chain((("", node),)))
    return _composite_class(steps)(children, steps)


def _composite_class(steps: tuple[Step, ...]) -> type[Composite]:
    """Return the class of the module of some steps that are not all in sequence: by their first join."""
    first = next((step for step in steps if isinstance(step, JoinStep)), None)
    return Gate if first is not None and first.gates else Branches


def _join_step(node: Parallel, runs: tuple[tuple[Step, ...], ...]) -> JoinStep:
    sources = tuple(node.source(i) for i in range(len(runs)))
    # Only a selection counts axes, and it always has layers, those of its logits.
    dims = next(leaves(node)).layer.dims if node.join == SELECT else 2
    return JoinStep(node.join, runs, sources, node.split, node.parts, node.groups, dims, node.gates)
