"""YAML files: their data, the position of each key, and the reasons why a file cannot be read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from resnet_factory.errors import ConfigError, Fault, found

MAX_BYTES = 100_000
MAX_VALUES = 5_000
MAX_DEPTH = 40
"""Limits of one file, checked while it is parsed, so that nested aliases cannot exhaust memory."""

_TAG = "tag:yaml.org,2002:"
_TAGS = frozenset(_TAG + kind for kind in ("str", "int", "float", "bool", "null", "map", "seq"))


class _YamlLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML loader with OmegaConf's rules: `1e-5` is a number, and a date is text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's attribute
        first: [entry for entry in entries if entry[0] not in (f"{_TAG}timestamp", f"{_TAG}float")]
        for first, entries in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_YamlLoader.add_implicit_resolver(
    f"{_TAG}float",
    re.compile(
        r"""^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
        |\.[0-9_]+(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$""",
        re.VERBOSE,
    ),
    list("-+0123456789."),
)


def load_yaml(file: Path) -> Any:
    """Return the data in a YAML file, cached until the file changes; it is shared and must not be changed.

    Raises:
        ConfigError: it cannot be read; the fault has the position and the reason.
    """
    return _plain_yaml_data(file, yaml_file_stamp(file))


@lru_cache(maxsize=1024)
def _plain_yaml_data(file: Path, _changed: tuple[int, int]) -> Any:
    loader = _YamlLoader("")
    try:
        node = _parsed_yaml_tree(file, _changed)
        return None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:  # a merge key ('<<') whose value is not a mapping
        raise _refused_yaml(file, error.problem_mark, str(error.problem)) from None
    finally:
        loader.dispose()


def yaml_display_path(file: Path) -> str:
    """Return a path for display: relative to the working directory if it is below it."""
    try:
        return str(file.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(file)


def yaml_position(file: Path, keys: Sequence[str]) -> str:
    """Return `file:line:col` of the deepest of `keys` that the file contains."""
    try:
        mark = matching_yaml_keys(yaml_tree(file), keys)[1]
    except ConfigError:
        mark = None
    return yaml_node_at(file, mark) if mark else f"{yaml_display_path(file)}:1:1"


def matching_yaml_keys(node: yaml.Node | None, keys: Sequence[str]) -> tuple[int, Any]:
    """Return the number of `keys` that a file contains, and the mark of the last of them."""
    depth, mark = 0, node.start_mark if node is not None else None
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            entries = [(k, v) for k, v in node.value if k.value == key]
            if not entries:
                break
            mark, node = entries[-1][0].start_mark, entries[-1][1]
        elif isinstance(node, yaml.SequenceNode) and key.isdigit() and int(key) < len(node.value):
            node = node.value[int(key)]
            mark = node.start_mark
        elif isinstance(node, yaml.ScalarNode) and node.value == key:
            pass  # `- norm` means `- norm: {}`
        else:
            break
        depth += 1
    return depth, mark


def yaml_tree(file: Path) -> yaml.Node | None:
    """Return the nodes of a YAML file, with their positions.

    Raises:
        ConfigError: it cannot be read.
    """
    return _parsed_yaml_tree(file, yaml_file_stamp(file))


def yaml_node_at(file: Path, mark: Any) -> str:
    """Return `file:line:col`, counted from 1 as in editors."""
    return f"{yaml_display_path(file)}:{mark.line + 1}:{mark.column + 1}"


def yaml_file_stamp(file: Path) -> tuple[int, int]:
    """Return the modification time and the size of a file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        status = file.stat()
    except OSError as error:
        raise _unreadable_yaml(file, error) from None
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=1024)
def _parsed_yaml_tree(file: Path, _changed: tuple[int, int]) -> yaml.Node | None:
    """Return the nodes of a file, with their positions; cached until the file changes."""
    text = _yaml_file_text(file)
    try:
        _measure_yaml_nesting(file, text)
        node = yaml.compose(text, Loader=_YamlLoader)
    except yaml.YAMLError as error:
        raise _explained_yaml_error(file, text, error) from None
    faults = [
        Fault("", message, yaml_node_at(file, part.start_mark))
        for part, message in _unsupported_yaml(node, set())
    ]
    if faults:
        raise ConfigError(faults)
    return node


def _yaml_file_text(file: Path) -> str:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise _unreadable_yaml(file, error) from None
    if len(raw) > MAX_BYTES:
        raise _refused_yaml(file, None, f"{len(raw)} bytes; the limit is {MAX_BYTES}")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        message = f"the byte 0x{raw[error.start]:02x} is not UTF-8 text; save the file as UTF-8"
        raise ConfigError([Fault("", message, f"{yaml_display_path(file)}:{line}:{column}")]) from None


def _unreadable_yaml(file: Path, error: OSError) -> ConfigError:
    return ConfigError([Fault("", f"cannot be read: {error.strerror}", f"{yaml_display_path(file)}:1:1")])


def _refused_yaml(file: Path, mark: Any, message: str) -> ConfigError:
    return ConfigError(
        [Fault("", message, yaml_node_at(file, mark) if mark else f"{yaml_display_path(file)}:1:1")]
    )


