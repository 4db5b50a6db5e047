"""The lock of a sweep's folder, which one process holds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TextIO

from resnet_factory.errors import ConfigError, Fault

RETRY = 0.02
"""Seconds between attempts while another process has the lock."""


def lock_folder(folder: Path, wait: float = 0) -> TextIO | None:
    """Lock a folder until this process ends; another one that has the lock is waited for.

    Raises:
        ConfigError: after `wait` seconds another one has it still.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        return None
    end = time.monotonic() + wait
    lock = (folder / ".lock").open("w")
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() < end:
                time.sleep(RETRY)
                continue
            lock.close()
            raise ConfigError([Fault("out", f"another sweep is writing to '{folder}'")]) from None
        return lock
