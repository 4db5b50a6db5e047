"""Tables of benchmarks: latencies of networks, or of the parts of one, as text, CSV and pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from resnet_factory.layers import axes_text

if TYPE_CHECKING:
    from resnet_factory.network.runtimes.benchmark import BenchmarkCase, BenchmarkTiming
    from resnet_factory.network.runtimes.parts_timing import TimedPart

COLUMNS = (
    "model", "runtime", "step", "dtype", "batch", "image", "milliseconds", "spread", "images_per_second",
    "peak_megabytes", "matrix_share", "bandwidth_share",
)  # fmt: skip
PART_COLUMNS = ("model", "runtime", "dtype", "batch", "image", "part", "milliseconds", "spread", "macs")
Parts = Sequence[tuple["BenchmarkCase", Sequence["TimedPart"]]]


def timing_figures(timing: BenchmarkTiming) -> dict[str, Any]:
    """Return the row of a timing, by column."""
    case, size = timing.case, axes_text(timing.case.image)
    memory = None if timing.memory is None else timing.memory / 1e6
    values = (
        case.plan.name, case.runtime, case.step, case.dtype, case.batch, size, timing.latency.median * 1e3,
        timing.latency.spread, timing.images, memory, timing.matrix_share, timing.bandwidth_share,
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def timing_table(timings: Sequence[BenchmarkTiming]) -> Table:
    """Return a table of latencies, with their shares of the machine's limits."""
    table = Table(title="Latency: median of interleaved rounds", title_justify="left")
    for name in ("model", "runtime", "step", "dtype"):
        table.add_column(name)
    for name in ("batch", "ms", "±", "images/s", "peak MB", "of matrix rate", "of bandwidth"):
        table.add_column(name, justify="right")
    for timing in timings:
        row = timing_figures(timing)
        memory = row["peak_megabytes"]
        table.add_row(
            row["model"],
            row["runtime"],
            row["step"],
            row["dtype"],
            str(row["batch"]),
            f"{row['milliseconds']:,.2f}",
            f"{row['spread']:.0%}",
            f"{row['images_per_second']:,.1f}",
            "" if memory is None else f"{memory:,.0f}",
            f"{row['matrix_share']:.0%}",
            f"{row['bandwidth_share']:.0%}",
        )
    return table


def parts_title(case: BenchmarkCase) -> str:
    """Return the name of a network and how it was run."""
    return f"{case.plan.name}, {case.runtime}, {case.dtype}, batch {case.batch}"


def parts_shares(parts: Sequence[TimedPart]) -> list[tuple[str, float, float]]:
    """Return the name, the share of the time and the share of the multiply-adds of each part."""
    seconds, macs = sum(part.latency.median for part in parts), sum(part.macs for part in parts)
    return [(part.name, part.latency.median / seconds, part.macs / macs if macs else 0.0) for part in parts]


def parts_table(case: BenchmarkCase, parts: Sequence[TimedPart]) -> Table:
    """Return a table of the parts of one network: their time beside their multiply-adds."""
    table = Table(title=parts_title(case), title_justify="left")
    table.add_column("part")
    for name in ("ms", "±", "of the time", "of the MACs", "G MACs/s"):
        table.add_column(name, justify="right")
    for part, (name, time, macs) in zip(parts, parts_shares(parts), strict=True):
        median = part.latency.median
        rate = f"{part.macs / median / 1e9:,.1f}" if median > 0 else ""
        table.add_row(
            name, f"{median * 1e3:,.2f}", f"{part.latency.spread:.0%}", f"{time:.0%}", f"{macs:.0%}", rate
        )
    return table


def timing_csv(timings: Sequence[BenchmarkTiming]) -> str:
    """Return latencies as CSV."""
    return _csv(COLUMNS, map(timing_figures, timings))


def parts_csv(measured: Parts) -> str:
    """Return the parts of networks as CSV."""
    rows = []
    for case, parts in measured:
        known = case.plan.name, case.runtime, case.dtype, case.batch, axes_text(case.image)
        for part in parts:
            latency = part.latency
            values = (*known, part.name, latency.median * 1e3, latency.spread, part.macs)
            rows.append(dict(zip(PART_COLUMNS, values, strict=True)))
    return _csv(PART_COLUMNS, rows)


def _csv(columns: Sequence[str], rows: Any) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def timing_svg(timings: Sequence[BenchmarkTiming]) -> str:
    """Return latencies against the batch as a picture; lines are told apart by what differs between them."""
    from resnet_factory.sweep.latency_figures import LatencyPoint, latency_svg

    rows = [timing_figures(timing) for timing in timings]
    keys = ("model", "runtime", "step", "dtype", "image")
    telling = [key for key in keys if len({row[key] for row in rows}) > 1] or ["model", "runtime"]
    points = []
    for row, timing in zip(rows, timings, strict=True):
        low, high = timing.latency.quartiles
        label = " ".join(str(row[key]) for key in telling)
        points.append(LatencyPoint(label, row["batch"], row["milliseconds"], low * 1e3, high * 1e3))
    return latency_svg(points)


def parts_svg(measured: Parts) -> str:
    """Return the shares of the parts of networks as a picture."""
    from resnet_factory.sweep.latency_figures import part_shares_svg

    shares: Mapping[str, list[tuple[str, float, float]]] = {
        parts_title(case): parts_shares(parts) for case, parts in measured
    }
    return part_shares_svg(shares)
