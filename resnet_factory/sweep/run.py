"""A sweep from its options to its measurements; each step is stored when it is done."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from resnet_factory import __version__
from resnet_factory.config.own_layers import own_layer_origins
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.network.runtimes.choices import EAGER
from resnet_factory.sweep.collection import Collector
from resnet_factory.sweep.draws import Draws, SpaceDraws
from resnet_factory.sweep.evaluation import evaluate_samples
from resnet_factory.sweep.measuring import measure_missing
from resnet_factory.sweep.options import SweepOptions
from resnet_factory.sweep.own_metrics import own_metrics_record, shipped_or_own_metric
from resnet_factory.sweep.sampled_populations import CostConditions
from resnet_factory.sweep.samplers import BATCH
from resnet_factory.sweep.space import Space
from resnet_factory.sweep.stage_costs import tabulate_stage_costs
from resnet_factory.sweep.store import SweepStore
from resnet_factory.sweep.templates import ModelTemplates, unread_template_faults
from resnet_factory.sweep.window_draws import WINDOW_SAMPLER, WindowDraws

FIXED = ("space", "sampler", "seed", "image", "costing")
"""Parts of a run's record that may not change when it continues."""
PROBED = 64
"""Samples whose networks are composed to see what they read."""
ASKED, MERGED = "asked", "merged"
"""Samplers of the record of a search, and of several sweeps merged, which draw nothing."""
CONDITIONAL, REJECTION = "conditional", "rejection"
"""Values of the record's `drawing`: how relations are met where both ways are possible."""


def complete_sweep(
    space: Space,
    templates: ModelTemplates,
    options: SweepOptions,
    store: SweepStore,
    tick: Callable[[], None] = lambda: None,
    *,
    noted: Mapping[str, str] | None = None,
    window_draws: WindowDraws | None = None,
) -> None:
    """Complete what an earlier run has not done; `tick` is called after each stored step.

    `noted` is added to the record of the run; where its `sampler` is none that draws, nothing is sampled.
    `window_draws` are those of `sampler=conditional`.

    Raises:
        ConfigError: the store holds another run, or cannot be written.
    """
    _complete_run_record(store)
    # Relations of a sweep that an earlier version began were left to rejection, and are until its end.
    drawing = store.run().get("drawing", CONDITIONAL)
    draws: SpaceDraws | None = window_draws
    if draws is None:
        draws = Draws(space, options.sampler, options.seed, conditional=drawing == CONDITIONAL)
    record = run_record(space, options) | {"drawing": drawing, "met": json.dumps(draws.met)}
    record |= noted or {}
    own = json.loads(store.run().get("own_metrics", "{}")) | own_metrics_record(options.measure)
    store.freeze(record | {"own_metrics": json.dumps(own, sort_keys=True)}, FIXED)
    store.note("conditions", json.dumps(_checked_run_conditions(store, options)))
    templates.known.extend(store.structures())
    if options.retry:
        store.forget_failures()
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
        console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True,
    )  # fmt: skip
    with progress:
        if record["sampler"] == options.sampler:
            Collector(space, templates, options, store, draws).run(progress, tick)
        if own := _layer_origins_of_run(templates):
            store.note("layers", json.dumps(own, sort_keys=True))
        if options.measure:
            measure_missing(options, space.limits, store, progress, tick)


def window_draws_of_run(space: Space, templates: ModelTemplates, options: SweepOptions) -> WindowDraws | None:
    """Return the draws of `sampler=conditional`; None for another sampler.

    Raises:
        ConfigError: the costs of the space's stages cannot be tabulated, or none is inside the window.
    """
    if options.sampler != WINDOW_SAMPLER:
        return None
    conditions = CostConditions(options.image, options.measuring.batch, options.measuring.dtype)
    return WindowDraws(space, tabulate_stage_costs(space, templates, conditions), options.seed)


def _layer_origins_of_run(templates: ModelTemplates) -> dict[str, dict[str, str]]:
    """Return the packages of the registered layers that the networks use."""
    found: dict[str, dict[str, str]] = {}
    for number in range(len(templates.known)):
        with suppress(ConfigError):
            found |= own_layer_origins(templates.config(number))
    return found


