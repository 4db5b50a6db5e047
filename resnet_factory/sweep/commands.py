"""The commands `sweep` and `report`: options read and checked, the work handed out, results said."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet_factory.config.composition import Composed, choices, compose_all, image_size, take_sweeps
from resnet_factory.errors import ConfigError, Fault, one_of, unknown
from resnet_factory.reporting.tables import console
from resnet_factory.sweep.dimension import Dimension, read_dimension
from resnet_factory.sweep.evaluation import Structures
from resnet_factory.sweep.executors import KINDS
from resnet_factory.sweep.population import COSTS, FURTHER
from resnet_factory.sweep.run import Options, described
from resnet_factory.sweep.run import sweep as run_sweep
from resnet_factory.sweep.samplers import SAMPLERS, size_of
from resnet_factory.sweep.space import Space, read_space
from resnet_factory.sweep.store import Store

TRAINED = ("error", "loss", "train_error")
METRICS = ("latency", "memory", "synflow", "naswot", "zen", "gradients", *TRAINED)
"""What can be measured on a built network, and on a trained one."""
REPORT_KEYS = ("pareto", "by", "top", "errors")


def sweep(overrides: Sequence[str], config_dir: str | None) -> int:
    """Sample a space, cost, measure, store and report it; go on where an earlier run ended."""
    single, several = take_sweeps(overrides, config_dir)
    composed = compose_all("sweep", single, config_dir)
    space = _space(composed, several)
    options = _options(composed, space)
    views = _views(composed.data, composed) | {"config_dir": config_dir}
    _refuse_unknown_metrics(views, space, options, composed)

    def compose_one(changes: Sequence[str]) -> Mapping[str, Any]:
        return compose_all("sweep", [*single, *changes], config_dir).model.to_dict()

    out = Path(composed.data["out"] or f"runs/{space.name}-{_place(space, options)}")
    store = Store(out, write=True)
    try:
        try:
            run_sweep(space, Structures(space, compose_one), options, store)
        except KeyboardInterrupt:
            store.export()
            console().print(f"interrupted; what is done is in '{out}', and the same command goes on")
            raise
        return _finish(store, views, page=bool(composed.data["report"]))
    finally:
        store.close()


def report(arguments: Sequence[str], config_dir: str | None) -> int:
    """Make a sweep's report again: report DIR [by=…] [top=…] [pareto=[[params,macs]]] [errors=FILE]."""
    folders = [argument for argument in arguments if "=" not in argument]
    if len(folders) != 1:
        message = f"expected one folder, found {len(folders)}: report DIR"
        raise ConfigError([Fault("", message, "command line 'report'")])
    given = [argument for argument in arguments if "=" in argument]
    for argument in given:
        key = argument.split("=")[0]
        if key not in REPORT_KEYS:
            raise ConfigError([Fault("", unknown("option", key, REPORT_KEYS), f"command line '{argument}'")])
    composed = compose_all("sweep", given)
    store = Store(Path(folders[0]), write=False)
    try:
        views = _views(composed.data, composed) | {"config_dir": config_dir}
        return _finish(store, views, page=True)
    finally:
        store.close()


def _finish(store: Store, views: Mapping[str, Any], *, page: bool) -> int:
    """Export, choose the winners and write the report; the exit code tells whether a measurement failed."""
    from resnet_factory.sweep.results import conclude

    failed = conclude(store, views, console(), page=page)
    for line in why_invalid(store):
        console().print(line, markup=False, soft_wrap=True)
    return 1 if failed else 0


def why_invalid(store: Store) -> Iterator[str]:
    """What is wrong with some of the samples that cannot be planned, the commonest first."""
    reasons = json.loads(store.run().get("invalid", "[]"))
    kinds = Counter(kind for kind, _, _ in reasons)
    for kind, count in kinds.most_common(3):
        example, sample = next((text, sample) for other, text, sample in reasons if other == kind)
        yield f"invalid, {count} of {len(reasons)} looked at: {example} (sample {sample})"
    if not store.count() and store.sampled():
        yield "no architecture is left; widen the space or its windows"


def _place(space: Space, options: Options) -> str:
    import hashlib

    run = described(space, options)
    parts = [run[key] for key in ("space", "sampler", "seed", "image", "measuring")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def _space(composed: Composed, several: Mapping[str, Mapping[str, Any]]) -> Space:
    faults: list[Fault] = []
    sweeps: list[Dimension] = []
    for key, spec in several.items():
        if key != "model" and not key.startswith(("model.", "model/")):
            values = ",".join(map(str, spec.get("choice", ())))
            hint = "; sweep model.image_size" if key == "input.size" else ""
            hint = f"; for one list write {key}=[{values}]" if key in ("measure", "pareto") else hint
            faults.append(
                Fault("", f"only the model can be swept, not {key!r}{hint}", f"command line '{key}=…'")
            )
        sweeps.append(read_dimension(key, spec, key, faults)[0])
    if faults:
        raise ConfigError(faults)
    name = composed.choices.get("space", composed.model.name)
    groups = {
        key.removeprefix("model/"): choice
        for key, choice in composed.choices.items()
        if key.startswith("model/")
    }
    data, model = composed.data.get("space"), composed.model
    try:
        return read_space(
            name, data, sweeps, model.to_dict(), model.name, groups,
            lambda group: choices(f"model/{group}", composed.config_dir),
        )  # fmt: skip
    except ConfigError as error:
        raise ConfigError(map(composed.locate, error.faults)) from None


def _options(composed: Composed, space: Space) -> Options:
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
    known = ("batch", "repeats", "seeds", "threads", "device", "dtype", "channels_last", "limit", "study")
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
    limit = measuring.pop("limit", None)
    check(
        limit is None or (isinstance(limit, (int, float)) and limit > 0), "measuring.limit", "seconds", limit
    )
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
        limit, executor["kind"], executor["workers"], address, data["retry"],
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


def _refuse_unknown_metrics(
    views: Mapping[str, Any], space: Space, options: Options, composed: Composed
) -> None:
    """Before anything is measured: what the results are to be ranked by must be among them."""
    known = [*COSTS, *(metric for metric in FURTHER if metric in space.windows), *options.metrics]
    faults = []
    if views["errors"] is not None:
        try:
            with Path(views["errors"]).open(encoding="utf-8") as file:
                header = file.readline().strip().split(",")
            known += [*(name.strip('" ') for name in header), "error"]
        except (OSError, UnicodeDecodeError) as error:
            faults.append(Fault("errors", f"'{views['errors']}' cannot be read: {error}"))
    asked = [("by", views["by"])] if views["by"] else []
    asked += [("pareto", name) for pair in views["pareto"] for name in pair]
    faults += [Fault(key, unknown("metric", name, known)) for key, name in asked if name not in known]
    if faults:
        raise ConfigError(map(composed.locate, dict.fromkeys(faults)))


def _views(data: Mapping[str, Any], composed: Composed) -> dict[str, Any]:
    """What the report is to show."""
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
