"""Plan ids of many architectures that were planned together: `plan.id` of each, from one text with gaps."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import Any

from resnet_factory.layers import Layer
from resnet_factory.planning.network_plan import Plan, content_hash
from resnet_factory.planning.nodes import Chain, text_of, words
from resnet_factory.sweep.vector import Array, Column

INDEX = "\x01"
"""Stands for the place of a block that is repeated."""
GAP = "\x00"

Fill = Callable[[int], str]


def plan_ids(plan: Plan, members: Array) -> list[str]:
    """The id of each of the members, given by their places in the plan's columns."""
    said: dict[Any, dict[Any, str]] = {}
    sections: list[tuple[list[str | list[str]], str, Sequence[int] | None]] = []

    def add(node: Chain, prefix: str = "", counts: Any = None) -> None:
        """A part of the text, and how often it is there."""
        gaps: list[list[str]] = []
        pieces = _with_gaps("\n".join(text_of(node, prefix, say=_Gaps(members, said, gaps))), gaps)
        if pieces:
            sections.append((pieces, prefix, counts))

    add(plan.stem)
    for stage in plan.stages:
        add(stage.transition, f"{stage.name}.transition")
        runs: Any = stage.runs
        for block, count in runs:
            counts = count.values[members].tolist() if isinstance(count, Column) else [count] * len(members)
            add(block.node, f"{stage.name}.{INDEX}", counts)
    add(plan.head)
    return [content_hash(_text(sections, i), plan) for i in range(len(members))]


class _Gaps:
    """Says a layer as a gap where members differ; notes what each of them has there."""

    def __init__(self, members: Array, said: dict[Any, dict[Any, str]], gaps: list[list[str]]) -> None:
        self.members = members
        self.said = said
        self.gaps = gaps

    def __call__(self, part: Any) -> str:
        given = [getattr(part, entry.name) for entry in fields(part)] if isinstance(part, Layer) else [part]
        if not any(isinstance(value, Column) for value in given):
            return words(part)
        # Layers of one kind with the same plain arguments read alike, wherever they stand.
        plain = tuple(None if isinstance(value, Column) else value for value in given)
        known = self.said.setdefault((type(part), plain), {})
        columns = [value.values[self.members].tolist() for value in given if isinstance(value, Column)]
        gap = []
        for numbers in zip(*columns, strict=True):
            text = known.get(numbers)
            if text is None:
                own = iter(numbers)
                whole = [next(own) if isinstance(value, Column) else value for value in given]
                text = known[numbers] = words(type(part)(*whole) if isinstance(part, Layer) else whole[0])
            gap.append(text)
        self.gaps.append(gap)
        return GAP


def _with_gaps(text: str, gaps: list[list[str]]) -> list[str | list[str]]:
    """The text cut at its gaps, each gap in its place."""
    pieces: list[str | list[str]] = []
    own = iter(gaps)
    for piece in re.split(f"({GAP})", text):
        if piece:
            pieces.append(next(own) if piece == GAP else piece)
    return pieces


def _text(sections: Sequence[tuple[list[str | list[str]], str, Sequence[int] | None]], member: int) -> str:
    return "\n".join(_parts(sections, member))


def _parts(
    sections: Sequence[tuple[list[str | list[str]], str, Sequence[int] | None]], member: int
) -> Iterator[str]:
    place, stage = 0, ""
    for pieces, prefix, counts in sections:
        if counts is not None and counts[member] == 0:
            continue
        text = "".join([piece if isinstance(piece, str) else piece[member] for piece in pieces])
        if counts is None:
            yield text
            continue
        if prefix != stage:
            place, stage = 0, prefix
        for _ in range(counts[member]):
            yield text.replace(INDEX, str(place))
            place += 1
