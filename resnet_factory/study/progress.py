"""How a study goes on, for whoever watches: bars in a terminal, a line for each finished job elsewhere."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from resnet_factory.study.jobs import Job
from resnet_factory.study.result import DONE, RUNNING, Outcome


class Bars:
    """One bar for the whole study, in networks' iterations, and one for each job that is being trained."""

    def __init__(self, out: Console, jobs: int) -> None:
        self.out, self.jobs, self.over = out, jobs, 0
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            console=out, transient=True, disable=not out.is_terminal,
        )  # fmt: skip
        self.whole = self.progress.add_task("all", total=jobs)
        self.bars: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def started(self, job: Job) -> None:
        """Show a bar for a job."""
        self.bars[job.name] = self.progress.add_task(_title(job), total=None)

    def advanced(self, job: Job, iteration: int, iterations: int) -> None:
        """Move its bar."""
        self.progress.update(self.bars[job.name], completed=iteration, total=iterations)

    def ended(self, job: Job, found: Outcome) -> None:
        """Replace its bar by a line that stays."""
        self.over += 1
        self.progress.remove_task(self.bars.pop(job.name))
        self.progress.update(self.whole, completed=self.over)
        count = f"{self.over:>{len(str(self.jobs))}}/{self.jobs}"
        self.out.print(f"{count}  {_title(job):<28}  {_said(found)}", markup=False)


class Silence:
    """Nobody watches."""

    def started(self, job: Job) -> None:
        """Say nothing."""

    def advanced(self, job: Job, iteration: int, iterations: int) -> None:
        """Say nothing."""

    def ended(self, job: Job, found: Outcome) -> None:
        """Say nothing."""


def _title(job: Job) -> str:
    return f"{job.label} rate {job.rate:g} seed {job.seed}"


def _said(found: Outcome) -> str:
    if found.state == DONE and found.train and found.test:
        errors = f"training error {found.train.error:5.2f} %, test error {found.test.error:5.2f} %"
        return f"{errors}, {found.seconds:.0f} s"
    if found.state == RUNNING:
        return f"stopped at iteration {found.iteration} of {found.iterations}"
    return f"{found.state}: {found.reason}"
