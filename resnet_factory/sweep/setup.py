"""A sweep as overrides define it: the space, its options, its folder, and how its networks are composed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from resnet_factory.config.composition import Composed, compose_all, group_choices, take_sweeps_to_compose
from resnet_factory.errors import ConfigError, Fault, shown
from resnet_factory.network.runtimes.choices import EAGER
from resnet_factory.sweep.dimension import Dimension, read_dimension
from resnet_factory.sweep.objectives import MEASURED, TRAINED, ObjectiveRankingOptions
from resnet_factory.sweep.options import (
    SweepOptions,
    read_report_options,
    read_sweep_options,
    refuse_unknown_metric_options,
)
from resnet_factory.sweep.own_metrics import own_metric_names
from resnet_factory.sweep.run import refuse_run_of_unread_dimensions, run_record, window_draws_of_run
from resnet_factory.sweep.space import Space, read_space
from resnet_factory.sweep.store import stored_metrics
from resnet_factory.sweep.templates import ModelTemplates
from resnet_factory.sweep.window_draws import WindowDraws

UNRECORDED = ("out", "retry", "report")
"""Keys of overrides that are of one run, not of the sweep."""
NO_PAGE = "report=false"
"""The override with which packages of the page are not asked for."""


@dataclass(frozen=True, kw_only=True)
class SweepSetup:
    """All that a sweep is made of."""

    space: Space
    options: SweepOptions
    report: ObjectiveRankingOptions
    folder: Path
    templates: ModelTemplates
    record: Mapping[str, str]
    """The overrides and the folder of the user's own YAML, as the store keeps them."""
    window_draws: WindowDraws | None
    """Those of `sampler=conditional`."""


def read_setup(
    overrides: Sequence[str],
    config_dir: str | Path | None = None,
    folder: str | Path | None = None,
    told: bool = False,
) -> SweepSetup:
    """Read a sweep from its overrides; `folder` is where it is stored, in place of `out=`.

    With `told`, constraints may be on metrics that are told rather than measured.

    Raises:
        ConfigError: with every fault found.
    """
    single, several = take_sweeps_to_compose(overrides, config_dir)
    composed = compose_all("sweep", single, config_dir)
    space = _compose_setup_space(composed, several)
    options, report = read_sweep_options(composed, space), read_report_options(composed)
    usual = f"runs/{space.name}-{_sweep_setup_hash(space, options, composed)}"
    out = Path(folder or options.out or usual).expanduser()
    known = (*options.measure, *stored_metrics(out), *(space.limits if told else ()))
    refuse_unknown_metric_options(report, space, known, composed)
    compose_one = partial(_composed_model, tuple(single), config_dir)
    try:
        refuse_run_of_unread_dimensions(space, ModelTemplates(space, compose_one), options)
        window_draws = window_draws_of_run(space, ModelTemplates(space, compose_one), options)
    except ConfigError as error:
        raise ConfigError(_locate_setup_faults(error.faults, several, composed)) from None
    record = {
        "overrides": json.dumps([word for word in overrides if override_key(word) not in UNRECORDED]),
        "config_dir": json.dumps(None if config_dir is None else str(Path(config_dir).absolute())),
    }
    templates = ModelTemplates(space, compose_one)
    return SweepSetup(
        space=space, options=options, report=report, folder=out, templates=templates, record=record,
        window_draws=window_draws,
    )  # fmt: skip


def override_key(word: str) -> str:
    """Return the key that an override is of."""
    return word.partition("=")[0].lstrip("+~")


def _composed_model(
    overrides: Sequence[str], config_dir: str | Path | None, changes: Sequence[str]
) -> Mapping[str, Any]:
    """Return the model of a sweep with further overrides."""
    return compose_all("sweep", [*overrides, *changes], config_dir).model.to_dict()


def _sweep_setup_hash(space: Space, options: SweepOptions, composed: Composed) -> str:
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


def _locate_setup_faults(
    faults: Sequence[Fault], several: Mapping[str, Mapping[str, Any]], composed: Composed
) -> Iterator[Fault]:
    """Yield faults of what varies with the override, or the line of the space, that says it."""
    for fault in faults:
        key = fault.path.removeprefix("space.vary.").removeprefix("model.")
        word = next((word for word in several if word in (f"model.{key}", f"model/{key}")), None)
        yield replace(fault, path="", where=f"command line '{word}=…'") if word else composed.locate(fault)


def _compose_setup_space(composed: Composed, several: Mapping[str, Mapping[str, Any]]) -> Space:
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
        raise ConfigError(_locate_setup_faults(error.faults, several, composed)) from None


def space_overrides(space: str | None, overrides: Sequence[str], caller: str) -> list[str]:
    """Return overrides with the one that chooses the space before them.

    Raises:
        ConfigError: one of them is about the page, which `report` writes.
        TypeError: an argument is not a string.
    """
    given: Sequence[object] = [*([] if space is None else [space]), *overrides]
    for text in given:
        if not isinstance(text, str):
            message = f"{caller} takes the name of a space, as 'digits', then overrides"
            raise TypeError(f"{message}; found {shown(text)}")
        if override_key(text) == "report":
            raise ConfigError([Fault("", "the page is written by report()", f"command line '{text}'")])
    return [*([] if space is None else [f"space={space}"]), *overrides]


def refuse_keys(keys: Collection[str], overrides: Sequence[str], reason: str) -> None:
    """Refuse overrides of keys that do not apply.

    Raises:
        ConfigError: for each of them.
    """
    faults = [
        Fault("", f"{key!r} is not allowed here: {reason}", f"command line '{word}'")
        for word in overrides
        if (key := override_key(word)) in keys
    ]
    if faults:
        raise ConfigError(faults)
