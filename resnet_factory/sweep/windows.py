"""Constraints of a space: intervals for costs, structure and measured metrics of an architecture."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from resnet_factory.errors import Fault, unknown
from resnet_factory.sweep.population import BASIC_COSTS, OPTIONAL_COSTS
from resnet_factory.sweep.relation import Relation
from resnet_factory.sweep.structure_numbers import is_structure_number

Windows = Mapping[str, tuple[float, float]]
"""Name -> the least and the most; infinite where there is no limit."""
COSTS = (*BASIC_COSTS, *OPTIONAL_COSTS)
"""Costs that a window may be set on."""


def read_windows(
    data: Any, numbers: Collection[str], measured: Sequence[str], faults: list[Fault]
) -> tuple[Windows, Windows]:
    """Read the constraints of a space: those on costs and on `numbers`, and those on `measured` metrics."""
    windows: dict[str, tuple[float, float]] = {}
    limits: dict[str, tuple[float, float]] = {}
    if not isinstance(data, Mapping):
        faults.append(Fault("space.constraints", f"expected cost: [low, high], found {data!r}"))
        return {}, {}
    for key, window in data.items():
        path = f"space.constraints.{key}"
        known = key in COSTS or key in numbers or is_structure_number(str(key))
        if not known and key not in measured:
            faults.append(Fault(path, unknown("cost", str(key), (*COSTS, *measured, *sorted(numbers)))))
        elif window is not None:
            if not (isinstance(window, list) and len(window) == 2 and all(map(_is_window_limit, window))):
                message = f"expected [low, high], null where there is no limit, found {window!r}"
                faults.append(Fault(path, message))
                continue
            low, high = (
                -math.inf if window[0] is None else window[0],
                math.inf if window[1] is None else window[1],
            )
            if low > high:
                faults.append(Fault(path, f"{low:g} is more than {high:g}"))
            (windows if known else limits)[str(key)] = (low, high)
    return windows, limits


def window_relations(windows: Windows) -> Iterator[Relation]:
    """Yield the windows on other numbers than costs as relations, each side one."""
    for key, (low, high) in windows.items():
        if key not in COSTS:
            for side, limit, window in (("below", low, (low, math.inf)), ("above", high, (-math.inf, high))):
                if math.isfinite(limit):
                    yield Relation(f"{key} {side} {format_window_limit(limit)}", key=key, window=window)


def format_window_limit(limit: float) -> str:
    """Return one end of a window as text."""
    return f"{limit:,.0f}" if limit == round(limit) else f"{limit:g}"


def _is_window_limit(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value is None or (number and not math.isnan(value))
