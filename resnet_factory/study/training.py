"""Training of one network; it may be stopped after any iteration and continues to the same bits."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnet_factory.network.builder import build
from resnet_factory.network.threads import num_threads
from resnet_factory.network.weights.transfer import save
from resnet_factory.planning.planner import run_planner
from resnet_factory.study import checkpoint
from resnet_factory.study.data import Batch, DataSource
from resnet_factory.study.distributed import ProcessGroup
from resnet_factory.study.jobs import StudyJob
from resnet_factory.study.optimisation import make_optimizer, make_schedules
from resnet_factory.study.probes import probe_gradients_and_responses
from resnet_factory.study.randomness import seed_for
from resnet_factory.study.training_result import (
    CHECKPOINT,
    DIVERGED,
    DONE,
    WEIGHTS,
    EpochRecord,
    EvaluationResult,
    LayerProbeResult,
    TrainingResult,
    new_result,
    result_from_dict,
    result_to_dict,
)

PRECISION = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
CHECK_EVERY = 20
"""Iterations between checks of the loss where a check synchronises with a GPU or other processes."""

ReportProgress = Callable[[TrainingResult], None]
"""Called after every iteration, with the result so far."""
ShouldStop = Callable[[], bool]
"""Called after every iteration: whether to save and stop."""


class TrainingDiverged(Exception):  # noqa: N818 - a result, not a mistake
    """Raised when the loss is not finite."""


class Training:
    """The state of training one network."""

    def __init__(self, job: StudyJob, group: ProcessGroup, source: DataSource) -> None:
        self.job, self.group, self.source = job, group, source
        train, machine = job.train, job.machine
        if train.batch > source.count:
            raise ValueError(f"a batch of {train.batch} is more than the {source.count} training images")
        if train.batch % group.size:
            raise ValueError(f"a batch of {train.batch} does not divide among {group.size} processes")
        self.per_epoch = source.count // train.batch
        self.total = train.iterations or self.per_epoch * (train.epochs or 0)
        torch.manual_seed(job.seed)
        self.network = build(run_planner(job.config)).to(group.device)
        if machine.channels_last:
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.wrapped = group.wrap(self.network, sync_batch_norm=machine.sync_batch_norm)
        if machine.compile:
            self.wrapped.compile()
        self.optimizer = make_optimizer(job, self.network)
        self.schedules = make_schedules(job, self.optimizer, self.total)
        self.scaler = torch.amp.GradScaler(group.device.type, enabled=machine.precision == "float16")
        # MPS has no float64.
        self.sums_device = torch.device("cpu") if group.device.type == "mps" else group.device
        self.running = self.sums()
        """Loss times images, errors and images of the epoch so far."""
        self.losses: list[Tensor] = []
        self.result = replace(
            new_result(job), iterations=self.total, place=_training_machine_text(job, group)
        )

    def sums(self) -> Tensor:
        """Return zeros for a loss, errors and images."""
        return torch.zeros(3, dtype=torch.float64, device=self.sums_device)

    def run(self, folder: Path | None, report: ReportProgress, stop: ShouldStop) -> TrainingResult:
        """Train to the end, or until `stop` returns true, with a result that is `running`."""
        result, began = self.result, time.monotonic()
        before, saved = result.seconds, began
        if result.start is None:
            result.start = self.probe()
        for images, labels in self.batches():
            self.step(images, labels)
            result.iteration += 1
            ends = result.iteration == self.total
            checks = ends or self.checks_now()
            if checks:
                self.check_losses()
            if ends or result.iteration % self.per_epoch == 0:
                self.end_epoch()
            now = time.monotonic()
            result.seconds = before + now - began
            report(result)
            if checks and not ends:
                stops = self.group.any_process(stop())
                late = folder is not None and now - saved >= self.job.machine.checkpoint
                if folder is not None and (stops or self.group.any_process(late)):
                    self.save(folder)
                    saved = time.monotonic()
                if stops:
                    return result
        result.end = self.probe()
        trained, tested = self.evaluate(train=True), self.evaluate(train=False)
        if not math.isfinite(trained.loss):  # the last step was one too far
            raise TrainingDiverged(f"the trained network's loss over the training set is {trained.loss}")
        result.train, result.test, result.state = trained, tested, DONE
        return result

    def batches(self) -> Iterator[Batch]:
        """Yield the remaining batches of all epochs."""
        left = self.total - self.result.iteration
        while left > 0:
            epoch, first = divmod(self.total - left, self.per_epoch)
            for batch in self.source.training(self.job.seed, self.job.train.batch, epoch, first):
                yield batch
                left -= 1
                if left == 0:
                    return

    def step(self, images: Tensor, labels: Tensor) -> None:
        """Train one iteration; the random numbers of layers depend on seed and iteration."""
        train = self.job.train
        torch.manual_seed(seed_for(self.job.seed, "layers", self.result.iteration, self.group.rank))
        if self.job.machine.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        self.wrapped.train()
        self.optimizer.zero_grad(set_to_none=True)
        with self.autocast():
            logits = self.wrapped(images)
            loss = functional.cross_entropy(logits, labels, label_smoothing=train.label_smoothing)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if train.clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), train.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        for schedule in self.schedules:
            schedule.step()
        self.losses.append(loss.detach())
        self.running += self.summed(loss.detach() * len(labels), logits.detach(), labels)

    def summed(self, loss: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Return a summed loss, the number of errors, and the number of images."""
        parts = [loss, (logits.argmax(1) != labels).sum(), torch.tensor(len(labels), device=loss.device)]
        return torch.stack([part.to(self.running) for part in parts])

    def autocast(self) -> Any:
        """Return the context of automatic mixed precision."""
        dtype = PRECISION[self.job.machine.precision]
        return torch.autocast(self.group.device.type, dtype, enabled=dtype != torch.float32)

    def checks_now(self) -> bool:
        """Return whether to check the losses after this iteration."""
        synchronises = self.group.size > 1 or self.group.device.type != "cpu"
        return not synchronises or self.result.iteration % CHECK_EVERY == 0

    def check_losses(self) -> None:
        """Check the losses since the last check.

        Raises:
            TrainingDiverged: one of them is not finite, in any process.
        """
        losses = torch.stack(self.losses).float()
        bad = (~losses.isfinite()).nonzero()
        at = self.result.iteration - len(self.losses) + (int(bad[0]) if len(bad) else 0)
        value = losses[int(bad[0])].item() if len(bad) else math.nan
        self.losses.clear()
        if self.group.any_process(bool(len(bad))):
            raise TrainingDiverged(
                f"the loss is {value} at iteration {at + 1} (epoch {at // self.per_epoch + 1})"
            )

    def end_epoch(self) -> None:
        """Append the errors of the epoch to the history."""
        loss, errors, images = self.group.all_reduce(self.running.clone()).tolist()
        test = self.evaluate(train=False)
        self.result.history.append(
            EpochRecord(self.result.iteration, 100 * errors / images, loss / images, test.error, test.loss)
        )
        self.running.zero_()

    @torch.no_grad()
    def evaluate(self, *, train: bool) -> EvaluationResult:
        """Return error and loss over a whole data set, in evaluation mode."""
        self.group.broadcast_buffers(self.network)
        self.network.eval()
        sums = self.sums()
        for images, labels in self.source.whole(train=train, batch=self.job.train.batch):
            with self.autocast():
                logits = self.network(images).float()
            loss = functional.cross_entropy(logits, labels, reduction="sum")
            sums += self.summed(loss, logits, labels)
        loss_sum, errors, count = self.group.all_reduce(sums).tolist()
        return EvaluationResult(100 * errors / count, loss_sum / count)

    def probe(self) -> LayerProbeResult:
        """Return the gradients and responses of the layers."""
        return probe_gradients_and_responses(
            self.network, *self.source.sample(min(self.job.train.batch, self.source.count))
        )

    def save(self, folder: Path) -> None:
        """Write the checkpoint, and the result so far."""
        self.group.broadcast_buffers(self.network)
        state = self.state()
        if self.group.is_main:
            checkpoint.save_checkpoint(state, folder)
            self.result.write(folder)

    def state(self) -> dict[str, Any]:
        """Return the state that changes; random numbers need none, see `randomness`."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedules": [schedule.state_dict() for schedule in self.schedules],
            "scaler": self.scaler.state_dict(),
            "running": self.group.all_reduce(self.running.clone()),
            "outcome": result_to_dict(self.result),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Load a state."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        for schedule, saved in zip(self.schedules, state["schedules"], strict=True):
            schedule.load_state_dict(saved)
        self.scaler.load_state_dict(state["scaler"])
        # The sum over all processes was saved; one of them continues with it.
        self.running.copy_(state["running"] if self.group.is_main else self.sums())
        place = self.result.place
        self.result = result_from_dict(state["outcome"])
        if not self.result.place.endswith(place):
            self.result.place += f", then {place}"


def run_training(
    job: StudyJob,
    group: ProcessGroup,
    source: DataSource,
    folder: Path | None = None,
    report: ReportProgress = lambda result: None,
    stop: ShouldStop = lambda: False,
) -> TrainingResult:
    """Train the network of a job, from the checkpoint in `folder` if there is one.

    The result is `done`; or `running`, when stopped; or `diverged`, with the reason. With a folder, the
    result is written there, and at the end the weights.

    Raises:
        OSError, RuntimeError, ValueError: the folder, the data, the network or the machine do not work.
    """
    with num_threads(job.machine.threads):
        training = Training(job, group, source)
        found = checkpoint.load_checkpoint(folder) if folder is not None and group.is_main else None
        if (state := group.broadcast(found)) is not None:
            training.restore(state)
        try:
            training.run(folder, report, stop)
        except TrainingDiverged as reason:
            training.result.state, training.result.reason = DIVERGED, str(reason)
        if training.result.finished:
            training.result.date = datetime.now(UTC).date().isoformat()
            if folder is not None and group.is_main:
                folder.mkdir(parents=True, exist_ok=True)
                if training.result.state == DONE:
                    save(training.network, job.config, folder / WEIGHTS)
                training.result.write(folder)
                (folder / CHECKPOINT).unlink(missing_ok=True)
        return training.result


def _training_machine_text(job: StudyJob, group: ProcessGroup) -> str:
    name = f"{platform.machine()}, {os.cpu_count()} cores, {job.machine.threads} thread(s) each"
    if group.device.type == "cuda":
        name = torch.cuda.get_device_name(group.device)
    many = f"{group.size} x " if group.size > 1 else ""
    return f"{many}{group.device.type} ({name}), torch {torch.__version__}, {job.machine.precision}"
