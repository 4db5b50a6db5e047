"""Probes of a network: the gradient of every weight, and the response of every convolution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnet_factory.layers import Conv, Linear, Norm
from resnet_factory.network.builder import build
from resnet_factory.network.network import Network
from resnet_factory.planning.network_plan import Plan
from resnet_factory.planning.paths import main_path
from resnet_factory.study.training_result import LayerProbeResult


def probe_gradients_and_responses(network: Network, images: Tensor, labels: Tensor) -> LayerProbeResult:
    """Return gradient norms and standard deviations of responses on one batch, in training mode, in float32.

    `images` is (N, C, H, W), `labels` (N,). A copy is probed: `network`, its running statistics and its
    gradients do not change.
    """
    copy = build(network.plan).to(images.device)
    copy.load_state_dict(network.state_dict())
    copy.train()
    deviations: dict[str, float] = {}

    def hook_of(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            deviations[name] = output.detach().double().std().item()

        return hook

    points = response_probe_points(network.plan)
    hooks = [copy.get_submodule(at).register_forward_hook(hook_of(name)) for name, at in points.items()]
    loss = functional.cross_entropy(copy(images), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    for hook in hooks:
        hook.remove()
    names = gradient_probe_layers(network.plan)
    norms = [_probe_gradient_norm(copy.get_submodule(name)) for name in names]
    return LayerProbeResult(names, tuple(norms), tuple(points), tuple(deviations[name] for name in points))


def gradient_probe_layers(planned: Plan) -> tuple[str, ...]:
    """Return the convolutions and linear layers of the main path, from input to output."""
    return tuple(leaf.name for leaf in main_path(planned.root) if isinstance(leaf.layer, (Conv, Linear)))


def response_probe_points(planned: Plan) -> dict[str, str]:
    """Return convolution -> layer whose output is its response: the norm right after it, or itself.

    He et al. 2015, figure 7: "the outputs of each 3x3 layer, after BN and before nonlinearity". Here it is
    every convolution of the main path, so that those of bottlenecks are included.
    """
    path = main_path(planned.root)
    found = {}
    for leaf, after in zip(path, (*path[1:], None), strict=True):
        if isinstance(leaf.layer, Conv):
            parents = {other.name.rpartition(".")[0] for other in (leaf, after) if other is not None}
            normalised = after is not None and isinstance(after.layer, Norm) and len(parents) == 1
            found[leaf.name] = after.name if normalised and after is not None else leaf.name
    return found


def _probe_gradient_norm(module: nn.Module) -> float:
    weight = module.weight
    assert isinstance(weight, Tensor)
    assert weight.grad is not None
    norm: float = torch.linalg.vector_norm(weight.grad.double()).item()
    return norm
