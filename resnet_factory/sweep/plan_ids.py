"""Plan ids of architectures that were planned together: from one text with placeholders for their numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np

from resnet_factory.layers import Layer, merge_axes
from resnet_factory.planning.network_plan import Plan, plan_content_hash
from resnet_factory.planning.nodes import Chain
from resnet_factory.planning.plan_text import plan_text_lines, plan_text_words
from resnet_factory.sweep.vector import Array, Vector

INDEX = "\x01"
"""Stands for the index of a repeated block."""
GAP = "\x00"
LayerTexts = dict[Any, dict[Any, str]]
"""Kind of a layer with its plain arguments -> its other arguments -> its description."""
MOST_KINDS, MOST_TEXTS = 10_000, 1_000_000
"""The most kinds and descriptions kept between populations."""


class PlanIdSection(NamedTuple):
    """The text of a stem, a transition, a block or a head."""

    texts: list[str]
    """The different texts."""
    which: list[int] | None
    """The text of each member, by its index; None: there is one."""
    prefix: str
    counts: Sequence[int] | None
    """Repetitions of a block, for each member."""


class _PlanIdGroups:
    """Members by the numbers that they share."""

    def __init__(self, members: Array) -> None:
        self.members = members
        self._known: dict[tuple[int, ...], tuple[Array, Array, Sequence[Vector]]] = {}
        self._codes: dict[int, tuple[int, Array, Vector]] = {}

    def of(self, vectors: Sequence[Vector]) -> tuple[Array, Array]:
        """Return an index into `members` for each combination of the vectors' values, and each one's."""
        key = tuple(map(id, vectors))
        if key not in self._known:
            codes = np.zeros(len(self.members), np.int64)
            for vector in vectors:
                distinct, own = self._codes_of(vector)
                codes = codes * distinct + own
                if len(vectors) > 1:  # renumbered, so that no product of counts is too large
                    codes = np.unique(codes, return_inverse=True)[1].reshape(-1)
            _, first, which = np.unique(codes, return_index=True, return_inverse=True)
            self._known[key] = first, which.reshape(-1), vectors  # kept, so that their ids stay theirs
        first, which, _ = self._known[key]
        return first, which

    def _codes_of(self, vector: Vector) -> tuple[int, Array]:
        """Return how many different values the members have, and each one's number among them."""
        if id(vector) not in self._codes:
            distinct, own = np.unique(vector.values[self.members], return_inverse=True)
            self._codes[id(vector)] = len(distinct), own.reshape(-1), vector
        count, code, _ = self._codes[id(vector)]
        return count, code


def plan_ids(plan: Plan, members: Array, known: LayerTexts) -> list[str]:
    """Return the plan ids of members, given by their indices in the vectors of the plan.

    `known` holds the descriptions of layers that were needed before, and gets the new ones.
    """
    if len(known) > MOST_KINDS or sum(map(len, known.values())) > MOST_TEXTS:
        known.clear()
    sections: list[PlanIdSection] = []
    groups = _PlanIdGroups(members)

    def add(node: Chain, prefix: str = "", counts: Sequence[int] | None = None) -> None:
        gaps: list[Any] = []

        def say(part: Any) -> str:
            if not _vectors_of_plan_id_part(part):
                return plan_text_words(part).replace("%", "%%")
            gaps.append(part)
            return GAP

        form = "\n".join(plan_text_lines(node, prefix, say=say)).replace(GAP, "%s")
        if not form:
            return
        vectors = list(
            {id(vector): vector for part in gaps for vector in _vectors_of_plan_id_part(part)}.values()
        )
        if not vectors:
            sections.append(PlanIdSection([form % ()], None, prefix, counts))
            return
        first, which = groups.of(vectors)
        cells = [_plan_id_layer_texts(part, first, groups, known) for part in gaps]
        texts = list(map(form.__mod__, zip(*cells, strict=True)))
        sections.append(PlanIdSection(texts, which.tolist(), prefix, counts))

    add(plan.stem)
    for stage in plan.stages:
        add(stage.transition, f"{stage.name}.transition")
        runs: Any = stage.runs
        for block, count in runs:
            counts = count.values[members].tolist() if isinstance(count, Vector) else [count] * len(members)
            add(block.node, f"{stage.name}.{INDEX}", counts)
        add(stage.tap)
    add(plan.head)
    return [plan_content_hash(text, plan) for text in _plan_id_member_texts(sections, len(members))]


