"""Overrides with several values: the jobs of a multirun, and the dimensions of a design space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, product
from math import prod
from typing import Any

from resnet_factory.config.library import Library
from resnet_factory.config.override_grammar import override_location
from resnet_factory.config.overrides import parsed_overrides
from resnet_factory.errors import ConfigError, Fault

MAX_JOBS = 10_000
"""Maximum number of jobs of one multirun."""


def has_sweep_overrides(word: str, library: Library) -> bool:
    """Return whether an override gives several values."""
    return any(override.several is not None for override in parsed_overrides([word], library, []))


def jobs_of_sweep_overrides(words: Sequence[str], library: Library) -> list[list[str]]:
    """Return the overrides of each job of a multirun, in the order Hydra runs them.

    Raises:
        ConfigError: an override cannot be read, or there are too many jobs.
    """
    return [list(job) for job in product(*_sweep_override_values(words, library).values())]


def samples_of_sweep_overrides(words: Sequence[str], library: Library) -> list[list[str]]:
    """Return a small set of jobs that covers every combination of choices, and every value once.

    Raises:
        ConfigError: an override cannot be read, or there are too many jobs.
    """
    ways = _sweep_override_values(words, library)
    chosen = [key for key in ways if library.is_group(key.lstrip("+~").partition("@")[0])]
    first = {key: values[:1] for key, values in ways.items()}
    found = [*product(*(ways[key] if key in chosen else first[key] for key in ways))]
    for key in ways:
        if key not in chosen:
            found += product(*(ways[key][1:] if other == key else first[other] for other in ways))
    return [list(job) for job in found]


def _sweep_override_values(words: Sequence[str], library: Library) -> dict[str, list[str]]:
    """Return the alternatives of each override of a multirun; the last override of a key counts."""
    faults: list[Fault] = []
    several: dict[str, list[str]] = {}
    for override in parsed_overrides(words, library, faults):
        key, sweep = override.element, override.several
        if sweep is None:
            several[key] = [override.text]
        elif not sweep.is_discrete_sweep():
            faults.append(
                Fault(
                    "",
                    "an interval has no finite list of values; list the values",
                    override_location(override),
                )
            )
        else:
            sweep.config_loader = _SweepOverrideGroups(library)  # type: ignore[assignment]  # all that Hydra uses of it
            values = list(islice(sweep.sweep_string_iterator(), MAX_JOBS + 1))
            if not values:
                faults.append(Fault("", f"no {key} matches", override_location(override)))
            several[key] = [f"{key}={value}" for value in values]
    if prod(map(len, several.values())) > MAX_JOBS:
        faults.append(Fault("", f"more than {MAX_JOBS} jobs in one multirun", "command line '-m'"))
    if faults:
        raise ConfigError(faults)
    return several


def split_sweep_overrides(
    words: Sequence[str], library: Library
) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Return the overrides with one value; and, by key, `{choice: […]}` or `{uniform: […]}` for the others.

    Raises:
        ConfigError: an override cannot be read.
    """
    faults: list[Fault] = []
    single: list[str] = []
    several: dict[str, dict[str, Any]] = {}
    for override in parsed_overrides(words, library, faults):
        if (sweep := override.several) is None:
            single.append(override.text)
        elif sweep.is_interval_sweep():
            interval: Any = sweep.value()
            several[override.key] = {"uniform": [interval.start, interval.end]}
        else:
            sweep.config_loader = _SweepOverrideGroups(library)  # type: ignore[assignment]  # all that Hydra uses of it
            values = [_unquoted_sweep_override(value) for value in sweep.sweep_iterator()]
            several[override.key] = {"choice": values}
    if faults:
        raise ConfigError(faults)
    return single, several


@dataclass
class _SweepOverrideGroups:
    """The part of a config loader that Hydra uses to expand patterns."""

    library: Library

    def get_group_options(self, group: str, results_filter: object = None) -> list[str]:
        """Return the names of a config group."""
        return self.library.options(group)


def _unquoted_sweep_override(value: Any) -> Any:
    from hydra.core.override_parser.types import QuotedString

    if isinstance(value, list):
        return [_unquoted_sweep_override(entry) for entry in value]
    return value.text if isinstance(value, QuotedString) else value