def _measure_yaml_nesting(file: Path, text: str) -> None:
    """Refuse too deep nesting and too many values before any data is constructed."""
    weights: dict[str | None, int] = {}
    open_: list[tuple[str | None, int]] = [(None, 0)]
    for event in yaml.parse(text, Loader=_YamlLoader):
        if isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            open_.append((event.anchor, 1))
            if len(open_) > MAX_DEPTH:
                raise _refused_yaml(file, event.start_mark, f"more than {MAX_DEPTH} levels of nesting")
            continue
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_):
                raise _refused_yaml(file, event.start_mark, f"the alias *{event.anchor} contains itself")
            weight = weights.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            weight = 1
            weights[event.anchor] = weight
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            anchor, weight = open_.pop()
            weights[anchor] = weight
        else:
            continue
        anchor, total = open_[-1]
        open_[-1] = (anchor, total + weight)
        if total + weight > MAX_VALUES:
            raise _refused_yaml(
                file, event.start_mark, f"more than {MAX_VALUES} values after expanding aliases"
            )


def _unsupported_yaml(node: yaml.Node | None, seen: set[int]) -> Iterator[tuple[yaml.Node, str]]:
    """Yield what YAML allows but a configuration does not: duplicate or non-text keys, other types."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if node.tag not in _TAGS:
        tag = node.tag.replace(_TAG, "!!")
        yield node, f"the tag {tag!r} is not allowed; values are strings, numbers, true and false"
    elif isinstance(node, yaml.ScalarNode) and (message := _misleading_yaml(node)):
        yield node, message
    if isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            yield from _unsupported_yaml(entry, seen)
    elif isinstance(node, yaml.MappingNode):
        first: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                yield key, "a list or mapping cannot be a key; a key is a word"
            elif key.tag not in (f"{_TAG}str", f"{_TAG}merge"):
                yield key, f"YAML does not read the key {key.value!r} as a string; put it in quotes"
            elif key.value in first:
                mark = first[key.value].start_mark
                yield key, f"the key {key.value!r} occurs twice; it is already set at line {mark.line + 1}"
            else:
                first[key.value] = key
            yield from _unsupported_yaml(value, seen)


def _misleading_yaml(node: yaml.ScalarNode) -> str:
    """Return the message for a misleading value: `010` is 8 to YAML, `1:30` is 90, `!!int x` nothing."""
    try:
        value = yaml.constructor.SafeConstructor().construct_object(node)
    except (ValueError, LookupError):
        if len(node.value) > 100:
            return f"a number of {len(node.value)} characters is too long"
        return f"{found(node.value)} is not a valid {node.tag.replace(_TAG, '!!')!r}"
    if type(value) is int and not re.fullmatch(r"[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F]+)", node.value):
        return f"YAML reads {found(node.value)} as {value}; write the number that is meant"
    return ""


_REASONS = (
    (r"'\\t' that cannot start any token", "a tab character; YAML is indented with spaces"),
    (
        r"mapping values are not allowed",
        "unexpected ':'; check the indentation, and put text that contains ': ' in quotes",
    ),
    (
        r"could not find expected ':'",
        "the line is neither 'key: value' nor '- entry'; put a space after the ':'",
    ),
    (
        r"expected <block end>, but found '(<block|-|\?)",
        "the indentation matches no line above; entries of a list or mapping must start in the same column",
    ),
    (r"expected <block end>, but found", "text after the end of a value; put the whole value in quotes"),
    (r"expected ',' or '([\]}])', but got", r"the bracket that opens here is never closed by '\1'"),
    (r"found undefined alias", "undefined alias; put text that starts with '*' in quotes"),
    (r"found unexpected end of stream", "the quote is never closed"),
    (r"found '<stream end>'", "the file ends before a '[', '{' or quote is closed"),
    (r"found another document", "a second document ('---'); a file may contain only one"),
    (
        r"found character '(.)' that cannot start any token",
        r"text may not start with '\1'; put it in quotes",
    ),
    (r"special characters are not allowed|control characters", "a character that is not text; is it binary?"),
)
"""PyYAML's message -> advice for the user."""
_BEGUN_BEFORE = (
    r"could not find expected ':'", r"expected ',' or '([\]}])', but got", r"found unexpected end of stream",
)  # fmt: skip
"""Messages about what begins before the position where the parser stops."""


def _explained_yaml_error(file: Path, text: str, error: yaml.YAMLError) -> ConfigError:
    """Return the error of PyYAML's own parser, which has more detail than libyaml's."""
    try:
        yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as clearer:
        error = clearer
    except (RecursionError, ValueError):
        pass
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        where = f"{yaml_display_path(file)}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
        message = f"the character U+{ord(text[error.position]):04X} is not text; is the file binary?"
        return ConfigError([Fault("", message, where)])
    problem = str(getattr(error, "problem", None) or error)
    mark = getattr(error, "problem_mark", None)
    for pattern, advice in _REASONS:
        if (match := re.search(pattern, problem)) is not None:
            if pattern in _BEGUN_BEFORE:
                mark = getattr(error, "context_mark", mark)
            return _refused_yaml(file, mark, f"not YAML: {match.expand(advice)}")
    return _refused_yaml(file, mark, f"not YAML: {' '.join(problem.split())}")