def _vectors_of_plan_id_part(part: Any) -> list[Vector]:
    """Return the vectors among the arguments of a layer; of a number, itself if it is one."""
    return list(_plan_id_vectors(_plan_id_arguments(part)))


def _plan_id_arguments(part: Any) -> list[Any]:
    return [getattr(part, entry.name) for entry in fields(part)] if isinstance(part, Layer) else [part]


def _plan_id_layer_texts(part: Any, rows: Array, groups: _PlanIdGroups, known: LayerTexts) -> list[str]:
    """Return the description of a layer for some of the members."""
    given = _plan_id_arguments(part)
    names = [entry.name for entry in fields(part)] if isinstance(part, Layer) else []
    vectors = list(_plan_id_vectors(given))
    # Layers of one kind with the same plain arguments have the same text wherever they are.
    plain = tuple(_fill_plan_id_gaps(value, repeat(None)) for value in given)
    texts = known.setdefault((type(part), plain), {})
    first, which = groups.of(vectors)
    columns = [vector.values[groups.members[first]].tolist() for vector in vectors]
    found = []
    for numbers in zip(*columns, strict=True):
        text = texts.get(numbers)
        if text is None:
            own = iter(numbers)
            # As the planner merges the numbers of all axes; those of single sides stay apart.
            whole = [
                merge_axes(_fill_plan_id_gaps(value, own))
                if isinstance(value, tuple)
                else _fill_plan_id_gaps(value, own)
                for value in given
            ]
            made = type(part)(**dict(zip(names, whole, strict=True))) if names else whole[0]
            text = texts[numbers] = plan_text_words(made)
        found.append(text)
    return [found[i] for i in which[rows].tolist()]


def _plan_id_vectors(values: Iterable[Any]) -> Iterator[Vector]:
    """Yield the vectors among values, those of single axes included."""
    for value in values:
        if isinstance(value, Vector):
            yield value
        elif isinstance(value, tuple):
            yield from _plan_id_vectors(value)


def _fill_plan_id_gaps(value: Any, numbers: Iterator[Any]) -> Any:
    """Return a value with the next of `numbers` in place of each vector."""
    if isinstance(value, tuple):
        return tuple(_fill_plan_id_gaps(entry, numbers) for entry in value)
    return next(numbers) if isinstance(value, Vector) else value


def _plan_id_member_texts(sections: Sequence[PlanIdSection], size: int) -> Iterator[str]:
    """Yield the text of each member: its sections, a repeated block's once for each time."""
    once = [1] * size
    texts = [
        each.texts * size if each.which is None else [each.texts[i] for i in each.which] for each in sections
    ]
    counts = [once if each.counts is None else each.counts for each in sections]
    # A section that is no block has no index to fill in; indices begin anew with each stage.
    kinds = [each.counts is not None for each in sections]
    new = [i == 0 or each.prefix != sections[i - 1].prefix for i, each in enumerate(sections)]
    names = [str(index) for index in range(sum(max(each) for each in counts if len(each)) + 1)]
    for own, times in zip(zip(*texts, strict=True), zip(*counts, strict=True), strict=True):
        lines: list[str] = []
        index = 0
        for text, count, block, first in zip(own, times, kinds, new, strict=True):
            if not block:
                lines.append(text)
                continue
            start = 0 if first else index
            index = start + count
            lines += [text.replace(INDEX, at) for at in names[start:index]]
        yield "\n".join(lines)
