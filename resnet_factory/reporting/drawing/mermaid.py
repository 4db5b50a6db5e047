"""The same picture as a Mermaid flowchart, which Markdown viewers render in their light or dark theme."""

from __future__ import annotations

from typing import NamedTuple

from resnet_factory.costing.complexity import Cost
from resnet_factory.layers import Layer
from resnet_factory.planning.nodes import (
    CASCADE,
    CONCAT,
    DENSE,
    IDENTITY,
    INPUT,
    PREVIOUS,
    SUM,
    Chain,
    Parallel,
    Walk,
)
from resnet_factory.reporting.drawing.labels import (
    first_block_to_label,
    further_blocks_label,
    image_label,
    layer_label,
    shape_label,
    short_number_label,
    shortcut_label,
)

BOXES = {"weight": '["{}"]', "shape": '[/"{}"/]', "norm": '("{}")', "act": '("{}")', "other": '("{}")'}
"""The Mermaid shape of a layer, by its role."""
STYLES = """\
  classDef weight stroke:#2f6fd6,stroke-width:2px
  classDef shape stroke:#8257d0
  classDef act stroke:#c08a1e
  classDef other stroke:#2b8a4b"""
ACCENTS = {"identity": "#2f6fd6", "projection": "#d9691b"}
ARROWS = {"flow": "-->", "identity": "-.->", "projection": "==>", "beside": "~~~"}


def mermaid_flowchart(cost: Cost) -> str:
    """Return stem, stages and head from left to right; in each, one block's layers from top to bottom."""
    chart = _MermaidChart()
    plan = cost.plan
    arrives: tuple[int, ...] = cost.image
    parts: list[tuple[str, Chain, str, Chain]] = [("", plan.stem, "", IDENTITY)]
    parts += [
        (stage.name, first_block_to_label(stage), further_blocks_label(stage), stage.tap)
        for stage in plan.stages
    ]
    parts += [("", plan.head, "", IDENTITY)]
    for i, (row, (prefix, node, note, after)) in enumerate(zip(cost.sections, parts, strict=True)):
        if not node.children:
            continue
        heading = f"{row.name}: {row.depth} × {row.kind}" if row.kind else row.name
        chart.lines.append(f'  subgraph s{i}["{heading}"]')
        chart.lines.append("    direction TB")
        start = chart.node(f'(["{shape_label(arrives)}"])')
        tip = chart.through(node, MermaidTip(start), prefix)
        end = chart.through(after, tip).node
        arrives = row.shape
        end = chart.link(end, chart.node(f'(["{shape_label(arrives)}"])'))
        said = [
            *note.split(", "),
            f"{short_number_label(row.tally.params)} params",
            f"{short_number_label(row.tally.macs)} MACs",
        ]
        chart.link(end, chart.node(f'["{"<br>".join(filter(None, said))}"]:::note'), "beside")
        chart.lines.append("  end")
        chart.sections.append(f"s{i}")
    name = plan.name or "network"
    title = f"{name}: {cost.params:,} parameters, {cost.macs:,} MACs, {image_label(cost)}"
    return (
        "\n".join(["---", f"title: {_quoted_mermaid_title(title)}", "---", "flowchart LR", *chart.text()])
        + "\n"
    )


class MermaidTip(NamedTuple):
    """The last node drawn, and the style of the links that start there."""

    node: str
    look: str = "flow"


class _MermaidChart(Walk[MermaidTip]):
    """Nodes and links, numbered in order of creation."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.sections: list[str] = []
        self.nodes = 0
        self.links = 0
        self.accented: dict[str, list[int]] = {look: [] for look in ACCENTS}

    def text(self) -> list[str]:
        """Return the nodes, then the links between sections, then the styles."""
        accents = [
            f"  linkStyle {','.join(map(str, links))} stroke:{ACCENTS[look]}"
            for look, links in self.accented.items()
            if links
        ]
        note = "  classDef note stroke-dasharray:3 3"
        return [*self.lines, f"  {' --> '.join(self.sections)}", STYLES, note, *accents]

    def node(self, shape: str) -> str:
        """Add a node of a Mermaid shape; return its id."""
        self.nodes += 1
        self.lines.append(f"    n{self.nodes}{shape}")
        return f"n{self.nodes}"

    def link(self, start: str, end: str, look: str = "flow") -> str:
        """Link one node to another; return the id of the other."""
        if look in self.accented:
            self.accented[look].append(self.links)
        self.links += 1
        self.lines.append(f"    {start} {ARROWS[look]} {end}")
        return end

    def layer(self, layer: Layer, value: MermaidTip, name: str) -> MermaidTip:
        text = layer_label(layer)
        box = self.node(f"{BOXES[text.role].format(text.text)}:::{text.role}")
        return MermaidTip(self.link(value.node, box, value.look), value.look)

    def parallel(self, node: Parallel, value: MermaidTip, name: str) -> MermaidTip:
        """Add the branches from one node to the node of their join, with links between them."""
        start = value.node
        if node.gates:
            sign = f"× and sum of {node.parts} parts" if node.parts > 1 else "×"
            product = self.node(f'(("{sign}"))')
            self.link(start, product)
            for inner, branch in list(node.items(name))[1:]:
                self.link(self.through(branch, MermaidTip(start), inner).node, product)
            return MermaidTip(product, value.look)
        if node.split:
            start = self.link(start, self.node(f'[/"split in {len(node.branches)}"/]:::shape'))
        ends: list[MermaidTip] = []
        concat = self.node('[/"concat"/]:::shape') if node.join == CONCAT else ""
        for i, (inner, branch) in enumerate(node.items(name)):
            tip = MermaidTip(start, value.look if node.join != CONCAT else "flow")
            source = node.source(i)
            if source == PREVIOUS:
                tip = MermaidTip(ends[-1].node)
            elif source != INPUT:
                added = self.link(
                    start, self.node('(("+"))' if source == CASCADE else '[/"concat"/]:::shape')
                )
                for end in ends if source == DENSE else ends[-1:]:
                    self.link(end.node, added)
                tip = MermaidTip(added)
            elif i and node.join == SUM:
                tip = MermaidTip(
                    start, "projection" if shortcut_label(branch) == "projection" else "identity"
                )
            ends.append(self.through(branch, tip, inner))
            if concat:
                self.link(ends[-1].node, concat)
        if concat:
            return MermaidTip(concat, value.look)
        joint = self.node('(("+"))' if node.join == SUM else '(("×"))')
        for i, end in enumerate(ends):
            self.link(end.node, joint, end.look if i else "flow")
        return MermaidTip(joint, value.look)


def _quoted_mermaid_title(title: str) -> str:
    return '"' + title.replace("\\", "\\\\").replace('"', '\\"') + '"'
