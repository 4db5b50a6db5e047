"""The environment of a measurement: machine, concurrency, threads and versions."""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from resnet_factory import __version__
from resnet_factory.network.runtimes.choices import EXPORTED_RUNTIMES

ENVIRONMENT_KEYS = ("host", "concurrency", "threads", "versions")
"""Columns of the CSV."""
LOCK = "resnet-factory-latency.lock"


def machine_environment(concurrency: int | None, threads: int, runtime: str) -> dict[str, Any]:
    """Return this machine's environment; `concurrency` measurements run at a time (None: unknown).

    The version of `runtime` is stated, too, if it is a package besides torch.
    """
    packages = ("torch", *([runtime] if runtime in EXPORTED_RUNTIMES else []))
    return {
        "host": platform.node(),
        "concurrency": concurrency,
        "threads": threads,
        "versions": ", ".join(
            [*(f"{name} {version(name)}" for name in packages), f"resnet-factory {__version__}"]
        ),
    }


def describe_environment(stored: str) -> str:
    """Return a stored environment as text; empty where none was stored."""
    if not stored:
        return ""
    found: Mapping[str, Any] = json.loads(stored)
    concurrency = found["concurrency"]
    at_once = "concurrency unknown" if concurrency is None else f"{concurrency} at a time"
    threads = f"{found['threads']} thread{'s' if found['threads'] > 1 else ''}"
    return f"{found['host']}, {at_once}, {threads}, {found['versions']}"


@contextmanager
def exclusive_environment() -> Iterator[None]:
    """Hold the lock of this machine for measuring latency, which others would disturb."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    shared = Path("/tmp")  # noqa: S108 - one file for all users and jobs; nothing is written to it
    file = (shared if shared.is_dir() else Path(tempfile.gettempdir())) / LOCK
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CREAT, 0o644)
    except PermissionError:  # another user's, which may be opened but not created again
        handle = os.open(file, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting: another process on this machine measures latency", file=sys.stderr)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
