"""Fold a network for inference: the weights of a folded plan, computed in double precision."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from resnet_factory.errors import ConfigError, Fault, shown
from resnet_factory.layers import (
    BatchNorm,
    Conv,
    EvoNorm,
    Layer,
    Linear,
    ScaledConv,
    Shift,
    StandardizedConv,
    axis_entry,
)
from resnet_factory.layers import Multiply as MultiplyLayer
from resnet_factory.network.builder import assemble_network
from resnet_factory.network.inplace import compute_in_place
from resnet_factory.network.network import Backbone, Network
from resnet_factory.network.own_modules import own_or_vocabulary_module
from resnet_factory.planning.folding import FoldedPlan, FoldedSum, Origin, fold_plan
from resnet_factory.planning.kernels import places_in_larger_kernel, unit_kernel


class FoldingWeights(NamedTuple):
    """A linear map of a feature map: a convolution's weight and bias, in double precision."""

    weight: Tensor
    """(to, channels / groups, *kernel); a linear layer's has no kernel."""
    bias: Tensor
    """(to,)"""


class FoldingFactors(NamedTuple):
    """A factor and an offset per channel, in double precision; both (channels,)."""

    factor: Tensor
    offset: Tensor


def fold(network: Network, *, in_place: bool = True) -> Network:
    """Return a copy of a network for inference, with a folded plan: fewer layers, the same function.

    See `planning.folding.fold_plan` for what is folded. The copy is in evaluation mode, with the statistics
    of batch normalisation in its weights: do not train it. Activations and sums reuse the memory of maps that
    nothing else reads, so an output that a forward hook keeps of a convolution is overwritten by the
    activation after it, unless `in_place` is false. The network itself is not changed. Weights are computed
    in double precision and rounded once; the outputs of a float64 network agree to 1e-10 of their largest.

    Raises:
        ConfigError: a module that would be folded is not the one that was planned.
        TypeError: it is not a network built by this package.
    """
    if not isinstance(network, Network):
        raise TypeError(f"fold() takes a network from build or create_model, found {shown(network)}")
    done = fold_plan(network.plan)
    layers = dict(network.plan.leaves)
    _check_foldable_modules(network, layers, done)
    with torch.device("meta"):
        result = assemble_network(done.plan, network.outputs if isinstance(network, Backbone) else "dict")
    memo: dict[int, object] = {}
    for name, layer in done.plan.leaves:
        origin = done.origins.get(name)
        if origin is None:
            part = copy.deepcopy(network.get_submodule(name), memo)
        else:
            assert isinstance(layer, Conv | Linear)
            part = _module_with_folded_weights(
                result.get_submodule(name), _FoldedWeights(network, layers).matrix(origin, layer)
            )
        result.set_submodule(name, part)
    if in_place:
        compute_in_place(result)
    return result.eval()


def _check_foldable_modules(network: Network, layers: Mapping[str, Layer], done: FoldedPlan) -> None:
    """Refuse modules that compute something else than the layers that are folded."""
    faults = []
    planned_modules: dict[Layer, nn.Module] = {}
    with torch.device("meta"):
        for name in dict.fromkeys(
            name for origin in done.origins.values() for name in _folded_module_names(origin)
        ):
            found, layer = network.get_submodule(name), layers[name]
            planned = planned_modules.get(layer) or planned_modules.setdefault(
                layer, own_or_vocabulary_module(layer)
            )
            batch_norm = isinstance(found, nn.SyncBatchNorm) and isinstance(layer, BatchNorm)
            if batch_norm or type(found).forward is type(planned).forward:
                if not isinstance(layer, BatchNorm) or getattr(found, "running_var", None) is not None:
                    continue
                said = "keeps no running statistics"
            else:
                said = f"is a {type(found).__name__}, but the plan has a {type(planned).__name__}"
            faults.append(Fault(name, f"{said}, which cannot be folded; fold first, then replace modules"))
    if faults:
        raise ConfigError(faults)


