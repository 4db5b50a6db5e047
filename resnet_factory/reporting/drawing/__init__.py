"""Pictures of a network from its plan: SVG for the eye, Mermaid for Markdown."""

from __future__ import annotations

from resnet_factory.costing.complexity import cost
from resnet_factory.errors import ConfigError, Fault, unknown
from resnet_factory.planning.models import Source, plan_of

FORMATS = ("svg", "mermaid")


class Svg(str):
    """An SVG document as text, which a notebook shows as a picture."""

    def _repr_svg_(self) -> str:
        return str(self)


def draw(plan: Source, image: tuple[int, int, int] | None = None, format: str = "svg") -> str:
    """A picture of a plan as text: a self-contained SVG document, or a Mermaid flowchart.

    The name of a model or its config stands for its plan. `image` is (channels, height,
    width); the size the network is meant for unless given.

    Raises:
        ConfigError: the image does not fit the network, or no such format is known.
    """
    if not isinstance(format, str) or format not in FORMATS:
        raise ConfigError([Fault("format", unknown("format", format, FORMATS))])
    costed = cost(plan_of(plan, "draw()"), image)
    if format == "mermaid":
        from resnet_factory.reporting.drawing.mermaid import flowchart

        return flowchart(costed)
    from resnet_factory.reporting.drawing.figure import draw_network

    return Svg(draw_network(costed))
