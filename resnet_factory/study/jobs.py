"""The jobs of a study: one for each network, learning rate and seed, as plain data."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from resnet_factory.config import schema
from resnet_factory.config.composition import Composed
from resnet_factory.costing.complexity import compute_complexity
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.planning.models import compose
from resnet_factory.planning.paths import path_depth
from resnet_factory.planning.planner import run_planner
from resnet_factory.study.settings import (
    DataSettings,
    MachineSettings,
    StudyModelSettings,
    StudySettings,
    TrainSettings,
)

JOB_FORMAT = 1
"""Part of a job's id, to be raised when the same job is trained to another result."""


@dataclass(frozen=True, kw_only=True)
class StudyJob:
    """All that the result of a training depends on; can be pickled."""

    label: str
    series: str
    model: dict[str, Any]
    """`ModelConfig.to_dict()`: names are resolved, so that it is the same on every machine."""
    plan_id: str
    depth: int
    params: int
    macs: int
    data: DataSettings
    train: TrainSettings
    rate: float
    """Learning rate."""
    seed: int
    machine: MachineSettings

    @cached_property
    def id(self) -> str:
        """Return a short hash of plan, data, training, learning rate, seed and precision."""
        machine = self.machine
        content = {
            "format": JOB_FORMAT,
            "plan": self.plan_id,
            "data": asdict(self.data),
            "train": asdict(self.train),
            "rate": self.rate,
            "seed": self.seed,
            "numbers": [machine.precision, machine.channels_last, machine.compile, machine.sync_batch_norm],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]

    @property
    def name(self) -> str:
        """Return the name of its folder: `plain56-rate0.1-seed0-1f0c52a7de`."""
        label = re.sub(r"[^\w.=-]+", "_", self.label)[:60]
        return f"{label}-rate{self.rate:g}-seed{self.seed}-{self.id}"

    @property
    def config(self) -> schema.ModelConfig:
        """Return the typed config of the network."""
        return schema.read_config(self.model, name=self.label)


def study_jobs(settings: StudySettings, composed: Composed) -> list[StudyJob]:
    """Return every job of a study: networks in the order they are given, then learning rates, then seeds.

    Raises:
        ConfigError: with every fault in every model.
    """
    if settings.entries:
        found = _compose_study_job_models(settings, composed)
    else:
        alone = StudyModelSettings(name=composed.model.name, overrides=(), series="", path="model")
        found = [(alone, composed.model)]
    names = [entry.name for entry, _ in found]
    jobs = []
    for entry, config in found:
        label = entry.name if names.count(entry.name) == 1 else entry.text
        train = settings.per_model.get(entry.name, settings.train)
        with composed.locating():
            first = new_study_job(
                config,
                settings.data,
                train,
                settings.machine,
                rate=0,
                seed=0,
                label=label,
                series=entry.series,
            )
        jobs += [replace(first, rate=rate, seed=seed) for rate in settings.rates for seed in settings.seeds]
    return jobs


def _compose_study_job_models(
    settings: StudySettings, composed: Composed
) -> list[tuple[StudyModelSettings, schema.ModelConfig]]:
    """Return the config of each of `models`, which must fit the data."""
    found, faults = [], []
    for entry in settings.entries:
        try:
            overrides = (*settings.overrides, *entry.overrides)
            config = compose(entry.name, *overrides, config_dir=composed.config_dir)
            new_study_job(config, settings.data, settings.train, settings.machine, rate=1, seed=0, label="")
            found.append((entry, config))
        except ConfigError as error:
            # An override made here was not typed there; a place in a file helps.
            for fault in error.faults:
                inner = replace(fault, where="") if fault.where.startswith("command line") else fault
                faults.append(composed.locate(Fault(entry.path, f"{entry.text!r}: {inner}")))
    if faults:
        raise ConfigError(faults)
    return found


def new_study_job(
    config: schema.ModelConfig,
    data: DataSettings,
    train: TrainSettings,
    machine: MachineSettings,
    *,
    rate: float,
    seed: int,
    label: str,
    series: str = "",
) -> StudyJob:
    """Return the job of training a network once, with the input channels, classes and image size of the data.

    Raises:
        ConfigError: the network cannot take the images.
    """
    config = study_job_config(config, data)
    planned = run_planner(config)
    costed = compute_complexity(planned, study_job_image_shape(data))
    return StudyJob(
        label=label, series=series, model=config.to_dict(), plan_id=planned.id,
        depth=path_depth(planned.root), params=costed.params, macs=costed.macs, data=data, train=train,
        rate=rate, seed=seed, machine=machine,
    )  # fmt: skip


def study_job_config(config: schema.ModelConfig, data: DataSettings) -> schema.ModelConfig:
    """Return the config with the input channels, classes and image size of the data.

    Raises:
        ConfigError: the network cannot take them.
    """
    if config.dims != 2:
        message = f"networks are trained on images, of 2 dimensions; this one takes {config.dims}"
        raise ConfigError([Fault(f"{config.path}.dims", message)])
    sizes = {"in_channels": data.channels, "num_classes": data.classes, "image_size": data.size}
    return config.changed(sizes)


def study_job_image_shape(data: DataSettings) -> tuple[int, int, int]:
    """Return (channels, height, width) of an image."""
    return data.channels, data.size, data.size
