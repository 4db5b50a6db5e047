"""The best network under limits on MACs and latency, by trained error: one command, killed and continued."""

from __future__ import annotations

import random
import signal
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sweep_processes import count_of, start

from resnet_factory.sweep.measuring import MOST_STARTS
from resnet_factory.sweep.store import STORE_FILE

QUESTION = (
    "sweep", "space=digits", "architectures=12", "where=macs < 300e6 and latency < 60000",
    "measuring.batch=1", "measuring.repeats=2",
    "measure=[[latency],[zen],{metrics: [error], top: 3, by: zen}]",
    "measuring.study=['train.iterations=40','seeds=[0]','machine.checkpoint=0']",
    "by=error", "top=1", "report=false", "executor=processes", "executor.workers=2",
)  # fmt: skip
KILLS = 4


def stored(folder: Path) -> dict[str, Any]:
    """All that a sweep has found, but for the latencies, which no two runs share."""
    with sqlite3.connect(f"file:{folder / STORE_FILE}?mode=ro", uri=True) as db:
        values = "SELECT plan, metric, state, value FROM metrics WHERE metric != 'latency' ORDER BY 1, 2"
        states = "SELECT plan, state FROM metrics WHERE metric = 'latency' ORDER BY 1"
        queries = {"archs": "SELECT * FROM archs", "values": values, "latencies": states}
        found: dict[str, Any] = {name: db.execute(query).fetchall() for name, query in queries.items()}
    winners = sorted((folder / "winners" / "model").iterdir())
    return found | {"winners": {file.name: file.read_text() for file in winners}}


@pytest.mark.slow
def test_killed_and_continued_the_answer_is_the_same_and_trains(tmp_path: Path) -> None:
    whole = start(*QUESTION, "out=whole", cwd=tmp_path)
    out, err = whole.communicate(timeout=600)
    assert whole.returncode == 0, err
    assert "asked: best by error, where macs < 300e6 and latency < 60000" in out
    expected = stored(tmp_path / "whole")
    assert [row[1:3] for row in expected["values"]].count(("error", "ok")) == 3
    total = len(expected["values"]) + len(expected["latencies"])
    chance = random.Random(1)
    for count in sorted(chance.sample(range(total), KILLS)):
        process = start(*QUESTION, "out=killed", cwd=tmp_path)
        while process.poll() is None and count_of(tmp_path / "killed") < count:
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
    process = start(*QUESTION, "out=killed", cwd=tmp_path)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert stored(tmp_path / "killed") == expected
    (winner,) = expected["winners"]
    words = ("study", "study=single", f"model={Path(winner).stem}", "data=digits", "train.iterations=2")
    study = start(*words, "--config-dir", "killed/winners", cwd=tmp_path)
    out, err = study.communicate(timeout=600)
    assert study.returncode == 0, err


@pytest.mark.slow
def test_a_training_that_goes_on_is_not_given_up_however_often_it_is_killed(tmp_path: Path) -> None:
    words = (
        "sweep", "model=resnet20", "model.image_size=8", "model.in_channels=1",
        "model.depths=[1,1,1],[1,2,1]", "sampler=grid", "samples=1", "measure=[error]", "report=false",
        "measuring.study=['train.epochs=4','seeds=[0]','data=digits','machine.checkpoint=0']",
    )  # fmt: skip
    whole = start(*words, "out=whole", cwd=tmp_path)
    _, err = whole.communicate(timeout=600)
    assert whole.returncode == 0, err

    def written() -> set[int]:
        found = set()
        for file in tmp_path.glob("killed/trainings/*/*/checkpoint.pt"):
            with suppress(FileNotFoundError):
                found.add(file.stat().st_mtime_ns)
        return found

    for _ in range(MOST_STARTS + 1):
        before = written()
        process = start(*words, "out=killed", cwd=tmp_path)
        while process.poll() is None and written() <= before:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
    process = start(*words, "out=killed", cwd=tmp_path)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert stored(tmp_path / "killed") == stored(tmp_path / "whole")
