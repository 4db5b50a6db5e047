"""The explanation of a network: its arithmetic spelled out from the plan, for any configuration."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from resnet_factory.costing.complexity import Cost, compute_complexity
from resnet_factory.planning.models import Source, plan_of_model
from resnet_factory.reporting.explanation import blocks, shortcuts, warnings, whole_network
from resnet_factory.reporting.explanation.equations import EQUATION
from resnet_factory.reporting.explanation.layer_table import LayerRecords, collect_layer_table
from resnet_factory.reporting.tables import WIDEST, print_table_at_width, table_headline
from resnet_factory.reporting.wording import wording_for_dimensions


class ExplanationSection(NamedTuple):
    """A title and its sentences."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Explanation:
    """The explanation of a network, section by section. `str` gives it as plain text."""

    title: str
    sections: tuple[ExplanationSection, ...]

    def __str__(self) -> str:
        parts = [self.title]
        for title, lines in self.sections:
            parts.append("\n".join([title, *(f"  {line}" for line in lines)]))
        return "\n\n".join(parts) + "\n"

    def markdown(self) -> str:
        """Return the explanation with Markdown headings and lists."""
        parts = [f"## {self.title}"]
        for title, lines in self.sections:
            parts.append("\n".join([f"### {title}\n", *(f"- {line}" for line in lines)]))
        return "\n\n".join(parts) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """Return the explanation as plain data."""
        return {"title": self.title, "sections": {title: list(lines) for title, lines in self.sections}}

    def _repr_markdown_(self) -> str:
        return self.markdown()


FORMATS = ("text", "markdown", "json")

Explain = Callable[[Cost, LayerRecords], Iterator[str]]

WARNINGS = "Warnings"
SECTIONS: tuple[tuple[str, Explain], ...] = (
    ("The stem", whole_network.explain_network_stem),
    ("Filters", blocks.explain_block_filters),
    ("The stages", blocks.explain_blocks_of_stages),
    ("The shortcuts", shortcuts.explain_shortcuts),
    ("The depth", whole_network.explain_network_depth),
    ("Inside a block", blocks.explain_bottleneck_blocks),
    ("Resolution against width", blocks.explain_block_resolution),
    ("Groups", blocks.explain_block_groups),
    ("Gates", blocks.explain_block_gates),
    ("The head", whole_network.explain_network_head),
    ("Parameters and MACs by section", whole_network.explain_network_costs),
    ("Receptive field", whole_network.explain_network_receptive_field),
    ("Memory", whole_network.explain_network_memory),
    (WARNINGS, warnings.all_network_warnings),
)
"""The sections in order; an empty one is left out."""


def explain(plan: Source, image: tuple[int, ...] | None = None) -> Explanation:
    """Explain the arithmetic of a plan for one image of shape (channels, height, width), a side per axis.

    Takes a plan, a config or the name of a model. The default image size is the model's
    `image_size`.

    Raises:
        ConfigError: the image does not fit the network.
    """
    costed = compute_complexity(plan_of_model(plan, "explain()"), image)
    parts = collect_layer_table(costed)
    sections = []
    for title, explain in SECTIONS:
        if lines := tuple(wording_for_dimensions(line, costed.plan.dims) for line in explain(costed, parts)):
            sections.append(ExplanationSection(title, lines))
    return Explanation(table_headline(costed), tuple(sections))


def print_explanation(explanation: Explanation, out: Console, form: str = "text") -> None:
    """Print an explanation; on a terminal, wrapped and with highlighted equations."""
    if form == "markdown":
        out.file.write(explanation.markdown())
    elif form == "json":
        out.file.write(json.dumps(explanation.to_dict(), indent=2, ensure_ascii=False) + "\n")
    else:
        out.print(Text(explanation.title, style="bold"))
        for title, lines in explanation.sections:
            out.print()
            out.print(Text(title, style="bold yellow" if title == WARNINGS else "bold"))
            grid = Table.grid(padding=(0, 1))
            grid.add_column()
            grid.add_column(overflow="fold")
            for line in lines:
                text = Text(line)
                text.highlight_regex(EQUATION, style="cyan")
                grid.add_row(" ·", text)
            print_table_at_width(grid, out, min(out.width, WIDEST))
