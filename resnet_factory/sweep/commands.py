"""The commands `sweep` and `report`."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from resnet_factory.config.composition import Composed, compose_all, group_choices, take_sweeps_to_compose
from resnet_factory.config.own_layers import missing_own_layers
from resnet_factory.errors import ConfigError, Fault, unknown
from resnet_factory.network.runtimes.choices import EAGER
from resnet_factory.reporting.tables import table_console
from resnet_factory.study.signals import sigterm_as_interrupt
from resnet_factory.sweep.csv_table import write_csv
from resnet_factory.sweep.dimension import Dimension, read_dimension
from resnet_factory.sweep.live_page import LivePage
from resnet_factory.sweep.objectives import MEASURED, TRAINED, ObjectiveRankingOptions
from resnet_factory.sweep.options import (
    SweepOptions,
    read_report_options,
    read_sweep_options,
    refuse_unknown_metric_options,
    report_option_package_faults,
)
from resnet_factory.sweep.own_metrics import own_metric_names
from resnet_factory.sweep.run import refuse_run_of_unread_dimensions, run_record, run_sweep
from resnet_factory.sweep.space import Space, read_space
from resnet_factory.sweep.store import SweepStore, stored_metrics
from resnet_factory.sweep.templates import ModelTemplates

REPORT_KEYS = ("pareto", "by", "top", "errors", "where", "out")


def sweep_command(overrides: Sequence[str], config_dir: str | None) -> int:
    """Sample a space, cost, measure, store and report it; continue where an earlier run ended."""
    single, several = take_sweeps_to_compose(overrides, config_dir)
    composed = compose_all("sweep", single, config_dir)
    space = _compose_command_space(composed, several)
    options, report_options = read_sweep_options(composed, space), read_report_options(composed)
    out = Path(
        options.out or f"runs/{space.name}-{_sweep_command_hash(space, options, composed)}"
    ).expanduser()
    refuse_unknown_metric_options(report_options, space, (*options.measure, *stored_metrics(out)), composed)
    compose_one = partial(_compose_command_model, tuple(single), config_dir)
    try:
        refuse_run_of_unread_dimensions(space, ModelTemplates(space, compose_one), options)
    except ConfigError as error:
        raise ConfigError(_locate_command_faults(error.faults, several, composed)) from None
    with SweepStore(out, write=True) as store:
        live = LivePage(partial(_write_sweep_command_page, store, report_options, config_dir))
        try:
            with sigterm_as_interrupt():
                tick = live.tick if options.report else (lambda: None)
                run_sweep(space, ModelTemplates(space, compose_one), options, store, tick)
        except KeyboardInterrupt:
            write_csv(store)
            live.end()
            table_console().print(f"interrupted; what is done is in '{out}', and the same command goes on")
            raise
        return _finish_sweep_command(store, report_options, config_dir, page=options.report)


def _compose_command_model(
    overrides: Sequence[str], config_dir: str | None, changes: Sequence[str]
) -> Mapping[str, Any]:
    """Return the model of a sweep with further overrides."""
    return compose_all("sweep", [*overrides, *changes], config_dir).model.to_dict()


def report_command(arguments: Sequence[str], config_dir: str | None) -> int:
    """Make a sweep's report again: report DIR [by=…] [top=…] [pareto=[[params,macs]]] [errors=FILE].

    Of several folders, report DIR DIR … [out=DIR], it is a page that compares them.
    """
    folders = [argument for argument in arguments if "=" not in argument]
    if not folders:
        message = "expected a folder, or several to compare, found none: report DIR"
        raise ConfigError([Fault("", message, "command line 'report'")])
    given = [argument for argument in arguments if "=" in argument]
    for argument in given:
        if (key := argument.split("=")[0]) not in REPORT_KEYS:
            raise ConfigError([Fault("", unknown("option", key, REPORT_KEYS), f"command line '{argument}'")])
    composed = compose_all("sweep", given)
    options, out = read_report_options(composed), composed.data["out"]
    if faults := list(report_option_package_faults()):
        raise ConfigError(faults)
    if len(folders) > 1:
        return _sweep_comparison_command(
            [Path(folder).expanduser() for folder in folders], out, options, config_dir
        )
    if out is not None:
        message = "a sweep's report is in its own folder; out= is for a comparison of several"
        raise ConfigError([Fault("", message, f"command line 'out={out}'")])
    with SweepStore(Path(folders[0]).expanduser(), write=False) as store:
        if missing := list(missing_own_layers(store.run().get("layers", "{}"))):
            raise ConfigError(Fault("", line, f"command line '{folders[0]}'") for line in missing)
        return _finish_sweep_command(store, options, config_dir, page=True)


def _write_sweep_command_page(
    store: SweepStore, options: ObjectiveRankingOptions, config_dir: str | None, refresh: int | None
) -> None:
    from resnet_factory.sweep.results import write_results_page

    write_results_page(store, options, config_dir, refresh)


def _sweep_comparison_command(
    folders: Sequence[Path], out: str | None, options: ObjectiveRankingOptions, config_dir: str | None
) -> int:
    from resnet_factory.sweep.comparison import write_sweep_comparison

    names = "\n".join(str(folder.absolute()) for folder in folders)
    target = Path(out or f"runs/comparison-{hashlib.sha256(names.encode()).hexdigest()[:8]}").expanduser()
    try:
        page = write_sweep_comparison(folders, target, options, config_dir)
    except OSError as error:
        raise ConfigError([Fault("out", f"'{target}' cannot be written: {error}")]) from None
    table_console().print(f"  {page}", markup=False)
    return 0


def _finish_sweep_command(
    store: SweepStore, options: ObjectiveRankingOptions, config_dir: str | None, *, page: bool
) -> int:
    """Write all results; return exit code 1 where a measurement failed."""
    from resnet_factory.sweep.results import write_results

    notes = list(sweep_command_notes(store))
    failed = write_results(store, options, table_console(), config_dir=config_dir, page=page, notes=notes)
    return 1 if failed else 0


def sweep_command_notes(store: SweepStore) -> Iterator[str]:
    """Yield the three most common reasons of samples that cannot be planned, each with an example."""
    reasons = json.loads(store.run().get("invalid", "[]"))
    for kind, count in Counter(kind for kind, _, _ in reasons).most_common(3):
        example, sample = next((text, sample) for other, text, sample in reasons if other == kind)
        yield f"invalid, {count} of {len(reasons)} looked at: {example} (sample {sample})"
    if not store.count() and store.sampled():
        yield "no architecture is left; widen the space or its windows"


def _sweep_command_hash(space: Space, options: SweepOptions, composed: Composed) -> str:
    """Return a hash of all that may not change when a sweep continues; the metrics may."""
    run = run_record(space, options)
    measuring = options.measuring.conditions
    measuring.pop("study", None)
    if measuring["runtime"] == EAGER:
        del measuring["runtime"]  # folders of an earlier version, which had no other, keep their names
    if study := composed.data["measuring"]["study"]:
        measuring["study"] = study
    parts = [run[key] for key in ("space", "sampler", "seed", "image")]
    parts.append(json.dumps(measuring, sort_keys=True))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def _locate_command_faults(
    faults: Sequence[Fault], several: Mapping[str, Mapping[str, Any]], composed: Composed
) -> Iterator[Fault]:
    """Yield faults of what varies with the override, or the line of the space, that says it."""
    for fault in faults:
        key = fault.path.removeprefix("space.vary.").removeprefix("model.")
        word = next((word for word in several if word in (f"model.{key}", f"model/{key}")), None)
        yield replace(fault, path="", where=f"command line '{word}=…'") if word else composed.locate(fault)


def _compose_command_space(composed: Composed, several: Mapping[str, Mapping[str, Any]]) -> Space:
    faults: list[Fault] = []
    sweeps: list[Dimension] = []
    for key, spec in several.items():
        if key != "model" and not key.startswith(("model.", "model/")):
            hint = "; sweep model.image_size" if key == "input.size" else ""
            if key in ("measure", "pareto"):
                hint = f"; for one list write {key}=[{','.join(map(str, spec.get('choice', ())))}]"
            message = f"only the model can be swept, not {key!r}{hint}"
            faults.append(Fault("", message, f"command line '{key}=…'"))
        sweeps.append(read_dimension(key, spec, key, faults)[0])
    if faults:
        raise ConfigError(faults)
    prefix, model = "model/", composed.model
    groups = {
        key.removeprefix(prefix): name for key, name in composed.choices.items() if key.startswith(prefix)
    }
    try:
        return read_space(
            composed.choices.get("space", model.name), composed.data.get("space"), sweeps, model.to_dict(),
            model.name, groups, lambda group: group_choices(f"model/{group}", composed.config_dir),
            (*MEASURED, *TRAINED, *own_metric_names()),
        )  # fmt: skip
    except ConfigError as error:
        raise ConfigError(_locate_command_faults(error.faults, several, composed)) from None
