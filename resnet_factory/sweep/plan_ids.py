"""Plan ids of architectures that were planned together: each from one text with gaps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from itertools import repeat
from typing import Any, NamedTuple

from resnet_factory.layers import Layer, merged
from resnet_factory.planning.network_plan import Plan, content_hash
from resnet_factory.planning.nodes import Chain
from resnet_factory.planning.plan_text import text_of, words
from resnet_factory.sweep.vector import Array, Vector

INDEX = "\x01"
"""Stands for the index of a repeated block."""
GAP = "\x00"


class PlanSection(NamedTuple):
    """The text of a stem, a transition, a block or a head."""

    parts: list[str | list[str]]
    """Text that all members share, or the text of each."""
    prefix: str
    counts: Sequence[int] | None
    """Repetitions of a block, for each member."""


def plan_ids(plan: Plan, members: Array) -> list[str]:
    """Return the plan ids of members, given by their indices in the vectors of the plan."""
    known: dict[Any, dict[Any, str]] = {}
    sections: list[PlanSection] = []

    def add(node: Chain, prefix: str = "", counts: Sequence[int] | None = None) -> None:
        gaps: list[list[str]] = []

        def say(part: Any) -> str:
            if (texts := _differing_texts(part, members, known)) is None:
                return words(part)
            gaps.append(texts)
            return GAP

        text = "\n".join(text_of(node, prefix, say=say))
        filled = iter(gaps)
        if parts := [next(filled) if part == GAP else part for part in re.split(f"({GAP})", text) if part]:
            sections.append(PlanSection(parts, prefix, counts))

    add(plan.stem)
    for stage in plan.stages:
        add(stage.transition, f"{stage.name}.transition")
        runs: Any = stage.runs
        for block, count in runs:
            counts = count.values[members].tolist() if isinstance(count, Vector) else [count] * len(members)
            add(block.node, f"{stage.name}.{INDEX}", counts)
        add(stage.tap)
    add(plan.head)
    return [content_hash("\n".join(_member_texts(sections, i)), plan) for i in range(len(members))]


def _differing_texts(part: Any, members: Array, known: dict[Any, dict[Any, str]]) -> list[str] | None:
    """Return the description of a layer for each member; None if it is the same for all."""
    names = [entry.name for entry in fields(part)] if isinstance(part, Layer) else []
    given = [getattr(part, name) for name in names] or [part]
    vectors = list(_vectors(given))
    if not vectors:
        return None
    # Layers of one kind with the same plain arguments have the same text wherever they are.
    plain = tuple(_filled(value, repeat(None)) for value in given)
    texts = known.setdefault((type(part), plain), {})
    columns = [vector.values[members].tolist() for vector in vectors]
    found = []
    for numbers in zip(*columns, strict=True):
        text = texts.get(numbers)
        if text is None:
            own = iter(numbers)
            # As the planner merges the numbers of all axes; those of single sides stay apart.
            whole = [
                merged(_filled(value, own)) if isinstance(value, tuple) else _filled(value, own)
                for value in given
            ]
            made = type(part)(**dict(zip(names, whole, strict=True))) if names else whole[0]
            text = texts[numbers] = words(made)
        found.append(text)
    return found


def _vectors(values: Iterable[Any]) -> Iterator[Vector]:
    """Yield the vectors among values, those of single axes included."""
    for value in values:
        if isinstance(value, Vector):
            yield value
        elif isinstance(value, tuple):
            yield from _vectors(value)


def _filled(value: Any, numbers: Iterator[Any]) -> Any:
    """Return a value with the next of `numbers` in place of each vector."""
    if isinstance(value, tuple):
        return tuple(_filled(entry, numbers) for entry in value)
    return next(numbers) if isinstance(value, Vector) else value


def _member_texts(sections: Sequence[PlanSection], member: int) -> Iterator[str]:
    index, stage = 0, ""
    for parts, prefix, counts in sections:
        if counts is not None and counts[member] == 0:
            continue
        text = "".join([part if isinstance(part, str) else part[member] for part in parts])
        if counts is None:
            yield text
            continue
        if prefix != stage:
            index, stage = 0, prefix
        for _ in range(counts[member]):
            yield text.replace(INDEX, str(index))
            index += 1
