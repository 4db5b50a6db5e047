"""The commands `diff_command` and `draw_command`."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from resnet_factory.cli.costs import cost_of_composed
from resnet_factory.config.composition import Composed, compose_all, composed_image_size, conf_dir
from resnet_factory.config.file_access import MERMAID, SVG, output_file_faults, write_whole_file
from resnet_factory.errors import ConfigError, Fault, one_of, suggest, unknown
from resnet_factory.planning.planner import run_planner
from resnet_factory.reporting import tables

ENDINGS = {".svg": "svg", ".mmd": "mermaid", ".mermaid": "mermaid"}
"""File suffix -> format."""
WORD = r"""(?:\[[^\]]*\]+|\{[^}]*\}+|'[^']*'|"[^"]*"|\S)+"""
"""A run of characters without spaces, except inside brackets and quotes."""
OTHER = "with=resnet50d names a network, with='resnet50d model.act=silu' one with overrides, \
with='model/stem=deep' overrides of this one"


def draw_command(composed: Composed) -> int:
    """Write a picture of the network to a file or to standard output."""
    from resnet_factory.reporting.drawing import draw as drawn

    if faults := draw_command_faults(composed.data):
        raise ConfigError(map(composed.locate, faults))
    file, form = composed.data["file"], composed.data["format"]
    if isinstance(file, str) and form is None:
        form = ENDINGS[Path(file).suffix.lower()]
    with composed.locating():
        planned = run_planner(composed.model)
        image = (planned.in_channels, *composed_image_size(composed.data))
        picture = drawn(planned, image, form or "svg")
        if file is None:
            sys.stdout.buffer.write(picture.encode())
            sys.stdout.flush()
        else:
            tables.table_console().print(f"drawn: {_write_drawn_text(Path(file), picture)}", markup=False)
    return 0


def draw_command_faults(data: Mapping[str, Any]) -> list[Fault]:
    """Return the faults of the keys of `draw_command`."""
    from resnet_factory.reporting.drawing import FORMATS

    file, form = data["file"], data["format"]
    faults = []
    if file is not None and not isinstance(file, str):
        faults.append(Fault("file", f"expected a file name, found {file!r}"))
    if form is not None and form not in FORMATS:
        faults.append(Fault("format", unknown("format", form, FORMATS)))
    if isinstance(file, str) and form is None:
        ending = Path(file).suffix.lower()
        if ending not in ENDINGS:
            message = f"{file!r} does not end in {one_of(ENDINGS)}{suggest(ending, ENDINGS)}"
            faults.append(
                Fault("file", f"{message}; or say {one_of(f'format={known}' for known in FORMATS)}")
            )
    if isinstance(file, str) and not faults:
        kind = MERMAID if (form or ENDINGS.get(Path(file).suffix.lower())) == "mermaid" else SVG
        faults += output_file_faults(file, "file", kind if form is None else kind._replace(endings=()))
    return faults


def _write_drawn_text(file: Path, text: str) -> Path:
    """Write a picture atomically.

    Raises:
        ConfigError: it cannot be written.
    """
    target = file.expanduser()
    try:
        write_whole_file(target, text)
    except OSError as error:
        raise ConfigError([Fault("file", f"'{file}' cannot be written: {error.strerror}")]) from None
    return target


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
        message = f"'{word}' does not stand in a folder called 'model', as my_conf/model/{file.name} would"
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
