"""Options of `sweep` and `report`, checked before anything runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from resnet_factory.config.composition import Composed, composed_image_size
from resnet_factory.errors import ConfigError, Fault, install_hint, unknown
from resnet_factory.layers import per_axis
from resnet_factory.network.runtimes.choices import EXPORTED_RUNTIMES, RUNTIMES, runtime_faults
from resnet_factory.network.runtimes.packages import runtime_package_faults
from resnet_factory.study.settings import setting_above, setting_minimum
from resnet_factory.study.settings_reader import fill_settings
from resnet_factory.sweep.error_file import read_error_file
from resnet_factory.sweep.filters import choice_texts, read_where_filter
from resnet_factory.sweep.objectives import MEASURED, TRAINED, ObjectiveRankingOptions, read_objective_ranking
from resnet_factory.sweep.own_metrics import (
    OwnMetric,
    find_own_metric,
    own_metric_names,
    own_metrics_of_record,
    own_metrics_record,
)
from resnet_factory.sweep.population import BASIC_COSTS, OPTIONAL_COSTS
from resnet_factory.sweep.regnet import SKIPPED
from resnet_factory.sweep.relation import relation_names
from resnet_factory.sweep.samplers import sampler_size
from resnet_factory.sweep.space import Space
from resnet_factory.sweep.steps import SweepStep, check_sweep_steps, read_sweep_steps
from resnet_factory.sweep.structure_numbers import structure_number_name


@dataclass(frozen=True, kw_only=True)
class MeasuringOptions:
    """Conditions of measurements, as under `measuring` in `conf/sweep.yaml`."""

    batch: int = setting_minimum(1)
    repeats: int = setting_minimum(1)
    seeds: int = setting_minimum(1)
    threads: int = setting_minimum(1)
    device: str
    dtype: Literal["float32", "float64", "bfloat16", "float16"]
    channels_last: bool
    runtime: str
    """The runtime in which latency is measured: one of choices.RUNTIMES."""
    limit: float | None = setting_above(0)
    training_limit: float | None = setting_above(0)
    study: Any
    """Overrides of a study; once they are read, its `TrainedError` as plain data, or None."""

    @property
    def conditions(self) -> dict[str, Any]:
        """Return what results depend on."""
        found = {key: value for key, value in asdict(self).items() if not key.endswith("limit")}
        return {key: value for key, value in found.items() if key != "study" or value is not None}


@dataclass(frozen=True, kw_only=True)
class ExecutorOptions:
    """Options of an executor, as in `conf/executor`."""

    kind: Literal["inline", "processes", "dask"]
    workers: int = setting_minimum(1)
    address: str | None


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """Options of a sweep, as in `conf/sweep.yaml`."""

    samples: Any
    """A number of samples; None is that of the whole grid until it is read."""
    architectures: Any
    """A number of architectures to draw until; None: all samples count."""
    max_samples: Any
    sampler: Literal["grid", "random", "sobol", "conditional"]
    seed: int = setting_minimum(0)
    out: str | None
    measure: tuple[str, ...]
    measuring: MeasuringOptions
    retry: bool
    executor: ExecutorOptions
    report: bool
    where: str | None = None
    steps: tuple[SweepStep, ...] = ()
    """The metrics of `measure` by step."""
    image: tuple[int, ...] | None = None
    """None: each model's own image size."""


