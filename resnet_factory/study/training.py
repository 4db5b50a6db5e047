"""Trains one network: a job in, an outcome out. Stopped anywhere, it goes on from there to the same bits."""

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
from resnet_factory.network.weights.transfer import save
from resnet_factory.planning.planner import plan
from resnet_factory.study import result, snapshot
from resnet_factory.study.data import Batch, Source
from resnet_factory.study.distributed import World, threads
from resnet_factory.study.jobs import Job
from resnet_factory.study.optimisation import make_optimizer, make_schedules
from resnet_factory.study.probes import look
from resnet_factory.study.randomness import key
from resnet_factory.study.result import Epoch, Outcome, Score

PRECISION = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ASK_EVERY = 20
"""Iterations between looks at the loss where a look means waiting: for a GPU, or for other processes."""

Tell = Callable[[Outcome], None]
"""Called after every iteration, with the outcome so far."""
Stop = Callable[[], bool]
"""Asked after every iteration: whether to save and leave."""


class Diverged(Exception):  # noqa: N818 - an outcome, not a mistake
    """The loss is no longer a number."""


class Training:
    """One training run: what changes as it goes on, and how."""

    def __init__(self, job: Job, world: World, source: Source) -> None:
        self.job, self.world, self.source = job, world, source
        train, machine = job.train, job.machine
        if train.batch > source.count:
            raise ValueError(f"a batch of {train.batch} is more than the {source.count} training images")
        if train.batch % world.size:
            raise ValueError(f"a batch of {train.batch} does not divide among {world.size} processes")
        self.per_epoch = source.count // train.batch
        self.total = train.iterations or self.per_epoch * (train.epochs or 0)
        torch.manual_seed(job.seed)
        self.network = build(plan(job.config)).to(world.device)
        if machine.channels_last:
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.wrapped = world.wrap(self.network, sync_batch_norm=machine.sync_batch_norm)
        if machine.compile:
            self.wrapped.compile()
        self.optimizer = make_optimizer(job, self.network)
        self.schedules = make_schedules(job, self.optimizer, self.total)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=machine.precision == "float16")
        self.running = torch.zeros(3, dtype=torch.float64, device=_doubles(world.device))
        """Of the epoch so far: loss times images, wrong answers, images."""
        self.losses: list[Tensor] = []
        self.outcome = replace(result.begun(job), iterations=self.total, place=_place(job, world))

    def run(self, folder: Path | None, tell: Tell, stop: Stop) -> Outcome:
        """Train to the end, or until told to stop: then the outcome is still `running`."""
        began, before = time.monotonic(), self.outcome.seconds
        saved = began
        if self.outcome.start is None:
            self.outcome.start = self.looked()
        for images, labels in self.batches():
            self.learn(images, labels)
            out = self.outcome
            out.iteration += 1
            ends = out.iteration == self.total
            asked = ends or self.due()
            if asked:
                self.check()
            if ends or out.iteration % self.per_epoch == 0:
                self.end_epoch()
            now = time.monotonic()
            out.seconds = before + now - began
            tell(out)
            if asked and not ends:
                leaving = self.world.anyone(stop())
                late = folder is not None and now - saved >= self.job.machine.checkpoint
                if folder is not None and (leaving or self.world.anyone(late)):
                    self.save(folder)
                    saved = time.monotonic()
                if leaving:
                    return out
        self.outcome.end = self.looked()
        trained, tested = self.score(train=True), self.score(train=False)
        if not math.isfinite(trained.loss):  # the last step was one too far
            raise Diverged(f"the trained network's loss over the training set is {trained.loss}")
        self.outcome.train, self.outcome.test = trained, tested
        self.outcome.state = result.DONE
        return self.outcome

    def batches(self) -> Iterator[Batch]:
        """What is still to be learnt from, over all epochs."""
        left = self.total - self.outcome.iteration
        while left > 0:
            epoch, first = divmod(self.total - left, self.per_epoch)
            for batch in self.source.training(self.job.seed, self.job.train.batch, epoch, first):
                yield batch
                left -= 1
                if left == 0:
                    return

    def learn(self, images: Tensor, labels: Tensor) -> None:
        """One iteration. What a layer draws at random depends on where in the training it is drawn."""
        train, machine, world = self.job.train, self.job.machine, self.world
        torch.manual_seed(key(self.job.seed, "layers", self.outcome.iteration, world.rank))
        if machine.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        self.wrapped.train()
        self.optimizer.zero_grad(set_to_none=True)
        with self.cast():
            answers = self.wrapped(images)
            loss = functional.cross_entropy(answers, labels, label_smoothing=train.label_smoothing)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if train.clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), train.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        for schedule in self.schedules:
            schedule.step()
        loss = loss.detach()
        wrong = (answers.detach().argmax(1) != labels).sum()
        self.losses.append(loss)
        seen = [loss * len(labels), wrong, torch.tensor(len(labels), device=loss.device)]
        self.running += torch.stack([part.to(self.running) for part in seen])

    def cast(self) -> Any:
        """Automatic mixed precision, where asked for."""
        wanted = PRECISION[self.job.machine.precision]
        return torch.autocast(self.world.device.type, wanted, enabled=wanted != torch.float32)

    def due(self) -> bool:
        """Whether to look at the losses now."""
        waits = self.world.size > 1 or self.world.device.type != "cpu"
        return not waits or self.outcome.iteration % ASK_EVERY == 0

    def check(self) -> None:
        """Look at the losses since the last look.

        Raises:
            Diverged: one of them is not finite, in any process.
        """
        losses = torch.stack(self.losses).float()
        bad = (~losses.isfinite()).nonzero()
        at = self.outcome.iteration - len(self.losses) + (int(bad[0]) if len(bad) else 0)
        value = losses[int(bad[0])].item() if len(bad) else math.nan
        self.losses.clear()
        if self.world.anyone(bool(len(bad))):
            raise Diverged(f"the loss is {value} at iteration {at + 1} (epoch {at // self.per_epoch + 1})")

    def end_epoch(self) -> None:
        """Note how things stand, and start counting anew."""
        loss, wrong, seen = self.world.total(self.running.clone()).tolist()
        test = self.score(train=False)
        self.outcome.history.append(
            Epoch(self.outcome.iteration, 100 * wrong / seen, loss / seen, test.error, test.loss)
        )
        self.running.zero_()

    @torch.no_grad()
    def score(self, *, train: bool) -> Score:
        """Error and loss over a whole data set, in evaluation mode."""
        self.world.agree(self.network)
        self.network.eval()
        sums = torch.zeros(3, dtype=torch.float64, device=self.running.device)
        for images, labels in self.source.whole(train=train, batch=self.job.train.batch):
            with self.cast():
                answers = self.network(images).float()
            loss = functional.cross_entropy(answers, labels, reduction="sum")
            wrong = (answers.argmax(1) != labels).sum()
            parts = [loss, wrong, torch.tensor(len(labels), device=loss.device)]
            sums += torch.stack([part.to(sums) for part in parts])
        loss_sum, wrong_sum, count = self.world.total(sums).tolist()
        return Score(100 * wrong_sum / count, loss_sum / count)

    def looked(self) -> result.Probe:
        """Gradients and responses of the network as it is."""
        return look(self.network, *self.source.sample(min(self.job.train.batch, self.source.count)))

    def save(self, folder: Path) -> None:
        """Write the state, and the outcome so far for people to read."""
        self.world.agree(self.network)
        state = self.state()
        if self.world.first:
            snapshot.save(state, folder)
            self.outcome.write(folder)

    def state(self) -> dict[str, Any]:
        """Everything that changes, as plain data and tensors. Random numbers need none: see `randomness`."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedules": [schedule.state_dict() for schedule in self.schedules],
            "scaler": self.scaler.state_dict(),
            "running": self.world.total(self.running.clone()),
            "outcome": result.to_dict(self.outcome),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become what `state` was."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        for schedule, saved in zip(self.schedules, state["schedules"], strict=True):
            schedule.load_state_dict(saved)
        self.scaler.load_state_dict(state["scaler"])
        # The sum over all processes was saved; one of them takes it up.
        self.running.copy_(state["running"] if self.world.first else torch.zeros_like(self.running))
        place = self.outcome.place
        self.outcome = result.from_dict(state["outcome"])
        if not self.outcome.place.endswith(place):
            self.outcome.place += f", then {place}"


def train(
    job: Job,
    world: World,
    source: Source,
    folder: Path | None = None,
    tell: Tell = lambda outcome: None,
    stop: Stop = lambda: False,
) -> Outcome:
    """Train a job's network, from its checkpoint in `folder` where there is one.

    The outcome is `done`; or `running`, when stopped; or `diverged`, with the reason. With a folder, the
    outcome is written there, and weights in the end.

    Raises:
        OSError, RuntimeError, ValueError: the folder, the data, the network or the machine do not work.
    """
    with threads(job.machine.threads):
        training = Training(job, world, source)
        state = world.share(snapshot.load(folder) if folder is not None and world.first else None)
        if state is not None:
            training.restore(state)
        try:
            training.run(folder, tell, stop)
        except Diverged as reason:
            training.outcome.state, training.outcome.reason = result.DIVERGED, str(reason)
        if training.outcome.finished:
            training.outcome.date = datetime.now(UTC).date().isoformat()
        if folder is not None and world.first and training.outcome.finished:
            folder.mkdir(parents=True, exist_ok=True)
            if training.outcome.state == result.DONE:
                save(training.network, job.config, folder / result.WEIGHTS)
            training.outcome.write(folder)
            (folder / result.CHECKPOINT).unlink(missing_ok=True)
        return training.outcome


def _doubles(device: torch.device) -> torch.device:
    return torch.device("cpu") if device.type == "mps" else device


def _place(job: Job, world: World) -> str:
    name = f"{platform.machine()}, {os.cpu_count()} cores, {job.machine.threads} thread(s) each"
    if world.device.type == "cuda":
        name = torch.cuda.get_device_name(world.device)
    many = f"{world.size} x " if world.size > 1 else ""
    return f"{many}{world.device.type} ({name}), torch {torch.__version__}, {job.machine.precision}"
