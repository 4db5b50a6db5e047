"""Metrics of your own: registered by a program, or by an installed package under an entry point.

A package's metrics are found by the group `resnet_factory.metrics` of its entry points, and imported when a
sweep names one. A config cannot name code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint
from typing import Any, Literal, get_args

from resnet_factory.errors import ConfigError, Fault, all_of, one_of, shown
from resnet_factory.layers.package_entries import installed_package_entries, package_of_entry
from resnet_factory.sweep.objectives import METRICS, ObjectiveMetric
from resnet_factory.sweep.population import BASIC_COSTS
from resnet_factory.sweep.structure_numbers import is_structure_number

GROUP = "resnet_factory.metrics"
"""The group of entry points. Each names an `OwnMetric`."""
Needs = Literal["plan", "network", "data"]
READS: Mapping[str, tuple[str, ...]] = {
    "plan": (), "network": ("batch", "seeds", "threads", "device"), "data": ("threads", "device", "study"),
}  # fmt: skip
"""The keys of `measuring` that a value depends on, by what the metric needs."""


@dataclass(frozen=True, kw_only=True)
class OwnMetric:
    """A metric of one's own."""

    function: Callable[..., Any] | str
    """Returns the value; or its import path, `package.module:function`, imported for measuring.

    It is called with what the metric needs. `plan`: the plan, and the shape of an image (C, H, W).
    `network`: a freshly built network, seeded, and a batch of noise (N, C, H, W). `data`: a network fitted to
    the data of `measuring.study`, and that `DataSource`. It returns a number; None where it is undefined.
    """
    unit: str = ""
    """Shown beside the name."""
    direction: Literal["min", "max"] = "min"
    """Whether less is better, or more."""
    needs: Needs = "network"
    quality: bool = False
    """Whether it measures how well a network does its task, so that the best by it is called best."""

    def __post_init__(self) -> None:
        """Check the arguments.

        Raises:
            TypeError: the function is none.
            ValueError: a word is none of those allowed.
        """
        if isinstance(self.function, str):
            if not re.fullmatch(r"[\w.]+:[\w.]+", self.function):
                raise ValueError(
                    f"the function's place is 'package.module:function', found {self.function!r}"
                )
        elif not callable(self.function):
            raise TypeError(
                f"a metric is a function, or 'package.module:function'; found {shown(self.function)}"
            )
        for key, words in (("direction", ("min", "max")), ("needs", get_args(Needs))):
            if getattr(self, key) not in words:
                raise ValueError(f"{key} is {one_of(words)}, found {getattr(self, key)!r}")

    def metric(self, name: str) -> ObjectiveMetric:
        """Return it as the metrics of `objectives` are."""
        label = f"{name} ({self.unit})" if self.unit else name
        return ObjectiveMetric(label, READS[self.needs], self.direction == "max", self.quality)

    @property
    def place(self) -> str:
        """Return `package.module:function`; empty where other processes cannot import the function."""
        if isinstance(self.function, str):
            return self.function
        module, name = getattr(self.function, "__module__", ""), getattr(self.function, "__qualname__", "")
        return "" if module in ("", "__main__") or "<" in name or not name else f"{module}:{name}"

    def value(self, *given: Any) -> float | None:
        """Return the value of a plan or a network; None where it is undefined.

        Raises:
            TypeError: the function returns no number.
        """
        function: Any = self.function
        if isinstance(function, str):
            module, _, name = function.partition(":")
            function = import_module(module)
            for part in name.split("."):
                function = getattr(function, part)
        assert callable(function), f"{self.function} is no function"
        found = function(*given)
        if found is None:
            return None
        try:
            number = float(found)
        except (TypeError, ValueError):
            raise TypeError(f"expected a number, found {shown(found)}") from None
        return number if math.isfinite(number) else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data with which another process can measure it."""
        return {
            "function": self.place, "unit": self.unit, "direction": self.direction, "needs": self.needs,
            "quality": self.quality,
        }  # fmt: skip


REGISTERED: dict[str, OwnMetric] = {}
"""The metrics that this process registered."""


def register_metric(
    name: str,
    function: Callable[..., Any] | str,
    *,
    unit: str = "",
    direction: Literal["min", "max"] = "min",
    needs: Needs = "network",
    quality: bool = False,
) -> None:
    """Register a metric of your own, which `measure=`, `by=`, `where=` and constraints of a sweep may name.

    `function` is called with what the metric needs, see `OwnMetric`, and returns a number, or None where it
    is undefined; an exception is a failure of that architecture. Registering the same metric again has no
    effect. The registration is valid in this process only. Workers of a sweep import the function from its
    module; one that is defined in the main program (`__main__`) requires `executor=inline`.

    Raises:
        TypeError: an argument is of another type.
        ValueError: the name is taken, or an argument is not one of the allowed words.
    """
    try:
        _check_own_metric_name(name)
        own = OwnMetric(function=function, unit=unit, direction=direction, needs=needs, quality=quality)
        if (known := REGISTERED.get(name)) is not None and known != own:
            raise ValueError(f"{name!r} is registered already, for {known.place or 'another function'}")
        if name in _own_metrics_of_packages():
            (package,) = {package_of_entry(entry) for entry in _own_metrics_of_packages()[name][:1]}
            raise ValueError(f"{name!r} is a metric of package {package!r}; choose another name")
    except (TypeError, ValueError) as error:
        raise type(error)(f"register_metric(): {error}") from None
    REGISTERED[name] = own


def own_metric_names() -> list[str]:
    """Return the names of all metrics of one's own, those of packages included."""
    return sorted({*REGISTERED, *_own_metrics_of_packages()})


