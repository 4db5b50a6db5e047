"""Ctrl-C and SIGTERM as requests to stop, so that work in progress can be saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any


@contextmanager
def signal_handler(number: int, handler: Any) -> Iterator[None]:
    """Handle a signal inside; outside the main thread, where this is impossible, do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@contextmanager
def watch_stop_signals() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether Ctrl-C or SIGTERM came; a second Ctrl-C interrupts."""
    asked = False

    def ask(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True

    with ExitStack() as stack:
        for number in (signal.SIGINT, signal.SIGTERM):
            stack.enter_context(signal_handler(number, ask))
        yield lambda: asked


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM, as sent by a batch system, end the work inside like Ctrl-C."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with signal_handler(signal.SIGTERM, interrupt):
        yield
