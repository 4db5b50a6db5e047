"""The commands `sweep` and `report`: options read and checked, the work handed out, results said."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet_factory.config.composition import Composed, choices, compose_all, take_sweeps
from resnet_factory.errors import ConfigError, Fault, unknown
from resnet_factory.reporting.tables import console
from resnet_factory.study.signals import terminated_as_interrupted
from resnet_factory.sweep.csv_table import export
from resnet_factory.sweep.dimension import Dimension, read_dimension
from resnet_factory.sweep.evaluation import Structures
from resnet_factory.sweep.measuring import Options
from resnet_factory.sweep.options import (
    read_options,
    read_views,
    refuse_missing_packages,
    refuse_unknown_metrics,
)
from resnet_factory.sweep.run import described
from resnet_factory.sweep.run import sweep as run_sweep
from resnet_factory.sweep.space import Space, read_space
from resnet_factory.sweep.store import Store, metrics_in

REPORT_KEYS = ("pareto", "by", "top", "errors")


def sweep(overrides: Sequence[str], config_dir: str | None) -> int:
    """Sample a space, cost, measure, store and report it; go on where an earlier run ended."""
    single, several = take_sweeps(overrides, config_dir)
    composed = compose_all("sweep", single, config_dir)
    space = _space(composed, several)
    options = read_options(composed, space)
    views = read_views(composed) | {"config_dir": config_dir}
    out = Path(composed.data["out"] or f"runs/{space.name}-{_place(space, options, composed)}").expanduser()
    refuse_unknown_metrics(views, space, (*options.metrics, *metrics_in(out)), composed)

    def compose_one(changes: Sequence[str]) -> Mapping[str, Any]:
        return compose_all("sweep", [*single, *changes], config_dir).model.to_dict()

    store = Store(out, write=True)
    try:
        try:
            with terminated_as_interrupted():
                run_sweep(space, Structures(space, compose_one), options, store)
        except KeyboardInterrupt:
            export(store)
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
    views = read_views(composed) | {"config_dir": config_dir}
    refuse_missing_packages()
    store = Store(Path(folders[0]).expanduser(), write=False)
    try:
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


def _place(space: Space, options: Options, composed: Composed) -> str:
    """A hash of all that may not change when a sweep goes on; which metrics are asked for may."""
    import hashlib

    run = described(space, options)
    study = composed.data["measuring"]["study"]
    measuring = {key: value for key, value in options.measuring.items() if key != "study"}
    measuring |= {"study": study} if study else {}
    parts = [run[key] for key in ("space", "sampler", "seed", "image")]
    parts.append(json.dumps(measuring, sort_keys=True))
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
