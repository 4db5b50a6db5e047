"""Metrics of a sweep that a program determined itself and stored with `tell`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

from resnet_factory.errors import ConfigError, Fault, shown
from resnet_factory.sweep.population import BASIC_COSTS, OPTIONAL_COSTS
from resnet_factory.sweep.store import StoredMeasurement, SweepStore
from resnet_factory.sweep.structure_numbers import is_structure_number, structure_number_name

TELL = "INSERT OR REPLACE INTO metrics VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


def tell_metrics(
    store: SweepStore, told: Mapping[str, Mapping[str, float | None]], note: str = "", key: str = "tell()"
) -> None:
    """Store numbers by plan id and metric; None is a metric that has no value. What was told is replaced.

    Raises:
        ConfigError: for every number that is none, every name that is taken, every architecture that the
            store has not, and every metric that the sweep measured itself.
    """
    names = dict.fromkeys(name for numbers in told.values() for name in numbers)
    dimensions = json.loads(store.run().get("dimensions", "[]"))
    sampled = {structure_number_name(key) for key, *_ in dimensions}
    faults = [Fault(key, message) for name in names if (message := _name_message(name, sampled))]
    if faults:
        raise ConfigError(faults)
    rows = []
    for plan, numbers in told.items():
        if next(store.candidates(plan), None) is None:
            faults.append(Fault(key, f"'{store.folder}' has no architecture {shown(plan)}"))
            continue
        known = {row.metric: row for row in store.measured(plan)}
        for name, value in numbers.items():
            if not _is_value(value):
                message = f"{name} of {plan} is a number, or None where it has no value; found {shown(value)}"
                faults.append(Fault(key, message))
            elif name in known and known[name].environment:
                message = f"{name} of {plan} was measured by the sweep, whose results are not replaced: "
                faults.append(Fault(key, f"{message}use another name"))
            else:
                state, number = ("not applicable", None) if value is None else ("ok", float(value))
                rows.append(StoredMeasurement(plan, name, state, number, None, None, note))
    if faults:
        raise ConfigError(faults)
    with store.transaction() as db:
        db.executemany(TELL, rows)


def _name_message(name: object, sampled: set[str]) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_]\w*", name):
        return f"{shown(name)} cannot be the name of a metric: letters, digits and _ only, no digit first"
    if name in (*BASIC_COSTS, *OPTIONAL_COSTS) or is_structure_number(name) or name in sampled:
        return f"{name!r} is already a number of every architecture; choose another name"
    return ""


def _is_value(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
