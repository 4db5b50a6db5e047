"""The command `diff`: two networks compared."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

from resnet_factory.cli.costs import cost_of_composed
from resnet_factory.config.composition import Composed, compose_all, conf_dir
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.planning.planner import run_planner
from resnet_factory.reporting import tables

WORD = r"""(?:\[[^\]]*\]+|\{[^}]*\}+|'[^']*'|"[^"]*"|\S)+"""
"""A run of characters without spaces, except inside brackets and quotes."""
OTHER = "with=resnet50d names a network, with='resnet50d model.act=silu' one with overrides, \
with='model/stem=deep' overrides of this one"


def diff_command(composed: Composed) -> int:
    """Print the difference between this network and the one given by `with`; nothing if they are equal."""
    from resnet_factory.reporting.difference import difference_of_costs
    from resnet_factory.reporting.difference.text import difference_report as told

    if composed.data["with"] is None:
        raise ConfigError([Fault("with", f"is missing; {OTHER}", "command line 'diff'")])
    before = cost_of_composed(composed)
    try:
        other = _network_to_compare(composed)
        after = cost_of_composed(other)
    except ConfigError as error:
        raise ConfigError(_at_compared_override(fault, composed) for fault in error.faults) from None
    difference = difference_of_costs(composed.model, other.model, before, after)
    if difference and sys.stdout.isatty():
        tables.table_console().print(told(difference))
    elif difference:
        print(difference)  # without a table's trailing spaces
    else:
        print("no difference", file=sys.stderr)
    return 0


def _network_to_compare(composed: Composed) -> Composed:
    """Return the configuration of the network given by `with`.

    Raises:
        ConfigError: with every fault found.
    """
    first, *rest = words = _split_compared_words(composed)
    said = [override for override in composed.overrides if _first_compared_key(override) != "with"]
    folder = composed.config_dir
    if not _is_compared_override(first):
        name, folder = _named_network_to_compare(first, folder)
        words = [f"model={name}", *rest]
    if any(_first_compared_key(word) == "model" for word in words):
        said = [override for override in said if _first_compared_key(override).startswith("input.")]
    if stray := [word for word in words if not _is_compared_override(word)]:
        raise ConfigError([Fault("with", f"expected an override, as key=value, found {stray[0]!r}; {OTHER}")])
    return compose_all("config", [*said, *words], folder, verify=run_planner)


def _split_compared_words(composed: Composed) -> list[str]:
    """Split the value of `with` at spaces outside of brackets and quotes."""
    said = composed.data["with"]
    if isinstance(said, list) and said and all(isinstance(word, str) for word in said):
        return said
    if not isinstance(said, str) or not said.strip():
        raise ConfigError([Fault("with", f"expected another network, found {said!r}; {OTHER}")])
    inside = re.fullmatch(r"\s*\[(.*)\]\s*", said, re.DOTALL)
    return re.findall(WORD.replace(r"\S", r"[^\s,]") if inside else WORD, inside[1] if inside else said)


def _first_compared_key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _is_compared_override(word: str) -> bool:
    return "=" in word or word.startswith("~")


def _named_network_to_compare(word: str, config_dir: str | Path | None) -> tuple[str, str | Path | None]:
    """Return a model's name and config folder; a file must be in the `model` folder of one."""
    if not word.endswith((".yaml", ".yml")):
        return word, config_dir
    file = Path(word).expanduser().resolve()
    root = next((parent for parent in file.parents if parent.name == "model"), None)
    if not file.is_file():
        raise ConfigError([Fault("with", f"there is no file '{word}'")])
    if root is None:
        message = f"'{word}' is not in a folder called 'model', as in my_conf/model/{file.name}"
        raise ConfigError([Fault("with", message)])
    name = file.relative_to(root).with_suffix("").as_posix()
    return name, config_dir if root.parent == Path(conf_dir()) else str(root.parent)


def _at_compared_override(fault: Fault, composed: Composed) -> Fault:
    """Return a fault of the other network, located at `with` unless it is in a file."""
    typed = re.fullmatch(r"command line '(.*)'", fault.where, re.DOTALL)
    if fault.where and (typed is None or typed[1] in composed.overrides):
        return fault
    where = composed.locate(Fault("with", "")).where
    quoted = re.fullmatch(r"command line 'with='(.*)''", where, re.DOTALL)
    return replace(fault, where=f"command line 'with={quoted[1]}'" if quoted else where)
