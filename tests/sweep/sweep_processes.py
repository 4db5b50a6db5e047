"""Commands in processes of their own, and what they have stored so far."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from conftest import ROOT

from resnet_factory.sweep.store import STORE_FILE


def start(*arguments: str, cwd: Path, **more: Any) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "resnet_factory.cli", *arguments], cwd=cwd, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more,
    )  # fmt: skip


def rows_of(folder: Path, table: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(f"file:{folder / STORE_FILE}?mode=ro", uri=True) as db:
        return db.execute(f"SELECT * FROM {table}").fetchall()


def count_of(folder: Path) -> int:
    """Return the number of measurements so far; 0 where there is no store yet."""
    try:
        return len(rows_of(folder, "metrics"))
    except sqlite3.OperationalError:
        return 0
