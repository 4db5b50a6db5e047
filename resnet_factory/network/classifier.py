"""Another classifier in place of a network's."""

from __future__ import annotations

from torch import nn

from resnet_factory.network.builder import build
from resnet_factory.network.network import Network
from resnet_factory.planning.anatomy import classifier
from resnet_factory.planning.models import plan_of_model


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
        raise TypeError("reset_classifier() takes a network from build or create_model")
    if network.config is None:
        raise ValueError("the network was built from a plan alone; build it from a config or name instead")
    config = network.config.changed({"num_classes": num_classes})
    planned = plan_of_model(config, "reset_classifier()")
    before, after = dict(network.plan.leaves), dict(planned.leaves)
    changed = [name for name in after if before.get(name) != after[name]]
    if not set(changed) <= before.keys() or before.keys() != after.keys():
        raise ValueError(f"{num_classes} classes need other layers than the network has; build a new one")
    # One that `network.reset_classifier(0)` took away comes back, also with as many classes as before.
    known = classifier(planned)
    if known and isinstance(network.get_submodule(known.name), nn.Identity) and known.layer not in changed:
        changed.append(known.layer)
    fresh = build(planned) if changed else network
    like = next(network.parameters(), None)
    for name in changed:
        made = fresh.get_submodule(name)
        if like is not None:
            made = made.to(like.device, like.dtype)
        made.train(network.training)
        _keep_classifier_parameters(network.get_submodule(name), made)
        network.set_submodule(name, made)
    network.plan, network.config = planned, config
    return network


def _keep_classifier_parameters(old: nn.Module, made: nn.Module) -> None:
    """Let a new module have the parameters of an old one that are of the same name and shape."""
    parameters = dict(made.named_parameters())
    for name, parameter in old.named_parameters():
        if name in parameters and parameters[name].shape == parameter.shape:
            owner, _, key = name.rpartition(".")
            setattr(made.get_submodule(owner), key, parameter)
