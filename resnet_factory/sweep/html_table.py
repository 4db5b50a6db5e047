"""Tables of a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class HtmlTable(NamedTuple):
    """A table; text between backticks is code."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: Sequence[bool]
    """Mask of the columns that are aligned to the left."""
