"""What a study trains: one job for each network, learning rate and seed. Plain data, so that jobs travel."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from resnet_factory.config import schema
from resnet_factory.config.composition import Composed
from resnet_factory.costing.complexity import cost
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.layers import Conv, Linear, Norm
from resnet_factory.planning.models import compose
from resnet_factory.planning.network_plan import Plan
from resnet_factory.planning.nodes import Leaf
from resnet_factory.planning.paths import depth, main_path
from resnet_factory.planning.planner import plan
from resnet_factory.study.settings import Data, Entry, Machine, Settings, Train

FORMAT = 1
"""Goes into a job's id: raise it when the same job would train to something else."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One network to train: everything the result depends on. Pickles."""

    label: str
    series: str
    model: dict[str, Any]
    """`ModelConfig.to_dict()`: names resolved, so that it means the same on every machine."""
    plan_id: str
    depth: int
    params: int
    macs: int
    data: Data
    train: Train
    rate: float
    seed: int
    machine: Machine

    @cached_property
    def id(self) -> str:
        """A short content hash of what the result depends on: plan, data, recipe, rate, seed, precision."""
        machine = self.machine
        said = {
            "format": FORMAT,
            "plan": self.plan_id,
            "data": asdict(self.data),
            "train": asdict(self.train),
            "rate": self.rate,
            "seed": self.seed,
            "numbers": [machine.precision, machine.channels_last, machine.compile, machine.sync_batch_norm],
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:10]

    @property
    def name(self) -> str:
        """The name of its folder: `plain56-rate0.1-seed0-1f0c52a7de`."""
        label = re.sub(r"[^\w.=-]+", "_", self.label)[:60]
        return f"{label}-rate{self.rate:g}-seed{self.seed}-{self.id}"

    @property
    def config(self) -> schema.ModelConfig:
        """The network's typed config."""
        return schema.read(self.model, name=self.label)


def jobs(settings: Settings, composed: Composed) -> list[Job]:
    """Every job of a study, networks in the order they are given, then rates, then seeds.

    Raises:
        ConfigError: with every fault in every model.
    """
    if not settings.entries:
        alone = Entry(name=composed.model.name, overrides=(), series="", path="model")
        found = [(alone, composed.model)]
    else:
        found = _composed(settings, composed)
    names = [entry.name for entry, _ in found]
    return [
        job(
            config,
            settings.data,
            settings.per_model.get(entry.name, settings.train),
            settings.machine,
            rate=rate,
            seed=seed,
            label=entry.name if names.count(entry.name) == 1 else entry.text,
            series=entry.series,
        )
        for entry, config in found
        for rate in settings.rates
        for seed in settings.seeds
    ]


def _composed(settings: Settings, composed: Composed) -> list[tuple[Entry, schema.ModelConfig]]:
    """The config of each of `models`, fit for the data."""
    found, faults = [], []
    for entry in settings.entries:
        overrides = (*settings.overrides, *entry.overrides)
        try:
            config = compose(entry.name, *overrides, config_dir=composed.config_dir)
            job(config, settings.data, settings.train, settings.machine, rate=1, seed=0, label="")
            found.append((entry, config))
        except ConfigError as error:
            # An override made here was not typed there; a place in a file helps.
            for fault in error.faults:
                inner = replace(fault, where="") if fault.where.startswith("command line") else fault
                faults.append(composed.locate(Fault(entry.path, f"{entry.text!r}: {inner}")))
    if faults:
        raise ConfigError(faults)
    return found


def job(
    config: schema.ModelConfig,
    data: Data,
    train: Train,
    machine: Machine,
    *,
    rate: float,
    seed: int,
    label: str,
    series: str = "",
) -> Job:
    """The job of training one network once; its input channels, classes and image size become the data's.

    Raises:
        ConfigError: the network cannot take this data's images.
    """
    config = fitted(config, data)
    planned = plan(config)
    costed = cost(planned, image(data))
    return Job(
        label=label, series=series, model=config.to_dict(), plan_id=planned.id, depth=depth(planned.root),
        params=costed.params, macs=costed.macs, data=data, train=train, rate=rate, seed=seed, machine=machine,
    )  # fmt: skip


def fitted(config: schema.ModelConfig, data: Data) -> schema.ModelConfig:
    """The same network for this data: its channels, its classes, its image size.

    Raises:
        ConfigError: the network cannot take them.
    """
    said = {"in_channels": data.channels, "num_classes": data.classes, "image_size": data.size}
    return config.changed(said)


def image(data: Data) -> tuple[int, int, int]:
    """(channels, height, width) of one image."""
    return data.channels, data.size, data.size


def weighted(planned: Plan) -> tuple[Leaf, ...]:
    """The convolutions and linear layers of the longest path, from the image to the answer."""
    return tuple(leaf for leaf in main_path(planned.root) if isinstance(leaf.layer, (Conv, Linear)))


def responses(planned: Plan) -> tuple[tuple[str, str], ...]:
    """(convolution, layer whose output is its response): the norm right behind it, or itself.

    He et al. 2015, figure 7: "the outputs of each 3x3 layer, after BN and before nonlinearity". Here
    every convolution of the longest path counts, so that bottlenecks have their say too.
    """
    path = main_path(planned.root)
    found = []
    for i, leaf in enumerate(path):
        if isinstance(leaf.layer, Conv):
            behind = path[i + 1 : i + 2]
            norm = [
                next_ for next_ in behind if isinstance(next_.layer, Norm) and _parent(next_) == _parent(leaf)
            ]
            found.append((leaf.name, (*norm, leaf)[0].name))
    return tuple(found)


def _parent(leaf: Leaf) -> str:
    return leaf.name.rpartition(".")[0]
