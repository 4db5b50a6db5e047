"""A process that trains jobs one after another; what it cannot train is an outcome too."""

from __future__ import annotations

import time
from multiprocessing.connection import Connection
from pathlib import Path

from resnet_factory.study.data import Source, load
from resnet_factory.study.distributed import World, joined
from resnet_factory.study.jobs import Job
from resnet_factory.study.result import Outcome, failed
from resnet_factory.study.settings import Data
from resnet_factory.study.signals import leaving
from resnet_factory.study.training import Stop, Tell, train

TELL_EVERY = 0.1
"""Seconds between words about progress."""


def serve(pipe: Connection, wanted: str, slot: int) -> None:
    """Train each (job, folder) that comes through `pipe`, until it closes.

    Sends the iterations done and their number while a job runs, and its outcome after it.
    """
    with leaving() as asked, joined(wanted, slot) as world:
        bench, alone, told = Bench(world), False, 0.0

        def tell(so_far: Outcome) -> None:
            nonlocal alone, told
            if time.monotonic() - told > TELL_EVERY:
                told = time.monotonic()
                try:
                    pipe.send((so_far.iteration, so_far.iterations))
                except OSError:
                    alone = True  # whoever wanted this is gone: save and leave

        def stop() -> bool:
            return alone or asked()

        while not stop():
            try:
                job, folder = pipe.recv()
                pipe.send(bench.attempt(job, folder, tell, stop))
            except (EOFError, OSError):
                return


class Bench:
    """Where jobs are trained: a world, and the data set last used."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.held: tuple[Data, Source] | None = None

    def attempt(
        self,
        job: Job,
        folder: Path | None = None,
        tell: Tell = lambda so_far: None,
        stop: Stop = lambda: False,
    ) -> Outcome:
        """Train a job; whatever goes wrong is the outcome's reason, so that other jobs go on."""
        try:
            if self.held is None or self.held[0] != job.data:
                self.held = job.data, load(job.data, self.world, job.machine.loaders)
            return train(job, self.world, self.held[1], folder, tell, stop)
        except Exception as error:  # whatever it was, it is a row of the table
            if self.world.size > 1:
                raise  # the others wait for this process; torchrun ends them all
            return failed(job, f"{type(error).__name__}: {' '.join(str(error).split())}", folder)
