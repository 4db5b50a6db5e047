"""Convert Hydra's errors to faults of the overrides that cause them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnet_factory.cli.hydra_overrides import split_hydra_overrides
from resnet_factory.config.hydra_internals import Hydra
from resnet_factory.config.override_grammar import override_location
from resnet_factory.errors import ConfigError, Fault, all_of, unknown


@contextmanager
def explain_hydra_error(hydra: Hydra, config: str, words: Sequence[str], mode: RunMode) -> Iterator[None]:
    """Return Hydra's error as a fault, with a one-line message and its location."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError([_hydra_fault(hydra, config, words, mode, error)]) from error


def _hydra_fault(hydra: Hydra, config: str, words: Sequence[str], mode: RunMode, error: Exception) -> Fault:
    own, others = split_hydra_overrides(words)
    text = " ".join(f"{error} {error.__cause__ or ''}".split())
    if (missing := re.search(r"Could not find '(hydra/[\w/]+)/([^/']+)'", text)) is not None:
        group, name = missing.groups()
        options = hydra.config_loader.get_group_options(group)
        return Fault("", unknown(group, name, options), _hydra_fault_position(others, f"{group}={name}"))
    if (strange := re.search(r"Could not override '((hydra[\w.]*)\.([\w-]+))'", text)) is not None:
        key, above, name = strange.groups()
        groups = [word for word in others if "/" in word.partition("=")[0]]
        known = hydra.compose_config(config, [*own, *groups], mode, with_log_configuration=False)
        node = OmegaConf.select(known, above)
        keys = [str(key) for key in node if key != "_target_"] if isinstance(node, DictConfig) else []
        message = unknown("key", name, keys, f" of '{above}'")
        group = above.replace(".", "/")
        if (choice := known.hydra.runtime.choices.get(group)) is not None:
            more = [option for option in hydra.config_loader.get_group_options(group) if option != choice]
            if more:
                message += f"; this is '{group}={choice}', and there {'are' if len(more) > 1 else 'is'} "
                message += all_of(more)
        return Fault("", message, _hydra_fault_position(others, key))
    where = _hydra_fault_position(others, text)
    if (wrong := re.search(r"Value .* could not be converted to \w+", text)) is not None:
        text = wrong[0]
    return Fault("", text, where)


def _hydra_fault_position(others: Sequence[str], text: str) -> str:
    """Return the override of Hydra's own settings whose key occurs in a text."""
    found = [word for word in others if word.partition("=")[0].lstrip("+~") in text]
    return override_location(found[-1]) if found else "command line '-m'"
