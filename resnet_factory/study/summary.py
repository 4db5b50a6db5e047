"""Summaries of a study: each network at its best learning rate over all seeds, and findings as sentences."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from resnet_factory.study.training_result import DONE, TrainingResult


@dataclass(frozen=True)
class SeedSummary:
    """One number over several seeds."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Return the arithmetic mean."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float:
        """Return the sample standard deviation; 0 for a single seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0


@dataclass(frozen=True, kw_only=True)
class StudyNetworkSummary:
    """One network at one learning rate, with a run for each seed."""

    label: str
    series: str
    """Empty for a network of no series."""
    depth: int
    params: int
    macs: int
    rate: float
    """Learning rate."""
    runs: tuple[TrainingResult, ...]
    """In the order of the seeds; those that diverged or failed too."""

    @property
    def done(self) -> tuple[TrainingResult, ...]:
        """Return the runs that were trained to the end."""
        return tuple(run for run in self.runs if run.state == DONE)

    @property
    def train_error(self) -> SeedSummary | None:
        """Return the error over the training set in percent."""
        return _summarise_seeds(run.train and run.train.error for run in self.done)

    @property
    def train_loss(self) -> SeedSummary | None:
        """Return the mean cross-entropy over the training set."""
        return _summarise_seeds(run.train and run.train.loss for run in self.done)

    @property
    def test_error(self) -> SeedSummary | None:
        """Return the error over the test set in percent."""
        return _summarise_seeds(run.test and run.test.error for run in self.done)

    @property
    def test_loss(self) -> SeedSummary | None:
        """Return the mean cross-entropy over the test set."""
        return _summarise_seeds(run.test and run.test.loss for run in self.done)

    @property
    def gradient_ratio(self) -> SeedSummary | None:
        """Return the gradient norm of the first convolution over that of the last, at initialisation."""
        ratios = []
        for run in self.runs:
            if run.start and run.start.response_layers:
                norm = dict(zip(run.start.gradient_layers, run.start.gradients, strict=True))
                first, last = (norm[run.start.response_layers[end]] for end in (0, -1))
                ratios.append(first / last if last else math.inf)
        return _summarise_seeds(ratios)


def _summarise_seeds(values: Iterator[float | None] | Sequence[float]) -> SeedSummary | None:
    known = tuple(value for value in values if value is not None)
    return SeedSummary(known) if known else None


def study_summaries(results: Sequence[TrainingResult]) -> list[StudyNetworkSummary]:
    """Return a summary for every network and learning rate, in the order of the results."""
    groups: dict[tuple[str, float], list[TrainingResult]] = {}
    for result in results:
        groups.setdefault((result.label, result.rate), []).append(result)
    return [
        StudyNetworkSummary(
            label=label, series=runs[0].series, depth=runs[0].depth, params=runs[0].params,
            macs=runs[0].macs, rate=rate, runs=tuple(runs),
        )
        for (label, rate), runs in groups.items()
    ]  # fmt: skip


def summaries_at_best_rates(results: Sequence[TrainingResult]) -> list[StudyNetworkSummary]:
    """Return every network at the learning rate with the lowest mean training error, then training loss.

    A learning rate at which a seed was not trained to the end is taken only where there is no other. The test
    set does not count.
    """
    chosen: dict[str, StudyNetworkSummary] = {}
    for row in study_summaries(results):
        if row.label not in chosen or _summary_rank(row) < _summary_rank(chosen[row.label]):
            chosen[row.label] = row
    return list(chosen.values())


def _summary_rank(row: StudyNetworkSummary) -> tuple[int, float, float]:
    error, loss = row.train_error, row.train_loss
    missing = len(row.runs) - len(row.done)
    return missing, error.mean if error else 100.0, loss.mean if loss else math.inf


def summaries_by_series(rows: Sequence[StudyNetworkSummary]) -> dict[str, list[StudyNetworkSummary]]:
    """Return the networks of each series from shallow to deep, without those of no series."""
    found: dict[str, list[StudyNetworkSummary]] = {}
    for row in sorted(rows, key=lambda row: row.depth):
        found.setdefault(row.series, []).append(row)
    return {name: found[name] for name in dict.fromkeys(row.series for row in rows) if name}


def summaries_by_test_loss(rows: Sequence[StudyNetworkSummary]) -> list[StudyNetworkSummary]:
    """Return networks from the lowest mean test loss to the highest; those without one last."""
    return sorted(rows, key=lambda row: row.test_loss.mean if row.test_loss else math.inf)


def summary_findings(rows: Sequence[StudyNetworkSummary]) -> list[str]:
    """Return sentences on depth, equal parameters, gradients and overlapping seeds."""
    found = []
    for name, networks in summaries_by_series(rows).items():
        shallow, deep = networks[0], networks[-1]
        if len(networks) > 1 and shallow.train_error and deep.train_error:
            found.append(_summary_depth_finding(name, shallow, deep, shallow.train_error, deep.train_error))
    for row in rows:
        for other in rows:
            if row.series < other.series and row.depth == other.depth:
                same = f"the same {row.params:,}"
                counts = same if row.params == other.params else f"{row.params:,} and {other.params:,}"
                found.append(f"{row.label} and {other.label} have {counts} parameters.")
    ratios = [
        f"{row.label} {ratio.mean:,.{0 if ratio.mean >= 100 else 1}f}"
        for row in rows
        if row.series and (ratio := row.gradient_ratio)
    ]
    if ratios:
        begin = "Gradient norm of the first convolution over the last, at initialisation: "
        found.append(f"{begin}{', '.join(ratios)}.")
    if not summaries_by_series(rows):
        found += _tied_summaries(summaries_by_test_loss(rows))
    return found


def _summary_depth_finding(
    name: str,
    shallow: StudyNetworkSummary,
    deep: StudyNetworkSummary,
    before: SeedSummary,
    after: SeedSummary,
) -> str:
    text = f"{name}: {deep.label} ends at {after.mean:.2f} % training error"
    text += f", {shallow.label} at {before.mean:.2f} %"
    change = after.mean - before.mean
    if abs(change) < 0.05:
        return f"{text}: {deep.depth} layers are no worse than {shallow.depth}."
    apart = min(after.values) > max(before.values) or max(after.values) < min(before.values)
    seeds = f"all {len(after.values)} seeds agree" if apart else "the seeds overlap"
    points = f"{abs(change):.1f} points {'higher' if change > 0 else 'lower'}"
    return f"{text}: {points} at {deep.depth} layers than at {shallow.depth} ({seeds})."


def _tied_summaries(rows: Sequence[StudyNetworkSummary]) -> Iterator[str]:
    """Yield neighbours in the ranking whose seeds overlap."""
    for row, other in pairwise(rows):
        if row.test_loss and other.test_loss and max(row.test_loss.values) >= min(other.test_loss.values):
            names = f"{row.label} and {other.label}"
            yield f"{names} cannot be told apart: the test losses of their seeds overlap."
