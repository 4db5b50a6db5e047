"""The options of `sweep` and `report`, read and checked: all that can be known before anything runs."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from resnet_factory.config.composition import Composed, image_size
from resnet_factory.errors import ConfigError, Fault, install_hint, one_of, unknown
from resnet_factory.sweep.executors import KINDS
from resnet_factory.sweep.measuring import Options
from resnet_factory.sweep.objectives import MEASURED, TRAINED, read_ranking
from resnet_factory.sweep.population import COSTS, FURTHER
from resnet_factory.sweep.samplers import SAMPLERS, size_of
from resnet_factory.sweep.space import Space

METRICS = (*MEASURED, *TRAINED)
"""What can be measured on a built network, and on a trained one."""
REPORT_NEEDS = {"matplotlib": "matplotlib", "scipy": "SciPy"}
"""What the report is drawn with: import name and package."""


def read_options(composed: Composed, space: Space) -> Options:
    """How a space is swept.

    Raises:
        ConfigError: with every fault in the options, and everything that is not installed.
    """
    data, faults = composed.data, []

    def check(good: bool, key: str, expected: str, found: Any) -> None:
        if not good:
            faults.append(Fault(key, f"expected {expected}, found {found!r}"))

    samples, measuring, executor = data["samples"], dict(data["measuring"]), data["executor"]
    if isinstance(samples, float) and samples.is_integer():  # 1e6
        samples = int(samples)
    check(samples is None or (_is_int(samples) and samples > 0), "samples", "a whole number above 0", samples)
    check(data["sampler"] in SAMPLERS, "sampler", one_of(SAMPLERS), data["sampler"])
    check(_is_int(data["seed"]) and data["seed"] >= 0, "seed", "a whole number of at least 0", data["seed"])
    check(data["out"] is None or isinstance(data["out"], str), "out", "a folder", data["out"])
    for key in ("retry", "report"):
        check(isinstance(data[key], bool), key, "true or false", data[key])
    metrics = data["measure"] if isinstance(data["measure"], list) else [data["measure"]]
    for metric in metrics:
        if metric not in METRICS:
            faults.append(Fault("measure", unknown("metric", str(metric), METRICS)))
    for key in ("batch", "repeats", "seeds", "threads"):
        number: Any = measuring.get(key)
        check(_is_int(number) and number > 0, f"measuring.{key}", "a whole number above 0", number)
    known = ("batch", "repeats", "seeds", "threads", "device", "dtype", "channels_last", "limit",
             "training_limit", "study")  # fmt: skip
    for key in measuring:
        if key not in known:
            faults.append(Fault(f"measuring.{key}", unknown("key", str(key), known)))
    study = measuring.pop("study", None)
    if not isinstance(study, list) or not all(isinstance(word, str) for word in study):
        faults.append(Fault("measuring.study", f"expected overrides of a study, found {study!r}"))
    elif set(metrics) & set(TRAINED):
        from resnet_factory.study.metric import TrainedError

        try:  # settled now, so that every architecture is trained alike, wherever
            measuring["study"] = TrainedError.compose(*study, config_dir=composed.config_dir).to_dict()
        except ConfigError as error:
            faults.extend(Fault("measuring.study", str(fault)) for fault in error.faults)
    limits = {key: measuring.pop(key, None) for key in ("limit", "training_limit")}
    for key, limit in limits.items():
        good = limit is None or (isinstance(limit, (int, float)) and limit > 0 and limit is not True)
        check(good, f"measuring.{key}", "seconds above 0, or null", limit)
    kinds = ("float32", "float64", "bfloat16", "float16")
    check(measuring.get("dtype") in kinds, "measuring.dtype", one_of(kinds), measuring.get("dtype"))
    check(executor.get("kind") in KINDS, "executor.kind", one_of(KINDS), executor.get("kind"))
    check(_is_int(executor.get("workers")) and executor["workers"] > 0, "executor.workers",
          "a whole number above 0", executor.get("workers"))  # fmt: skip
    for key in executor:
        if key not in ("kind", "workers", "address"):
            faults.append(Fault(f"executor.{key}", unknown("key", str(key), ("workers", "address"))))
    address = executor.get("address")
    here = isinstance(address, str) and re.fullmatch(r"[a-z]+://\S+", address)
    check(address is None or bool(here), "executor.address", "tcp://host:port", address)
    if metrics and executor.get("kind") != "dask" and not faults:
        faults += _device_faults(measuring["device"], measuring["threads"])
    faults += _missing(composed.data)
    if faults:
        raise ConfigError(map(composed.locate, faults))
    size = image_size(data)
    own = composed.model.image_size
    try:
        total = size_of(data["sampler"], space.dimensions, samples)
    except ConfigError as error:
        raise ConfigError(map(composed.locate, error.faults)) from None
    return Options(
        total, data["sampler"], data["seed"], None if size == (own, own) else size, tuple(metrics), measuring,
        limits["limit"], limits["training_limit"],
        executor["kind"], executor["workers"], address, data["retry"],
    )  # fmt: skip


def _device_faults(device: Any, threads: int) -> list[Fault]:
    """Whether what is measured on is there; on a cluster only its workers know."""
    from resnet_factory.study.distributed import room

    try:
        room(str(device), threads)
    except RuntimeError as error:
        message = f"{device!r} does not work here: {' '.join(str(error).split())}"
        return [Fault("measuring.device", message)]
    return []


def refuse_unknown_metrics(
    views: Mapping[str, Any], space: Space, metrics: Sequence[str], composed: Composed
) -> None:
    """Refuse, before anything is measured, to rank by what will not be there.

    `metrics` are those to be measured and those measured before.

    Raises:
        ConfigError: for metrics that are unknown or without a direction, or a file that cannot be joined.
    """
    known = [*COSTS, *(metric for metric in FURTHER if metric in space.windows), *metrics]
    try:
        known += _header(views["errors"]) if views["errors"] is not None else []
        read_ranking(views, dict.fromkeys(known))
    except ConfigError as error:
        raise ConfigError(map(composed.locate, error.faults)) from None


def _header(file: str) -> list[str]:
    """The columns that a user's file can give: its own, and the error that an accuracy means."""
    try:
        with Path(file).expanduser().open(newline="", encoding="utf-8-sig") as opened:
            names = [name.strip() for name in next(csv.reader(opened), [])]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError([Fault("errors", f"'{file}' cannot be read: {error}")]) from None
    if "plan" not in names:
        message = f"'{file}' needs a column called 'plan', and others with numbers, such as 'error'"
        raise ConfigError([Fault("errors", message)])
    return [*names, *(["error"] if "accuracy" in names else [])]


