"""A process of its own for jobs that may raise, hang or die: a line of JSON in, a line of JSON out."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import NamedTuple

from resnet_factory.sweep.environment import alone

COMMAND = (sys.executable, "-m", "resnet_factory.sweep.worker")
START = 300.0
"""Seconds a process may take until it is ready: importing torch on a busy machine."""

PATIENCE = 20.0
"""Seconds that a process gets to keep what it is training."""
KILLED = "killed by SIGKILL"
"""The end of a process that the system took the memory from, or that somebody killed."""
INTERRUPTED = "interrupted"
"""The state of a job that was asked to stop: not measured, and no failure."""

Perform = Callable[[str], str]
"""A job as JSON -> its result as JSON."""


class Outcome(NamedTuple):
    """How one job ended."""

    key: str
    state: str
    """`ok`, `failed`, `timeout`, `died` or `interrupted`."""
    text: str
    """The result as JSON; or the error."""


def prepare() -> None:
    """Import what jobs need, torch above all: no job's time goes there, and none is ended in the middle."""
    import resnet_factory.sweep.jobs  # noqa: F401


def perform(job: str) -> str:
    """Measure one architecture."""
    from resnet_factory.sweep.jobs import measure

    return measure(job)


def turn(job: str) -> AbstractContextManager[None]:
    """Wait for a job's turn: one that times its network has the machine to itself."""
    return alone() if json.loads(job).get("alone") else nullcontext()


def attempt(key: str, job: str, perform: Perform) -> Outcome:
    """Perform a job; what it raises is an outcome too."""
    try:
        return Outcome(key, "ok", perform(job))
    except Exception as error:  # noqa: BLE001 - whatever a job raises is its row
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return Outcome(key, "failed", text)


def serve(perform: Perform = perform, prepare: Callable[[], None] = prepare) -> None:
    """Answer jobs from standard input until it ends; what a job prints goes to standard error.

    A job is answered twice: when its turn has come, and when it is done.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that leads
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    prepare()
    try:
        print("ready", file=answers, flush=True)
        for line in sys.stdin:
            key, job = json.loads(line)
            with turn(job):
                print("begun", file=answers, flush=True)
                try:
                    outcome = attempt(key, job, perform)
                except KeyboardInterrupt:
                    outcome = Outcome(key, INTERRUPTED, "")
                print(json.dumps(outcome), file=answers, flush=True)
            if outcome.state == INTERRUPTED:
                break
    except BrokenPipeError:  # nobody is left to answer
        os.dup2(os.open(os.devnull, os.O_WRONLY), answers.fileno())


class Worker:
    """A child process that performs jobs one at a time, started anew after it was lost."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self.command = tuple(command)
        self.child: subprocess.Popen[bytes] | None = None
        self.pending = b""
        self.leaving = False

    def ask(self, key: str, job: str, limit: float | None) -> Outcome:
        """Perform a job; one that passes `limit` seconds is ended, and one that dies is told of.

        One whose process the system has killed is tried once more.
        """
        outcome = self._asked(key, job, limit)
        if outcome.text != KILLED or outcome.state != "died" or self.leaving:
            return outcome
        again = self._asked(key, job, limit)
        if again.text != KILLED or again.state != "died":
            return again
        return again._replace(text=f"{KILLED}, and again when tried once more; is there too little memory?")

    def _asked(self, key: str, job: str, limit: float | None) -> Outcome:
        try:
            child = self._started()
        except (TimeoutError, EOFError, OSError) as error:
            return Outcome(key, "died", f"the worker did not start: {error}")
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps([key, job]).encode() + b"\n")
            child.stdin.flush()
            self._line(child, None)  # its turn has come
            outcome = Outcome(*json.loads(self._line(child, limit)))
            if outcome.state == INTERRUPTED:  # it takes no other
                self.close()
            return outcome
        except TimeoutError:
            self.close()
            return Outcome(key, "timeout", f"took more than {limit:g} seconds")
        except (EOFError, OSError):
            return Outcome(key, "died", self._end())

    def leave(self) -> None:
        """Ask the process to keep what it is training, and to end; whoever asked it for a job is told."""
        self.leaving = True
        if (child := self.child) is not None:
            child.terminate()

    def kill(self) -> None:
        """End the process at once; whoever asked it for a job is told."""
        if (child := self.child) is not None:
            child.kill()

    def close(self) -> None:
        """End the process at once."""
        if self.child is not None:
            self.child.kill()
            self._end()

    def _end(self) -> str:
        """Collect a process that ended; how it did."""
        assert self.child is not None
        code = self.child.wait()
        for pipe in (self.child.stdin, self.child.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self.child, self.pending = None, b""
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def _started(self) -> subprocess.Popen[bytes]:
        if self.child is not None and self.child.poll() is not None:
            self._end()
        if self.child is None:
            self.child = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
            try:
                self._line(self.child, START)
            except (TimeoutError, EOFError):
                self.child.kill()
                raise EOFError(self._end()) from None
        return self.child

    def _line(self, child: subprocess.Popen[bytes], limit: float | None) -> bytes:
        assert child.stdout is not None
        until = None if limit is None else time.monotonic() + limit
        with selectors.DefaultSelector() as waiting:
            waiting.register(child.stdout, selectors.EVENT_READ)
            while b"\n" not in self.pending:
                left = None if until is None else max(until - time.monotonic(), 0)
                if not waiting.select(left):
                    raise TimeoutError
                if not (more := os.read(child.stdout.fileno(), 65_536)):
                    raise EOFError
                self.pending += more
        line, _, self.pending = self.pending.partition(b"\n")
        return line


if __name__ == "__main__":
    serve()
