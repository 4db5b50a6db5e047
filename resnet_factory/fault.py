"""What is wrong in what a user wrote: collected, located, and raised all at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong: the dotted key it concerns, what is wrong, and where it was written.

    `where` is `file:line:col` or `command line 'override'`; it is empty until a fault is located.
    """

    path: str
    message: str
    where: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.path, self.message) if part)


class ConfigError(ValueError):
    """Raised for anything a user wrote that cannot be used; prints every fault, one per line."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(dict.fromkeys(faults))
        super().__init__("\n".join(map(str, self.faults)))


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the known word nearest to `word`, or nothing when none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def one_of(words: Iterable[str]) -> str:
    """`a, b or c`: how a message lists what is allowed."""
    names = [str(word) for word in words]
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def unknown(what: str, word: str, known: Iterable[str]) -> str:
    """`unknown layer 'cov'; known are conv and norm; did you mean 'conv'?`."""
    names = list(known)
    return f"unknown {what} {word!r}; known are {', '.join(map(str, names))}{suggest(word, names)}"
