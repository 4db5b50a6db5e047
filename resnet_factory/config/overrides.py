"""What a person types after the command: read in Hydra's grammar, checked, and applied to plain data."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from math import prod
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from hydra.errors import HydraException

from resnet_factory.config import schema
from resnet_factory.config.file_checks import interpolation_fault, one_for_all
from resnet_factory.config.override_hints import MAX_LENGTH, misread
from resnet_factory.config.repository import Library, merged
from resnet_factory.config.yaml_source import MAX_DEPTH
from resnet_factory.errors import ConfigError, Fault, found, suggest, unknown

MAX_JOBS = 10_000
"""Jobs of one multirun, each of which composes its own configuration."""


@dataclass(frozen=True)
class Overrides:
    """The readable overrides of one command, and what is wrong with the others."""

    choices: tuple[Override, ...]
    """Those that choose a file of a config group."""
    values: tuple[Override, ...]
    """Those that change a value."""
    faults: tuple[Fault, ...]
    unchosen: tuple[str, ...] = ()
    """The config groups of which no file could be chosen, as dotted keys."""


def where(override: Override | str) -> str:
    """How a fault says which override it is about."""
    text = override if isinstance(override, str) else str(override.input_line)
    return f"command line '{text if len(text) <= 120 else text[:117] + '...'}'"


def per_stage(word: str) -> str:
    """An override that chooses a block for each stage, as the value that it stands for."""
    return re.sub(r"^\+{0,2}model/block=(?=\[)", "model.block=", word)


def read(words: Sequence[str], library: Library) -> Overrides:
    """Read the overrides of one run."""
    words = [per_stage(word) for word in words]
    choices: list[Override] = []
    values: list[Override] = []
    faults: list[Fault] = []
    unchosen = []
    for override in _parsed(words, library, faults):
        if override.is_sweep_override():
            faults.append(Fault("", _several(override), where(override)))
        elif (message := _misplaced(override, library)) is not None:
            faults.append(Fault("", message, where(override)))
        elif library.group_exists(override.key_or_group) and not isinstance(override.value(), dict):
            if (message := _bad_choice(override, library)) is not None:
                faults.append(Fault("", message, where(override)))
                unchosen.append(override.key_or_group.replace("/", "."))
            else:
                choices.append(override)
        else:
            values.append(override)
    return Overrides(tuple(choices), tuple(values), tuple(faults), tuple(unchosen))


def is_sweep(word: str, library: Library) -> bool:
    """Whether an override gives several values."""
    return any(override.is_sweep_override() for override in _parsed([word], library, []))


def unreadable(word: str) -> Fault | None:
    """What is wrong with an override of Hydra's own settings that its grammar does not take."""
    try:
        OverridesParser.create().parse_override(word)
    except HydraException as error:
        return Fault("", f"not an override: {str(error).splitlines()[0]}", where(word))
    return None


def jobs(words: Sequence[str], library: Library) -> list[list[str]]:
    """The overrides of each job of a multirun, in the order Hydra runs them.

    Raises:
        ConfigError: an override cannot be read, or there are too many jobs.
    """
    return [list(job) for job in product(*_ways(words, library).values())]


def samples(words: Sequence[str], library: Library) -> list[list[str]]:
    """As few jobs of a multirun as hold every combination of choices, and every value once.

    Raises:
        ConfigError: an override cannot be read, or there are too many jobs.
    """
    ways = _ways(words, library)
    chosen = [key for key in ways if library.group_exists(key.lstrip("+~").partition("@")[0])]
    first = {key: values[:1] for key, values in ways.items()}
    found = [*product(*(ways[key] if key in chosen else first[key] for key in ways))]
    for key in ways:
        if key not in chosen:
            found += product(*(ways[key][1:] if other == key else first[other] for other in ways))
    return [list(job) for job in found]


def _ways(words: Sequence[str], library: Library) -> dict[str, list[str]]:
    """Of each override of a multirun what it says in one job or another; the last of a key counts."""
    faults: list[Fault] = []
    several: dict[str, list[str]] = {}
    for override in _parsed(words, library, faults):
        key = override.get_key_element()
        if not override.is_sweep_override():
            several[key] = [str(override.input_line)]
        elif not override.is_discrete_sweep():
            faults.append(Fault("", "an interval has no list of values; name them", where(override)))
        else:
            values = list(islice(override.sweep_string_iterator(), MAX_JOBS + 1))
            if not values:
                faults.append(Fault("", f"no {key} matches", where(override)))
            several[key] = [f"{key}={value}" for value in values]
    if prod(map(len, several.values())) > MAX_JOBS:
        faults.append(Fault("", f"more than {MAX_JOBS} jobs in one multirun", "command line '-m'"))
    if faults:
        raise ConfigError(faults)
    return several


