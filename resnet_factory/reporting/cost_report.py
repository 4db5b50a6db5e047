"""The public cost of a plan: its numbers as plain data, as a pandas frame and as HTML in notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from resnet_factory.costing import complexity
from resnet_factory.planning.models import Source, plan_of
from resnet_factory.reporting.columns import COLUMNS, Selection, report_rows, values
from resnet_factory.reporting.html import html_of_cost

if TYPE_CHECKING:
    import pandas


class CostReport(complexity.Cost):
    """The cost of one plan at one image size, with its numbers as data, frames and HTML."""

    def to_dict(
        self,
        depth: str = "stage",
        columns: Sequence[str] = (),
        *,
        sort: str | None = None,
        batch: int = 1,
        dtype: str = "float32",
    ) -> dict[str, list[Any]]:
        """Column name -> values, one per row at `depth`: `pandas.DataFrame(cost.to_dict("layer"))`.

        `columns` are those of `columns.COLUMNS`, all of them where none are named; `sort` is one of them,
        falling where written with a minus.

        Raises:
            ConfigError: an unknown depth, column or dtype.
        """
        chosen = Selection(depth, tuple(columns) or tuple(COLUMNS), sort, batch, dtype)
        return values(report_rows(self, chosen), chosen.columns)

    def to_frame(
        self,
        depth: str = "stage",
        columns: Sequence[str] = (),
        *,
        sort: str | None = None,
        batch: int = 1,
        dtype: str = "float32",
    ) -> pandas.DataFrame:
        """The columns of `to_dict` as a pandas frame.

        Raises:
            ImportError: pandas is not installed; nothing else here needs it.
            ConfigError: an unknown depth, column or dtype.
        """
        import pandas

        return pandas.DataFrame(self.to_dict(depth, columns, sort=sort, batch=batch, dtype=dtype))

    def _repr_html_(self) -> str:
        return html_of_cost(self)


def cost(plan: Source, image: tuple[int, int, int] | None = None) -> CostReport:
    """The cost of a plan for one image of shape (channels, height, width); of a model's name or config, too.

    Unless given, the image has the size that the network is meant for.

    Raises:
        ConfigError: the image does not fit the network: too small, or other channels.
        TypeError: `plan` is no network.
    """
    found = complexity.cost(plan_of(plan, "cost()"), image)
    return CostReport(found.plan, found.image, found.total, found.shape, found.sections)
