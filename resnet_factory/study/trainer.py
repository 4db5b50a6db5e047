"""Train jobs one after another; an exception is recorded as a result."""

from __future__ import annotations

from pathlib import Path

from resnet_factory.study.data import DataSource, load_data
from resnet_factory.study.distributed import ProcessGroup
from resnet_factory.study.jobs import StudyJob
from resnet_factory.study.settings import DataSettings
from resnet_factory.study.training import ReportProgress, ShouldStop, run_training
from resnet_factory.study.training_result import TrainingResult, failed_result


class Trainer:
    """Trains jobs, and keeps the data set of the last one."""

    def __init__(self, group: ProcessGroup) -> None:
        self.group = group
        self.loaded: tuple[DataSettings, DataSource] | None = None

    def attempt(
        self,
        job: StudyJob,
        folder: Path | None = None,
        report: ReportProgress = lambda result: None,
        stop: ShouldStop = lambda: False,
    ) -> TrainingResult:
        """Train a job; the message of any exception is the reason of a failed result."""
        try:
            if self.loaded is None or self.loaded[0] != job.data:
                self.loaded = job.data, load_data(job.data, self.group, job.machine.loaders)
            return run_training(job, self.group, self.loaded[1], folder, report, stop)
        except Exception as error:
            if self.group.size > 1:
                raise  # the others wait for this process; torchrun ends them all
            return failed_result(job, f"{type(error).__name__}: {' '.join(str(error).split())}", folder)