def find_own_metric(name: str) -> OwnMetric | None:
    """Return a metric of one's own, from its package if it has one; None if there is none.

    Raises:
        ConfigError: its package cannot be imported, is not the only one, or names something else.
    """
    if name in REGISTERED:
        return REGISTERED[name]
    entries = _own_metrics_of_packages().get(name, ())
    if not entries:
        return None
    packages = [package_of_entry(entry) for entry in entries]
    if len(entries) > 1:
        names = all_of(map(repr, packages))
        raise ConfigError([Fault("measure", f"metric {name!r} is in several packages, {names}")])
    failed = f"metric {name!r} of package {packages[0]!r} cannot be used"
    try:
        _check_own_metric_name(name)
        found = entries[0].load()
    except Exception as error:  # importing runs anything
        message = f"{failed}: {type(error).__name__}: {error}"
        raise ConfigError([Fault("measure", message)]) from error
    if not isinstance(found, OwnMetric):
        message = f"{failed}: '{entries[0].value}' is {shown(found)}, not an rf.OwnMetric"
        raise ConfigError([Fault("measure", message)])
    return found


def shipped_or_own_metric(name: str) -> ObjectiveMetric | None:
    """Return a shipped metric, or one of one's own; None where it is not known here."""
    if name in METRICS:
        return METRICS[name]
    own = find_own_metric(name)
    return None if own is None else own.metric(name)


def own_metrics_record(names: Iterable[str]) -> dict[str, Any]:
    """Return what a store keeps of the metrics of one's own among some."""
    return {name: own.to_dict() for name in names if (own := find_own_metric(name)) is not None}


def own_metrics_of_record(record: Mapping[str, Any]) -> dict[str, ObjectiveMetric]:
    """Return the metrics of `own_metrics_record`, also where they are not known."""
    found = {}
    for name, data in record.items():
        own = OwnMetric(**{**data, "function": data["function"] or "unknown:unknown"})
        found[name] = own.metric(name)
    return found


def _check_own_metric_name(name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"the name of a metric is a string, as 'flips'; found {shown(name)}")
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise ValueError(
            f"{name!r} cannot be the name of a metric: letters, digits and _ only, no digit first"
        )
    if name in METRICS or name in BASIC_COSTS or is_structure_number(name):
        raise ValueError(f"{name!r} is a metric already; choose another name")


def _own_metrics_of_packages() -> Mapping[str, tuple[EntryPoint, ...]]:
    return installed_package_entries(GROUP)