def refuse_missing_packages() -> None:
    """Refuse a report that cannot be drawn.

    Raises:
        ConfigError: naming what is not installed.
    """
    if faults := _not_installed("report", REPORT_NEEDS, "sweep"):
        raise ConfigError(faults)


def _missing(data: Mapping[str, Any]) -> list[Fault]:
    """What is not installed of what these options need."""
    found = []
    if data["report"] is True:
        found += _not_installed("report", REPORT_NEEDS, "sweep", ", or report=false")
    if data["sampler"] == "sobol":
        found += _not_installed("sampler", {"scipy": "SciPy"}, "sweep", ", or sampler=random")
    if data["executor"].get("kind") == "dask":
        found += _not_installed("executor", {"distributed": "dask.distributed"}, "dask")
    return found


def _not_installed(key: str, packages: Mapping[str, str], extra: str, otherwise: str = "") -> list[Fault]:
    names = [name for module, name in packages.items() if find_spec(module) is None]
    if not names:
        return []
    message = f"needs {' and '.join(names)}; {install_hint(extra)}{otherwise}"
    return [Fault(key, message)]


def read_views(composed: Composed) -> dict[str, Any]:
    """What the report is to show.

    Raises:
        ConfigError: with every fault in it, and everything that is not installed.
    """
    data = composed.data
    faults = []
    pareto = data["pareto"]
    if pareto and not isinstance(pareto[0], list):
        pareto = [pareto]
    if not isinstance(pareto, list) or any(
        not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(name, str) for name in pair)
        for pair in pareto
    ):
        faults.append(Fault("pareto", f"expected pairs of metrics, as [[params, macs]], found {pareto!r}"))
    if not _is_int(data["top"]) or data["top"] < 0:
        faults.append(Fault("top", f"expected a whole number, found {data['top']!r}"))
    for key in ("by", "errors"):
        if data[key] is not None and not isinstance(data[key], str):
            what = "a metric" if key == "by" else "a CSV file"
            faults.append(Fault(key, f"expected {what}, found {data[key]!r}"))
    if faults:
        raise ConfigError(map(composed.locate, faults))
    return {key: data[key] for key in ("by", "top", "errors")} | {"pareto": pareto}


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
