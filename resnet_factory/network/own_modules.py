"""Torch modules of registered layers, created by their functions and checked against their formulas."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from importlib import import_module
from typing import Any

from torch import nn

from resnet_factory.errors import ConfigError, Fault, shown
from resnet_factory.layers import Layer
from resnet_factory.layers.registry import REGISTRY, OwnLayer
from resnet_factory.network.modules import make_module
from resnet_factory.planning.nodes import Node
from resnet_factory.planning.plan_text import layer_plan_text


def own_or_vocabulary_module(node: Node) -> nn.Module:
    """Return the torch module of a node, from a registered layer's own function or from `make_module`.

    An exception of a registered layer's function is passed on, with a note that names the layer.

    Raises:
        ConfigError: a registered layer's function cannot be imported, or its module does not match its class.
    """
    own = REGISTRY.of(type(node)) if isinstance(node, Layer) else None
    return make_module(node) if own is None or not isinstance(node, Layer) else _own_module(own, node)


def _own_module(own: OwnLayer, layer: Layer) -> nn.Module:
    maker = _own_module_maker(own)
    try:
        made = maker(layer)
    except Exception as error:
        error.add_note(
            f"raised where {_own_module_layer_name(own)} creates the module of '{layer_plan_text(layer)}'"
        )
        raise
    if not isinstance(made, nn.Module):
        raise _own_module_refusal(own, f"its module function returns {shown(made)}, not a torch.nn.Module")
    held = sum(parameter.numel() for parameter in made.parameters())
    if held != layer.params():
        message = (
            f"its module has {held:,} parameters, {type(layer).__name__}.params() says {layer.params():,}"
        )
        raise _own_module_refusal(own, f"{message} for '{layer_plan_text(layer)}'")
    return made


def _own_module_maker(own: OwnLayer) -> Callable[[Layer], Any]:
    """Return the function that makes the modules of a layer.

    Raises:
        ConfigError: it cannot be imported.
    """
    if not isinstance(own.module, str):
        return own.module
    place, _, name = own.module.partition(":")
    try:
        found: Any = reduce(getattr, name.split("."), import_module(place))
    except Exception as error:
        message = f"its module function '{own.module}' cannot be imported: {type(error).__name__}: {error}"
        raise _own_module_refusal(own, message) from error
    if not callable(found):
        raise _own_module_refusal(
            own, f"its module function '{own.module}' is {shown(found)}, not a function"
        )
    return found  # type: ignore[no-any-return]


def _own_module_refusal(own: OwnLayer, message: str) -> ConfigError:
    return ConfigError([Fault("", f"{_own_module_layer_name(own)}: {message}")])


def _own_module_layer_name(own: OwnLayer) -> str:
    return f"layer {own.word!r}" + (f" of package {own.package!r}" if own.package else "")
