"""Scores of networks at initialisation, which need neither data nor training."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from resnet_factory.costing.node_costs import FormAfterNode
from resnet_factory.layers import MAP, Activation, BatchNorm, Conv, Layer, Linear, Norm
from resnet_factory.network.builder import build
from resnet_factory.network.network import Network
from resnet_factory.network.runtimes.choices import EAGER
from resnet_factory.planning.network_plan import PlanBlock, PlanStage
from resnet_factory.planning.nodes import IDENTITY, SUM, Chain, Node, Parallel, Tap

RECTIFIERS = ("relu", "relu6", "leaky_relu")
"""Activations that are linear on either side of 0."""


class MetricNotApplicable(Exception):  # noqa: N818 - an answer, not an error
    """Raised where a metric is undefined for a network, with the reason."""


@dataclass(frozen=True, kw_only=True)
class MetricConditions:
    """Conditions of a measurement."""

    image: tuple[int, ...]
    batch: int = 16
    repeats: int = 20
    seeds: int = 1
    threads: int = 1
    device: str = "cpu"
    dtype: str = "float32"
    channels_last: bool = False
    runtime: str = EAGER
    """The runtime in which latency is measured: one of choices.RUNTIMES."""
    seed: int = 0

    def __str__(self) -> str:
        shape = "x".join(map(str, self.image))
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}, " if self.device == "cpu" else ""
        layout = "channels_last" if self.channels_last else "contiguous"
        device = self.device if self.device == "cpu" else torch.cuda.get_device_name(self.device)
        runtime = "" if self.runtime == EAGER else f"{self.runtime}, "
        return f"batch {self.batch} of {shape}, {device}, {runtime}{threads}{self.dtype}, {layout}"


@dataclass(frozen=True)
class MetricValue:
    """A value, its quartiles where it was measured several times, and the conditions."""

    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""


def synflow_score(network: Network, conditions: MetricConditions) -> MetricValue:
    """Return log10 of the sum of |w * dR/dw|, R the sum of outputs for an image of ones (Tanaka et al. 2020).

    Absolute weights, double precision, without normalisation layers: with them R would not depend on w.
    """
    module = copy.deepcopy(network).double().to(conditions.device).eval()
    for name, layer in network.plan.leaves:
        if isinstance(layer, Norm):
            module.set_submodule(name, nn.Identity())
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.abs_()
    shape = (1, network.plan.in_channels, *conditions.image)
    module(torch.ones(shape, dtype=torch.double, device=conditions.device)).sum().backward()
    flow = sum(
        float((parameter.detach() * parameter.grad).abs().sum())
        for parameter in module.parameters()
        if parameter.grad is not None and parameter.dim() > 1
    )
    if flow == 0:
        raise MetricNotApplicable("no signal flows through")
    if not flow < math.inf:
        raise MetricNotApplicable("the signal overflows double precision")
    return MetricValue(math.log10(flow), note="log10, float64, no normalisation")


def naswot_score(network: Network, conditions: MetricConditions) -> MetricValue:
    """Return log |K|, K_ij the rectifiers that agree on images i and j of noise (Mellor et al. 2021)."""
    activations = {name: layer for name, layer in network.plan.leaves if isinstance(layer, Activation)}
    names = [name for name, layer in activations.items() if layer.function in RECTIFIERS]
    if not names:
        found = ", ".join(sorted({layer.function for layer in activations.values()})) or "none"
        raise MetricNotApplicable(f"no rectifiers give a binary code; the activations are {found}")
    module = copy.deepcopy(network).to(conditions.device).train()
    kernel = torch.zeros(conditions.batch, conditions.batch, dtype=torch.double, device=conditions.device)

    def add(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        code = (output.flatten(1) > 0).double()
        kernel.add_(code @ code.T + (1 - code) @ (1 - code).T)

    for name in names:
        module.get_submodule(name).register_forward_hook(add)
    with torch.no_grad(), seeded_for_scores(conditions.seed):
        module(noise_for_scores(network, conditions))
    sign, value = torch.linalg.slogdet(kernel)
    if sign <= 0 or not math.isfinite(value):
        raise MetricNotApplicable("the kernel is singular: some images have the same rectifier code")
    return MetricValue(float(value), note=f"batch {conditions.batch} of noise [{len(names)} activations]")


def zen_score(network: Network, conditions: MetricConditions) -> MetricValue:
    """Return the Zen score: log E|f(x) - f(x + 0.01 e)| + sum of log sigma of the norms (Lin et al. 2021).

    f is the network before its head, without shortcuts, with weights from N(0, 1).
    """
    plan = network.plan
    norms = [layer for _, layer in plan.leaves if isinstance(layer, Norm)]
    if not norms or not all(isinstance(layer, BatchNorm) for layer in norms):
        raise MetricNotApplicable(
            "the score needs the variances of batch normalisation, which this network does not have"
        )
    stages = tuple(_zen_stage_without_shortcuts(stage) for stage in plan.stages)
    with seeded_for_scores(conditions.seed):
        module = build(replace(plan, stages=stages, head=Chain())).to(conditions.device).train()
        spread = 0.0

        def add(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            nonlocal spread
            axes = (0, *range(2, inputs[0].dim()))  # all but the channels
            spread += 0.5 * math.log(float(inputs[0].var(dim=axes, unbiased=False).mean()) + 1e-12)

        for part in module.modules():
            if isinstance(part, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)):
                nn.init.normal_(part.weight)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
            elif isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
                nn.init.ones_(part.weight)
                part.register_forward_pre_hook(add)
        with torch.no_grad():
            images = noise_for_scores(network, conditions)
            first = module(images)
            total = spread
            moved = module(images + 1e-2 * noise_for_scores(network, conditions))
    change = float((first - moved).abs().sum(dim=tuple(range(1, first.dim()))).mean())
    if not 0 < change < math.inf:
        raise MetricNotApplicable("the features do not change, or overflow")
    return MetricValue(
        math.log(change) + total, note=f"batch {conditions.batch} of noise, shortcuts left out"
    )


def gradient_range_score(network: Network, conditions: MetricConditions) -> MetricValue:
    """Return log10 of the largest norm of a layer's weight gradient over the smallest.

    The loss is cross-entropy of noise against random labels; the sum of squares where there is no head.
    """
    module = copy.deepcopy(network).to(conditions.device).train()
    with seeded_for_scores(conditions.seed):
        output = module(noise_for_scores(network, conditions))
        if output.dim() == 2:
            labels = torch.randint(output.shape[1], (conditions.batch,), device=conditions.device)
            loss = nn.functional.cross_entropy(output, labels)
        else:
            loss = output.square().sum()
    loss.backward()  # type: ignore[no-untyped-call]
    norms: dict[str, float] = {}
    for name, layer in network.plan.leaves:
        if isinstance(layer, (Conv, Linear)):
            weight = module.get_submodule(name).weight
            assert isinstance(weight, Tensor)
            norms[name] = 0.0 if weight.grad is None else float(weight.grad.norm())
    least, most = min(norms, key=norms.__getitem__), max(norms, key=norms.__getitem__)
    if norms[least] == 0:
        raise MetricNotApplicable(f"the gradient of {least} is 0")
    if not math.isfinite(norms[most]):
        raise MetricNotApplicable("the gradients overflow")
    ends = f"largest {most} {norms[most]:.3g}, smallest {least} {norms[least]:.3g}"
    note = f"batch {conditions.batch} of noise [{ends}]"
    return MetricValue(math.log10(norms[most] / norms[least]), note=note)


def noise_for_scores(network: Network, conditions: MetricConditions) -> Tensor:
    """Return a batch of images from N(0, 1)."""
    shape = (conditions.batch, network.plan.in_channels, *conditions.image)
    return torch.randn(shape).to(conditions.device)


@contextmanager
def seeded_for_scores(seed: int) -> Iterator[None]:
    """Seed torch inside, and leave its random state outside unchanged."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _zen_stage_without_shortcuts(stage: PlanStage) -> PlanStage:
    blocks: dict[int, PlanBlock] = {}
    for block in stage.blocks:
        blocks.setdefault(id(block), replace(block, node=block.node.changed(_zen_node_without_shortcuts)))
    return replace(stage, blocks=tuple(blocks[id(block)] for block in stage.blocks))


def _zen_node_without_shortcuts(node: Node) -> Node:
    if isinstance(node, Layer):
        return node
    if (
        isinstance(node, Parallel)
        and node.join == SUM
        and not node.split
        and not _is_tapped_for_zen(node.branches)
    ):
        body = next((branch for branch in node.branches if branch.children), IDENTITY)
        if FormAfterNode().through(body, MAP) != MAP:
            return node.changed(_zen_node_without_shortcuts)  # a term for all positions, not a map
        return body.changed(_zen_node_without_shortcuts)
    return node.changed(_zen_node_without_shortcuts)


def _is_tapped_for_zen(branches: Iterable[Node]) -> bool:
    """Return whether other layers may read a map of these branches."""
    return any(
        isinstance(node, Tap)
        or (not isinstance(node, Layer) and _is_tapped_for_zen(child for _, child in node.items("")))
        for node in branches
    )
