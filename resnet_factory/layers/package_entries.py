"""Entry points of installed packages: what they add, by name."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points


def installed_package_entries(group: str) -> Mapping[str, tuple[EntryPoint, ...]]:
    """Return the entry points of a group by name."""
    return _package_entry_points(
        group, tuple((folder, _package_paths_changed(folder)) for folder in sys.path)
    )


def package_of_entry(entry: EntryPoint) -> str:
    """Return the name and version of the package that has an entry point."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "unknown"


def _package_paths_changed(folder: str) -> int:
    try:
        return os.stat(folder or ".").st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=4)
def _package_entry_points(
    group: str, _path: tuple[tuple[str, int], ...]
) -> Mapping[str, tuple[EntryPoint, ...]]:
    """Read the entry points anew where Python's path, or a folder on it, has changed."""
    found: dict[str, list[EntryPoint]] = defaultdict(list)
    for entry in entry_points(group=group):
        found[entry.name].append(entry)
    return {word: tuple(entries) for word, entries in found.items()}
