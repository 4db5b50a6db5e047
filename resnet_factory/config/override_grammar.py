"""Parse one override: simple ones here, all others by Hydra's own parser.

Hydra's parser takes ten milliseconds for the first override and one for each further one, and its import
longer than the whole composition. A test compares the results of both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override as HydraOverride

_WORD, _INDEX = r"[A-Za-z_][A-Za-z0-9_-]*", r"(?:0|[1-9][0-9]*)"
PLAIN = re.compile(rf"(\+{{0,2}})({_WORD}(?:(?:\.(?:{_WORD}|{_INDEX}))+|(?:/{_WORD})+)?)=([^\s=]+)", re.ASCII)
_TOKEN = re.compile(r"([\[\]{}:,])|([\w/+.$%*@?|-]+)", re.ASCII)
_DIGITS = r"(?:0|[1-9](?:_?[0-9])*)"
_POINT = rf"(?:{_DIGITS}\.|{_DIGITS}?\.[0-9](?:_?[0-9])*)"
INTEGER = re.compile(rf"[+-]?{_DIGITS}")
FLOAT = re.compile(
    rf"[+-]?(?:(?:{_POINT}|{_DIGITS})[eE][+-]?[0-9](?:_?[0-9])*|{_POINT}|inf|nan)", re.IGNORECASE
)
CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
Operation = Literal["change", "add", "force", "delete"]
_PREFIXES: dict[str, Operation] = {"": "change", "+": "add", "++": "force", "~": "delete"}


@dataclass(frozen=True)
class Override:
    """A parsed override."""

    text: str
    """The override as typed."""
    key: str
    """The dotted key of a value, or a config group."""
    value: Any
    """Plain data; None for a deletion without a value."""
    operation: Operation = "change"
    package: str | None = None
    several: HydraOverride | None = None
    """Hydra's override object, for one with several values (`a,b`, `range(1,3)`)."""

    @property
    def element(self) -> str:
        """The part before the '=', with sign and package."""
        sign = next(sign for sign, operation in _PREFIXES.items() if operation == self.operation)
        return f"{sign}{self.key}" if self.package is None else f"{sign}{self.key}@{self.package}"


def override_location(override: Override | str) -> str:
    """Return the location that a fault of this override has."""
    text = override if isinstance(override, str) else override.text
    return f"command line '{text if len(text) <= 120 else text[:117] + '...'}'"


def parse_override_text(word: str) -> Override:
    """Parse one override.

    Raises:
        ValueError: it cannot be parsed.
    """
    return _parse_plain_override(word) or _parse_override_by_hydra(word)


def _parse_override_by_hydra(word: str) -> Override:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        read = OverridesParser.create().parse_override(word)
    except (HydraException, RecursionError, AttributeError) as error:
        raise ValueError(str(error)) from None
    operation: Operation = "change"
    if read.is_delete():
        operation = "delete"
    elif read.is_force_add():
        operation = "force"
    elif read.is_add():
        operation = "add"
    several = read if read.is_sweep_override() else None
    value = None if several else read.value()
    return Override(word, read.key_or_group, value, operation, read.package, several)


def _parse_plain_override(word: str) -> Override | None:
    """Parse an override without spaces, quotes, functions and special characters; None for any other."""
    form = PLAIN.fullmatch(word)
    if form is None:
        return None
    sign, key, text = form.groups()
    tokens = list(_TOKEN.finditer(text))
    if sum(len(token[0]) for token in tokens) != len(text):
        return None
    rest = iter(tokens)
    try:
        value = _parse_override_element(next(rest), rest)
    except (ValueError, StopIteration, RecursionError):
        return None
    return Override(word, key, value, _PREFIXES[sign]) if next(rest, None) is None else None


def _parse_override_element(token: re.Match[str], rest: Iterator[re.Match[str]]) -> Any:
    """Parse a value that begins with a token, taking further tokens from `rest`.

    Raises:
        ValueError: it has another form.
        StopIteration: it is incomplete.
    """
    if token[2] is not None:
        return parse_primitive_override(token[2])
    if token[0] not in "[{":
        raise ValueError
    pairs, values = {}, []
    end = "]" if token[0] == "[" else "}"
    token = next(rest)
    while token[0] != end:
        if end == "}":
            if token[2] is None or next(rest)[0] != ":":
                raise ValueError
            key = parse_primitive_override(token[2])
            pairs[key] = _parse_override_element(next(rest), rest)
        else:
            values.append(_parse_override_element(token, rest))
        token = next(rest)
        if token[0] == ",":
            token = next(rest)
            if token[0] == end:
                raise ValueError
        elif token[0] != end:
            raise ValueError
    return values if end == "]" else pairs


def parse_primitive_override(text: str) -> Any:
    """Return the value of an unquoted text: a number, true, false, nothing, or the text."""
    if text.lower() in CONSTANTS:
        return CONSTANTS[text.lower()]
    if INTEGER.fullmatch(text):
        return int(text)
    return float(text) if FLOAT.fullmatch(text) else text
