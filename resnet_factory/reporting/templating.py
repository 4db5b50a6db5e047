"""The one Jinja environment of all reports and notebook tables; what is written into HTML is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


def render_template(template: str, context: Mapping[str, object]) -> str:
    """Return a template of `reporting/templates` filled in."""
    return _template_environment().get_template(f"{template}.jinja").render(context)


@cache
def _template_environment() -> Environment:
    return Environment(
        loader=PackageLoader("resnet_factory.reporting"),
        autoescape=select_autoescape(enabled_extensions=("html.jinja",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
