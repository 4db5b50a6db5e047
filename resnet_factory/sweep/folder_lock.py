"""The lock of a sweep's folder, which one process holds."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from resnet_factory.errors import ConfigError, Fault


def lock_folder(folder: Path) -> TextIO | None:
    """Lock a folder until this process ends."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        return None
    lock = (folder / ".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise ConfigError([Fault("out", f"another sweep is writing to '{folder}'")]) from None
    return lock
