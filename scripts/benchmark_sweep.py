"""Architectures per second: vectorised, one by one, in Hydra's multirun, and those that a sweep keeps."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

import resnet_factory as rf  # noqa: E402
from resnet_factory.sweep.population import CHUNK, Population, cost_population  # noqa: E402

PYCLS = 13_000
"""Random architectures a second by pycls's static formulas, measured on one core where the project began."""

ROUNDS = 3
"""The best one counts: what else the machine does only ever slows it down."""


def population(size: int, seed: int = 0) -> Population:
    """Random four-stage bottleneck networks: every stage its own depth and width."""
    random = np.random.default_rng(seed)
    columns = {f"depths.{stage}": random.integers(1, 17, size) for stage in range(4)}
    columns |= {f"widths.{stage}": random.integers(1, 65, size) * 8 for stage in range(4)}
    return Population(config=rf.compose("resnet50"), columns=columns)


def rate(count: int, seconds: float) -> float:
    return count / seconds


def kept_rate(wanted: int, sampler: str, workers: int) -> float:
    """Architectures a second that satisfy AnyNetX E, as a command stores and writes them."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "resnet_factory.cli", "sweep", "space=anynetx_e", f"architectures={wanted}",
            "max_samples=100000000", "report=false", f"sampler={sampler}", f"out={folder}/sweep",
        ]  # fmt: skip
        if workers > 1:
            command += ["executor=processes", f"executor.workers={workers}"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        start = time.perf_counter()
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
        return rate(wanted, time.perf_counter() - start)


def main() -> int:
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    whole = population(size)
    cost_population(whole.take(np.arange(CHUNK)))  # warm up
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        together = cost_population(whole)
        rounds.append(rate(size, time.perf_counter() - start))
    vectorised = max(rounds)

    few = min(size, 300)
    start = time.perf_counter()
    for member in range(few):
        plan = rf.plan(whole.member(member))
        found = rf.cost(plan)
        assert (found.params, found.macs, found.activations) == tuple(int(c[member]) for c in together[1:4])
    single = rate(few, time.perf_counter() - start)

    jobs = 20
    depths = ",".join(f"[{i},1,1,1]" for i in range(1, jobs + 1))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        times = []
        for what in ("model.depths=[1,1,1,1]", f"model.depths={depths}"):
            command = [
                sys.executable,
                "-m",
                "resnet_factory.cli",
                "describe",
                "-m",
                "model=resnet50",
                what,
            ]
            start = time.perf_counter()
            subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
            times.append(time.perf_counter() - start)
    hydra = rate(jobs - 1, max(times[1] - times[0], 1e-9))

    few_kept, many_kept = max(size // 20, 1000), max(size // 2, 1000)
    kept = [
        (sampler, wanted, workers, kept_rate(wanted, sampler, workers))
        for sampler, wanted in (("random", few_kept), ("conditional", many_kept))
        for workers in (1, 2)
    ]

    print("random four-stage bottleneck architectures: params, MACs and activations, one core")
    print(f"{'vectorised':<22}{vectorised:>14,.0f} a second   ({size:,} in chunks of {CHUNK:,})")
    print(f"{'one by one':<22}{single:>14,.0f} a second   ({few:,}; the same integers)")
    print(f"{'Hydra multirun':<22}{hydra:>14,.1f} a second   ({jobs} jobs, start-up not counted)")
    print(
        f"vectorised / one by one {vectorised / single:,.0f}; / multirun {vectorised / hydra:,.0f}; "
        f"/ pycls's {PYCLS:,} a second {vectorised / PYCLS:,.0f}"
    )
    print("AnyNetX E, 360e6 to 400e6 MACs: drawn, stored and written as CSV, with start-up")
    for sampler, wanted, workers, each in kept:
        name = f"{sampler}, processes: {workers}"
        print(f"{name:<26}{each:>10,.0f} a second   ({wanted:,}, {wanted / each:,.0f} s)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
