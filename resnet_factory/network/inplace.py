"""Let a network for inference reuse the memory of maps that nothing else reads."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from resnet_factory.network.network import Network
from resnet_factory.network.steps import SUM_IN_PLACE, Composite, JoinStep, Step
from resnet_factory.planning.nodes import INPUT, PREVIOUS, SUM

FRESH = (nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.Linear)
"""Modules whose output is a tensor of its own, which their backward pass does not read."""


def compute_in_place(network: Network) -> None:
    """Set activations in place, and sums into their first term, where that memory is read by nothing else.

    Activations that torch has no such form of (GELU, sigmoid) stay. The maps that a backbone returns, and
    those that are tapped, are left alone.
    """
    offered = {feature.name for feature in network.plan.features}
    for module in network.modules():
        if isinstance(module, Network | Composite):
            steps = _set_steps_in_place(
                module, steps_to_set_in_place(module), offered if module is network else set()
            )
            if module.steps:
                module.steps = steps
        elif type(module) is nn.Sequential:
            _set_steps_in_place(module, steps_to_set_in_place(module), set())


def steps_to_set_in_place(module: nn.Module) -> tuple[Step, ...]:
    """Return the steps of a module that runs its children."""
    steps: tuple[Step, ...] = getattr(module, "steps", ())
    return steps or tuple(module._modules)


def _set_steps_in_place(module: nn.Module, steps: Sequence[Step], offered: set[str]) -> tuple[Step, ...]:
    """Return the steps with sums in place, after setting activations in place."""
    done: list[Step] = []
    for i, step in enumerate(steps):
        if isinstance(step, str):
            child = getattr(module, step)
            if (
                hasattr(child, "inplace")
                and i
                and steps[i - 1] not in offered
                and _may_overwrite_in_place(module, steps[i - 1])
            ):
                child.inplace = True
            done.append(step)
        elif isinstance(step, JoinStep):
            how = SUM_IN_PLACE if _can_sum_in_place(module, step) else step.how
            runs = tuple(_set_steps_in_place(module, run, set()) for run in step.runs)
            done.append(step._replace(how=how, runs=runs))
        else:
            done.append(step)
    return tuple(done)


def _can_sum_in_place(module: nn.Module, step: JoinStep) -> bool:
    """Return whether a sum can be formed in its first term, which nothing else reads."""
    if step.how != SUM or len(step.runs) < 2 or any(source != INPUT for source in step.sources):
        return False
    first = step.runs[0]
    return bool(first) and _may_overwrite_in_place(module, first[-1])


def _may_overwrite_in_place(module: nn.Module, step: Step) -> bool:
    """Return whether the output of a step is a tensor that nothing else holds."""
    if isinstance(step, JoinStep):
        return len(step.runs) > 1 and PREVIOUS not in step.sources
    if not isinstance(step, str):
        return False
    child = getattr(module, step)
    if isinstance(child, Composite) or type(child) is nn.Sequential:
        inner = steps_to_set_in_place(child)
        return bool(inner) and _may_overwrite_in_place(child, inner[-1])
    return isinstance(child, FRESH)
