"""Latencies of several functions in one run: warm, in interleaved rounds, so that conditions are equal."""

from __future__ import annotations

import ctypes
import gc
import re
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

Run = Callable[[], object]
SHORTEST = 0.02
"""Seconds that one measurement takes at least; quicker functions are called several times in it."""
WARM = 2
"""Calls before the first measurement."""


@dataclass(frozen=True)
class Latency:
    """Seconds per call in each round."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and the last quartile of the rounds; of fewer than three, the minimum and the maximum."""
        if len(self.rounds) < 3:
            return min(self.rounds), max(self.rounds)
        low, _, high = statistics.quantiles(self.rounds, n=4)
        return max(low, min(self.rounds)), min(high, max(self.rounds))

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, relative to the median."""
        low, high = self.quartiles
        return (high - low) / 2 / self.median


def time_interleaved(
    runs: Sequence[Run], rounds: int, device: str = "cpu", shortest: float = SHORTEST
) -> list[Latency]:
    """Time each function once per round, in turn, after warming all of them up.

    A measurement is of as many calls as take `shortest` seconds together, at least one.
    """
    calls = [_calls_per_timing(run, device, shortest) for run in runs]
    seconds: list[list[float]] = [[] for _ in runs]
    enabled = gc.isenabled()
    gc.disable()
    try:
        for _ in range(rounds):
            for run, count, found in zip(runs, calls, seconds, strict=True):
                found.append(_time_calls(run, count, device))
    finally:
        if enabled:
            gc.enable()
    return [Latency(tuple(found)) for found in seconds]


def _calls_per_timing(run: Run, device: str, shortest: float) -> int:
    """Return how often a function is called in one measurement, after warming it up."""
    for _ in range(WARM):
        run()
    return max(1, round(shortest / max(_time_calls(run, 1, device), 1e-9)))


def _time_calls(run: Run, count: int, device: str) -> float:
    start = timing_clock(device)
    for _ in range(count):
        run()
    return (timing_clock(device) - start) / count


def timing_clock(device: str) -> float:
    """Return the time in seconds, after the device has finished all its work."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_memory_of_call(run: Run, device: str) -> int | None:
    """Return the peak memory of a call, in bytes above the memory in use before it; None if unknown.

    On a GPU, those of torch's allocator; on a CPU, the resident memory of the process, which Linux reports.
    """
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back, or the call would be served with it
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again
        before = _resident_memory("VmRSS")
        run()
        return max(_resident_memory("VmHWM") - before, 0)
    return None


def _resident_memory(what: str) -> int:
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise OSError(f"no {what}")
    return int(found[1]) * 1024


@dataclass(frozen=True)
class MachineLimits:
    """The largest rates that the machine reaches, measured."""

    macs: float
    """Multiply-adds per second of a large matrix product."""
    bytes: float
    """Bytes per second, read and written, of a copy that no cache holds."""


SIDE, SIDE_ON_CPU, SIDE_EMULATED = 8192, 1024, 384
"""Sides of the matrices whose product is timed; on CPUs, bfloat16 may be emulated, and slow."""
COPIED = 2**28
"""Bytes of the copied tensor."""


def measure_machine_limits(dtype: torch.dtype, device: str, rounds: int = 5) -> MachineLimits:
    """Measure the rate of matrix products in `dtype`, and the memory bandwidth; the best of the rounds."""
    side = SIDE_ON_CPU if dtype == torch.float32 else SIDE_EMULATED
    if device.startswith("cuda"):
        side = SIDE
    one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(one)
    source = torch.zeros(COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    with torch.no_grad():
        rate, copy = time_interleaved(
            [lambda: torch.mm(one, other, out=product), lambda: target.copy_(source)], rounds, device
        )
    return MachineLimits(side**3 / min(rate.rounds), 2 * COPIED / min(copy.rounds))
