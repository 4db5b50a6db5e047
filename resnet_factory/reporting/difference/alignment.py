"""Alignment of two blocks' layers, by name, kind and order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from resnet_factory.layers import Layer
from resnet_factory.layers.registry import registered_word_of
from resnet_factory.planning.nodes import (
    INPUT,
    SELECT,
    MarkNode,
    Node,
    Parallel,
    Read,
    Tap,
    Walk,
    dotted_node_name,
)
from resnet_factory.planning.plan_text import layer_plan_text

JOINTS = frozenset({"shortcut", "gate", "select", "branches", "parallel", "tap", "read"})
"""Kinds of joins, and of marks."""

NOT_SAID = ("channels", "to", "dims")
"""Fields of a layer that are no values of its line: the channels are said as ends, `dims` by the config."""


@dataclass(frozen=True)
class AlignedLine:
    """One line of a block: a layer, or a join (a shortcut, a gate, branches)."""

    name: str
    """Dotted, relative to the block; empty for the block's own shortcut."""
    word: str
    values: dict[str, Any] = field(hash=False)
    """The arguments by name, defaults included."""
    defaults: dict[str, Any] = field(hash=False, compare=False, default_factory=dict)
    kind: str = field(default="", compare=False)
    """The name of the operation, which differs from the word for maps of other dimensions: `conv1d`."""

    @property
    def meets(self) -> bool:
        """Whether this is a join rather than a layer."""
        return self.word in JOINTS

    @property
    def label(self) -> str:
        """The dotted name; for a join, with its kind."""
        return " ".join(filter(None, (self.name, self.word if self.meets else "")))

    @property
    def width(self) -> tuple[Any, Any]:
        """Number of input and output channels."""
        same = self.values.get("channels")
        return self.values.get("in", same), self.values.get("out", same)

    @property
    def listed(self) -> str | None:
        """The list that this is in, if its name is only an index in that list."""
        parent, _, own = self.name.rpartition(".")
        return parent if own.isdigit() else None


@dataclass(frozen=True)
class AlignmentEdit:
    """One line added (nothing before), removed (nothing after), changed, renamed or moved."""

    before: AlignedLine | None
    after: AlignedLine | None
    follows: str | None = None
    """The line that a moved one now follows; empty for the first position, None if it did not move."""

    @property
    def story(self) -> tuple[object, ...]:
        """A key by which edits of different blocks are grouped: everything except the numbers."""
        lines = ((line.name, line.word) if line else None for line in (self.before, self.after))
        return (*lines, self.follows)


def altered_in_alignment(edits: Sequence[AlignmentEdit]) -> list[str]:
    """Return the arguments that any of `edits` changes; all have one `story` and keep their layer's kind."""
    names: set[str] = set()
    for edit in edits:
        if edit.before is None or edit.after is None or edit.before.word != edit.after.word:
            return []
        old, new = edit.before.values, edit.after.values
        names |= {name for name in (*old, *new) if old.get(name) != new.get(name)}
        order = dict.fromkeys((*new, *old))
    return [name for name in order if name in names]


def lines_to_align(node: Node, prefix: str = "") -> list[AlignedLine]:
    """Return the lines of a block in order; a join comes after its branches."""
    return _LinesToAlign().through(node, [], prefix)


class _LinesToAlign(Walk[list[AlignedLine]]):
    def layer(self, layer: Layer, value: list[AlignedLine], name: str) -> list[AlignedLine]:
        kind = layer_plan_text(layer).split(" ", 1)[0]
        word, (_, fixed) = re.sub(r"^conv\dd$", "conv2d", kind), registered_word_of(layer)
        said = ("dims",) if hasattr(layer, "kernel") else ()  # the weights of a kernel depend on it
        hidden = {*NOT_SAID, *fixed} - {*said}
        given = [entry for entry in fields(layer) if entry.name not in hidden]
        ends = {"in": layer.channels, "out": layer.out_channels}
        values = ends if hasattr(layer, "to") else {"channels": layer.channels}
        values |= {entry.name: getattr(layer, entry.name) for entry in given}
        defaults = {entry.name: entry.default for entry in given} | {"dims": layer.dims}
        return [*value, AlignedLine(name, word, values, defaults, kind)]

    def entry(
        self, node: Parallel, branch: int, value: list[AlignedLine], ends: list[list[AlignedLine]], name: str
    ) -> list[AlignedLine]:
        return []

    def join(
        self, node: Parallel, value: list[AlignedLine], ends: list[list[AlignedLine]], name: str
    ) -> list[AlignedLine]:
        inner = [line for end in ends for line in end]
        return [*value, *inner, _join_line_to_align(node, ends, name)]

    def tap(self, node: Tap, value: list[AlignedLine], name: str) -> list[AlignedLine]:
        return [*value, _mark_line_to_align(node, name)]

    def read(self, node: Read, value: list[AlignedLine], name: str) -> list[AlignedLine]:
        return [*value, _mark_line_to_align(node, name)]