def sweeps(words: Sequence[str], library: Library) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """The overrides with one value; and for those with several `{choice: […]}` or `{uniform: […]}` by key.

    Raises:
        ConfigError: an override cannot be read.
    """
    faults: list[Fault] = []
    single: list[str] = []
    several: dict[str, dict[str, Any]] = {}
    for override in _parsed(words, library, faults):
        if not override.is_sweep_override():
            single.append(str(override.input_line))
        elif override.is_interval_sweep():
            interval: Any = override.value()
            several[override.key_or_group] = {"uniform": [interval.start, interval.end]}
        else:
            values = [_unquoted(value) for value in override.sweep_iterator()]
            several[override.key_or_group] = {"choice": values}
    if faults:
        raise ConfigError(faults)
    return single, several


def _unquoted(value: Any) -> Any:
    if isinstance(value, list):
        return [_unquoted(entry) for entry in value]
    return value.text if isinstance(value, QuotedString) else value


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words about our configuration, and those about Hydra's own."""
    hydra = [word for word in words if re.match(r"[+~]*hydra(/|\.(?!searchpath)|=)", word)]
    return [word for word in words if word not in hydra], hydra


def forced(
    words: Sequence[str],
    library: Library,
    bases: Sequence[Mapping[str, Any]],
    whole: Container[str] = (),
) -> list[str]:
    """The same overrides for Hydra's own composing, which is stricter about what they may replace.

    `bases` are the data that the jobs start from; at a key of `whole` a mapping replaces what is there.
    """
    result = []
    for override in _parsed(words, library, []):
        word, key = str(override.input_line), override.key_or_group
        if not (override.is_delete() or override.package or library.group_exists(key)):
            old = [_value(base, key.split(".")) for base in bases]
            lists = any(isinstance(value, dict) for value in old) and "=[" in word
            if lists or (key in whole and "={" in word):
                # A list takes a mapping's place (`model.block=[basic, bottleneck]`) only by way of nothing.
                result.append(f"{key}=null")
                word = f"++{word.lstrip('+')}"
            elif None in old:
                word = f"++{word.lstrip('+')}"
        result.append(word)
    return result


def adds(word: str, library: Library, base: Mapping[str, Any]) -> bool:
    """Whether an override gives a value to a key that `base` does not have."""
    for override in _parsed([word], library, []):
        *above, last = override.key_or_group.split(".")
        holder = _value(base, above)
        if not library.group_exists(override.key_or_group):
            return not isinstance(holder, list) and last not in (holder or {})
    return False


