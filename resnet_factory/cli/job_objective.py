"""The objective of a job of a multirun, for sweepers that optimise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resnet_factory.config.objective import objective_names


class JobError(Exception):
    """Raised for a job that has no objective, so that the sweeper counts it as failed."""


def objective_of_row(row: Mapping[str, Any], asked: Any) -> float | tuple[float, ...] | None:
    """Return what `asked`, the value of `objective`, names of a job's row: one number, several, or None.

    Raises:
        JobError: the job failed, or has no such number.
    """
    names = objective_names(asked)
    if not names:
        return None
    if row["state"] != "ok":
        raise JobError(f"job {row['job']} {row['state']}: {row['error']}")
    if missing := [name for name in names if row.get(name, "") == ""]:
        raise JobError(f"job {row['job']} has no {missing[0]}")
    values = tuple(float(row[name]) for name in names)
    return values if len(values) > 1 else values[0]
