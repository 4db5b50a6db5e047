"""A look inside a network: the gradient in every weight, and how strongly every layer responds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnet_factory.network.builder import Network, build
from resnet_factory.study.jobs import responses, weighted
from resnet_factory.study.result import Probe


def look(network: Network, images: Tensor, labels: Tensor) -> Probe:
    """Gradient norms and response deviations of `network` on one batch, in training mode, in float32.

    `images` is (N, C, H, W), `labels` (N,). A copy is measured: `network`, its running statistics and
    its gradients stay as they are.
    """
    copy = build(network.plan).to(images.device)
    copy.load_state_dict(network.state_dict())
    copy.train()
    deviations: dict[str, float] = {}
    pairs = responses(network.plan)
    hooks = [
        copy.get_submodule(place).register_forward_hook(_note(name, deviations)) for name, place in pairs
    ]
    loss = functional.cross_entropy(copy(images), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    for hook in hooks:
        hook.remove()
    names = [leaf.name for leaf in weighted(network.plan)]
    norms = [_norm(copy.get_submodule(name)) for name in names]
    found = [name for name, _ in pairs]
    return Probe(tuple(names), tuple(norms), tuple(found), tuple(deviations[name] for name in found))


def _note(name: str, deviations: dict[str, float]) -> Any:
    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        deviations[name] = output.detach().double().std().item()

    return hook


def _norm(module: nn.Module) -> float:
    weight = module.weight
    assert isinstance(weight, Tensor)
    assert weight.grad is not None
    norm: float = torch.linalg.vector_norm(weight.grad.double()).item()
    return norm
