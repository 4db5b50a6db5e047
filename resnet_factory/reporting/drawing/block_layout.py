"""Layout of the nodes of a block."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from resnet_factory.layers import Layer
from resnet_factory.planning.nodes import (
    CONCAT,
    DENSE,
    PREVIOUS,
    SELECT,
    MarkNode,
    Node,
    Parallel,
    Read,
    Tap,
    Walk,
)
from resnet_factory.planning.plan_text import mark_plan_text
from resnet_factory.reporting.drawing.canvas import canvas_text_width
from resnet_factory.reporting.drawing.geometry import (
    ElementGeometry,
    gate_geometry,
    parallel_geometry,
    pill_geometry,
    pill_type_geometry,
    residual_geometry,
    stack_geometry,
)
from resnet_factory.reporting.drawing.labels import LayerLabel, layer_label, shortcut_label


@dataclass(frozen=True)
class BlockLayoutWidths:
    """The widths of pills in the main column and on shortcuts."""

    main: float
    beside: float


def lay_out_block(node: Node, prefix: str) -> ElementGeometry:
    """Return the layout of a block, stem or head; `prefix` is its dotted name."""
    found = _BlockLayoutCaptions().through(node, ([], False))[0]
    main, beside = (
        _widest_layout_caption(text for place, text in found if place is here) for here in (False, True)
    )
    return stack_geometry(_BlockLayout().through(node, ([], BlockLayoutWidths(main, beside)), prefix)[0])


Texts = tuple[list[tuple[bool, LayerLabel]], bool]
"""Captions of a node's columns, each with whether it is on a shortcut; and whether later ones are."""


class _BlockLayoutCaptions(Walk[Texts]):
    """Collects the captions of columns; parallel branches have columns of their own."""

    def layer(self, layer: Layer, value: Texts, name: str) -> Texts:
        return [*value[0], (value[1], layer_label(layer))], value[1]

    def parallel(self, node: Parallel, value: Texts, name: str) -> Texts:
        if _is_laid_out_in_columns(node):
            return [*value[0], *((value[1], text) for text in _branch_layout_captions(node) if text)], value[
                1
            ]
        return super().parallel(node, value, name)

    def tap(self, node: Tap, value: Texts, name: str) -> Texts:
        return [*value[0], (value[1], _mark_layout_caption(node))], value[1]

    def read(self, node: Read, value: Texts, name: str) -> Texts:
        return [*value[0], (value[1], _mark_layout_caption(node))], value[1]

    def entry(self, node: Parallel, branch: int, value: Texts, ends: list[Texts], name: str) -> Texts:
        return [], value[1] or (node.shortcut and branch > 0)

    def join(self, node: Parallel, value: Texts, ends: list[Texts], name: str) -> Texts:
        return [*value[0], *(text for end in ends for text in end[0])], value[1]


def _widest_layout_caption(captions: Iterable[LayerLabel]) -> float:
    return max(
        (canvas_text_width(text.text, pill_type_geometry(text)[1]) + 18 for text in captions), default=0
    )


Stacked = tuple[list[ElementGeometry], BlockLayoutWidths]
"""Elements from top to bottom, and their widths."""


class _BlockLayout(Walk[Stacked]):
    """Lays nodes out vertically."""

    def layer(self, layer: Layer, value: Stacked, name: str) -> Stacked:
        return [*value[0], pill_geometry(layer_label(layer, name), value[1].main)], value[1]

    def parallel(self, node: Parallel, value: Stacked, name: str) -> Stacked:
        elements, widths = value
        if _is_laid_out_in_columns(node):
            before, after = (pill_geometry(text, widths.main) for text in _branch_layout_captions(node, name))
            branches = [lay_out_block(branch, inner) for inner, branch in node.items(name)]
            return [*elements, before, parallel_geometry(branches, node.linked), after], widths
        return super().parallel(node, value, name)

    def tap(self, node: Tap, value: Stacked, name: str) -> Stacked:
        return [*value[0], pill_geometry(_mark_layout_caption(node), value[1].main)], value[1]

    def read(self, node: Read, value: Stacked, name: str) -> Stacked:
        return [*value[0], pill_geometry(_mark_layout_caption(node), value[1].main)], value[1]

    def entry(self, node: Parallel, branch: int, value: Stacked, ends: list[Stacked], name: str) -> Stacked:
        beside = node.shortcut and branch > 0
        return [], BlockLayoutWidths(value[1].beside, value[1].beside) if beside else value[1]

    def join(self, node: Parallel, value: Stacked, ends: list[Stacked], name: str) -> Stacked:
        elements, widths = value
        element, *others = (stack_geometry(end) for end, _ in ends)
        for other, branch in zip(others, node.branches[1:], strict=True):
            element = (
                residual_geometry(element, other, shortcut_label(branch))
                if node.shortcut
                else gate_geometry(other, "×")
            )
        if node.join == SELECT and node.parts > 1:
            summed = f"sum of {node.parts} parts"
            text = LayerLabel(summed, "shape", f"{name}: {node.parts} parts, weighted and summed")
            element = stack_geometry([element, pill_geometry(text, widths.main)])
        return [*elements, element], widths


def _branch_layout_captions(node: Parallel, prefix: str = "") -> tuple[LayerLabel, LayerLabel]:
    """Return the captions above and below branches."""
    count = len(node.branches)
    above = f"split in {count}" if node.split else f"{count} copies"
    if isinstance(node.split, tuple):
        above = f"split in {' + '.join(map(str, node.split))}"
    above += {PREVIOUS: ", in a row", DENSE: ", dense"}.get(node.reads, "")
    below = "side by side" if node.join == CONCAT else node.join
    return LayerLabel(above, "shape", f"{prefix}: {above}"), LayerLabel(
        node.join, "shape", f"{prefix}: {below}"
    )


def _is_laid_out_in_columns(node: Parallel) -> bool:
    """Return whether branches are drawn as columns, neither as a shortcut nor as a gate."""
    return not (node.shortcut or node.gates)


def _mark_layout_caption(node: MarkNode) -> LayerLabel:
    return LayerLabel(mark_plan_text(node), "shape", mark_plan_text(node))
