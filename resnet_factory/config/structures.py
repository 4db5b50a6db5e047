"""Structures: the items of a recipe's lists that hold lists themselves, or name a map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from resnet_factory.layers.expressions import Number


@dataclass(frozen=True, slots=True)
class Structure:
    """An item with nested lists: their keys, and its arguments with their defaults (None: required)."""

    meaning: str
    lists: tuple[str, ...] = ()
    """The first is required, unless its branches may be written out instead."""
    arguments: Mapping[str, Number | str | None] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    """Additional names that its lists may use."""
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The arguments that are words, with those allowed."""
    written: str = ""
    """The key of a list of lists."""
    shares: str = ""
    """The argument that may be a list of numbers; of a list, each is an argument `KEY.INDEX`."""


STRUCTURES: dict[str, Structure] = {
    "chain": Structure("layers in sequence; with a name, one module", ("layers",)),
    "residual": Structure(
        "body(x) + shortcut(x), or body(x) + x without a shortcut: a `parallel` joined by `sum`",
        ("body", "shortcut"),
    ),
    "gate": Structure("x · layers(x): a `parallel` joined by `product`", ("layers",)),
    "select": Structure(
        "the sum of `parts` parts of x, weighted by a softmax over layers(sum of the parts)",
        ("layers",),
        {"parts": None, "groups": 1},
    ),
    "branches": Structure(
        "`count` times `each`, then `last` once, as modules named by their index, outputs concatenated; with "
        "`split`, over equal parts of x; with `cascade`, each adds the output of the one before to its input",
        ("each", "last"),
        {"count": None, "split": False, "cascade": False},
        ("branch",),
    ),
    "parallel": Structure(
        "the lists of `branches`, then `count` times `each`, all applied to the same map and joined",
        ("each",),
        {"join": None, "reads": "input", "count": 0, "split": False},
        ("branch",),
        {"join": ("sum", "product", "concat"), "reads": ("input", "previous", "cascade", "dense")},
        written="branches",
        shares="split",
    ),
    "repeat": Structure("the list `count` times in sequence", ("layers",), {"count": None}, ("iteration",)),
    "tap": Structure("gives the current map a name: `tap: NAME`"),
    "read": Structure("continues with the map of that name instead of the current one: `read: NAME`"),
}
MARKS = {"tap": "name", "read": "of"}
"""Structures without lists, and the key of the name of their map."""