def read_sweep_options(composed: Composed, space: Space) -> SweepOptions:
    """Return how a space is swept.

    Raises:
        ConfigError: with every fault in the options, and everything that is not installed.
    """
    faults: list[Fault] = []
    data = dict(composed.data)
    for key in ("samples", "architectures", "max_samples"):
        value = data[key]
        if isinstance(value, float) and value.is_integer():  # 1e6
            value = data[key] = int(value)
        if value is not None and (type(value) is not int or value < 1):
            faults.append(Fault(key, f"expected a whole number above 0, found {value!r}"))
    steps = read_sweep_steps(data["measure"], faults)
    data["measure"] = list(dict.fromkeys(metric for step in steps for metric in step.metrics))
    options = fill_settings(SweepOptions, _sweep_option_fields(SweepOptions, data), "", faults)
    faults += [
        Fault("measure", unknown("metric", str(metric), (*MEASURED, *TRAINED, *own_metric_names())))
        for metric in options.measure
        if metric not in (*MEASURED, *TRAINED, *own_metric_names())
    ]
    own = {
        metric: found
        for metric in options.measure
        if (found := _own_metric_option(metric, faults)) is not None
    }
    if options.executor.kind != "inline":
        message = "is known only in this process; give it an entry point, define it in a module, or "
        message += "use executor=inline"
        faults += [Fault("measure", f"{name!r} {message}") for name, one in own.items() if not one.place]
    numbers = [*BASIC_COSTS, *OPTIONAL_COSTS]
    numbers += relation_names(space.dimensions, space.computed, space.stages)
    directions = {name: one.metric(name) for name, one in own.items()}
    check_sweep_steps(steps, numbers, _choices_of_texts(space), directions, faults)
    address = options.executor.address
    if address is not None and not re.fullmatch(r"[a-z]+://\S+", address):
        faults.append(Fault("executor.address", f"expected tcp://host:port, found {address!r}"))
    faults += _trained_metric_option_faults(options.measure, space)
    measuring, study = options.measuring, options.measuring.study
    if not isinstance(study, list) or not all(isinstance(word, str) for word in study):
        faults.append(Fault("measuring.study", f"expected overrides of a study, found {study!r}"))
    elif set(options.measure) & set(TRAINED) or any(one.needs == "data" for one in own.values()):
        from resnet_factory.study.metric import TrainedError

        try:  # settled now, so that every architecture is trained alike, wherever
            study = TrainedError.compose(*study, config_dir=composed.config_dir).to_dict()
        except ConfigError as error:
            faults += [Fault("measuring.study", str(fault)) for fault in error.faults]
    else:
        study = None
    if options.measure and options.executor.kind != "dask" and not faults:
        faults += _measuring_device_option_faults(measuring.device, measuring.threads)
    faults += _sweep_option_package_faults(options)
    faults += _runtime_faults(measuring) if "latency" in options.measure else []
    if measuring.runtime not in RUNTIMES:
        faults.append(Fault("measuring.runtime", unknown("runtime", measuring.runtime, RUNTIMES)))
    if not faults:
        try:
            most = options.samples if options.architectures is None else options.max_samples
            samples = sampler_size(options.sampler, space.dimensions, most)
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ConfigError(map(composed.locate, faults))
    size = composed_image_size(data)
    usual = per_axis(composed.model.image_size, composed.model.dims)
    measuring = replace(measuring, study=study)
    image = None if size == usual else size
    return replace(options, samples=samples, measuring=measuring, image=image, steps=steps)


def _own_metric_option(metric: str, faults: list[Fault]) -> OwnMetric | None:
    try:
        return find_own_metric(metric)
    except ConfigError as error:
        faults += error.faults
    return None


