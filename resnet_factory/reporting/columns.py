"""The columns that a report can show for each network, stage, block or layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from resnet_factory.costing.complexity import Cost
from resnet_factory.costing.memory import MemoryUse, memory_faults
from resnet_factory.costing.node_costs import NodeCostRow
from resnet_factory.costing.receptive_field import Field, ReceptiveField
from resnet_factory.errors import ConfigError, Fault, unknown
from resnet_factory.layers import Axes, per_axis
from resnet_factory.reporting.wording import AXES, axes_number_wording

DEPTHS = ("network", "stage", "block", "layer")


class ReportRow(NamedTuple):
    """All data of one row."""

    cost: Cost
    row: NodeCostRow
    seen: Field
    use: MemoryUse


class ReportColumn(NamedTuple):
    """One column: its heading, what it means, and its value in a row."""

    heading: str
    meaning: str
    value: Callable[[ReportRow], Any]
    """A number, a text, a shape, or None if it does not apply."""
    kind: str = "number"
    """The display format: text, number, share (of 1), bytes, shape, or axes (one number, or one per axis)."""

    def text(self, entry: ReportRow) -> str:
        """Return its formatted value in a row."""
        value = self.value(entry)
        if value is None:
            return ""
        if self.kind == "shape":
            return shape_text(value)
        if self.kind == "share":
            return f"{100 * value:.1f} %"
        if self.kind == "bytes":
            return bytes_text(value)
        if self.kind == "text":
            return str(value)
        if self.kind == "axes":
            return axes_number_wording(value)
        return f"{value:.4g}" if isinstance(value, float) else f"{value:,}"


def _column_of_receptive_field(read: Callable[[ReceptiveField], Axes]) -> Callable[[ReportRow], Axes | None]:
    return lambda entry: read(entry.seen) if entry.seen is not None else None


def _column_of_map_side(axis: str) -> Callable[[ReportRow], int | None]:
    """Return the function that gives a map's side by the name of its axis, which other maps lack."""

    def side(entry: ReportRow) -> int | None:
        sides = dict(zip(AXES[entry.cost.plan.dims], entry.row.shape[1:], strict=False))
        return sides.get(axis)

    return side


def _column_share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


COLUMNS = {
    "name": ReportColumn("name", "dotted, as in the state dict", lambda e: e.row.name, "text"),
    "kind": ReportColumn(
        "kind", "the recipe of the block, or the type of the layer", lambda e: e.row.kind, "text"
    ),
    "depth": ReportColumn("depth", "blocks", lambda e: e.row.depth if e.row.kind else None),
    "output": ReportColumn("output", "output shape, for one image", lambda e: e.row.shape, "shape"),
    "channels": ReportColumn("channels", "output channels", lambda e: e.row.shape[0]),
    "length": ReportColumn(
        "length", "length of the output map, in 1 dimension", _column_of_map_side("length")
    ),
    "map_depth": ReportColumn(
        "map depth", "depth of the output map, in 3 dimensions", _column_of_map_side("depth")
    ),
    "height": ReportColumn("height", "height of the output map", _column_of_map_side("height")),
    "width": ReportColumn("width", "width of the output map", _column_of_map_side("width")),
    "params": ReportColumn("params", "trainable parameters", lambda e: e.row.tally.params),
    "params_share": ReportColumn(
        "share",
        "share of all parameters",
        lambda e: _column_share(e.row.tally.params, e.cost.params),
        "share",
    ),
    "macs": ReportColumn(
        "MACs",
        "for one image, one per multiply-add of convolution and linear layers, without biases; norm, "
        "activation and pooling layers count 0",
        lambda e: e.row.tally.macs,
    ),
    "macs_share": ReportColumn(
        "share", "share of all MACs", lambda e: _column_share(e.row.tally.macs, e.cost.macs), "share"
    ),
    "activations": ReportColumn(
        "activations",
        "elements that convolution and linear layers output, for one image",
        lambda e: e.row.tally.activations,
    ),
    "receptive_field": ReportColumn(
        "RF",
        "receptive field of a position of the map: pixels along one axis, through the convolutions; gates "
        "that pool the whole map are left out",
        _column_of_receptive_field(lambda s: s.size),
        "axes",
    ),
    "stride": ReportColumn(
        "stride",
        "pixels between the receptive fields of neighbouring positions",
        _column_of_receptive_field(lambda s: s.stride),
        "axes",
    ),
    "padding": ReportColumn(
        "padding",
        "pixels by which the receptive field of the first position extends beyond the image",
        _column_of_receptive_field(lambda s: s.before),
        "axes",
    ),
    "weights": ReportColumn("weights", "bytes of parameters and buffers", lambda e: e.use.weights, "bytes"),
    "alive": ReportColumn(
        "alive",
        "peak bytes of feature maps in the whole network while this runs, in inference",
        lambda e: e.use.alive,
        "bytes",
    ),
    "kept": ReportColumn(
        "kept",
        "bytes of its outputs that training saves for the backward pass",
        lambda e: e.use.kept,
        "bytes",
    ),
}

SIDES = {"length": "length", "map_depth": "depth", "height": "height", "width": "width"}
"""Columns of the sides of a map -> the name of the axis; each network has those of its dimensions."""