def _mark_line_to_align(node: MarkNode, name: str) -> AlignedLine:
    return AlignedLine(dotted_node_name(name, node.of), type(node).__name__.lower(), {})


def _join_line_to_align(node: Parallel, ends: list[list[AlignedLine]], name: str) -> AlignedLine:
    if node.shortcut:
        reads = next((entry.name for entry in ends[0]), "")
        kind = "layers" if node.branches[1].children else "identity"
        return AlignedLine(name, "shortcut", {"kind": kind, "from before": reads})
    if node.join == SELECT:
        values: dict[str, Any] = {"parts": node.parts, "groups": node.groups}
        return AlignedLine(name, "select", values, {"parts": MISSING, "groups": 1})
    if node.gates:
        return AlignedLine(name, "gate", {})
    values = {"count": len(node.branches), "split": node.split, "linked": node.linked}
    defaults = {"count": MISSING, "split": False, "linked": 0}
    if node.indexed:
        return AlignedLine(name, "branches", values, defaults)
    values |= {"join": node.join, "reads": node.reads}
    return AlignedLine(name, "parallel", values, defaults | {"join": MISSING, "reads": INPUT})


def align_lines(before: Sequence[AlignedLine], after: Sequence[AlignedLine]) -> Iterator[AlignmentEdit]:
    """Yield the edits that turn one list of lines into the other, in the order of both.

    Lines that keep their order are paired so that the total similarity of the pairs is maximal (Needleman &
    Wunsch 1970); an unpaired line with the same name on both sides has moved.
    """
    pairs = list(_aligned_pairs(before, after))
    gone = {(line.name, line.word): line for line, other in pairs if line and other is None}
    come = {(line.name, line.word): line for other, line in pairs if line and other is None}
    previous = ""
    for old, new in pairs:
        if new is None:
            assert old is not None
            if (old.name, old.word) not in come:
                yield AlignmentEdit(old, None)
            continue
        if old is None and (moved := gone.get((new.name, new.word))) is not None:
            yield AlignmentEdit(moved, new, follows=previous)
        elif old is None or old != new:
            yield AlignmentEdit(old, new)
        previous = new.label


def _aligned_pairs(
    before: Sequence[AlignedLine], after: Sequence[AlignedLine]
) -> Iterator[tuple[AlignedLine | None, AlignedLine | None]]:
    """Return each line with its counterpart or None; removed lines come before added ones."""
    rows, columns = len(before), len(after)
    best = [[0] * (columns + 1) for _ in range(rows + 1)]
    for i in reversed(range(rows)):
        for j in reversed(range(columns)):
            together = _alignment_score(before[i], after[j])
            both = best[i + 1][j + 1] + together if together else 0
            best[i][j] = max(both, best[i + 1][j], best[i][j + 1])
    i = j = 0
    while i < rows or j < columns:
        if i < rows and j < columns:
            together = _alignment_score(before[i], after[j])
            if together and best[i][j] == best[i + 1][j + 1] + together:
                yield before[i], after[j]
                i, j = i + 1, j + 1
                continue
        if i < rows and (j == columns or best[i][j] == best[i + 1][j]):
            yield before[i], None
            i += 1
        else:
            yield None, after[j]
            j += 1


def _alignment_score(old: AlignedLine, new: AlignedLine) -> int:
    """Return the similarity of two lines; 0 for lines that cannot be paired."""
    together = old.listed is not None and old.listed == new.listed
    if old.word == new.word:
        if old.name == new.name:
            return (12 if old.meets else 8) + 2 * (old == new)
        return 4 + 2 * (old.values == new.values) if together else 0
    if old.name != new.name or old.meets or new.meets:
        return 0
    return 1 if together else 3
