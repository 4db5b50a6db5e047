"""Scripts of a page, for what Bokeh does not provide. Beside them, the colours and widths of all views."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

PALE, WARM, MUTED = "#8fa3b8", "#e8590c", "#7b8794"
STRETCH: dict[str, Any] = {"sizing_mode": "stretch_width"}


@cache
def script(name: str) -> str:
    """Return the text of a script."""
    return (files("resnet_factory.sweep.page.scripts") / name).read_text(encoding="utf-8")
