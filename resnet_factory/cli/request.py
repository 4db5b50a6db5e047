"""Command lines for Hydra's own runner; those of a multirun are checked before its first job."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from resnet_factory.cli.hydra_overrides import (
    adds_hydra_key,
    block_list_overrides,
    force_hydra_overrides,
    split_hydra_overrides,
)
from resnet_factory.config.composition import WHOLE, Check, compose_in_library
from resnet_factory.config.library import Library, LibraryFiles, user_library_dir
from resnet_factory.config.override_grammar import override_location
from resnet_factory.config.overrides import per_stage, read_overrides
from resnet_factory.config.sweep_overrides import (
    has_sweep_overrides,
    jobs_of_sweep_overrides,
    samples_of_sweep_overrides,
)
from resnet_factory.config.yaml_source import yaml_position
from resnet_factory.errors import ConfigError, Fault


@dataclass(frozen=True)
class CommandRequest:
    """A command line for Hydra's runner."""

    words: list[str]
    jobs: list[list[str]] | None = None
    """The overrides of each job, in the order Hydra runs them; None if another sweeper chooses them."""


def compose_request(
    config: str,
    words: Sequence[str],
    config_dir: str | Path | None = None,
    *,
    multirun: bool = False,
    check: Check | None = None,
) -> CommandRequest:
    """Return the arguments for which Hydra composes the same as `compose_all`; checks those of a multirun.

    Faults are reported before the first job runs: each combination of choices is composed, and each value in
    one of them. Whether the layers of a job fit together is checked in the job.

    Raises:
        ConfigError: with every fault found, each located in its file or override.
    """
    library = Library.of(user_library_dir(config_dir))
    words = [per_stage(word) for word in words]
    own, others = split_hydra_overrides(words)
    params = _request_params(library, config, own, others) if multirun else {}
    if params is None:
        compose_in_library(library, config, [word for word in own if word.startswith("objective=")], "hydra")
        return CommandRequest(list(words))  # another sweeper may have its own grammar
    swept = [param.word for param in params.values()]
    faults: list[Fault] = []
    bases: list[Mapping[str, Any]] = []
    seen = set()
    try:
        tried = samples_of_sweep_overrides([*swept, *own], library) if multirun else [own]
    except ConfigError as error:
        raise ConfigError(_request_params_in_files(error.faults, params, own)) from None
    for overrides in tried:
        try:
            compose_in_library(library, config, overrides, "hydra", check=check)
            choices = read_overrides(overrides, library).choices
            if (chosen := tuple(choice.text for choice in choices)) not in seen:
                seen.add(chosen)
                bases.append(library.compose(config, choices).data)
        except ConfigError as error:
            faults.extend(error.faults)
    if faults:
        raise ConfigError(_request_params_in_files(faults, params, own))
    for key, param in params.items():
        if not key.startswith(("+", "~")) and any(
            adds_hydra_key(param.word, library, base) for base in bases
        ):
            faults.append(
                Fault(
                    "",
                    f"no file has a key {key!r}; to add it, write '++{key}'",
                    param.where,
                )
            )
    if faults:
        raise ConfigError(faults)
    every = jobs_of_sweep_overrides([*swept, *own], library) if multirun else None
    words = block_list_overrides(bases) + force_hydra_overrides(own, library, bases, WHOLE.get(config, ()))
    # Hydra does not match `++key` with a parameter of that key, and would sweep both.
    settled = [f"{key}=null" for key in params if any(word.startswith(f"++{key}=") for word in words)]
    return CommandRequest([*others, *(word for word in settled if word not in words), *words], every)


class _RequestParam(NamedTuple):
    word: str
    where: str


def _request_params(
    library: Library, config: str, own: Sequence[str], others: Sequence[str]
) -> dict[str, _RequestParam] | None:
    """Return `hydra.sweeper.params` as overrides, by key; None if another sweeper reads them."""
    found: dict[str, _RequestParam] = {}
    single = [word for word in own if not has_sweep_overrides(word, library)]
    try:
        base = library.compose(config, read_overrides(single, library).choices)
    except ConfigError:
        base = LibraryFiles({}, (), {})  # reported when the jobs are composed
    for package, file in base.files:
        if package:
            continue
        data = file.whole
        if any("hydra/sweeper" in str(entry) for entry in data.get("defaults", [])):
            return None
        sweeper = _request_keys_below(data, "hydra", "sweeper")
        if "_target_" in sweeper:
            return None
        for key, value in _request_keys_below(sweeper, "params").items():
            where = yaml_position(file.path, ["hydra", "sweeper", "params", str(key)])
            found[str(key)] = _RequestParam(f"{key}={value}", where)
    for word in others:
        key, _, value = word.partition("=")
        key = key.lstrip("+")
        if (key == "hydra/sweeper" and value != "basic") or key.startswith("hydra.sweeper._target_"):
            return None
        if key.startswith("hydra.sweeper.params."):
            name = key.removeprefix("hydra.sweeper.params.")
            found[name] = _RequestParam(
                f"{name}={_unquoted_request_argument(value)}", override_location(word)
            )
    return found


def _request_keys_below(data: Any, *keys: str) -> Mapping[str, Any]:
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data if isinstance(data, Mapping) else {}


def _unquoted_request_argument(value: str) -> str:
    quoted = re.fullmatch(r"""(["'])(.*)\1""", value)
    return quoted[2] if quoted else value


def _request_params_in_files(
    faults: Sequence[Fault], params: Mapping[str, _RequestParam] | None, own: Sequence[str]
) -> list[Fault]:
    """Return the faults, with those of a sweep's parameters located in the file that defines them."""
    typed_keys = {word.partition("=")[0] for word in own}
    result = []
    for fault in faults:
        key = re.match(r"command line '([^=']*)=", fault.where)
        param = params.get(key[1]) if key and params and key[1] not in typed_keys else None
        result.append(replace(fault, where=param.where) if param else fault)
    return result
