"""Progress of a study: bars in a terminal, a line for each finished job elsewhere."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from resnet_factory.study.jobs import StudyJob
from resnet_factory.study.processes import TrainingProcessWatcher
from resnet_factory.study.training_result import DONE, RUNNING, TrainingResult


class ProgressBars(TrainingProcessWatcher):
    """A bar for the whole study, in jobs, and one for each running job, in iterations; a context manager."""

    def __init__(self, out: Console, jobs: int) -> None:
        self.out, self.jobs, self.over = out, jobs, 0
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            console=out, transient=True, disable=not out.is_terminal,
        )  # fmt: skip
        self.whole = self.progress.add_task("all", total=jobs)
        self.bars: dict[str, TaskID] = {}

    def __enter__(self) -> ProgressBars:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def started(self, job: StudyJob) -> None:
        """Show a bar for a job."""
        self.bars[job.name] = self.progress.add_task(_study_progress_title(job), total=None)

    def advanced(self, job: StudyJob, iteration: int, iterations: int) -> None:
        """Advance its bar."""
        self.progress.update(self.bars[job.name], completed=iteration, total=iterations)

    def ended(self, job: StudyJob, result: TrainingResult) -> None:
        """Replace its bar by a line."""
        self.over += 1
        self.progress.remove_task(self.bars.pop(job.name))
        self.progress.update(self.whole, completed=self.over)
        count = f"{self.over:>{len(str(self.jobs))}}/{self.jobs}"
        self.out.print(
            f"{count}  {_study_progress_title(job):<28}  {_study_progress_result_text(result)}", markup=False
        )


def _study_progress_title(job: StudyJob) -> str:
    return f"{job.label} rate {job.rate:g} seed {job.seed}"


def _study_progress_result_text(result: TrainingResult) -> str:
    if result.state == DONE and result.train and result.test:
        errors = f"training error {result.train.error:5.2f} %, test error {result.test.error:5.2f} %"
        return f"{errors}, {result.seconds:.0f} s"
    if result.state == RUNNING:
        return f"stopped at iteration {result.iteration} of {result.iterations}"
    return f"{result.state}: {result.reason}"
