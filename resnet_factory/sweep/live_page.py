"""The page of a sweep that is still running, rewritten periodically."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

FIRST, LEAST, SHARE = 10.0, 20.0, 20.0
"""Seconds to the first page, least seconds between two, and how often a page lasts between two."""


class LivePage:
    """Writes a page when it is due: late enough that pages take about a twentieth of the time at most."""

    def __init__(
        self, write: Callable[[int | None], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.write, self.clock = write, clock
        """`write` takes the seconds after which browsers load the page again; None for not at all."""
        self.written = False
        self._due = clock() + FIRST
        self._pause = LEAST

    def tick(self) -> None:
        """Write the page if it is due; a page that cannot be written stops no sweep."""
        start = self.clock()
        if start < self._due:
            return
        with suppress(OSError):
            self.write(round(self._pause))
            self.written = True
        end = self.clock()
        self._pause = max(LEAST, SHARE * (end - start))
        self._due = end + self._pause

    def end(self) -> None:
        """Write the last page of a sweep that was interrupted, which does not reload itself."""
        if self.written:
            with suppress(OSError):
                self.write(None)
