"""A trainer of one job after another; an exception is a result, too."""

from __future__ import annotations

from pathlib import Path

from resnet_factory.study.data import Source, load
from resnet_factory.study.distributed import World
from resnet_factory.study.jobs import Job
from resnet_factory.study.result import Outcome, failed
from resnet_factory.study.settings import Data
from resnet_factory.study.training import Stop, Tell, train


class Trainer:
    """Trains jobs, and keeps the data set of the last one."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.loaded: tuple[Data, Source] | None = None

    def attempt(
        self,
        job: Job,
        folder: Path | None = None,
        tell: Tell = lambda so_far: None,
        stop: Stop = lambda: False,
    ) -> Outcome:
        """Train a job; the message of any exception is the reason of a failed result."""
        try:
            if self.loaded is None or self.loaded[0] != job.data:
                self.loaded = job.data, load(job.data, self.world, job.machine.loaders)
            return train(job, self.world, self.loaded[1], folder, tell, stop)
        except Exception as error:
            if self.world.size > 1:
                raise  # the others wait for this process; torchrun ends them all
            return failed(job, f"{type(error).__name__}: {' '.join(str(error).split())}", folder)