def _value(data: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        if isinstance(data, list) and key.isdecimal() and int(key) < len(data):
            data = data[int(key)]
        elif isinstance(data, Mapping):
            data = data.get(key)
        else:
            return None
    return data


def apply(override: Override, data: dict[str, Any], whole: Container[str] = ()) -> Fault | None:
    """Change `data` as one override says; a key that is new is set, for whoever reads the data to judge.

    A mapping joins the one that is there, but takes its place at a key of `whole`.
    """
    keys = override.key_or_group.split(".")
    value = override.value()
    holder: Any = data
    for i, key in enumerate(keys):
        path = ".".join(keys[: i + 1])
        last = i == len(keys) - 1
        at: Any = key
        if isinstance(holder, list):
            if not (key.isdecimal() and int(key) < len(holder)):
                what = f"{len(holder)} entries, 0 to {len(holder) - 1}" if holder else "no entries"
                return Fault(path, f"no entry {key!r}; the list has {what}", where(override))
            at = int(key)
        elif not isinstance(holder, dict):
            message = f"{'.'.join(keys[:i])!r} is {found(holder)}, which holds no keys"
            if keys[:2] == ["model", "block"] and isinstance(holder, str):
                message += f"; change a copy: a recipe of your own with 'defaults: [{holder}, _self_]'"
            return Fault(path, message, where(override))
        present = isinstance(holder, list) or at in holder
        if override.is_delete():
            if not present:
                return Fault(path, f"nothing to delete{suggest(key, map(str, holder))}", where(override))
            if last and value is not None and value != holder[at]:
                message = f"it is {found(holder[at])}, not {found(value)}; '~{path}' deletes it anyway"
                return Fault(path, message, where(override))
        if not last:
            holder = holder[at] if present else holder.setdefault(at, {})
        elif override.is_delete():
            del holder[at]
        elif isinstance(value, dict) and path not in whole and present and isinstance(holder[at], dict):
            holder[at] = merged(holder[at], value)
        else:
            holder[at] = value
    return None


def _parsed(words: Sequence[str], library: Library, faults: list[Fault]) -> Iterator[Override]:
    parser = OverridesParser.create()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        try:
            if len(word) > MAX_LENGTH:
                raise ValueError
            if word.endswith("=") and rest and "=" not in rest[0]:
                message = f"a space after the '='; did you mean '{word}{rest.pop(0)}'?"
                faults.append(Fault("", message, where(word)))
                continue
            override = parser.parse_override(_quoted(word))
        except (HydraException, ValueError, RecursionError, AttributeError):
            taken, message = misread(word, rest, library.options("model"))
            del rest[:taken]
            faults.append(Fault("", message, where(word)))
            continue
        override.config_loader = library  # type: ignore[assignment]  # it is asked for a group's options only
        if (message := next(_unreadable(override.value()), "")) != "":
            faults.append(Fault(override.key_or_group, message, where(word)))
        else:
            yield override


def _quoted(word: str) -> str:
    """A home folder's path, or letters other than ASCII's, in the quotes that Hydra's grammar wants."""
    key, equals, value = word.partition("=")
    if re.fullmatch(r"~[\w.-]*(/[^'\"]*)?", value):
        return f'{key}="{os.path.expanduser(value)}"'
    plain = equals and not value.isascii() and not re.search(r"""["'\[{(]""", value)
    return f'{key}="{value}"' if plain else word


def _unreadable(value: Any, depth: int = 1) -> Iterator[str]:
    if depth > MAX_DEPTH:
        yield f"more than {MAX_DEPTH} levels of nesting"
    elif isinstance(value, (list, dict)):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _unreadable(entry, depth + 1)
    elif isinstance(value, str) and "${" in value and (message := interpolation_fault(value)):
        yield message


def _several(override: Override) -> str:
    key, _, value = str(override.input_line).partition("=")
    message = "several values; to run each of them, add -m"
    if re.fullmatch(r"[\w.,-]+", value) and ("." in key or key == "columns"):
        message += f"; for one list, write '{key}=[{value}]'"
    return message


def _misplaced(override: Override, library: Library) -> str | None:
    """Why an override's key can be none at all."""
    key = override.key_or_group
    if not key:
        return "no key before the '='; expected key=value, without spaces around the '='"
    if key == "hydra.searchpath":
        return "a folder of your own YAML is given by --config-dir"
    if key == "hydra" or key.startswith(("hydra.", "hydra/")):
        return "nothing reads Hydra's own settings here; they count with -m, --cfg and --info"
    dotted = key.replace("/", ".")
    if "/" in key and not library.group_exists(key):
        if dotted.startswith("model.") and dotted.split(".")[1] in schema.KEYS:
            return f"{key!r} is no config group but a value; did you mean '{dotted}'?"
        return unknown("config group", key, library.groups())
    if "/" in key and isinstance(override.value(), dict):
        return f"a config group takes the name of a file; to change values, write '{dotted}={{…}}'"
    if override.package is not None and not library.group_exists(key):
        return unknown("config group", key, library.groups())
    return None


def _bad_choice(override: Override, library: Library) -> str | None:
    """Why an override of a config group chooses no file of it."""
    group, value = override.key_or_group, override.value()
    if override.is_delete():
        return None
    if override.is_force_add():
        return f"a config group is chosen by '{group}=…' or added by '+{group}=…'"
    if value is None or value == "":
        message = f"expected a name for {group!r}, found nothing"
        return message if group == "model" else f"{message}; to leave it out, write '~{group}'"
    if isinstance(value, list):
        if group.partition("/")[0] != "model":
            return next(
                (library.missing(group, str(v)) for v in value if v not in library.options(group)), None
            )
        return one_for_all(group, value)
    if not isinstance(value, str):
        text = str(override.input_line).partition("=")[2].strip()
        if text in library.options(group):
            kind = "true or false" if isinstance(value, bool) else "a number"
            return f"{text} is read as {kind}; for the file of that name write '{group}=\"{text}\"'"
        return library.missing(group, text)
    return None if value in library.options(group) else library.missing(group, value)
