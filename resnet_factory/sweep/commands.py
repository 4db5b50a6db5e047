"""The commands `sweep` and `report`."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from resnet_factory.config.composition import compose_all
from resnet_factory.config.own_layers import missing_own_layers
from resnet_factory.errors import ConfigError, Fault, unknown
from resnet_factory.reporting.tables import table_console
from resnet_factory.study.signals import sigterm_as_interrupt
from resnet_factory.sweep.csv_table import write_csv
from resnet_factory.sweep.live_page import LivePage
from resnet_factory.sweep.objectives import REPORT_KEYS, ObjectiveRankingOptions
from resnet_factory.sweep.options import read_report_options, report_option_package_faults
from resnet_factory.sweep.run import complete_sweep
from resnet_factory.sweep.setup import read_setup
from resnet_factory.sweep.store import SweepStore


def sweep_command(overrides: Sequence[str], config_dir: str | None) -> int:
    """Sample a space, cost, measure, store and report it; continue where an earlier run ended."""
    setup = read_setup(overrides, config_dir)
    with SweepStore(setup.folder, write=True) as store:
        live = LivePage(partial(_write_sweep_command_page, store, setup.report, config_dir))
        try:
            with sigterm_as_interrupt():
                tick = live.tick if setup.options.report else (lambda: None)
                complete_sweep(
                    setup.space, setup.templates, setup.options, store, tick,
                    noted=setup.record, window_draws=setup.window_draws,
                )  # fmt: skip
        except KeyboardInterrupt:
            write_csv(store)
            live.end()
            table_console().print(
                f"interrupted; finished results are in '{setup.folder}'; the same command resumes"
            )
            raise
        return _finish_sweep_command(store, setup.report, config_dir, page=setup.options.report)


def report_command(arguments: Sequence[str], config_dir: str | None) -> int:
    """Make a sweep's report again: report DIR [by=…] [top=…] [pareto=[[params,macs]]] [errors=FILE].

    Of several folders, report DIR DIR … [out=DIR], it is a page that compares them.
    """
    folders = [argument for argument in arguments if "=" not in argument]
    if not folders:
        message = "expected a folder, or several to compare, found none: report DIR"
        raise ConfigError([Fault("", message, "command line 'report'")])
    given, known = [argument for argument in arguments if "=" in argument], (*REPORT_KEYS, "out")
    for argument in given:
        if (key := argument.split("=")[0]) not in known:
            raise ConfigError([Fault("", unknown("option", key, known), f"command line '{argument}'")])
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
    from resnet_factory.sweep.sweep_comparison import SweepComparison

    names = "\n".join(str(folder.absolute()) for folder in folders)
    target = Path(out or f"runs/comparison-{hashlib.sha256(names.encode()).hexdigest()[:8]}").expanduser()
    try:
        page = SweepComparison(folders, options).report(target, config_dir)
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
        yield f"invalid, {count} of {len(reasons)} examined: {example} (sample {sample})"
    if not store.count() and store.sampled():
        yield "no architecture is left; widen the space or relax its constraints"