HEADINGS = {
    "network": {"name": "model", "kind": "blocks of"},
    "stage": {"name": "stage", "kind": "block"},
    "block": {"name": "block", "kind": "recipe"},
    "layer": {"name": "layer", "kind": "operation"},
}
"""Headings that depend on the depth."""

DEFAULT = {
    "network": ("name", "depth", "output", "params", "macs", "activations", "receptive_field", "stride"),
    "stage": (
        "name", "kind", "depth", "output", "params", "params_share", "macs", "macs_share", "receptive_field",
    ),
    "block": ("name", "kind", "output", "params", "params_share", "macs", "macs_share", "receptive_field"),
    "layer": ("name", "kind", "output", "params", "macs", "receptive_field"),
}  # fmt: skip
"""The default columns, by depth."""


class ColumnSelection(NamedTuple):
    """The rows and columns of a report, their order, and the number and dtype of images."""

    depth: str = "stage"
    columns: tuple[str, ...] = ()
    """Empty: the columns of `DEFAULT`."""
    sort: str | None = None
    """A column to sort by, descending with a leading minus; None: in the order of the data flow."""
    batch: int = 1
    dtype: str = "float32"

    def heading(self, column: str) -> str:
        """Return the heading of a column."""
        return HEADINGS[self.depth].get(column, COLUMNS[column].heading)

    def checked(self) -> ColumnSelection:
        """Return this selection with its default columns filled in.

        Raises:
            ConfigError: an unknown depth, column or dtype, or no images.
        """
        faults = []
        if self.depth not in DEPTHS:
            faults.append(Fault("depth", unknown("depth", self.depth, DEPTHS)))
        for i, name in enumerate(self.columns):
            if not isinstance(name, str) or name not in COLUMNS:
                faults.append(Fault(f"columns.{i}", unknown("column", name, COLUMNS)))
        by = self.sort.removeprefix("-") if isinstance(self.sort, str) else self.sort
        if by is not None and (not isinstance(by, str) or by not in COLUMNS):
            faults.append(Fault("sort", unknown("column", by, COLUMNS)))
        faults += memory_faults(self.batch, self.dtype)
        if faults:
            raise ConfigError(faults)
        return self._replace(columns=self.columns or DEFAULT[self.depth])


def report_rows(cost: Cost, selection: ColumnSelection) -> list[ReportRow]:
    """Return the rows of a report in display order.

    Raises:
        ConfigError: an unknown depth, column or dtype.
    """
    selection = selection.checked()
    rows = cost.rows(selection.depth)
    if not cost.plan.head.children and selection.depth in ("stage", "block"):
        rows = rows[:-1]  # a backbone has no head
    found = [_report_row(cost, row, selection) for row in rows]
    if selection.sort:
        by = COLUMNS[selection.sort.removeprefix("-")]
        found.sort(key=lambda entry: _column_sort_key(by, entry), reverse=selection.sort.startswith("-"))
    return found


def report_columns(cost: Cost) -> tuple[str, ...]:
    """Return all columns that a network's maps have: the sides of other dimensions are left out."""
    own = AXES[cost.plan.dims]
    return tuple(name for name in COLUMNS if SIDES.get(name, own[0]) in own)


def column_total(cost: Cost, selection: ColumnSelection) -> ReportRow:
    """Return the whole network as one row."""
    return _report_row(
        cost, cost.rows("network")[0]._replace(name="total"), selection._replace(depth="network")
    )


def column_values(found: Sequence[ReportRow], columns: Sequence[str]) -> dict[str, list[Any]]:
    """Return a dictionary of column name -> plain values, as `pandas.DataFrame` takes it."""
    return {name: [COLUMNS[name].value(entry) for entry in found] for name in columns}


def _report_row(cost: Cost, row: NodeCostRow, selection: ColumnSelection) -> ReportRow:
    memory = cost.memory(selection.batch, selection.dtype)
    fields = cost.receptive_fields
    if selection.depth == "network":
        use = MemoryUse(memory.weights, memory.inference, memory.kept)
        return ReportRow(cost, row, fields.last, use)
    found = {"stage": fields.sections, "block": fields.blocks, "layer": fields.layers}
    use = memory.uses.get((selection.depth, row.name), MemoryUse(0, 0, 0))
    return ReportRow(cost, row, found[selection.depth].get(row.name), use)


def _column_sort_key(column: ReportColumn, entry: ReportRow) -> tuple[bool, Any]:
    """Return the key of a row; numbers per axis are compared from the largest on."""
    value = column.value(entry)
    if value is not None and column.kind == "axes":
        value = sorted(per_axis(value, entry.cost.plan.dims), reverse=True)
    return value is not None, 0 if value is None else value


def shape_text(shape: tuple[int, ...]) -> str:
    """Return a shape as `64x112x112`."""
    return "x".join(map(str, shape))


def bytes_text(size: int) -> str:
    """Return a number of bytes as `97.7 MiB`."""
    if size < 1024:
        return f"{size} B"
    power = min((size.bit_length() - 1) // 10, 4)
    return f"{size / 1024**power:,.1f} {' KMGT'[power]}iB"
