"""Whether a network's parameters fit into the memory that is available. No torch."""

from __future__ import annotations

from pathlib import Path

from resnet_factory.errors import ConfigError, Fault
from resnet_factory.planning.nodes import Plan
from resnet_factory.reporting.columns import bytes_text

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
"""What Linux says of the machine's memory, and of the share that a container may use."""


def available_memory() -> int | None:
    """Bytes that can be allocated; None where the system does not say.

    The least of what the machine has to give (MemAvailable) and what the control group, version 1 or 2, is
    still allowed.
    """
    found = []
    try:
        for line in MEMINFO.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    except (OSError, ValueError, IndexError):
        return None
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            found.append(int((CGROUP / limit).read_text()) - int((CGROUP / used).read_text()))
        except (OSError, ValueError):  # no such group, or "max"
            continue
    return min(found, default=None)


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
            f"{bytes_text(max(room, 0))} of memory are available; 'describe' needs none, nor does "
            "build(…, device='meta') in Python"
        )
        raise ConfigError([Fault("", message)])