def _folded_module_names(origin: Origin) -> list[str]:
    names: list[str] = []
    for part in origin:
        names += (
            [part]
            if isinstance(part, str)
            else [name for term in part.terms for name in _folded_module_names(term)]
        )
    return names


def _module_with_folded_weights(module: nn.Module, matrix: FoldingWeights) -> nn.Module:
    """Return a module with its weights; one without a bias lost nothing but zeros."""
    state = {"weight": matrix.weight, "bias": matrix.bias}
    module.load_state_dict({key: state[key] for key in module.state_dict()}, assign=True)
    return module


class _FoldedWeights:
    """Computes the linear maps of origins from a network's modules."""

    def __init__(self, network: Network, layers: Mapping[str, Layer]) -> None:
        self.network, self.layers = network, layers

    def matrix(self, origin: Origin, layer: Conv | Linear) -> FoldingWeights:
        """Return the weight and bias of a folded layer, in the dtype and on the device of the network's."""
        found = self.through(origin)
        assert isinstance(found, FoldingWeights)
        matrices = (
            name for name in _folded_module_names(origin) if isinstance(self.layers[name], Conv | Linear)
        )
        dtype = _folding_tensors(self.network.get_submodule(next(matrices)))["weight"].dtype
        return FoldingWeights(*(nn.Parameter(tensor.to(dtype).contiguous()) for tensor in found))

    def through(self, origin: Origin) -> FoldingWeights | FoldingFactors | None:
        """Return the linear map of layers in a row; None for the map itself."""
        value: FoldingWeights | FoldingFactors | None = None
        for part in origin:
            if isinstance(part, FoldedSum):
                value = self.after(value, self.summed(part), part.layer)
                continue
            layer, module = self.layers[part], self.network.get_submodule(part)
            if isinstance(layer, Conv | Linear):
                value = self.after(value, folding_weights_of_module(layer, module), layer)
            else:
                factors = folding_factors_of_module(layer, module)
                value = _scale_folding_weights(value, factors)
        return value

    def after(
        self, before: FoldingWeights | FoldingFactors | None, matrix: FoldingWeights, layer: Conv | Linear
    ) -> FoldingWeights:
        """Return a convolution after a factor and an offset per channel of its input."""
        if before is None:
            return matrix
        assert isinstance(before, FoldingFactors)
        groups = layer.groups if isinstance(layer, Conv) else 1
        weight, ones = matrix.weight, (1,) * (matrix.weight.ndim - 2)

        def spread(values: Tensor) -> Tensor:
            # Each output channel reads the channels of its own group.
            return values.view(groups, 1, -1).expand(-1, weight.shape[0] // groups, -1).flatten(0, 1)

        offset = (weight.flatten(2).sum(2) if ones else weight) * spread(before.offset)
        scaled = weight * spread(before.factor).view(*weight.shape[:2], *ones)
        return FoldingWeights(scaled, matrix.bias + offset.sum(1))

    def summed(self, part: FoldedSum) -> FoldingWeights:
        """Return the convolution that branches beside each other are."""
        conv = part.layer
        found = [(self.through(term), self.reach(term, conv)) for term in part.terms]
        like = next(value.weight for value, _ in found if isinstance(value, FoldingWeights))
        kernel = [axis_entry(conv.kernel, axis) for axis in range(conv.dims)]
        weight = like.new_zeros(conv.to, conv.channels // conv.groups, *kernel)
        bias = like.new_zeros(conv.to)
        for value, small in found:
            matrix = (
                value if isinstance(value, FoldingWeights) else _diagonal_folding_weights(value, conv, like)
            )
            places = places_in_larger_kernel(small, conv)
            assert places is not None
            at = torch.meshgrid(*(torch.tensor(place) for place in places), indexing="ij")
            every: Any = (slice(None), slice(None), *at)
            weight[every] += matrix.weight
            bias += matrix.bias
        return FoldingWeights(weight, bias)

    def reach(self, term: Origin, conv: Conv) -> Conv:
        """Return the convolution of one branch; a 1x1 one for branches without."""
        for part in term:
            if isinstance(part, FoldedSum):
                return part.layer
            layer = self.layers[part]
            if isinstance(layer, Conv):
                return layer
        return unit_kernel(conv)


def _scale_folding_weights(
    value: FoldingWeights | FoldingFactors | None, factors: FoldingFactors
) -> FoldingWeights | FoldingFactors:
    """Return a linear map followed by a factor and an offset per channel."""
    if value is None:
        return factors
    first, bias = value[0], value[1] * factors.factor + factors.offset
    factor = factors.factor.view(-1, *(1,) * (first.ndim - 1))
    return (
        FoldingWeights(first * factor, bias)
        if isinstance(value, FoldingWeights)
        else FoldingFactors(first * factor, bias)
    )


def _diagonal_folding_weights(factors: FoldingFactors | None, conv: Conv, like: Tensor) -> FoldingWeights:
    """Return factors, or the map itself, as the weight of a 1x1 convolution in groups."""
    each = conv.channels // conv.groups
    channel = torch.arange(conv.channels, device=like.device)
    weight = like.new_zeros(conv.channels, each)
    weight[channel, channel % each] = 1.0 if factors is None else factors.factor
    bias = like.new_zeros(conv.channels) if factors is None else factors.offset
    return FoldingWeights(weight.view(conv.channels, each, *(1,) * conv.dims), bias)


def folding_weights_of_module(layer: Conv | Linear, module: nn.Module) -> FoldingWeights:
    """Return the weight and bias of a convolution or linear layer, its weight standardised where planned.

    Source: Qiao et al. 2019 (equation 5); with a gain, Brock et al. 2021 (section 4.3).
    """
    held = {name: tensor.detach().double() for name, tensor in _folding_tensors(module).items()}
    weight = held["weight"]
    if isinstance(layer, StandardizedConv | ScaledConv):
        filters = weight.flatten(1)
        spread = filters.var(1, unbiased=False, keepdim=True)
        filters = (filters - filters.mean(1, keepdim=True)) / (spread + layer.eps).sqrt()
        if isinstance(layer, ScaledConv):
            filters = filters * held["gain"].flatten(1) * layer.gamma * filters.shape[1] ** -0.5
        weight = filters.view_as(weight)
    return FoldingWeights(weight, held.get("bias", weight.new_zeros(layer.to)))


def folding_factors_of_module(layer: Layer, module: nn.Module) -> FoldingFactors:
    """Return the factor and the offset per channel of a norm in inference, or of a factor or shift."""
    held = {name: tensor.detach().double() for name, tensor in _folding_tensors(module).items()}
    ones = torch.ones(layer.channels, dtype=torch.float64, device=_folding_device(module))
    if isinstance(layer, MultiplyLayer):
        return FoldingFactors(ones * layer.by, ones * 0.0)
    weight = held.get("weight", ones) * ones
    if isinstance(layer, BatchNorm):
        factor = weight / (held["running_var"] + layer.eps).sqrt()
        return FoldingFactors(factor, held.get("bias", ones * 0.0) - held["running_mean"] * factor)
    if isinstance(layer, EvoNorm):
        return FoldingFactors(weight, held["bias"])
    return FoldingFactors(ones, weight) if isinstance(layer, Shift) else FoldingFactors(weight, ones * 0.0)


def _folding_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's tensors as its forward pass reads them, pruned or parametrised ones too."""
    names = ("weight", "bias", "gain", "running_mean", "running_var")
    return {name: value for name in names if isinstance(value := getattr(module, name, None), Tensor)}


def _folding_device(module: nn.Module) -> torch.device | None:
    return next((tensor.device for tensor in _folding_tensors(module).values()), None)
