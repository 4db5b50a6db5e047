"""One sweep from its options to its results: frozen, surveyed, measured, each step kept as it is done."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from resnet_factory import __version__
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.sweep.evaluation import EXAMPLES, Setting, Structures, survey
from resnet_factory.sweep.measuring import Options, advance, measure
from resnet_factory.sweep.objectives import TRAINED
from resnet_factory.sweep.samplers import BATCH, draw
from resnet_factory.sweep.space import Space
from resnet_factory.sweep.store import Store

FIXED = ("space", "sampler", "seed", "image", "costing")
"""What a run may not change when it goes on."""
READS: dict[str, tuple[str, ...]] = {
    "latency": ("batch", "repeats", "threads", "device", "dtype", "channels_last"),
    "memory": ("batch", "device", "dtype", "channels_last"),
    "synflow": ("seeds", "threads", "device"),
    **dict.fromkeys(("naswot", "zen", "gradients"), ("batch", "seeds", "threads", "device")),
    **dict.fromkeys(TRAINED, ("study",)),
}
"""Metric -> the keys of `measuring` that its values depend on."""


def sweep(space: Space, structures: Structures, options: Options, store: Store) -> None:
    """Do what is not done yet.

    Raises:
        ConfigError: the store holds another run, or cannot be written.
    """
    _date_up(store)
    store.freeze(described(space, options), FIXED)
    store.note("conditions", json.dumps(_conditions(store, options)))
    structures.known.extend(store.structures())
    if options.retry:
        store.forget_failures()
    with _progress() as progress:
        _survey(space, structures, options, store, progress)
        if options.metrics:
            measure(options, store, progress)


def described(space: Space, options: Options) -> dict[str, str]:
    """What is run, for the store: all that decides the results, and what they were made with."""
    import numpy as np

    python = platform.python_version()
    return {
        "name": space.name,
        "base": space.base_name,
        "choices": json.dumps(space.choices),
        "space": space.text,
        "sampler": options.sampler,
        "seed": str(options.seed),
        "samples": str(options.samples),
        "image": json.dumps(options.image),
        "costing": _costing(space.windows, options.measuring),
        "measuring": json.dumps(options.measuring, sort_keys=True),
        "metrics": json.dumps(options.metrics),
        "generator": json.dumps(space.generator),
        "dimensions": json.dumps(
            [[d.key, d.kind, list(d.values), d.low, d.high, d.step] for d in space.dimensions]
        ),
        "relations": json.dumps([relation.text for relation in space.relations]),
        "windows": json.dumps({key: list(window) for key, window in space.windows.items()}),
        "versions": f"resnet-factory {__version__}, Python {python}, NumPy {np.__version__}",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        **({"torch": f"torch {version('torch')}"} if options.metrics else {}),
    }


def _costing(windows: Mapping[str, Any], measuring: Mapping[str, Any]) -> str:
    """What windows on memory depend on besides the space, as JSON; empty where there are none."""
    keys = ("batch", "dtype") if any(metric.endswith("memory") for metric in windows) else ()
    return json.dumps({key: measuring[key] for key in keys})


def _conditions_of(metric: str, measuring: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(measuring))
    return {key: found[key] for key in READS[metric] if key in found}


def _date_up(store: Store) -> None:
    """Note what earlier versions did not: what the costs and each metric depend on."""
    known = store.run()
    if not known or "costing" in known:
        return
    measuring = json.loads(known["measuring"])
    store.note("costing", _costing(json.loads(known["windows"]), measuring))
    conditions = {metric: _conditions_of(metric, measuring) for metric in store.metrics()}
    store.note("conditions", json.dumps(conditions))


def _conditions(store: Store, options: Options) -> dict[str, Any]:
    """What each metric was and is to be measured with; metrics may be added, none changed.

    Raises:
        ConfigError: a metric was measured with something else.
    """
    before: dict[str, Any] = json.loads(store.run().get("conditions", "{}"))
    now = {metric: _conditions_of(metric, options.measuring) for metric in options.metrics}
    faults = []
    for metric in store.metrics():
        old, new = before.get(metric, {}), now.get(metric, {})
        if differ := [key for key in new if key in old and old[key] != new[key]]:
            key = differ[0]
            what = "another study" if key == "study" else f"{key} {old[key]}, not {new[key]}"
            message = (
                f"'{store.folder}' holds {metric} measured with {what}; results are never mixed: choose "
                "another folder with out=…"
            )
            faults.append(Fault(f"measuring.{key}", message))
    if faults:
        raise ConfigError(faults)
    return before | now


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not sys.stderr.isatty(),
        transient=True,
    )


def _survey(space: Space, structures: Structures, options: Options, store: Store, progress: Progress) -> None:
    done, reasons = store.batches(), json.loads(store.run().get("invalid", "[]"))
    setting = Setting(options.image, options.measuring["batch"], options.measuring["dtype"])
    task = progress.add_task("costing", total=options.samples, rate="")
    for start in range(0, options.samples, BATCH):
        stop = min(start + BATCH, options.samples)
        if done.get(start, 0) < stop:
            samples = draw(options.sampler, space.dimensions, options.seed, start, stop)
            found = survey(space, structures, samples, start, setting, 0 if reasons else EXAMPLES)
            store.add_batch(start, stop, found.candidates, found.rejected, structures.known)
            if found.reasons and not reasons:
                reasons = found.reasons
                store.note("invalid", json.dumps(reasons))
        advance(progress, task, stop)