def refuse_run_of_unread_dimensions(space: Space, templates: ModelTemplates, options: SweepOptions) -> None:
    """Check that the networks of the first samples read the fields that vary, before anything is stored.

    Raises:
        ConfigError: a field varies that none of these networks reads.
    """
    faults: list[Fault] = []
    conditions = CostConditions(options.image, options.measuring.batch, options.measuring.dtype)
    sampler = "random" if options.sampler == WINDOW_SAMPLER else options.sampler  # its tables take long
    draws = Draws(space, sampler, options.seed)
    for size in (PROBED, BATCH):  # rare choices may be the only ones that read a field
        stop = min(size, options.samples)
        evaluate_samples(space, templates, draws.samples(0, stop), 0, conditions, 0)
        faults = list(unread_template_faults(templates))
        if not faults:
            return
    raise ConfigError(faults)


def run_record(space: Space, options: SweepOptions) -> dict[str, str]:
    """Return what the store keeps about a run: all that decides its results, and the versions."""
    import numpy as np

    conditions, python = options.measuring.conditions, platform.python_version()
    return {
        "name": space.name,
        "base": space.base_name,
        "choices": json.dumps(space.choices),
        "space": space.text,
        "sampler": options.sampler,
        "seed": str(options.seed),
        "samples": str(options.samples),
        "architectures": json.dumps(options.architectures),
        "image": json.dumps(options.image),
        "costing": _run_costing_record(space.windows, conditions),
        "measuring": json.dumps(conditions, sort_keys=True),
        "metrics": json.dumps(options.measure),
        "limits": json.dumps({key: list(window) for key, window in space.limits.items()}),
        "generator": json.dumps(space.generator),
        "dimensions": json.dumps(space.dimension_rows),
        "relations": json.dumps([relation.text for relation in space.relations]),
        "windows": json.dumps({key: list(window) for key, window in space.windows.items()}),
        "versions": f"resnet-factory {__version__}, Python {python}, NumPy {np.__version__}",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        **({"torch": f"torch {version('torch')}"} if options.measure else {}),
    }


def _run_costing_record(windows: Mapping[str, Any], conditions: Mapping[str, Any]) -> str:
    """Return as JSON what windows on memory depend on besides the space; empty without any."""
    keys = ("batch", "dtype") if any(metric.endswith("memory") for metric in windows) else ()
    return json.dumps({key: conditions[key] for key in keys})


def _run_conditions_of_metric(metric: str, conditions: Mapping[str, Any]) -> dict[str, Any]:
    known = shipped_or_own_metric(metric)
    return {key: conditions[key] for key in (known.reads if known else ()) if key in conditions}


def _complete_run_record(store: SweepStore) -> None:
    """Add to the record of an earlier version what its costs and metrics depend on."""
    known = store.run()
    if known and "drawing" not in known:
        store.note("drawing", REJECTION)
    if not known or "costing" in known:
        return
    conditions = json.loads(known["measuring"])
    store.note("costing", _run_costing_record(json.loads(known["windows"]), conditions))
    by_metric = {metric: _run_conditions_of_metric(metric, conditions) for metric in store.metrics()}
    store.note("conditions", json.dumps(by_metric))


def _checked_run_conditions(store: SweepStore, options: SweepOptions) -> dict[str, Any]:
    """Return the conditions of each metric, measured or to be measured.

    Raises:
        ConfigError: a metric was measured under other conditions.
    """
    before: dict[str, Any] = json.loads(store.run().get("conditions", "{}"))
    conditions = json.loads(json.dumps(options.measuring.conditions))
    now = {metric: _run_conditions_of_metric(metric, conditions) for metric in options.measure}
    faults = []
    for metric in store.metrics():
        old, new = before.get(metric, {}), now.get(metric, {})
        old = {"runtime": EAGER} | old  # an earlier version had no other
        for key in [key for key in new if key in old and old[key] != new[key]][:1]:
            other = "another study" if key == "study" else f"{key} {old[key]}, not {new[key]}"
            message = f"'{store.folder}' holds {metric} measured with {other}; results are never mixed"
            faults.append(Fault(f"measuring.{key}", f"{message}: choose another folder with out=…"))
    if faults:
        raise ConfigError(faults)
    return before | now
