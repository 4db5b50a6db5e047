"""Faults in what a user wrote: collected, located, and raised all at once."""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

MAX_SHOWN = 100
"""Maximum number of faults that one error prints."""
MAX_LISTED = 400
"""Characters that a list of known words may fill, a quarter of it where one of them is surely meant."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong: the dotted key it concerns, what is wrong, and where it was written.

    `where` is `file:line:col` or `command line 'override'`; it is empty until a fault is located.
    """

    path: str
    message: str
    where: str = ""
    instead: Fault | None = field(default=None, compare=False)
    """The same fault at another key that could be changed instead, used if only that key is the user's."""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.path, self.message) if part)


class ConfigError(ValueError):
    """Raised for anything a user wrote that cannot be used; prints every fault, one per line."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(dict.fromkeys(faults), key=_fault_place))
        lines = [printable(str(fault)) for fault in self.faults[:MAX_SHOWN]]
        if len(self.faults) > MAX_SHOWN:
            lines.append(f"… and {len(self.faults) - MAX_SHOWN} more")
        super().__init__("\n".join(lines))


def _fault_place(fault: Fault) -> tuple[str, int, int]:
    """Return the order of shown faults: the command line's as found, then each file's from top to bottom."""
    match = re.fullmatch(r"(.*):(\d+):(\d+)", fault.where)
    return (match[1], int(match[2]), int(match[3])) if match else ("", 0, 0)


def nearest_word(word: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Return the known words nearest to `word`, best first: near ones only, and only those about as near."""
    plain: dict[str, str] = {}
    for name in map(str, known):
        plain.setdefault(_folded_word(name), name)
    wanted = _folded_word(word)
    found = difflib.get_close_matches(wanted, plain, n=most, cutoff=0.6)
    ratios = [difflib.SequenceMatcher(None, name, wanted).ratio() for name in found]
    return [plain[name] for name, ratio in zip(found, ratios, strict=True) if ratio > ratios[0] - 0.05]


def _folded_word(word: str) -> str:
    """Return a word without differences that are easily overlooked: width, case, O and 0, l and 1."""
    plain = unicodedata.normalize("NFKC", word).casefold()
    return plain.translate(str.maketrans("ol", "01"))


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the known words nearest to `word`, or nothing when none is near."""
    near = nearest_word(word, known)
    return f"; did you mean {one_of(map(repr, near))}?" if near else ""


def all_of(words: Iterable[str]) -> str:
    """`a, b and c`."""
    names = [str(word) for word in words]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def one_of(words: Iterable[str]) -> str:
    """`a, b or c`: how a message lists what is allowed."""
    names = [str(word) for word in words]
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def unknown(what: str, word: Any, known: Iterable[str], of: str = "") -> str:
    """`unknown argument 'kernal' of 'conv'; known are kernel, stride, to; did you mean 'kernel'?`."""
    names = list(dict.fromkeys(map(str, known)))
    if not isinstance(word, str):
        return f"expected a {what} by name, found {found(word)}; known are {', '.join(names)}"
    listed, meant = ", ".join(names), suggest(word, names)
    if len(listed) > (MAX_LISTED // 4 if meant else MAX_LISTED):
        listed = f"{', '.join(difflib.get_close_matches(word, names, n=5, cutoff=0))}, …"
    message = f"unknown {what} {word!r}{foreign(word)}{of}"
    return f"{message}; {f'known are {listed}' if names else 'none is known here'}{meant}"


def found(value: Any) -> str:
    """Return a wrong value as a message shows it: `nothing`, `'text'`, `true`, `[1, 2]`; long ones cut."""
    if value is None:
        return "nothing"
    text = repr(value) if isinstance(value, (str, float)) else json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def printable(text: str) -> str:
    """Return a text with its control characters escaped, safe for terminals."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def foreign(word: str) -> str:
    """` (its 'е' is CYRILLIC SMALL LETTER IE)`: a character that only looks like ASCII's, named."""
    odd = next((c for c in word if not c.isascii()), None)
    return f" (its {odd!r} is {unicodedata.name(odd, 'unnamed')})" if odd else ""


def path_of(value: object, what: str) -> Path:
    """Return a string or path as a Path; `what` begins the message for other types.

    Raises:
        TypeError: it is neither.
    """
    if not str(path_or_name(value, what)):
        raise ValueError(f"{what} takes a path, found an empty string")
    return Path(str(value))


def path_or_name(value: object, what: str) -> str | Path:
    """Return a string or path unchanged; `what` begins the message for other types.

    Raises:
        TypeError: it is neither.
    """
    if not isinstance(value, str | Path):
        raise TypeError(f"{what} takes a path as a string or Path, found {shown(value)}")
    return value


def shown(value: object) -> str:
    """Return a wrong argument as a message shows it: plain data as it is, of anything else the type."""
    plain = value is None or isinstance(value, bool | int | float | str | list | tuple | dict)
    return found(value) if plain else f"a {type(value).__name__}"


def install_hint(extra: str) -> str:
    """The command that installs an extra of this package: from its checkout, else the packages themselves.

    The name of this project on a package index may belong to someone else, so it is never suggested.
    """
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / "pyproject.toml").is_file():
        return f"in {checkout}: pip install -c constraints.txt -e '.[{extra}]'"
    try:
        required = requires("resnet-factory") or []
    except PackageNotFoundError:
        required = []
    mark = re.compile(rf"""extra == ['"]{extra}['"]""")
    names = [line.partition(";")[0].strip() for line in required if mark.search(line)]
    return (
        f"pip install {' '.join(repr(name) for name in names)}" if names else f"install its extra {extra!r}"
    )
