"""The progress of a sweep in the terminal."""

from __future__ import annotations

from typing import Any

from rich.progress import Progress


def advance_sweep_progress(progress: Progress, task: Any, done: int) -> None:
    """Show the progress of a task, and its speed."""
    speed = progress.tasks[task].speed or 0
    progress.update(task, completed=done, rate=f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.2f}/s")
