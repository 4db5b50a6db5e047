"""Metrics of untrained networks."""

from torch import Tensor, nn
from torch.nn import functional


def grad_norm(network: nn.Module, images: Tensor) -> float | None:
    """Return the Euclidean norm of the gradient after one batch of noise (Abdelfattah et al. 2021)."""
    outputs = network.train()(images)
    if outputs.dim() != 2:  # no classifier, no loss
        return None
    labels = images.flatten(1).sum(1).gt(0).long()
    functional.cross_entropy(outputs, labels).backward()
    squares = sum(float(p.grad.square().sum()) for p in network.parameters() if p.grad is not None)
    return squares**0.5


def start_loss(network: nn.Module, data) -> float:
    """Return the loss of the first 64 training images, before any training."""
    images, labels = data.sample(64)
    return float(functional.cross_entropy(network.train()(images), labels))
