"""Check that a network's parameters fit into the available memory. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from resnet_factory.errors import ConfigError, Fault
from resnet_factory.planning.network_plan import Plan
from resnet_factory.reporting.columns import bytes_text

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
OWN_GROUP = Path("/proc/self/cgroup")
"""Files in which Linux reports the machine's memory and a control group's share of it."""


class CapacityFiles(NamedTuple):
    """The files in which one version of control groups reports memory."""

    folder: str
    limit: str
    used: str
    cached: str
    """The entry of `memory.stat` that counts used, but reclaimable memory."""


VERSION_1 = CapacityFiles("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
VERSION_2 = CapacityFiles("", "memory.max", "memory.current", "inactive_file")


def available_memory() -> int | None:
    """Return the number of bytes that can be allocated; None if it is unknown.

    It is the minimum of the machine's MemAvailable and the remaining allowance of this process's control
    group and of each group around it.
    """
    found = []
    try:
        for line in MEMINFO.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    except (OSError, ValueError, IndexError):
        return None
    for folder, files in _control_groups():
        try:
            allowed = int((folder / files.limit).read_text()) - int((folder / files.used).read_text())
        except (OSError, ValueError):  # no such group, or "max"
            continue
        found.append(allowed + _reclaimable_memory(folder, files))
    return min(found, default=None)


def _control_groups() -> Iterator[tuple[Path, CapacityFiles]]:
    """Yield the control groups that this process is in, the innermost first.

    A container may see its own group as the root, under a name that is only valid outside; so the root is
    always included.
    """
    try:
        lines = OWN_GROUP.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = ["0::/", "1:memory:/"]
    for line in lines:
        number, controllers, name = line.split(":", 2)
        if number == "0" or "memory" in controllers.split(","):
            files = VERSION_2 if number == "0" else VERSION_1
            group = PurePosixPath(name)
            for part in (group, *group.parents):
                yield CGROUP / files.folder / str(part).lstrip("/"), files


def _reclaimable_memory(folder: Path, files: CapacityFiles) -> int:
    """Return the bytes of a group's page cache, which the system frees on demand."""
    try:
        entries = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return int(entries.get(files.cached, 0))
    except (OSError, ValueError):
        return 0


def check_capacity(plan: Plan, itemsize: int = 4) -> None:
    """Refuse a network whose parameters, of `itemsize` bytes each, do not fit into the available memory.

    Raises:
        ConfigError: they do not fit.
    """
    params = sum(leaf.layer.params() for leaf in plan.leaves)
    room = available_memory()
    if room is not None and params * itemsize > room:
        message = (
            f"its {params:,} parameters take {bytes_text(params * itemsize)}, but only "
            f"{bytes_text(max(room, 0))} of memory are available; 'describe' and, in Python, build(…, "
            "device='meta') do not allocate them"
        )
        raise ConfigError([Fault("model.widths", message)])
