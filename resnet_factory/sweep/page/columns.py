"""The columns of a page: one row for each architecture, whatever they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from resnet_factory.sweep.vector import Array

MOST_ROWS = 20_000
"""The rows of a page; of more architectures a part is shown."""


@dataclass(frozen=True, kw_only=True)
class PageColumn:
    """Numbers of one kind, or choices as indices of their names; NaN where unknown."""

    label: str
    values: Array
    names: Sequence[str] | None = None
    """Names of choices."""
    maximize: bool | None = None
    """Whether more is better; None for what is no metric."""

    @property
    def finite(self) -> Array:
        """Return the values that are known."""
        return self.values[np.isfinite(self.values)]

    @property
    def whole(self) -> bool:
        """Return whether all values are whole numbers."""
        return bool((self.finite == np.rint(self.finite)).all())

    @property
    def varies(self) -> bool:
        """Return whether there are two different values."""
        return bool(self.finite.size and np.ptp(self.finite) > 0)

    @property
    def logarithmic(self) -> bool:
        """Return whether its axis is logarithmic: the largest is more than ten times the smallest."""
        values = self.finite
        return bool(
            self.names is None and values.size and values.min() > 0 and values.max() > 10 * values.min()
        )

    @property
    def scaled(self) -> Array:
        """Return the known values where their axis has them: logarithms on a logarithmic one."""
        return np.log10(self.finite) if self.logarithmic else self.finite

    @property
    def format(self) -> str:
        """Return the format of its numbers in tables and hovers, in numeral.js's language."""
        most = np.abs(self.finite).max() if self.finite.size else 0
        if self.whole:
            return "0,0" if most >= 1e4 else "0"
        return "0.0000" if most < 100 else "0,0.00"

    def encoded(self) -> Array:
        """Return the values in the smallest type that holds them exactly, for the file to be small."""
        values = self.values
        if values.size and np.isfinite(values).all() and self.whole:
            for kind in (np.uint8, np.int16, np.int32):
                if np.iinfo(kind).min <= values.min() and values.max() <= np.iinfo(kind).max:
                    return values.astype(kind)
        single = values.astype(np.float32)
        return single if np.array_equal(single, values, equal_nan=True) else values.astype(float)

    def described(self) -> dict[str, Any]:
        """Return the description that scripts read."""
        return {
            "label": self.label,
            "log": self.logarithmic,
            "names": None if self.names is None else list(self.names),
            "more": self.maximize,
            "whole": self.whole,
        }


@dataclass(kw_only=True)
class PageColumnTable:
    """The rows of a page."""

    columns: dict[str, PageColumn]
    texts: dict[str, list[str]]
    """Columns of text: the table shows them and the search looks into them. The first names the row."""
    recipe: list[int]
    """The index of a row's recipe in `recipes`; -1 for none."""
    recipes: list[dict[str, Any]]
    """The fields of each structure's `architecture_texts.ArchitectureTexts`."""
    axes: tuple[str, str]
    """The columns that the scatter shows first."""
    colour: str
    """The column that colours the dots first."""
    group: str | None = None
    """The column by which distributions and fronts are told apart."""
    hidden: dict[str, Array] = field(default_factory=dict)
    """Numbers that recipes read and nothing shows; `number NAME` in the source."""

    def __len__(self) -> int:
        return len(self.recipe)

    def data(self) -> dict[str, Any]:
        """Return the columns of Bokeh's source."""
        columns = {name: column.encoded() for name, column in self.columns.items()}
        hidden = {
            f"number {name}": PageColumn(label=name, values=each).encoded()
            for name, each in self.hidden.items()
        }
        named = {
            f"{name} name": ["" if np.isnan(code) else column.names[int(code)] for code in column.values]
            for name, column in self.columns.items()
            if column.names is not None
        }
        return hidden | columns | self.texts | named | {"recipe": np.array(self.recipe, np.int32)}


def page_column_number(value: float) -> str:
    """Return a number in about five characters."""
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= unit:
            return f"{value / unit:.3g}{letter}"
    return f"{value:.3g}"
