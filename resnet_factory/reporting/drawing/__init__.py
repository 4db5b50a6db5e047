"""Pictures of a network from its plan: SVG, or Mermaid for Markdown."""

from __future__ import annotations

from resnet_factory.costing.complexity import compute_complexity
from resnet_factory.errors import ConfigError, Fault, unknown
from resnet_factory.planning.models import Source, plan_of_model

FORMATS = ("svg", "mermaid")


class SvgDrawing(str):
    """An SVG document as text, which a notebook shows as a picture."""

    def _repr_svg_(self) -> str:
        return str(self)


def draw(plan: Source, image: tuple[int, ...] | None = None, format: str = "svg") -> str:
    """Return a picture of a plan as text: a self-contained SVG document, or a Mermaid flowchart.

    Takes a plan, a config or the name of a model. `image` is (channels, height, width); the default is the
    model's `image_size`.

    Raises:
        ConfigError: the image does not fit the network, or the format is unknown.
    """
    if not isinstance(format, str) or format not in FORMATS:
        raise ConfigError([Fault("format", unknown("format", format, FORMATS))])
    costed = compute_complexity(plan_of_model(plan, "draw()"), image)
    if format == "mermaid":
        from resnet_factory.reporting.drawing.mermaid import mermaid_flowchart

        return mermaid_flowchart(costed)
    from resnet_factory.reporting.drawing.figure import draw_network_figure

    return SvgDrawing(draw_network_figure(costed))
