"""The same picture as a Mermaid flowchart, which Markdown viewers draw in their own light or dark colours."""

from __future__ import annotations

from resnet_factory.costing.complexity import Cost
from resnet_factory.layers import Layer
from resnet_factory.planning.nodes import Branches, Chain, Gate, Node, Residual, Select, join
from resnet_factory.reporting.drawing.labels import (
    caption,
    first_block,
    rest,
    shape_text,
    short,
    shortcut_look,
)

BOXES = {"weight": '["{}"]', "shape": '[/"{}"/]', "norm": '("{}")', "act": '("{}")', "other": '("{}")'}
"""How a layer of each role is framed."""
STYLES = """\
  classDef weight stroke:#2f6fd6,stroke-width:2px
  classDef shape stroke:#8257d0
  classDef act stroke:#c08a1e
  classDef other stroke:#2b8a4b"""
ACCENTS = {"identity": "#2f6fd6", "projection": "#d9691b"}
ARROWS = {"flow": "-->", "identity": "-.->", "projection": "==>", "beside": "~~~"}


def flowchart(cost: Cost) -> str:
    """Stem, stages and head from left to right; in each, one block's layers from top to bottom."""
    chart = _Chart()
    plan = cost.plan
    arrives: tuple[int, ...] = cost.image
    parts: list[tuple[str, Chain, str]] = [("", plan.stem, "")]
    parts += [(stage.name, first_block(stage), rest(stage)) for stage in plan.stages]
    parts += [("", plan.head, "")]
    for i, (row, (prefix, node, note)) in enumerate(zip(cost.sections, parts, strict=True)):
        if not node.children:
            continue
        heading = f"{row.name}: {row.depth} × {row.kind}" if row.kind else row.name
        chart.lines.append(f'  subgraph s{i}["{heading}"]')
        chart.lines.append("    direction TB")
        start = chart.node(f'(["{shape_text(arrives)}"])')
        end = chart.draw(node, prefix, start)
        arrives = row.shape
        end = chart.link(end, chart.node(f'(["{shape_text(arrives)}"])'))
        said = [*note.split(", "), f"{short(row.tally.params)} params", f"{short(row.tally.macs)} MACs"]
        chart.link(end, chart.node(f'["{"<br>".join(filter(None, said))}"]:::note'), "beside")
        chart.lines.append("  end")
        chart.sections.append(f"s{i}")
    name = plan.name or "network"
    title = f"{name}: {cost.params:,} parameters, {cost.macs:,} MACs, image {shape_text(cost.image)}"
    return "\n".join(["---", f"title: {_quoted(title)}", "---", "flowchart LR", *chart.text()]) + "\n"


class _Chart:
    """Nodes and links, numbered as they come."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.sections: list[str] = []
        self.nodes = 0
        self.links = 0
        self.accented: dict[str, list[int]] = {look: [] for look in ACCENTS}

    def text(self) -> list[str]:
        """Everything drawn, then the links between the sections, then the looks."""
        accents = [
            f"  linkStyle {','.join(map(str, links))} stroke:{ACCENTS[look]}"
            for look, links in self.accented.items()
            if links
        ]
        note = "  classDef note stroke-dasharray:3 3"
        return [*self.lines, f"  {' --> '.join(self.sections)}", STYLES, note, *accents]

    def node(self, shape: str) -> str:
        """A new node of a Mermaid shape; its id."""
        self.nodes += 1
        self.lines.append(f"    n{self.nodes}{shape}")
        return f"n{self.nodes}"

    def link(self, start: str, end: str, look: str = "flow") -> str:
        """Lead from one node to another; the id of the other."""
        if look in self.accented:
            self.accented[look].append(self.links)
        self.links += 1
        self.lines.append(f"    {start} {ARROWS[look]} {end}")
        return end

    def draw(self, node: Node, prefix: str, start: str, look: str = "flow") -> str:
        """Everything in `node` after the node `start`; the id of what comes last."""
        match node:
            case Layer():
                text = caption(node)
                return self.link(
                    start, self.node(f"{BOXES[text.role].format(text.text)}:::{text.role}"), look
                )
            case Chain(children=children):
                for name, child in children:
                    start = self.draw(child, join(prefix, name), start, look)
                return start
            case Residual(body=body, shortcut=shortcut):
                aside = "projection" if shortcut_look(shortcut) == "projection" else "identity"
                end = self.draw(body, prefix, start, look)
                beside = self.draw(shortcut, prefix, start, aside)
                joint = self.link(end, self.node('(("+"))'))
                return self.link(beside, joint, aside)
            case Gate(gate=gate):
                return self.weigh(gate, prefix, start, "×")
            case Select(gate=gate, parts=parts):
                return self.weigh(gate, prefix, start, "×" if parts == 1 else f"× and sum of {parts} parts")
            case Branches():
                return self.fan(node, prefix, start)
        raise AssertionError(node)

    def weigh(self, gate: Chain, prefix: str, start: str, sign: str) -> str:
        """What comes times what the gate makes of it."""
        joint = self.node(f'(("{sign}"))')
        self.link(start, joint)
        return self.link(self.draw(gate, prefix, start), joint)

    def fan(self, node: Branches, prefix: str, start: str) -> str:
        """Branches side by side; the first `linked` of them in a cascade."""
        if node.split:
            start = self.link(start, self.node(f'[/"split in {len(node.branches)}"/]:::shape'))
        joint = self.node('[/"concat"/]:::shape')
        before = ""
        for i, branch in enumerate(node.branches):
            entry = start
            if before and i < node.linked:
                entry = self.link(start, self.node('(("+"))'))
                self.link(before, entry)
            before = self.draw(branch, join(prefix, str(i)), entry)
            self.link(before, joint)
        return joint


def _quoted(title: str) -> str:
    return '"' + title.replace("\\", "\\\\").replace('"', '\\"') + '"'
