"""Fit a checkpoint's tensors to a network, and report every change.

Tensors fit if their names and shapes are the network's. Five differences are handled: names of another
library, another number of classes (only the classifier is left out), another number of input channels
(the stem's convolution is adapted), kernels of images in a network for volumes (they are inflated), and
counters that old checkpoints lack. Any other is a fault.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from resnet_factory.errors import ConfigError, Fault
from resnet_factory.layers import Conv
from resnet_factory.network.builder import assemble_network
from resnet_factory.network.network import Network
from resnet_factory.network.weights import key_matching
from resnet_factory.network.weights.key_matching import COUNTER, SHOWN, KeyMatch, module_of_matched_key
from resnet_factory.network.weights.reader import Checkpoint
from resnet_factory.planning.network_plan import Plan


@dataclass(frozen=True)
class AdaptedCheckpoint:
    """Tensors ready for one network."""

    tensors: Mapping[str, Tensor]
    """The network's name -> a tensor of the network's shape."""
    left: tuple[str, ...]
    """Names of the network's tensors that keep their values."""
    keys: str
    """The key map used for the file's names; empty if they are the network's own."""
    done: tuple[str, ...]
    """The changes that were made, one sentence each."""


def adapt_checkpoint(network: Network, checkpoint: Checkpoint, keys: str | None = None) -> AdaptedCheckpoint:
    """Return the tensors of `checkpoint` as `network` needs them; the network is not changed.

    `keys` is the name of the key map for the names in the file; without it they must be the network's own
    or exactly those of one shipped map.

    Raises:
        ConfigError: names are missing or unexpected, or shapes differ; all of them are listed.
    """
    plan, targets = network.plan, network.state_dict()
    whole = plan.whole or plan
    reading = key_matching.match_keys(whole, targets, _checkpoint_names(network), checkpoint.tensors, keys)
    done = list(checkpoint.done)
    if reading.prefix:
        done.append(f"prefix {reading.prefix!r} removed from every name")
    if reading.keys:
        done.append(f"names read with the key map {reading.keys!r}")
    tensors = {
        name: checkpoint.tensors[reading.theirs[name]]
        for name in targets
        if reading.theirs.get(name) in checkpoint.tensors
    }
    _adapt_counters(tensors, targets, done)
    _adapt_kernels_by_inflation(tensors, targets, plan, done)
    _adapt_stem(tensors, targets, plan, reading, done)
    left = _adapt_classifier(tensors, targets, key_matching.matched_classifier_name(whole), done)
    misshapen = _misshapen_after_adaptation(tensors, targets)
    if reading.missing or reading.unexpected or misshapen:
        counts = {"missing": reading.missing, "unexpected": reading.unexpected, "misshapen": misshapen}
        said = ", ".join(f"{len(names)} {what}" for what, names in counts.items() if names)
        how = f" with the names of {reading.keys!r}" if reading.keys else ""
        text = (
            f"'{checkpoint.file}' does not fit {plan.name or 'the network'}{how}: {said}; nothing was loaded"
        )
        shapes = [Fault("weights", f"misshapen {line}") for line in misshapen[:SHOWN]]
        raise ConfigError(
            [Fault("weights", text), *reading.faults, *shapes, *_adaptation_hints(checkpoint, plan)]
        )
    used = {reading.theirs.get(name) for name in (*tensors, *left)}
    spare = [name for name in checkpoint.tensors if name not in used]
    if spare:
        done.append(
            f"{len(spare)} tensors ignored, which the network does not use: "
            f"{', '.join(_unadapted_modules_text(spare))}"
        )
    return AdaptedCheckpoint(tensors, left, reading.keys, tuple(done))


def _checkpoint_names(network: Network) -> list[str]:
    """Return the names that a checkpoint of this network may have: for a backbone, the whole network's."""
    if network.plan.whole is None:
        return list(network.state_dict())
    with torch.device("meta"):
        return list(assemble_network(network.plan.whole).state_dict())


def _unadapted_modules_text(names: list[str]) -> list[str]:
    found = [repr(name) for name in dict.fromkeys(map(module_of_matched_key, names))]
    return [*found[:6], f"and {len(found) - 6} more"] if len(found) > 7 else found


def _adaptation_hints(checkpoint: Checkpoint, plan: Plan) -> list[Fault]:
    saved = checkpoint.metadata.get("resnet_factory.plan_id", plan.id)
    if saved == plan.id:
        return []
    name = checkpoint.metadata.get("resnet_factory.name", "")
    return [
        Fault("weights", f"the file was saved from {name!r}; load('{checkpoint.file}') rebuilds that network")
    ]


def _adapt_counters(tensors: dict[str, Tensor], targets: Mapping[str, Tensor], done: list[str]) -> None:
    absent = [name for name in targets if name.endswith(COUNTER) and name not in tensors]
    for name in absent:
        tensors[name] = torch.zeros((), dtype=targets[name].dtype)
    if absent:
        done.append(f"{len(absent)} counters ({COUNTER[1:]}) that the file lacks start at 0")


# Volumes ----------------------------------------------------------------------------------------


