"""Parse overrides in Hydra's grammar, check them, and apply them to plain data."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from resnet_factory.config import schema
from resnet_factory.config.file_checks import interpolation_fault_in_file, one_choice_message
from resnet_factory.config.library import Library, merge_library_data
from resnet_factory.config.override_grammar import Override, override_location, parse_override_text
from resnet_factory.config.override_hints import MAX_LENGTH, override_hint
from resnet_factory.config.yaml_source import MAX_DEPTH
from resnet_factory.errors import Fault, found, suggest, unknown


@dataclass(frozen=True)
class Overrides:
    """The valid overrides of one command, and the faults of the others."""

    choices: tuple[Override, ...]
    """Overrides that choose a file of a config group."""
    values: tuple[Override, ...]
    """Overrides that change a value."""
    faults: tuple[Fault, ...]
    unchosen: tuple[str, ...] = ()
    """The config groups without a valid choice, as dotted keys."""


def per_stage(word: str) -> str:
    """Return an override that chooses a block per stage as an override of the value `model.block`."""
    return re.sub(r"^\+{0,2}model/block=(?=\[)", "model.block=", word)


def read_overrides(words: Sequence[str], library: Library) -> Overrides:
    """Read the overrides of one run."""
    words = [per_stage(word) for word in words]
    choices: list[Override] = []
    values: list[Override] = []
    faults: list[Fault] = []
    unchosen = []
    for override in parsed_overrides(words, library, faults):
        if override.several is not None:
            faults.append(Fault("", _several_values_in_override(override), override_location(override)))
        elif (message := _misplaced_override(override, library)) is not None:
            faults.append(Fault("", message, override_location(override)))
        elif library.is_group(override.key) and not isinstance(override.value, dict):
            if (message := _override_choice_fault(override, library)) is not None:
                faults.append(Fault("", message, override_location(override)))
                unchosen.append(override.key.replace("/", "."))
            else:
                choices.append(override)
        else:
            values.append(override)
    return Overrides(tuple(choices), tuple(values), tuple(faults), tuple(unchosen))


def apply_override(override: Override, data: dict[str, Any], whole: Container[str] = ()) -> Fault | None:
    """Apply one override to `data`; a new key is set, and checked when the data is read.

    A mapping is merged with an existing one, but replaces it at a key of `whole`.
    """
    keys = override.key.split(".")
    value = override.value
    holder: Any = data
    for i, key in enumerate(keys):
        path = ".".join(keys[: i + 1])
        last = i == len(keys) - 1
        at: Any = key
        if isinstance(holder, list):
            if not (key.isdecimal() and int(key) < len(holder)):
                what = f"{len(holder)} entries, 0 to {len(holder) - 1}" if holder else "no entries"
                return Fault(path, f"no entry {key!r}; the list has {what}", override_location(override))
            at = int(key)
        elif not isinstance(holder, dict):
            message = f"{'.'.join(keys[:i])!r} is {found(holder)}, which has no keys"
            if keys[:2] == ["model", "block"] and isinstance(holder, str):
                message += f"; change a copy: a recipe of your own with 'defaults: [{holder}, _self_]'"
            return Fault(path, message, override_location(override))
        present = isinstance(holder, list) or at in holder
        if override.operation == "delete":
            if not present:
                return Fault(
                    path, f"nothing to delete{suggest(key, map(str, holder))}", override_location(override)
                )
            if last and value is not None and value != holder[at]:
                message = f"it is {found(holder[at])}, not {found(value)}; '~{path}' deletes it anyway"
                return Fault(path, message, override_location(override))
        if not last:
            holder = holder[at] if present else holder.setdefault(at, {})
        elif override.operation == "delete":
            del holder[at]
        elif isinstance(value, dict) and path not in whole and present and isinstance(holder[at], dict):
            holder[at] = merge_library_data(holder[at], value)
        else:
            holder[at] = value
    return None


def parsed_overrides(words: Sequence[str], library: Library, faults: list[Fault]) -> Iterator[Override]:
    """Parse the overrides one by one; the faults of invalid ones go to `faults`."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        try:
            if len(word) > MAX_LENGTH:
                raise ValueError
            if word.endswith("=") and rest and "=" not in rest[0]:
                message = f"a space after the '='; did you mean '{word}{rest.pop(0)}'?"
                faults.append(Fault("", message, override_location(word)))
                continue
            override = parse_override_text(_quoted_override(word))
        except ValueError:
            taken, message = override_hint(word, rest, library.options("model"))
            del rest[:taken]
            faults.append(Fault("", message, override_location(word)))
            continue
        if (message := next(_unreadable_override(override.value), "")) != "":
            faults.append(Fault(override.key, message, override_location(word)))
        else:
            yield override


