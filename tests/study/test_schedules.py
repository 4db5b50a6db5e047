"""Learning rates at every step against formulas written out here, warm-up and resuming included."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from study_rooms import small
from torch import nn

from resnet_factory.cli import main
from resnet_factory.study.optimisation import make_optimizer, make_schedules
from resnet_factory.study.settings import TrainSettings

RATE, TOTAL = 0.1, 60


def between(start: float, end: float, share: float) -> float:
    """Half a cosine from one value to another."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def expected(schedule: str, warmup: int, step: int) -> float:
    """The learning rate of iteration `step`, counted from 0."""
    if schedule == "one_cycle":  # Smith & Topin 2018, as torch's OneCycleLR has it
        top = (warmup or 0.3 * TOTAL) - 1
        if step <= top:
            return between(RATE / 25, RATE, step / top)
        return between(RATE, RATE / 25 / 1e4, (step - top) / (TOTAL - 1 - top))
    slow = 0.1 if step < warmup else 1.0
    if schedule == "cosine":
        return slow * between(RATE, 0, step / TOTAL)
    if schedule == "steps":
        return slow * RATE * 0.1 ** sum(step >= milestone for milestone in (30, 45))
    return slow * RATE


def rates(train: TrainSettings, resumed: int | None = None) -> list[float]:
    """The optimiser's rate in each iteration; with `resumed`, from a saved state after so many."""
    job = replace(small(), train=train, rate=RATE)

    def made() -> tuple[Any, Any]:
        optimizer = make_optimizer(job, nn.Linear(2, 2))
        return optimizer, make_schedules(job, optimizer, TOTAL)

    optimizer, schedules = made()
    found = []
    for step in range(TOTAL):
        if step == resumed:
            state = optimizer.state_dict(), [schedule.state_dict() for schedule in schedules]
            optimizer, schedules = made()
            optimizer.load_state_dict(state[0])
            for schedule, said in zip(schedules, state[1], strict=True):
                schedule.load_state_dict(said)
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for schedule in schedules:
            schedule.step()
    return found


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize("resumed", [None, 1, 7, 31])
@pytest.mark.parametrize("warmup", [0, 2, 5, 10, 30, TOTAL - 1])
@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "steps", "constant"])
def test_the_rate_of_every_step(schedule: Any, warmup: int, resumed: int | None) -> None:
    found = rates(TrainSettings(schedule=schedule, warmup=warmup), resumed)
    assert found == pytest.approx([expected(schedule, warmup, step) for step in range(TOTAL)], rel=1e-6)


def test_a_rise_of_one_iteration_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Torch divides by its length less one."""
    words = ["data=digits", "models=[resnet8]", "train.warmup=1", f"out={tmp_path / 'out'}"]
    assert main.main(["study", *words]) == 2
    assert (
        "train.warmup: one_cycle needs a warm-up of at least 2 iterations, found 1" in capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()


def test_a_warm_up_of_all_iterations_is_refused() -> None:
    job = replace(small(), train=TrainSettings(warmup=TOTAL))
    with pytest.raises(ValueError, match="a warm-up of 60 iterations, but the training has 60"):
        make_schedules(job, make_optimizer(job, nn.Linear(2, 2)), TOTAL)
