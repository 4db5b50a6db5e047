"""The benchmark command: latencies of networks in several runtimes, as a table, CSV and a picture."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_factory.cli import benchmark_tables
from resnet_factory.cli.costs import cost_of_composed
from resnet_factory.config.composition import Composed, compose_all, take_jobs_to_compose
from resnet_factory.config.file_access import CSV, SVG, FileKind, output_file_faults, write_whole_file
from resnet_factory.errors import ConfigError, Fault, found, install_hint, one_of, unknown
from resnet_factory.network.runtimes.choices import (
    DTYPES,
    EAGER,
    FOLDED,
    INFERENCE,
    RUNTIMES,
    STEPS,
    TRAINED_RUNTIMES,
    TRAINING,
    runtime_faults,
)
from resnet_factory.network.runtimes.packages import runtime_device_faults, runtime_package_faults
from resnet_factory.planning.planner import run_planner
from resnet_factory.reporting import tables

if TYPE_CHECKING:
    from resnet_factory.network.runtimes.benchmark import BenchmarkCase

PARTS = ("stage", "block")
SHARED = ("device", "rounds", "threads", "by", "file")
"""Keys that are the same for all measurements."""
WRITTEN: dict[str, FileKind] = {".csv": CSV, ".svg": SVG}
Texts = Mapping[str, Callable[[], str]]
"""Ending of a file -> the function that returns its text."""


def benchmark_command(words: Sequence[str], config_dir: str | None) -> int:
    """Time every combination of the values given, in interleaved rounds of one run, and print a table."""
    composed = [
        compose_all("benchmark", job, config_dir, check=benchmark_command_faults, verify=run_planner)
        for job in take_jobs_to_compose(words, config_dir)
    ]
    if faults := _benchmark_shared_faults(composed):
        raise ConfigError(faults)
    first, cases = composed[0].data, [_benchmark_case_of(each) for each in composed]
    shared = {key: first[key] for key in ("device", "rounds", "threads")}
    with composed[0].locating():
        by = first["by"]
        texts = _measure_parts(cases, by, shared) if by in PARTS else _measure_whole(cases, shared)
    if first["file"] is not None:
        file = Path(first["file"]).expanduser()
        write_whole_file(file, texts[file.suffix.lower()]())
    return 0


def _measure_whole(cases: Sequence[BenchmarkCase], shared: Mapping[str, Any]) -> Texts:
    """Time whole networks and print the table; return its texts for files."""
    from resnet_factory.network.runtimes.benchmark import measure_benchmark

    timings, out = measure_benchmark(cases, **shared), tables.table_console()
    out.print(benchmark_tables.timing_table(timings))
    machine = f"{platform.processor() or platform.machine()}, torch {version('torch')}"
    for dtype, limits in {timing.case.dtype: timing.limits for timing in timings}.items():
        out.print(
            f"limits in {dtype}: {limits.macs / 1e9:,.0f} G MACs/s of a matrix product, "
            f"{limits.bytes / 1e9:,.1f} GB/s of a copy; {machine}",
            markup=False,
        )
    return {
        ".csv": partial(benchmark_tables.timing_csv, timings),
        ".svg": partial(benchmark_tables.timing_svg, timings),
    }


def _measure_parts(cases: Sequence[BenchmarkCase], by: str, shared: Mapping[str, Any]) -> Texts:
    """Time the parts of networks and print their tables; return their texts for files."""
    from resnet_factory.network.runtimes.parts_timing import measure_parts

    measured = []
    for case in cases:
        parts = measure_parts(case, by, **shared)
        measured.append((case, parts))
        tables.table_console().print(benchmark_tables.parts_table(case, parts))
    return {
        ".csv": partial(benchmark_tables.parts_csv, measured),
        ".svg": partial(benchmark_tables.parts_svg, measured),
    }


def _benchmark_case_of(composed: Composed) -> BenchmarkCase:
    """Return the benchmark case of a composed configuration."""
    from resnet_factory.network.runtimes.benchmark import BenchmarkCase

    costed, data = cost_of_composed(composed), composed.data
    return BenchmarkCase(
        costed.plan, data["runtime"], data["dtype"], data["batch"], costed.image, data["step"]
    )


def benchmark_command_faults(data: Mapping[str, Any]) -> list[Fault]:
    """Return the faults of the keys of `benchmark`, missing packages and devices included."""
    faults = []
    words = {"runtime": RUNTIMES, "dtype": DTYPES, "step": STEPS, "by": ("network", *PARTS)}
    for key, known in words.items():
        if data[key] not in known:
            faults.append(Fault(key, unknown("part" if key == "by" else key, data[key], known)))
    for key in ("batch", "rounds", "threads"):
        value = data[key]
        if not (isinstance(value, int) and value > 0 and value is not True) and (
            key != "threads" or value is not None
        ):
            faults.append(Fault(key, f"expected a whole number of at least 1, found {found(value)}"))
    device, runtime = data["device"], data["runtime"]
    if not isinstance(device, str):
        faults.append(Fault("device", f"expected a name, as cpu or cuda, found {found(device)}"))
    elif wrong := runtime_faults(runtime, device, data["dtype"], "device", "dtype"):
        faults += wrong
    else:
        faults += runtime_device_faults(device, "device")
    if data["by"] in PARTS and runtime in RUNTIMES and runtime not in (EAGER, FOLDED):
        message = f"{data['by']}s are timed in eager mode only: use runtime={EAGER} or runtime={FOLDED}"
        faults.append(Fault("by", message))
    if data["step"] == TRAINING:
        if data["by"] in PARTS:
            faults.append(Fault("by", f"{data['by']}s are timed at inference only: use step={INFERENCE}"))
        if runtime in RUNTIMES and runtime not in TRAINED_RUNTIMES:
            message = f"{runtime!r} runs inference only; step={TRAINING} takes {one_of(TRAINED_RUNTIMES)}"
            faults.append(Fault("runtime", message))
    if data["file"] is not None:
        faults += _file_faults(str(data["file"]))
    return faults + (runtime_package_faults(runtime, "runtime") if runtime in RUNTIMES else [])


def _file_faults(file: str) -> list[Fault]:
    """Return the faults of the output file, whose suffix selects a table or a picture."""
    ending = Path(file).suffix.lower()
    if ending not in WRITTEN:
        return [Fault("file", f"'{file}' does not end in {one_of(WRITTEN)}, as tables and pictures do")]
    if ending == ".svg" and find_spec("matplotlib") is None:
        return [Fault("file", f"pictures need matplotlib; {install_hint('sweep')}, or file=NAME.csv")]
    return output_file_faults(file, "file", WRITTEN[ending])


def _benchmark_shared_faults(composed: Sequence[Composed]) -> list[Fault]:
    """Return the faults of keys with several values that must be the same for all measurements."""
    faults = []
    for key in SHARED:
        if len({str(each.data[key]) for each in composed}) > 1:
            faults.append(
                Fault(
                    key, "expected one value for all measurements, found several", f"command line '{key}=…'"
                )
            )
    return faults