def _quoted_override(word: str) -> str:
    """Return the override quoted for Hydra's grammar: paths in the home folder, conditions, non-ASCII."""
    key, equals, value = word.partition("=")
    if key == "where" and value[:1] not in ("", "'", '"') and re.search(r"[<>=!()]", value):
        return f'{key}="{value}"'
    if re.fullmatch(r"~[\w.-]*(/[^'\"]*)?", value):
        return f'{key}="{os.path.expanduser(value)}"'
    plain = equals and not value.isascii() and not re.search(r"""["'\[{(]""", value)
    return f'{key}="{value}"' if plain else word


def _unreadable_override(value: Any, depth: int = 1) -> Iterator[str]:
    if depth > MAX_DEPTH:
        yield f"more than {MAX_DEPTH} levels of nesting"
    elif isinstance(value, (list, dict)):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _unreadable_override(entry, depth + 1)
    elif isinstance(value, str) and "${" in value and (message := interpolation_fault_in_file(value)):
        yield message


def _several_values_in_override(override: Override) -> str:
    key, _, value = override.text.partition("=")
    message = "several values; to run each of them, add -m"
    if re.fullmatch(r"[\w.,-]+", value) and ("." in key or key == "columns"):
        message += f"; for one list, write '{key}=[{value}]'"
    return message


def _misplaced_override(override: Override, library: Library) -> str | None:
    """Return the reason why an override's key cannot exist."""
    key = override.key
    if not key:
        return "no key before the '='; expected key=value, without spaces around the '='"
    if key == "hydra.searchpath":
        return "give a folder of your own YAML with --config-dir"
    if key == "hydra" or key.startswith(("hydra.", "hydra/")):
        return "Hydra's own settings have no effect here; they are read only with -m, --cfg and --info"
    dotted = key.replace("/", ".")
    if "/" in key and not library.is_group(key):
        if dotted.startswith("model.") and dotted.split(".")[1] in schema.KEYS:
            return f"{key!r} is not a config group but a value; did you mean '{dotted}'?"
        return unknown("config group", key, library.groups())
    if "/" in key and isinstance(override.value, dict):
        return f"a config group takes the name of a file; to change values, write '{dotted}={{…}}'"
    if override.package is not None and not library.is_group(key):
        return unknown("config group", key, library.groups())
    return None


def _override_choice_fault(override: Override, library: Library) -> str | None:
    """Return the reason why an override of a config group does not choose a file of it."""
    group, value = override.key, override.value
    if override.operation == "delete":
        return None
    if override.operation == "force":
        return f"choose a config group with '{group}=…' or add it with '+{group}=…'"
    if value is None or value == "":
        message = f"expected a name for {group!r}, found nothing"
        return message if group == "model" else f"{message}; to leave it out, write '~{group}'"
    if isinstance(value, list):
        if group.partition("/")[0] != "model":
            return next(
                (library.missing(group, str(v)) for v in value if v not in library.options(group)), None
            )
        return one_choice_message(group, value)
    if not isinstance(value, str):
        text = override.text.partition("=")[2].strip()
        if text in library.options(group):
            kind = "true or false" if isinstance(value, bool) else "a number"
            return f"{text} is read as {kind}; for the file of that name write '{group}=\"{text}\"'"
        return library.missing(group, text)
    return None if value in library.options(group) else library.missing(group, value)