def _sweep_option_fields(cls: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    return {entry.name: data[entry.name] for entry in fields(cls) if entry.name in data}


def _trained_metric_option_faults(measure: Sequence[str], space: Space) -> Iterable[Fault]:
    """Yield the fault of metrics of trained networks in a space whose networks take no images."""
    trained = [metric for metric in measure if metric in TRAINED]
    varied = next((dimension for dimension in space.dimensions if dimension.key == "dims"), None)
    dims = {space.base.get("dims", 2)}
    if varied is not None:
        dims = set(varied.values if varied.kind == "choice" else (varied.low, varied.high))
    if trained and (other := sorted(dims - {2})):
        message = f"{trained[0]!r} trains on images, of 2 dimensions; this space has networks of {other[0]:g}"
        yield Fault("measure", message)


def _measuring_device_option_faults(device: str, threads: int) -> list[Fault]:
    """Return the fault of a device that is not there; on a cluster only its workers know."""
    from resnet_factory.study.distributed import parallel_trainings

    try:
        parallel_trainings(device, threads)
    except RuntimeError as error:
        message = f"{device!r} does not work here: {' '.join(str(error).split())}"
        return [Fault("measuring.device", message)]
    return []


def _runtime_faults(measuring: MeasuringOptions) -> list[Fault]:
    """Return the faults of the runtime for latency: missing packages, and what it cannot take."""
    faults = runtime_package_faults(measuring.runtime, "measuring.runtime")
    keys = "measuring.device", "measuring.dtype"
    faults += runtime_faults(measuring.runtime, measuring.device, measuring.dtype, *keys)
    if measuring.channels_last and measuring.runtime in EXPORTED_RUNTIMES:
        message = f"{measuring.runtime} has a layout of its own; channels_last=false"
        faults.append(Fault("measuring.channels_last", message))
    return faults


def refuse_unknown_metric_options(
    options: ObjectiveRankingOptions, space: Space, metrics: Sequence[str], composed: Composed
) -> None:
    """Refuse, before anything is measured, to rank by a metric that is none of the space's costs, of
    `metrics`, or of the user's file.

    Raises:
        ConfigError: for metrics that are unknown or without a direction, or a file that cannot be joined.
    """
    known = [*BASIC_COSTS, *(metric for metric in OPTIONAL_COSTS if metric in space.windows), *metrics]
    known += sorted(relation_names(space.dimensions, space.computed, space.stages) - {SKIPPED})
    with composed.locating():
        own = own_metrics_of_record(own_metrics_record(metrics))
        if options.errors is not None:
            columns, _ = read_error_file(Path(options.errors).expanduser())
            known += [*columns, *(["error"] if "accuracy" in columns else [])]
        read_objective_ranking(options, known, own)
        faults: list[Fault] = []
        read_where_filter(options.where, known, _choices_of_texts(space), "where", faults)
        for name in space.limits:
            if name not in metrics:
                message = f"{name!r} is not measured; measure=[{name}] measures it"
                faults.append(Fault(f"space.constraints.{name}", message))
        if faults:
            raise ConfigError(faults)


def _choices_of_texts(space: Space) -> dict[str, list[str]]:
    """Return what varies between choices that are no numbers, by name."""
    return {structure_number_name(d.key): choice_texts(d.values) for d in space.dimensions if not d.numeric}


def report_option_package_faults(otherwise: str = "") -> Iterable[Fault]:
    """Yield the fault of packages that the report needs and that are not installed."""
    return _sweep_option_not_installed(
        "report", {"bokeh": "Bokeh", "matplotlib": "matplotlib", "scipy": "SciPy"}, "sweep", otherwise
    )


def _sweep_option_package_faults(options: SweepOptions) -> Iterable[Fault]:
    if options.report:
        yield from report_option_package_faults(", or report=false")
    if options.sampler == "sobol":
        yield from _sweep_option_not_installed("sampler", {"scipy": "SciPy"}, "sweep", ", or sampler=random")
    if options.executor.kind == "dask":
        yield from _sweep_option_not_installed("executor", {"distributed": "dask.distributed"}, "dask")


def _sweep_option_not_installed(
    key: str, packages: Mapping[str, str], extra: str, otherwise: str = ""
) -> Iterable[Fault]:
    if names := [name for module, name in packages.items() if find_spec(module) is None]:
        yield Fault(key, f"needs {' and '.join(names)}; {install_hint(extra)}{otherwise}")


def read_report_options(composed: Composed) -> ObjectiveRankingOptions:
    """Return what the report shows.

    Raises:
        ConfigError: with every fault in it.
    """
    data, faults = dict(composed.data), list[Fault]()
    pareto = data["pareto"]
    if isinstance(pareto, list) and pareto and not isinstance(pareto[0], list):
        data["pareto"] = [pareto]
    options = fill_settings(
        ObjectiveRankingOptions, _sweep_option_fields(ObjectiveRankingOptions, data), "", faults
    )
    if any(len(pair) != 2 for pair in options.pareto):
        message = f"expected pairs of metrics, as [[params, macs]], found {pareto!r}"
        faults.append(Fault("pareto", message))
    if faults:
        raise ConfigError(map(composed.locate, faults))
    return options