def _adapt_kernels_by_inflation(
    tensors: dict[str, Tensor], targets: Mapping[str, Tensor], plan: Plan, done: list[str]
) -> None:
    """Inflate kernels of images to kernels of volumes: repeated along the first axis, divided by its length.

    A clip that shows one image in every frame then gives what the image gave (Carreira & Zisserman 2017,
    section 2.4).
    """
    flat = [
        name
        for name, tensor in tensors.items()
        if plan.dims == 3 and tensor.ndim == 4 and targets[name].ndim == 5
    ]
    for name in flat:
        length = targets[name].shape[2]
        weight = tensors[name].float().unsqueeze(2).repeat(1, 1, length, 1, 1) / length
        tensors[name] = weight.to(tensors[name].dtype)
    if flat:
        done.append(
            f"{len(flat)} kernels inflated from images to volumes: repeated along the first axis and divided "
            "by its length (Carreira & Zisserman 2017)"
        )


# The stem ---------------------------------------------------------------------------------------


def _adapt_stem(
    tensors: dict[str, Tensor], targets: Mapping[str, Tensor], plan: Plan, reading: KeyMatch, done: list[str]
) -> None:
    stem, layer = next(
        ((leaf.name, leaf.layer) for leaf in plan.leaves if isinstance(leaf.layer, Conv)), ("", None)
    )
    name = f"{stem}.weight"
    if layer is None or name not in tensors or tensors[name].ndim < 3:
        return
    weight, target = tensors[name], targets[name]
    if reading.bgr and weight.shape[1] == 3:
        weight = weight.flip(1)
        done.append(f"input channels of {stem!r} converted from BGR to RGB")
    base, channels = weight.shape[1], target.shape[1]
    rest = weight.shape[:1] + weight.shape[2:] == target.shape[:1] + target.shape[2:]
    if base != channels and rest and layer.groups == 1:
        weight = adapt_stem_weight(weight, channels)
        how = (
            f"summed over {base}"
            if channels == 1
            else f"repeated from {base} and scaled by {base}/{channels}"
        )
        done.append(f"stem {stem!r} adapted to {channels} input channels: {how}")
    tensors[name] = weight


def adapt_stem_weight(weight: Tensor, channels: int) -> Tensor:
    """Adapt a stem convolution's weight, (out, in, kernel…), to another number of input channels.

    For one channel the weights are summed; for more they are repeated and scaled by old / new, so that a
    uniform image gives the same result (timm's `adapt_input_conv`).
    """
    base, dtype = weight.shape[1], weight.dtype
    weight = weight.float()
    if channels == 1:
        return weight.sum(dim=1, keepdim=True).to(dtype)
    weight = weight.repeat(1, math.ceil(channels / base), *(1,) * (weight.ndim - 2))[:, :channels]
    return (weight * (base / float(channels))).to(dtype)


# The classifier ---------------------------------------------------------------------------------


def _adapt_classifier(
    tensors: dict[str, Tensor], targets: Mapping[str, Tensor], head: str, done: list[str]
) -> tuple[str, ...]:
    """Leave out a classifier of other classes, as a whole; return the names that keep their values."""
    own = [name for name in targets if module_of_matched_key(name) == head]
    held = [name for name in own if name in tensors]
    if own and not held:
        done.append(f"the file has no classifier {head!r}: the network's is unchanged")
        return tuple(own)
    for name in held:
        # A linear layer and a 1x1 convolution have the same weights.
        if (
            _adapted_shape_without_window(tensors[name]) == _adapted_shape_without_window(targets[name])
            and tensors[name].shape != targets[name].shape
        ):
            done.append(
                f"{name} reshaped from {_adaptation_shape_text(tensors[name])} to "
                f"{_adaptation_shape_text(targets[name])}"
            )
            tensors[name] = tensors[name].reshape(targets[name].shape)
    if len(held) < len(own) or all(tensors[name].shape == targets[name].shape for name in own):
        return ()
    if any(
        _adapted_shape_without_window(tensors[name])[1:] != _adapted_shape_without_window(targets[name])[1:]
        for name in own
    ):
        return ()
    classes = tensors[own[0]].shape[0], targets[own[0]].shape[0]
    done.append(f"classifier {head!r} not loaded: {classes[0]} classes in the file, {classes[1]} here")
    for name in own:
        del tensors[name]
    return tuple(own)


def _adapted_shape_without_window(tensor: Tensor) -> tuple[int, ...]:
    """Return a shape without the 1x1 kernel of a convolution."""
    return tuple(tensor.shape[:2] if set(tensor.shape[2:]) == {1} else tensor.shape)


# Shapes -----------------------------------------------------------------------------------------


def _misshapen_after_adaptation(tensors: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> list[str]:
    wrong = []
    for name, tensor in tensors.items():
        target = targets[name]
        if tensor.shape != target.shape:
            wrong.append(
                f"{name!r} is {_adaptation_shape_text(tensor)} in the file, "
                f"{_adaptation_shape_text(target)} here"
            )
        elif tensor.is_floating_point() != target.is_floating_point():
            wrong.append(f"{name!r} holds {tensor.dtype} in the file, {target.dtype} here")
    return wrong


def _adaptation_shape_text(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a single number"
