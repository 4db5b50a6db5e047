"""Reasons why an argument is not an override, and suggestions of what was meant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

MAX_LENGTH = 4000
"""Characters of one override; longer ones belong in a file."""


def override_hint(word: str, after: Sequence[str], models: Sequence[str]) -> tuple[int, str]:
    """Return the number of further arguments that belong to one that cannot be parsed, and the reason."""
    key, equals, value = word.partition("=")
    if len(word) > MAX_LENGTH:
        return 0, f"{len(word)} characters; the limit is {MAX_LENGTH}: put long lists in a YAML file"
    # The shell split brackets at spaces: the other pieces follow.
    whole, taken = word, 0
    while _unclosed_override_bracket(whole) and taken < len(after) and "=" not in after[taken]:
        whole, taken = f"{whole} {after[taken]}", taken + 1
    if equals and taken and not _unbalanced_override_hint(whole):
        return taken, f"the shell split this at its spaces; put it in quotes: '{whole}'"
    if not equals and after and after[0].startswith("="):
        taken = 2 if after[0] == "=" and len(after) > 1 else 1
        return taken, f"spaces around the '='; did you mean '{''.join((word, *after[:taken]))}'?"
    if word in models and after and after[0] in models:
        return 1, f"expected key=value; did you mean 'model={word}', and for diff 'with={after[0]}'?"
    return 0, next(message for message in _override_hint_reasons(word, key, value, models) if message)


def _override_hint_reasons(word: str, key: str, value: str, models: Sequence[str]) -> Iterator[str]:
    """Yield possible reasons why an argument cannot be parsed; the first that is not empty is used."""
    if "=" in word:
        yield _unbalanced_override_hint(value)
        if index := re.fullmatch(r"([\w.]+)\[(\d+)\]", key):
            yield f"write an entry of a list as '{index[1]}.{index[2]}={value}'"
        if "=" in value.lstrip("="):
            yield "a value that contains '=' needs its own quotes, as 'resnet20 model.act=silu'"
        if value.startswith("="):
            yield f"one '=' is enough: '{key}={value.lstrip('=')}'"
        if inside := re.fullmatch(r"\((.*)\)", value):
            yield f"write a list in square brackets: '{key}=[{inside[1]}]'"
        if re.search(r"[\[,]\s*\w+:", value):
            yield "a mapping inside a list needs braces, as [{conv:{kernel:3,to:64}}]"
    elif pair := re.fullmatch(r"([\w./]+):\s*(\S+)", word):
        yield f"expected key=value; did you mean '{pair[1]}={pair[2]}'?"
    elif word in models:
        yield f"expected key=value; did you mean 'model={word}'?"
    yield "cannot be read; expected key=value, as 'model=resnet18' or 'model.depths=[2,2,2,2]'"


def _unclosed_override_bracket(text: str) -> str:
    """Return the bracket that would close the last one that is open; empty if text is balanced or wrong."""
    waiting, quote, unmatched = _override_brackets(text)
    return waiting[-1] if waiting and not quote and not unmatched else ""


def _unbalanced_override_hint(text: str) -> str:
    """Return the message about unbalanced brackets and quotes of `text`; empty if there are none."""
    _, quote, unmatched = _override_brackets(text)
    if unmatched:
        return f"unmatched {unmatched!r}: no bracket opens it"
    if quote:
        return f"the quote {quote} is never closed; a shell removes quotes that are not quoted themselves"
    if missing := _unclosed_override_bracket(text):
        message = f"no {missing!r} closes the bracket that opens here"
        return f"{message}; put the override in quotes if the shell splits it"
    return ""


def _override_brackets(text: str) -> tuple[list[str], str, str]:
    """Return the brackets still to be closed, the quote that is open, and the first wrong bracket."""
    pairs = {"[": "]", "{": "}", "(": ")"}
    waiting: list[str] = []
    quote = ""
    for character in text:
        if quote or character in "'\"":
            quote = "" if character == quote else quote or character
        elif character in pairs:
            waiting.append(pairs[character])
        elif character in pairs.values():
            if waiting[-1:] != [character]:
                return waiting, quote, character
            waiting.pop()
    return waiting, quote, ""
