"""Sweeps in Python: run one or open its folder, go through its architectures, continue it, add metrics."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_factory.config.composition import compose_all
from resnet_factory.errors import ConfigError, Fault, found, path_of
from resnet_factory.sweep.architecture import Architecture, architectures_of
from resnet_factory.sweep.csv_table import csv_rows
from resnet_factory.sweep.objectives import REPORT_KEYS, ObjectiveRankingOptions
from resnet_factory.sweep.options import read_report_options, report_option_package_faults
from resnet_factory.sweep.run import ASKED, MERGED, complete_sweep
from resnet_factory.sweep.setup import (
    NO_PAGE,
    SweepSetup,
    override_key,
    read_setup,
    refuse_keys,
    space_overrides,
)
from resnet_factory.sweep.store import SweepStore
from resnet_factory.sweep.told_metrics import tell_metrics

if TYPE_CHECKING:
    import pandas

WAIT = 30.0
"""Seconds for which another process that writes to the folder is waited for."""
SAMPLING_KEYS = ("samples", "architectures", "max_samples", "sampler")
"""Overrides that do not apply where nothing is sampled."""
KEPT = ("sampler", "seed", "samples", "architectures", "met")
"""The record of a sweep that draws nothing, which stays as it is."""


class Sweep:
    """A sweep in a folder: an iterable of its architectures, in the order of their samples.

    Every access reads the store, also while the sweep runs.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = path_of(folder, "a sweep's folder").expanduser()
        self._reading().close()  # refused here where there is none

    def __repr__(self) -> str:
        return f"<sweep of {self.space} in '{self.folder}': {len(self):,} architectures>"

    def __len__(self) -> int:
        with self._reading() as store:
            return store.count()

    def __iter__(self) -> Iterator[Architecture]:
        with self._reading() as store:
            yield from architectures_of(store, store.candidates(), store.measured())

    def __contains__(self, plan: object) -> bool:
        with self._reading() as store:
            return isinstance(plan, str) and next(store.candidates(plan), None) is not None

    def __getitem__(self, plan: str) -> Architecture:
        """Return the architecture with a plan id.

        Raises:
            KeyError: there is none.
        """
        with self._reading() as store:
            found = next(architectures_of(store, store.candidates(plan), store.measured(plan)), None)
        if not plan or found is None:
            raise KeyError(plan)
        return found

    @property
    def space(self) -> str:
        """Return the name of the space."""
        return self.record()["name"]

    @property
    def overrides(self) -> tuple[str, ...] | None:
        """Return what it was last run with; None for a sweep of an earlier version, which kept none."""
        return _recorded_overrides(self.record())

    @property
    def config_dir(self) -> str | None:
        """Return the folder of the user's own YAML."""
        return _recorded_config_dir(self.record())

    @property
    def metrics(self) -> list[str]:
        """Return the metrics that were measured or told of any architecture."""
        with self._reading() as store:
            return store.metrics()

    def best(self, by: str, top: int = 10, where: str | None = None) -> list[Architecture]:
        """Return the `top` best by a metric or number, as `by=` and `where=` of a sweep name them.

        Raises:
            ConfigError: there is no such metric, it has no direction, `top` is less than 1, or the condition
                is wrong.
        """
        if type(top) is not int or top < 1:
            raise ConfigError([Fault("top", f"expected a whole number from 1, found {found(top)}")])
        return self._chosen(ObjectiveRankingOptions(by=by, top=top, errors=None, where=where, pareto=()))

    def front(self, first: str, second: str, where: str | None = None) -> list[Architecture]:
        """Return the Pareto front of two metrics or numbers, from the best by the first on.

        Raises:
            ConfigError: there is no such metric, it has no direction, or the condition is wrong.
        """
        pair = ((first, second),)
        return self._chosen(
            ObjectiveRankingOptions(by=None, top=max(len(self), 1), errors=None, where=where, pareto=pair)
        )

    def frame(self) -> pandas.DataFrame:
        """Return the columns of `archs.csv` as a pandas DataFrame with a row per architecture.

        Raises:
            ImportError: pandas is not installed; no other function needs it.
        """
        import pandas

        with self._reading() as store:
            head, *rows = csv_rows(store)
        return pandas.DataFrame(rows, columns=head)

    def report(self, *overrides: str) -> Path:
        """Write the table, the winners and the page into the folder and return the page.

        Overrides are those of the command `report`, as `"by=error"` and `"top=3"`; those that the sweep was
        run with count, too.

        Raises:
            ConfigError: an option is wrong, packages are not installed, or a file cannot be written.
        """
        from resnet_factory.sweep.results import write_files

        new = {override_key(word) for word in overrides}
        kept = {*REPORT_KEYS} - new
        words = [word for word in self.overrides or () if override_key(word) in kept]
        options = read_report_options(compose_all("sweep", [*words, *overrides]))
        if faults := list(report_option_package_faults()):
            raise ConfigError(faults)
        with self._reading() as store:
            return write_files(store, options, self.config_dir, page=True).files[-1]

    def resume(self, *overrides: str) -> None:
        """Complete the sweep, or extend it: `resume("architectures=2000")`.

        Overrides are added to those that the sweep was run with, or replace those of the same key.

        Raises:
            ConfigError: an override is wrong, or makes it another sweep.
        """
        record = self.record()
        draws_nothing = record["sampler"] in (ASKED, MERGED)
        if draws_nothing:
            refuse_keys(SAMPLING_KEYS, overrides, "a search or a merged sweep draws no samples")
        setup = self._setup(record, overrides, told=draws_nothing)
        with self._writing() as store:
            run = store.run()
            complete_setup(setup, store, {key: run[key] for key in KEPT if draws_nothing and key in run})

    def measure(self, *metrics: str, overrides: Sequence[str] = ()) -> None:
        """Measure metrics of the architectures that have none yet, as `measure=` does.

        Raises:
            ConfigError: a metric is unknown, or was measured under other conditions.
        """
        self.resume(f"measure=[{','.join(metrics)}]", *overrides)

    def tell(
        self, architecture: Architecture | str, numbers: Mapping[str, float | None], note: str = ""
    ) -> Architecture:
        """Store your own numbers for an architecture or its id; return the architecture with them.

        None stands for a metric that has no value there, and `note` says why. What was told before is
        replaced. Names of shipped metrics (`error`, `accuracy`, `loss`, …) have their direction; others are
        ranked with one, as `by=top1:max`.

        Raises:
            ConfigError: with every fault found.
        """
        plan = architecture.id if isinstance(architecture, Architecture) else architecture
        with self._writing() as store:
            tell_metrics(store, {plan: numbers}, note)
        return self[plan]

    def add_metric(self, name: str, values: Mapping[str, float | None], note: str = "") -> None:
        """Store one metric of your own for many architectures, by their ids, as `tell` does.

        Raises:
            ConfigError: with every fault found; nothing is stored then.
        """
        told = {plan: {name: value} for plan, value in values.items()}
        with self._writing() as store:
            tell_metrics(store, told, note, "add_metric()")

    def _chosen(self, options: ObjectiveRankingOptions) -> list[Architecture]:
        from resnet_factory.sweep.results import choose_best_results, read_ranked_results

        with self._reading() as store:
            results, ranking = read_ranked_results(store, options)
            chosen = results.candidates(choose_best_results(results, ranking, options.top).indices)
            measured = [row for one in chosen for row in store.measured(one.plan)]
            return list(architectures_of(store, chosen, measured))

    def _setup(self, record: Mapping[str, str], overrides: Sequence[str], told: bool) -> SweepSetup:
        words = _recorded_overrides(record)
        if words is None:
            message = f"'{self.folder}' does not record its settings: it was started by an earlier version"
            raise ConfigError([Fault("", f"{message}; rf.run_sweep(…, out=folder) resumes it")])
        new = {override_key(word) for word in overrides}
        kept = [word for word in words if override_key(word) not in new]
        return read_setup([*kept, *overrides, NO_PAGE], _recorded_config_dir(record), self.folder, told)

    def record(self) -> dict[str, str]:
        """Return the record of the run, as the store keeps it: its space, sampler, seed and conditions."""
        with self._reading() as store:
            return store.run()

    def _reading(self) -> SweepStore:
        return SweepStore(self.folder, write=False)

    def _writing(self) -> SweepStore:
        return SweepStore(self.folder, write=True, wait=WAIT)


