"""A sweep's worker process for tests: jobs that print, raise, hang or die as their key says."""

from __future__ import annotations

import json
import os
import signal
import time
from functools import partial
from pathlib import Path

from resnet_factory.sweep.executors import prepare_executor_process


def perform(job: str) -> str:
    what = json.loads(job)["plan"]
    if what.startswith("raise"):
        raise ValueError("as asked")
    if what.startswith("hang"):
        time.sleep(600)
    if what.startswith("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    if what.startswith("once") and not (marker := Path(what.removeprefix("once "))).exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if what.startswith("leave"):
        raise KeyboardInterrupt
    if what.startswith("wait"):
        while not Path(what.split()[1]).exists():
            time.sleep(0.05)
    if what.startswith("touch"):
        Path(what.split()[1]).touch()
    if what.startswith("slow"):
        time.sleep(float(what.split()[1]))
    if what.startswith("time"):
        with Path(what.split()[1]).open("a") as file:
            for _ in range(2):
                file.write(f"{os.getpid()}\n")
                file.flush()
                time.sleep(0.2)
    if what.startswith("exit"):
        os._exit(7)
    print("something a library prints")
    return json.dumps([["score", "ok", len(what), None, None, ""]])


SETUP = partial(prepare_executor_process, measure=perform)


def broken(slot: int) -> None:
    raise SystemExit(3)
