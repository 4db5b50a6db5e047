"""Checks of a user's own file before it is composed: its structure, its defaults list, its keys."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_factory.config.config_file import BLOCK, config_file_package
from resnet_factory.config.schema import SLOTS
from resnet_factory.config.yaml_source import load_yaml, yaml_display_path, yaml_position
from resnet_factory.errors import ConfigError, Fault, found, nearest_word, unknown

if TYPE_CHECKING:
    from resnet_factory.config.library import Library


GLOBAL = ("experiment", "space", "study", "sweep")
"""Config groups whose files set keys of the whole configuration."""


def one_choice_message(group: str, choice: object) -> str:
    """Return the message for a list of choices in a group that has one choice for the whole network."""
    name = group.rpartition("/")[2]
    message = f"expected one name for {group!r}, found {found(choice)}"
    if group.startswith("model/") and name in SLOTS:
        message += (
            ": the same recipe applies to all stages; a recipe that calls it can restrict it to some, as "
            f"'{name}: {{when: stage > 2}}'"
        )
    return message


def check_config_file(library: Library, file: Path, name: str, data: Any) -> None:
    """Refuse a user's file, read as the config called `name`, that Hydra could not compose.

    Raises:
        ConfigError: with every fault of the file.
    """
    faults = []

    def fault(keys: Sequence[str], message: str) -> None:
        faults.append(Fault(".".join(keys), message, yaml_position(file, keys)))

    if data is None:
        fault([], "the file is empty; write what it changes, for example 'defaults: [resnet18, _self_]'")
    elif not isinstance(data, dict):
        fault([], f"expected a mapping of keys to values, found {found(data)}")
    else:
        for keys, message in _refused_file_entries(data, ()):
            fault(keys, message)
        if name.startswith("model/"):
            if "hydra" in data:
                fault(["hydra"], "a model cannot contain Hydra's settings")
            if config_file_package(file) is not None:
                line = next(i for i, text in enumerate(_file_entry_lines(file), 1) if "@package" in text)
                message = (
                    "a '# @package' line is not allowed here; the folder determines the key of this file"
                )
                faults.append(Fault("", message, f"{yaml_display_path(file)}:{line}:1"))
        elif name.partition("/")[0] in GLOBAL and config_file_package(file) is None:
            group = name.partition("/")[0]
            message = (
                "the first line is not '# @package _global_'; without it, the keys of this file go below "
                f"the key {group!r}"
            )
            faults.append(Fault("", message, f"{yaml_display_path(file)}:1:1"))
        if "defaults" not in data and (typo := difflib.get_close_matches("defaults", map(str, data), 1, 0.8)):
            fault(typo, f"unknown key {typo[0]!r}; did you mean 'defaults'?")
        defaults = data.get("defaults", [])
        if not isinstance(defaults, list):
            fault(["defaults"], f"expected a list, as [resnet18, _self_], found {found(defaults)}")
        else:
            for i, message in _checked_default_entries(library, defaults, name):
                fault(["defaults", str(i)], message)
            faults += _is_file_of_hydra(library, defaults, "", [])
    if faults:
        raise ConfigError(faults)


def _checked_default_entries(
    library: Library, defaults: Sequence[Any], name: str
) -> Iterator[tuple[int, str]]:
    """Yield the faults of the entries of a defaults list, with their numbers."""
    base = name.rpartition("/")[0]
    inside = base.partition("/")[0] == "model"
    library.parents[name] = []
    overriding = False
    for i, entry in enumerate(defaults):
        if isinstance(entry, dict) and len(entry) == 1 and isinstance(next(iter(entry)), str):
            (key, choice), *_ = entry.items()
            *words, group = key.split() or [""]
            overriding |= "override" in words
            if overriding and "override" not in words:
                yield i, f"{key!r} comes after an 'override'; overrides must come last"
            group = group.partition("@")[0]
            if inside and group.startswith("/hydra/"):
                yield i, "a model cannot contain Hydra's settings; an experiment can"
                continue
            if inside and group.startswith("/"):
                meant = key.replace("/model/", "")
                yield i, f"{key!r} is searched for below {base!r}; did you mean {meant!r}?"
                continue
            group = group[1:] if group.startswith("/") else f"{base}/{group}" if base else group
            yield from ((i, message) for message in _file_choice_fault(library, words, group, choice, base))
        elif isinstance(entry, str):
            if entry == "_self_":
                if defaults.index(entry) != i:
                    yield i, "'_self_' occurs twice"
                continue
            if overriding:
                yield i, f"{entry!r} comes after an 'override'; overrides must come last"
            plain = entry.partition("@")[0]
            if inside and plain.startswith("/"):
                meant = plain.rpartition("/")[2]
                yield (
                    i,
                    f"{entry!r} starts with '/' and would go below a key of its own; did you mean {meant!r}?",
                )
                continue
            parent = plain[1:] if plain.startswith("/") else f"{base}/{plain}" if base else plain
            if inside and library.parents[name] and library.file(parent) is not None:
                first = library.parents[name][0].rpartition("/")[2]
                yield (
                    i,
                    (
                        f"{entry!r} is a second parent after {first!r}; a file has one parent; take single "
                        "recipes of other models with 'override GROUP: NAME'"
                    ),
                )
                continue
            library.parents[name].append(parent)
            if (circle := _circular_default_files(library, parent, name)) is not None:
                yield i, f"circular defaults: {' -> '.join([name, *circle])}; a file cannot be its own parent"
            elif library.file(parent) is None and "$" not in parent:
                yield i, _missing_parent_file(library, entry, parent, base)
        else:
            yield i, f"expected a name, or 'group: name', found {found(entry)}"


def _is_file_of_hydra(library: Library, defaults: Sequence[Any], base: str, seen: list[Path]) -> list[Fault]:
    """Return the faults of the user's own files of Hydra's settings that a defaults list refers to."""
    faults = []
    for entry in defaults:
        (key, choice), *_ = entry.items() if isinstance(entry, dict) and entry else (("", entry),)
        group = str(key).split()[-1].partition("@")[0] if key else ""
        for chosen in choice if isinstance(choice, list) else [choice]:
            path = f"{group}/{str(chosen).partition('@')[0]}" if group else str(chosen).partition("@")[0]
            path = path[1:] if path.startswith("/") else f"{base}/{path}" if base else path
            file = library.file(path) if path.startswith("hydra/") else None
            if file is None or file in seen:
                continue
            seen.append(file)
            data = load_yaml(file)
            above = tuple(path.split("/")[:-1])
            if not isinstance(data, dict):
                message = f"expected a mapping of keys to values, found {found(data)}"
                faults.append(Fault("", message, yaml_position(file, [])))
                continue
            for keys, message in _refused_file_entries(data, above):
                at = keys[len(above) :]
                faults.append(Fault(".".join(keys), message, yaml_position(file, at)))
            inner = data.get("defaults", [])
            faults += _is_file_of_hydra(
                library, inner if isinstance(inner, list) else [], "/".join(above), seen
            )
    return faults


def _file_choice_fault(
    library: Library, words: Sequence[str], group: str, choice: Any, base: str
) -> Iterator[str]:
    if odd := [word for word in words if word not in ("override", "optional")]:
        yield unknown("word", odd[0], ("override", "optional"))
    elif not library.is_group(group):
        if "optional" not in words and not group.startswith("hydra"):
            names = [f"{base}/{name}" if base else name for name in library.groups(base)]
            yield unknown("config group", group, names)
    elif isinstance(choice, list) and group.startswith("model/") and group != BLOCK:
        yield one_choice_message(group, choice)
    elif choice is not None:
        for name in choice if isinstance(choice, list) else [choice]:
            if not isinstance(name, str):
                yield f"expected the name of a file of the group, found {found(name)}"
            elif name not in library.options(group) and "$" not in name and "optional" not in words:
                yield library.missing(group, name)


def _missing_parent_file(library: Library, entry: str, parent: str, base: str) -> str:
    if library.is_group(parent):
        return (
            f"{entry!r} is a config group; choose one of its files, as '{entry}: "
            f"{library.options(parent)[0]}'"
        )
    group, _, name = parent.rpartition("/")
    if library.file(entry) is not None:
        return f"{entry!r} is searched for below {base!r}; did you mean {name!r}?"
    if nearest_word(entry, ["_self_"]):
        return f"unknown name {entry!r}; did you mean '_self_'?"
    return (
        library.missing(group, name) if name else unknown("config", entry, [*library.options(base), "_self_"])
    )


def _circular_default_files(library: Library, start: str, end: str) -> list[str] | None:
    """Return the chain of parents from one file to another, among the files read so far."""
    if start == end:
        return [end]
    for parent in library.parents.get(start, ()):
        if (way := _circular_default_files(library, parent, end)) is not None:
            return [start, *way]
    return None


def _file_entry_lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()


def _refused_file_entries(data: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the faults of keys that would run code, and of interpolations that cannot be parsed."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            if key == "_target_":
                from resnet_factory.config.permission import may_name_code, permission_refusal

                if not may_name_code((*keys, key), value):
                    yield (*keys, key), permission_refusal((*keys, key), value)
            elif "." in key and keys[:1] != ("hydra",):
                above, _, below = key.partition(".")
                yield (*keys, key), f"a key cannot contain a dot; write it as '{above}: {{{below}: …}}'"
            elif key != "defaults" or (keys and keys[0] != "hydra"):
                yield from _refused_file_entries(value, (*keys, str(key)))
    elif isinstance(data, list):
        for i, value in enumerate(data):
            yield from _refused_file_entries(value, (*keys, str(i)))
    elif isinstance(data, str) and "${" in data and (message := interpolation_fault_in_file(data)):
        yield keys, message


def interpolation_fault_in_file(text: str) -> str:
    """Return the message for a malformed interpolation; empty for a well-formed one."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        OmegaConf.create([text])
    except OmegaConfBaseException:
        return (
            f"{found(text)} cannot be parsed; an interpolation is written '${{key}}', a literal '${{' as "
            "'\\${'"
        )
    return ""