def _recorded_overrides(record: Mapping[str, str]) -> tuple[str, ...] | None:
    words = record.get("overrides")
    return None if words is None else tuple(json.loads(words))


def _recorded_config_dir(record: Mapping[str, str]) -> str | None:
    found: str | None = json.loads(record.get("config_dir", "null"))
    return found


def run_sweep(
    space: str | None,
    *overrides: str,
    out: str | Path | None = None,
    config_dir: str | Path | None = None,
) -> Sweep:
    """Sample a space, cost and measure its architectures, and store them in the folder `out`.

    `space` is the name of a space, or None if an override chooses one. Overrides are those of the command
    `sweep`, as `"architectures=500"` and `"measure=[zen]"`; `Sweep.report` writes the page. Results of an
    earlier call, or of the command, in the folder are kept; the default folder is below `runs`.
    `executor=processes` starts new Python processes, as `multiprocessing` does: call it below
    `if __name__ == "__main__":` in a script.

    Raises:
        ConfigError: with every fault found, or if the folder holds another sweep.
        TypeError: `space` is not a string.
    """
    words = space_overrides(space, overrides, "run_sweep()")
    setup = read_setup([*words, NO_PAGE], checked_path(config_dir, "config_dir"), checked_path(out, "out"))
    with SweepStore(setup.folder, write=True, wait=WAIT) as store:
        complete_setup(setup, store, {})
    return Sweep(setup.folder)


def open_sweep(folder: str | Path) -> Sweep:
    """Return the sweep in a folder, also while it runs.

    Raises:
        ConfigError: the folder holds no sweep.
    """
    return Sweep(folder)


def complete_setup(setup: SweepSetup, store: SweepStore, noted: Mapping[str, str]) -> None:
    """Complete a sweep; `noted` are entries of the record that differ from its options."""
    record: dict[str, Any] = {**setup.record, **noted}
    complete_sweep(
        setup.space, setup.templates, setup.options, store, noted=record, window_draws=setup.window_draws
    )


def checked_path(value: str | Path | None, what: str) -> Path | None:
    """Return a string or path as a Path; None for None.

    Raises:
        TypeError: it is neither.
    """
    return None if value is None else path_of(value, what)
