"""The benchmark command: latencies of networks in several runtimes, as a table and CSV."""

from __future__ import annotations

import csv
import io
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from resnet_factory.cli.costs import cost_of_composed
from resnet_factory.config.composition import Composed, compose_all, take_jobs_to_compose
from resnet_factory.config.file_access import CSV, output_file_faults, write_whole_file
from resnet_factory.errors import ConfigError, Fault, found, unknown
from resnet_factory.planning.planner import run_planner
from resnet_factory.reporting import tables

if TYPE_CHECKING:
    from resnet_factory.network.runtimes.benchmark import BenchmarkCase, BenchmarkTiming, StageBenchmark

RUNTIMES = ("eager", "folded", "compile", "onnxruntime", "openvino")
EXPORTED = RUNTIMES[3:]
DTYPES = ("float32", "bfloat16")
SHARED = ("device", "rounds", "threads", "by", "file")
"""Keys that are the same for all that is measured."""
COLUMNS = (
    "model", "runtime", "dtype", "batch", "image", "milliseconds", "spread", "images_per_second",
    "peak_megabytes", "matrix_share", "bandwidth_share",
)  # fmt: skip


def benchmark_command(words: Sequence[str], config_dir: str | None) -> int:
    """Time every combination of the values given, in interleaved rounds of one run, and print a table."""
    composed = [
        compose_all("benchmark", job, config_dir, check=benchmark_command_faults, verify=run_planner)
        for job in take_jobs_to_compose(words, config_dir)
    ]
    if faults := _benchmark_shared_faults(composed):
        raise ConfigError(faults)
    first, cases = composed[0].data, [_benchmark_case_of(each) for each in composed]
    from resnet_factory.network.runtimes import benchmark as runtime

    options = {"device": first["device"], "rounds": first["rounds"], "threads": first["threads"]}
    out = tables.table_console()
    if first["by"] == "stage":
        for case in cases:
            out.print(_benchmark_stage_table(case, runtime.benchmark_by_stage(case, **options)))
        return 0
    timings = runtime.measure_benchmark(cases, **options)
    out.print(_benchmark_table(timings))
    rate, bandwidth = timings[0].limits.macs, timings[0].limits.bytes
    machine = f"{platform.processor() or platform.machine()}, torch {version('torch')}"
    out.print(
        f"limits in {timings[0].case.dtype}: {rate / 1e9:,.0f} G MACs/s of a matrix product, "
        f"{bandwidth / 1e9:,.1f} GB/s of a copy; {machine}",
        markup=False,
    )
    if first["file"] is not None:
        write_whole_file(Path(first["file"]).expanduser(), _benchmark_csv(timings))
    return 0


def _benchmark_case_of(composed: Composed) -> BenchmarkCase:
    """Return what a composed configuration asks to be timed."""
    from resnet_factory.network.runtimes.benchmark import BenchmarkCase

    costed, data = cost_of_composed(composed), composed.data
    return BenchmarkCase(costed.plan, data["runtime"], data["dtype"], data["batch"], costed.image)


def benchmark_command_faults(data: Mapping[str, Any]) -> list[Fault]:
    """Return the faults of the keys of `benchmark`."""
    faults = []
    for key, known in (("runtime", RUNTIMES), ("dtype", DTYPES), ("by", ("network", "stage"))):
        if data[key] not in known:
            faults.append(Fault(key, unknown(key, data[key], known)))
    for key in ("batch", "rounds", "threads"):
        value = data[key]
        if not (isinstance(value, int) and value > 0 and value is not True) and (
            key != "threads" or value is not None
        ):
            faults.append(Fault(key, f"expected a whole number from 1 on, found {found(value)}"))
    if not isinstance(data["device"], str):
        faults.append(Fault("device", f"expected a name, as cpu or cuda, found {found(data['device'])}"))
    elif data["runtime"] in EXPORTED:
        if data["device"] != "cpu":
            faults.append(Fault("device", f"{data['runtime']} runs on the CPU here; device=cpu"))
        if data["dtype"] != "float32":
            faults.append(Fault("dtype", f"{data['runtime']} runs in single precision here; dtype=float32"))
    if data["by"] == "stage" and data["runtime"] not in RUNTIMES[:2]:
        faults.append(Fault("by", "stages are timed in eager mode: runtime=eager or runtime=folded"))
    if data["file"] is not None:
        faults += output_file_faults(str(data["file"]), "file", CSV)
    return faults or _benchmark_machine_faults(data)


def _benchmark_machine_faults(data: Mapping[str, Any]) -> list[Fault]:
    """Return the faults of what this machine lacks."""
    from resnet_factory.network.runtimes.packages import runtime_device_faults, runtime_package_faults

    return runtime_package_faults(data["runtime"], "runtime") + runtime_device_faults(
        data["device"], "device"
    )


def _benchmark_shared_faults(composed: Sequence[Composed]) -> list[Fault]:
    """Return the faults of keys that have several values, but are the same for all that is measured."""
    faults = []
    for key in SHARED:
        if len({str(each.data[key]) for each in composed}) > 1:
            faults.append(Fault(key, "one value holds for all that is measured", f"command line '{key}=…'"))
    return faults


def _benchmark_figures(timing: BenchmarkTiming) -> dict[str, Any]:
    case, size = timing.case, "x".join(map(str, timing.case.image))
    memory = None if timing.memory is None else timing.memory / 1e6
    values = (
        case.plan.name, case.runtime, case.dtype, case.batch, size, timing.latency.median * 1e3,
        timing.latency.spread, timing.images, memory, timing.matrix_share, timing.bandwidth_share,
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def _benchmark_table(timings: Sequence[BenchmarkTiming]) -> Table:
    table = Table(title="Latency: median of interleaved rounds", title_justify="left")
    for name in ("model", "runtime", "dtype"):
        table.add_column(name)
    for name in ("batch", "ms", "±", "images/s", "peak MB", "of matrix rate", "of bandwidth"):
        table.add_column(name, justify="right")
    for timing in timings:
        row = _benchmark_figures(timing)
        memory = row["peak_megabytes"]
        table.add_row(
            row["model"],
            row["runtime"],
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


def _benchmark_stage_table(case: BenchmarkCase, parts: Sequence[StageBenchmark]) -> Table:
    title = f"{case.plan.name}, {case.runtime}, {case.dtype}, batch {case.batch}"
    table = Table(title=title, title_justify="left")
    table.add_column("part")
    for name in ("ms", "of the time", "of the MACs", "G MACs/s"):
        table.add_column(name, justify="right")
    seconds, macs = sum(part.latency.median for part in parts), sum(part.macs for part in parts)
    for part in parts:
        median = part.latency.median
        rate = f"{part.macs / median / 1e9:,.1f}" if median else ""
        shares = f"{median / seconds:.0%}", f"{part.macs / macs:.0%}" if macs else ""
        table.add_row(part.name, f"{median * 1e3:,.2f}", *shares, rate)
    return table


def _benchmark_csv(timings: Sequence[BenchmarkTiming]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_benchmark_figures(timing) for timing in timings)
    return stream.getvalue()
