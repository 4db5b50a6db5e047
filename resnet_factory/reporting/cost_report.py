"""The public cost of a plan, with export to plain data, a pandas DataFrame and HTML in notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from resnet_factory.costing import complexity
from resnet_factory.planning.models import Source, plan_of_model
from resnet_factory.reporting.columns import ColumnSelection, column_values, report_columns, report_rows
from resnet_factory.reporting.html import html_of_cost

if TYPE_CHECKING:
    import pandas


class CostReport(complexity.Cost):
    """The cost of one plan at one image size, with export to plain data, DataFrame and HTML."""

    def to_dict(
        self,
        depth: str = "stage",
        columns: Sequence[str] = (),
        *,
        sort: str | None = None,
        batch: int = 1,
        dtype: str = "float32",
    ) -> dict[str, list[Any]]:
        """Return column name -> values, one per row at `depth`, as `pandas.DataFrame` takes them.

        `columns` are names of `columns.COLUMNS`, by default all that its maps have; `sort` is one of
        them, with a leading minus for descending order.

        Raises:
            ConfigError: an unknown depth, column or dtype.
        """
        chosen = ColumnSelection(depth, tuple(columns) or report_columns(self), sort, batch, dtype)
        return column_values(report_rows(self, chosen), chosen.columns)

    def to_frame(
        self,
        depth: str = "stage",
        columns: Sequence[str] = (),
        *,
        sort: str | None = None,
        batch: int = 1,
        dtype: str = "float32",
    ) -> pandas.DataFrame:
        """Return the columns of `to_dict` as a pandas DataFrame.

        Raises:
            ImportError: pandas is not installed; no other function needs it.
            ConfigError: an unknown depth, column or dtype.
        """
        import pandas

        return pandas.DataFrame(self.to_dict(depth, columns, sort=sort, batch=batch, dtype=dtype))

    def _repr_html_(self) -> str:
        return html_of_cost(self)


def cost(plan: Source, image: tuple[int, ...] | None = None) -> CostReport:
    """Return the cost of a plan, config or named model for one image of shape (channels, height, width), or
    with as many sides as the model's maps have axes.

    The default image size is the model's `image_size`.

    Raises:
        ConfigError: the image does not fit the network: it is too small, or has other channels.
        TypeError: `plan` is no network.
    """
    found = complexity.compute_complexity(plan_of_model(plan, "cost()"), image)
    return CostReport(found.plan, found.image, found.total, found.shape, found.sections)
