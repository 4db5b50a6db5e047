"""Several sweeps side by side in Python: medians, one table, the page that compares them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from resnet_factory.config.composition import compose_all
from resnet_factory.errors import ConfigError, Fault, path_of
from resnet_factory.sweep.analysis import MedianInterval, median_interval
from resnet_factory.sweep.objectives import ObjectiveRankingOptions
from resnet_factory.sweep.options import read_report_options, report_option_package_faults
from resnet_factory.sweep.results import read_ranked_results
from resnet_factory.sweep.setup import space_overrides
from resnet_factory.sweep.store import SweepStore
from resnet_factory.sweep.stored_sweep import Sweep

if TYPE_CHECKING:
    import pandas


class SweepComparison:
    """Several sweeps side by side."""

    def __init__(self, folders: Sequence[Path], options: ObjectiveRankingOptions) -> None:
        self.folders, self.options = tuple(folders), options
        self.names = short_names(folders)
        """The names of the sweeps: those of their folders."""

    def medians(self) -> dict[str, dict[str, MedianInterval]]:
        """Return each metric's median by sweep, of all architectures that have the metric."""
        found: dict[str, dict[str, MedianInterval]] = {}
        for name, folder in zip(self.names, self.folders, strict=True):
            with SweepStore(folder, write=False) as store:
                results, _ = read_ranked_results(store, self.options)
            for metric in results.known:
                values = results.metrics[metric]
                found.setdefault(metric, {})[name] = median_interval(values[np.isfinite(values)])
        return found

    def frame(self) -> pandas.DataFrame:
        """Return the columns of `archs.csv` of all sweeps, after a column `sweep` with their names.

        Raises:
            ImportError: pandas is not installed; no other function needs it.
        """
        import pandas

        frames = []
        for name, folder in zip(self.names, self.folders, strict=True):
            frame = Sweep(folder).frame()
            frame.insert(0, "sweep", name)
            frames.append(frame)
        return pandas.concat(frames, ignore_index=True)

    def report(self, out: str | Path, config_dir: str | Path | None = None) -> Path:
        """Write the page of fronts, distributions and medians into the folder `out` and return it.

        Raises:
            ConfigError: `out` holds a sweep, packages are not installed, or a metric is not in every sweep.
            OSError: the folder cannot be written.
        """
        if faults := list(report_option_package_faults()):
            raise ConfigError(faults)
        from resnet_factory.sweep.comparison import write_sweep_comparison

        folders = dict(zip(self.names, self.folders, strict=True))
        return write_sweep_comparison(folders, path_of(out, "out").expanduser(), self.options, config_dir)


def compare_sweeps(*sweeps: Sweep | str | Path, overrides: Sequence[str] = ()) -> SweepComparison:
    """Return a comparison of several sweeps, given themselves or by their folders.

    Overrides are those of the command `report`, as `"by=error"` and `"pareto=[[macs,error]]"`.

    Raises:
        ConfigError: a folder holds no sweep, two are the same, or an override is wrong.
    """
    words = space_overrides(None, overrides, "compare_sweeps()")
    options = read_report_options(compose_all("sweep", words))
    folders = [one.folder if isinstance(one, Sweep) else Sweep(one).folder for one in sweeps]
    if len(folders) < 2:
        raise ConfigError([Fault("compare_sweeps()", f"expected two sweeps or more, found {len(folders)}")])
    return SweepComparison(folders, options)


def short_names(folders: Sequence[Path]) -> list[str]:
    """Return the name of each folder, with the folders above it where two have one name."""
    parts = [folder.absolute().parts for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise ConfigError([Fault("", "two of the folders are the same", f"command line '{folders[0]}'")])
