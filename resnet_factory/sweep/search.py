"""Searches: architectures asked for one by one, by an optimiser or a loop of one's own, and what it tells."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from resnet_factory.errors import ConfigError, Fault, found, unknown
from resnet_factory.sweep.architecture import Architecture, architectures_of
from resnet_factory.sweep.dimension import Dimension
from resnet_factory.sweep.draws import Draws
from resnet_factory.sweep.evaluation import INVALID, BatchEvaluation, evaluate_samples
from resnet_factory.sweep.run import ASKED
from resnet_factory.sweep.sampled_populations import CostConditions
from resnet_factory.sweep.samplers import BATCH
from resnet_factory.sweep.setup import NO_PAGE, SweepSetup, read_setup, refuse_keys, space_overrides
from resnet_factory.sweep.store import SweepStore
from resnet_factory.sweep.stored_sweep import (
    SAMPLING_KEYS,
    WAIT,
    Sweep,
    checked_path,
    complete_setup,
)
from resnet_factory.sweep.templates import ModelTemplates

MOST_TRIES = 16 * 1_024
"""Draws without a new architecture after which a search gives up."""


class RejectedProposal(Exception):  # noqa: N818 - no error: a proposal that the space does not have
    """A proposal that cannot be planned, or that relations and constraints of the space exclude."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Search(Sweep):
    """A sweep of architectures that are asked for one by one.

    Architectures and told numbers are stored at once, and available when the search is opened again.
    Threads and processes may ask and tell at the same time.
    """

    def __init__(self, setup: SweepSetup) -> None:
        super().__init__(setup.folder)
        self.dimensions: tuple[Dimension, ...] = setup.space.dimensions
        """Parts of a proposal: `key`, `kind`, and `values` of a choice or `low`, `high` and `step`."""
        self._setup_of_search = setup
        self._templates = setup.templates
        self._draws = Draws(setup.space, setup.options.sampler, setup.options.seed)
        self._lock = Lock()

    def ask(self, values: Mapping[str, Any] | None = None) -> Architecture:
        """Return the architecture with proposed values, stored and costed; or without them, a new one drawn.

        `values` has a value for each key of `dimensions`; numbers are rounded to the nearest that the space
        has. An architecture that was asked for before has the numbers that were told of it.

        Raises:
            RejectedProposal: the space has no such architecture; `reason` says why.
            ConfigError: a key is missing or unknown, or a value is outside of its range; or none that is new
                is found.
        """
        columns = None if values is None else self._columns(values)
        with self._lock, self._writing() as store:
            start = max(store.batches().values(), default=0)
            self._follow(store)
            if columns is not None:
                return self._propose(store, columns, start)
            return self._draw(store, start)

    def _columns(self, values: Mapping[str, Any]) -> dict[str, Any]:
        keys = [dimension.key for dimension in self.dimensions]
        faults = [
            Fault("ask()", unknown("key of the space", str(key), keys)) for key in values if key not in keys
        ]
        columns = {}
        for dimension in self.dimensions:
            if dimension.key not in values:
                faults.append(Fault("ask()", f"no value for {dimension.key!r}"))
                continue
            value = values[dimension.key]
            if (sampled := dimension.nearest(_plain(value))) is None:
                message = f"{dimension.key}: expected {dimension.range_text}, found {found(value)}"
                faults.append(Fault("ask()", message))
            columns[dimension.key] = np.array([sampled])
        if faults:
            raise ConfigError(faults)
        return columns

    def _follow(self, store: SweepStore) -> None:
        """Take over the templates that other processes have added."""
        stored = store.structures()
        if len(stored) != len(self._templates.known):
            own = self._setup_of_search.templates
            self._templates = ModelTemplates(own.space, own.compose, known=list(stored))

    def _evaluate(self, samples: Mapping[str, Any], start: int) -> BatchEvaluation:
        options = self._setup_of_search.options
        conditions = CostConditions(options.image, options.measuring.batch, options.measuring.dtype)
        return evaluate_samples(
            self._setup_of_search.space, self._templates, samples, start, conditions, examples=1
        )

    def _propose(self, store: SweepStore, columns: Mapping[str, Any], start: int) -> Architecture:
        result = self._evaluate(columns, start)
        self._add(store, start, start + 1, result)
        if not result.candidates:
            (reason,) = result.rejected or [INVALID]
            raise RejectedProposal(
                result.invalid[0].message if reason == INVALID and result.invalid else reason
            )
        return _stored(store, result.candidates[0].plan)

    def _draw(self, store: SweepStore, first: int) -> Architecture:
        """Return the first new architecture from sample `first` on."""
        start, size = first, 1
        while start - first < MOST_TRIES:
            stop = min(start + size, (start // BATCH + 1) * BATCH)
            result = self._evaluate(self._draw_samples(start, stop), start)
            if new := store.new_among(result.candidates, start):
                stop = new[0].sample + 1
                result = self._evaluate(self._draw_samples(start, stop), start)
            self._add(store, start, stop, result)
            if new:
                return _stored(store, new[0].plan)
            start, size = stop, min(2 * size, 1_024)
        message = f"none of {MOST_TRIES:,} samples is a new architecture of the space"
        raise ConfigError([Fault("ask()", message)])

    def _draw_samples(self, start: int, stop: int) -> dict[str, Any]:
        """Return samples `start` to `stop`; batches are drawn from their beginning."""
        batch = start - start % BATCH
        samples = self._draws.samples(batch, stop)
        return {key: column[start - batch :] for key, column in samples.items()}

    def _add(self, store: SweepStore, start: int, stop: int, result: BatchEvaluation) -> None:
        store.add_batch(start, stop, result.candidates, result.rejected, self._templates.known)


def open_search(
    space: str | None,
    *overrides: str,
    out: str | Path | None = None,
    config_dir: str | Path | None = None,
) -> Search:
    """Start a search in the folder `out`, or continue the one that is stored there.

    `space` is the name of a space, or None if an override chooses one, as in `run_sweep`.

    Raises:
        ConfigError: with every fault found, or if the folder holds another search or a sweep.
        TypeError: `space` is not a string.
    """
    words = space_overrides(space, overrides, "open_search()")
    refuse_keys((*SAMPLING_KEYS, "measure", "retry"), words, "the architectures of a search are asked for")
    folders = checked_path(config_dir, "config_dir"), checked_path(out, "out")
    setup = read_setup([*words, NO_PAGE], *folders, told=True)
    with SweepStore(setup.folder, write=True, wait=WAIT) as store:
        noted = {"sampler": ASKED, "samples": "0", "architectures": "null", "met": "{}"}
        complete_setup(setup, store, noted)
    return Search(setup)


def _stored(store: SweepStore, plan: str) -> Architecture:
    return next(architectures_of(store, store.candidates(plan), store.measured(plan)))


def _plain(value: Any) -> Any:
    """Return a NumPy number as Python's."""
    return value.item() if isinstance(value, np.generic) else value
