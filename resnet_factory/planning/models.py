"""Named models: list them, compose their configs and plan them, given a name, a config or a plan."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from resnet_factory.config.model_index import index_models
from resnet_factory.config.schema import ModelConfig
from resnet_factory.errors import ConfigError, Fault, path_of, shown
from resnet_factory.planning import planner
from resnet_factory.planning.network_plan import Plan

Source = str | ModelConfig | Plan
"""A network: the name of a model, its config, or its plan."""


def list_models(pattern: str = "*", config_dir: str | Path | None = None) -> list[str]:
    """Return the names of the models that match a glob pattern or contain a word, in natural order.

    `config_dir` is a folder of your own YAML, whose models are listed with the shipped ones.
    """
    _check_model_pattern(pattern, "list_models() takes a glob pattern, as 'resnet*'")
    folder = None if config_dir is None else str(path_of(config_dir, "config_dir"))
    return index_models(folder).matches(pattern)


def compose(
    name: str,
    *changes: str,
    overrides: Iterable[str] = (),
    config_dir: str | Path | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    features: Iterable[str] | str | None = None,
) -> ModelConfig:
    """Return the config of the model called `name`, changed by overrides in Hydra's grammar.

    Overrides are given one by one, as `compose("resnet50", "model.act=silu")`, or as a list. `num_classes`,
    `in_channels` and `features` (names of maps, `"stages"` or `"strides"`) set the model's fields of the
    same name.
    `config_dir` is a folder of your own YAML, laid out like the shipped `conf/`.

    Raises:
        ConfigError: with every fault found, those of planning too, each located in its file, override or
            argument.
        TypeError: an argument is of another type.
    """
    _check_model_pattern(name, "compose() takes the name of a model, as 'resnet50', then overrides")
    if isinstance(overrides, str) or not isinstance(overrides, Iterable):
        raise TypeError(f"overrides takes a list of texts, found {shown(overrides)}")
    said = [*changes, *overrides]
    for word in said:
        _check_model_pattern(word, "an override is a text, as 'model.act=silu'")
    _refuse_input_of_model(said)
    folder = None if config_dir is None else path_of(config_dir, "config_dir")
    given: dict[str, Any] = {"num_classes": num_classes, "in_channels": in_channels}
    if features is not None:
        if not isinstance(features, Iterable):
            raise TypeError(f"features takes names of maps, as ['layer3'], found {shown(features)}")
        given["features"] = [features] if isinstance(features, str) else list(features)
    given = {key: value for key, value in given.items() if value is not None}
    if not said and not given and folder is None:
        with suppress(ConfigError):  # located by `compose`
            return index_models().config(name)  # the same result, many times faster
    from resnet_factory.config.composition import compose_all

    arguments = {
        f"++model.{key}={_model_override_text(value)}": f"{key}={value!r}" for key, value in given.items()
    }
    words = (f"model={name}", *said, *arguments)
    try:
        return compose_all("config", words, folder, verify=planner.run_planner).model
    except ConfigError as error:
        raise ConfigError(_fault_at_model_argument(fault, arguments) for fault in error.faults) from None


def _refuse_input_of_model(overrides: Iterable[str]) -> None:
    """Refuse overrides of `input` and `objective`, which belong to commands; a config has the model alone."""
    messages = {
        "input": "a config contains only the model; change 'model.image_size', or give an image to rf.cost",
        "objective": "a config contains only the model; jobs of a multirun have an objective",
    }
    faults = [
        Fault(key, message, f"command line '{word}'")
        for word in overrides
        for key, message in messages.items()
        if re.match(rf"[+~]*{key}\b", word)
    ]
    if faults:
        raise ConfigError(faults)


def _model_override_text(value: Any) -> str:
    """Return a keyword argument's value in Hydra's grammar, quoted so that it is taken literally."""
    if isinstance(value, list):
        return f"[{','.join(map(_model_override_text, value))}]"
    return f"'{value}'" if isinstance(value, str) else json.dumps(value, default=str)


def _fault_at_model_argument(fault: Fault, arguments: dict[str, str]) -> Fault:
    """Return the fault of an override made from a keyword argument, located at the argument."""
    word = fault.where.removeprefix("command line ")[1:-1]
    return replace(fault, where=f"argument '{arguments[word]}'") if word in arguments else fault


def config_of_model(network: Source, what: str) -> ModelConfig:
    """Return the config of a model given by name or config; `what` begins the message for a wrong type.

    Raises:
        ConfigError: there is no model of that name.
        TypeError: it is neither.
    """
    if isinstance(network, ModelConfig):
        return network
    if isinstance(network, str):
        return compose(network)
    raise TypeError(f"{what} takes the name of a model or its config, found {shown(network)}")


def plan(network: Source) -> Plan:
    """Return the plan of a model given by name or config; a plan is returned unchanged.

    Raises:
        ConfigError: there is no such model, or its recipes do not fit together; with every fault found.
        TypeError: it is none of these.
    """
    return plan_of_model(network, "plan()")


def plan_of_model(network: Source, what: str) -> Plan:
    """Return the plan of a source, as `plan` does; `what` begins the message for a wrong type."""
    if isinstance(network, Plan):
        return network
    if isinstance(network, str | ModelConfig):
        return planner.run_planner(config_of_model(network, what))
    raise TypeError(f"{what} takes the name of a model, its config or its plan, found {shown(network)}")


def _check_model_pattern(value: object, message: str) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{message}; found {shown(value)}")
