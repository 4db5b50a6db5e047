"""The parts of a page as HTML: library, data, and one element per view."""

from __future__ import annotations

from typing import Any

from bokeh.document import Document
from bokeh.embed import components
from bokeh.events import DocumentReady
from bokeh.resources import Resources
from markupsafe import Markup

from resnet_factory.sweep.page.columns import PageColumnTable
from resnet_factory.sweep.page.views import PageViews


def page_document_parts(table: PageColumnTable) -> dict[str, Any]:
    """Return the parts of a page: `library` and `script` as elements, and every view's element by name."""
    views = PageViews(table)
    roots: dict[str, Any] = {
        "x": views.scatter["x"], "y": views.scatter["y"], "colour": views.scatter["colour"],
        "scatter": views.scatter["plot"], "search": views.filters.search,
        "show_all": views.filters.clear,
        "column": views.column, "histogram": views.histogram, "edf": views.edf, "parallel": views.paths[0],
        "table": views.rows[0], "profile": views.profile,
    }  # fmt: skip
    for kind, widgets in (("ranges", views.filters.ranges), ("choices", views.filters.choices)):
        roots |= {f"{kind} {i}": widget for i, widget in enumerate(widgets.values())}
    document = Document()
    with document.models.freeze():  # or every root is followed by a walk over all models
        for root in roots.values():
            document.add_root(root)
    document.js_on_event(DocumentReady, views.rows[1])
    script, elements = components(roots)
    # MathJax, 1.8 MB, and the API for scripts of one's own are left out.
    resources = Resources(mode="inline", components=["bokeh", "bokeh-gl", "bokeh-widgets", "bokeh-tables"])
    filters = [name for name in elements if name.startswith(("ranges ", "choices "))]
    return {
        "library": Markup(resources.render_js()),  # noqa: S704 - Bokeh escapes what it embeds
        "script": Markup(script),  # noqa: S704
        "views": {name: Markup(text) for name, text in elements.items()},  # noqa: S704
        "filters": filters,
        "rows": len(table),
    }
