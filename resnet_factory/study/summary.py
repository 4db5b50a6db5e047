"""What a study found: each network at its best learning rate, all seeds, and what follows in words."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from resnet_factory.study.result import DONE, Outcome


@dataclass(frozen=True)
class Spread:
    """One figure over several seeds."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The arithmetic mean."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float:
        """The sample standard deviation; 0 for a single seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0


@dataclass(frozen=True)
class Row:
    """One network at the learning rate that trained it best."""

    label: str
    series: str
    depth: int
    params: int
    macs: int
    rate: float
    runs: tuple[Outcome, ...]
    """One for each seed, in order; those that diverged or failed too."""

    @property
    def done(self) -> tuple[Outcome, ...]:
        """The runs that came to their end."""
        return tuple(run for run in self.runs if run.state == DONE)

    @property
    def train_error(self) -> Spread | None:
        """Percent, over the whole training set."""
        return self._spread(lambda run: run.train and run.train.error)

    @property
    def train_loss(self) -> Spread | None:
        """Mean cross-entropy over the whole training set."""
        return self._spread(lambda run: run.train and run.train.loss)

    @property
    def test_error(self) -> Spread | None:
        """Percent, over the whole test set."""
        return self._spread(lambda run: run.test and run.test.error)

    @property
    def test_loss(self) -> Spread | None:
        """Mean cross-entropy over the whole test set."""
        return self._spread(lambda run: run.test and run.test.loss)

    @property
    def steepness(self) -> Spread | None:
        """By how much the gradient grows from the last convolution back to the first, at initialisation."""
        ratios = []
        for run in self.runs:
            if run.start and run.start.response_layers:
                norm = dict(zip(run.start.gradient_layers, run.start.gradients, strict=True))
                first, last = (norm[run.start.response_layers[end]] for end in (0, -1))
                ratios.append(first / last if last else math.inf)
        return Spread(tuple(ratios)) if ratios else None

    def _spread(self, value: Callable[[Outcome], float | None]) -> Spread | None:
        values = tuple(found for run in self.done if (found := value(run)) is not None)
        return Spread(values) if values else None


def by_rate(outcomes: Sequence[Outcome]) -> list[Row]:
    """One row for every network and learning rate, in the order of the outcomes."""
    groups: dict[tuple[str, float], list[Outcome]] = {}
    for found in outcomes:
        groups.setdefault((found.label, found.rate), []).append(found)
    return [
        Row(label, runs[0].series, runs[0].depth, runs[0].params, runs[0].macs, rate, tuple(runs))
        for (label, rate), runs in groups.items()
    ]


def best(outcomes: Sequence[Outcome]) -> list[Row]:
    """One row for every network: the rate with the lowest mean training error, then training loss.

    A rate at which a seed did not come to its end is taken only where no rate has all seeds. The test
    set is not asked.
    """
    chosen: dict[str, Row] = {}
    for row in by_rate(outcomes):
        if row.label not in chosen or _badness(row) < _badness(chosen[row.label]):
            chosen[row.label] = row
    return list(chosen.values())


def _badness(row: Row) -> tuple[int, float, float]:
    error, loss = row.train_error, row.train_loss
    missing = len(row.runs) - len(row.done)
    return missing, error.mean if error else 100.0, loss.mean if loss else float("inf")


def series(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by series, each from shallow to deep; rows without a series are left out."""
    lines: dict[str, list[Row]] = {}
    for row in rows:
        if row.series:
            lines.setdefault(row.series, []).append(row)
    return {name: sorted(line, key=lambda row: row.depth) for name, line in lines.items()}


def ranked(rows: Sequence[Row]) -> list[Row]:
    """Rows from the lowest mean test loss to the highest; those without one last."""
    return sorted(rows, key=lambda row: row.test_loss.mean if row.test_loss else float("inf"))


def findings(rows: Sequence[Row]) -> list[str]:
    """What follows from the rows, in sentences; every number in them was measured."""
    said = []
    for name, line in series(rows).items():
        if len(line) > 1 and line[0].train_error and line[-1].train_error:
            said.append(_depth_finding(name, line[0], line[-1]))
    pairs = [(row, other) for row in rows for other in rows if _paired(row, other)]
    for row, other in pairs:
        same = "the same" if row.params == other.params else f"{row.params:,} and {other.params:,}"
        number = f" {row.params:,}" if row.params == other.params else ""
        said.append(f"{row.label} and {other.label} have {same}{number} parameters.")
    steep = [row for row in rows if row.steepness and row.series]
    if steep:
        said.append(
            "Gradient norm of the first convolution over the last, at initialisation: "
            + ", ".join(f"{row.label} {_short(row.steepness.mean)}" for row in steep if row.steepness)
            + "."
        )
    if not series(rows):
        said += _ties(ranked(rows))
    return said


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _paired(row: Row, other: Row) -> bool:
    """Whether two rows are the same depth in a first and a later series."""
    lines = list(dict.fromkeys(r.series for r in (row, other)))
    return len(lines) == 2 and row.depth == other.depth and row.series < other.series


def _depth_finding(name: str, shallow: Row, deep: Row) -> str:
    before, after = shallow.train_error, deep.train_error
    assert before is not None
    assert after is not None
    change = after.mean - before.mean
    how = f"{abs(change):.1f} points {'higher' if change > 0 else 'lower'}"
    apart = min(after.values) > max(before.values) or max(after.values) < min(before.values)
    many = f"all {len(after.values)} seeds agree" if apart else "the seeds overlap"
    said = f"{name}: {deep.label} ends at {after.mean:.2f} % training error"
    said += f", {shallow.label} at {before.mean:.2f} %"
    if abs(change) < 0.05:
        return f"{said}: {deep.depth} layers are no worse than {shallow.depth}."
    return f"{said}: {how} at {deep.depth} layers than at {shallow.depth} ({many})."


def _ties(rows: Sequence[Row]) -> list[str]:
    """Neighbours in the ranking whose seeds overlap."""
    said = []
    for row, other in pairwise(rows):
        if row.test_loss and other.test_loss and max(row.test_loss.values) >= min(other.test_loss.values):
            said.append(
                f"{row.label} and {other.label} cannot be told apart: the test losses of their seeds overlap."
            )
    return said
