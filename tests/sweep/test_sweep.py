"""The sweep command from end to end: resumed, refused when changed, reported, winners as files."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from importlib import util
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from sweep_processes import count_of, rows_of, start

import resnet_factory as rf
from resnet_factory.cli import main
from resnet_factory.sweep import collection, executors, store
from resnet_factory.sweep import options as options_of_sweep
from resnet_factory.sweep.store import STORE_FILE, STORE_FORMAT


def command(*arguments: str, cwd: Path, **more: Any) -> tuple[int, str, str]:
    process = start(*arguments, cwd=cwd, **more)
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


SPACE = """\
# @package _global_
# a space for tests
defaults:
  - override /model: resnet20
  - _self_
model: {in_channels: 1, image_size: 8, strides: 2, shortcut: none}
space:
  vary:
    depths: {range: [1, 2], each: stage}
    widths: {range: [1, 6], each: stage}
    stem:
      width: {range: [2, 4]}
  relations: [non_decreasing: widths]
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "conf" / "space").mkdir(parents=True)
    (tmp_path / "conf" / "space" / "tiny.yaml").write_text(SPACE)
    return tmp_path


TINY = ("sweep", "space=tiny", "--config-dir", "conf")
MEASURED = (*TINY, "sampler=grid", "samples=null", "measure=[synflow]", "measuring.batch=2", "report=false")


@pytest.mark.slow
def test_killed_at_any_moment_the_same_command_goes_on(home: Path) -> None:
    code, _, err = command(*MEASURED, "out=whole", cwd=home)
    assert code == 0, err
    expected = {table: rows_of(home / "whole", table) for table in ("archs", "metrics", "batches")}
    assert len(expected["archs"]) == len(expected["metrics"]) == 1344
    chance, kills, done = random.Random(0), 0, 0
    while True:
        process = start(*MEASURED, "out=killed", cwd=home)
        if chance.random() < 0.3:
            time.sleep(chance.uniform(0, 2))  # while it starts, freezes, costs
        else:
            until = done + chance.randint(1, 400)
            while process.poll() is None and count_of(home / "killed") < until:
                time.sleep(0.02)
            time.sleep(chance.uniform(0, 0.05))
        if process.poll() is None and kills < 40:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
        before, done = done, count_of(home / "killed")
        assert done >= before
        if process.returncode != -signal.SIGKILL:
            assert process.returncode == 0
            break
    assert kills >= 2
    for table, rows in expected.items():
        assert rows_of(home / "killed", table) == rows
    assert (home / "killed/archs.csv").read_text() == (home / "whole/archs.csv").read_text()


@pytest.mark.slow
def test_ctrl_c_ends_cleanly_with_what_is_done(home: Path) -> None:
    done = 0
    for executor in ("inline", "processes"):
        process = start(*MEASURED, f"executor={executor}", "out=stopped", cwd=home)
        while process.poll() is None:
            time.sleep(0.05)
            if count_of(home / "stopped") > done + 20:
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert "Traceback" not in err
        assert "the same command resumes" in out
        before, done = done, count_of(home / "stopped")
        assert before + 20 < done < 1344
        with (home / "stopped/archs.csv").open() as file:
            assert sum(row["synflow state"] == "ok" for row in csv.DictReader(file)) == done


TRAINED = (
    "sweep", "model=resnet20", "model.image_size=8", "model.in_channels=1", "model.depths=[1,1,1],[2,1,1]",
    "sampler=grid", "samples=null", "measure=[error,loss]", "report=false",
    "measuring.study=['train.epochs=2','seeds=[0,1]','data=digits','machine.checkpoint=0']",
)  # fmt: skip


def checkpoints(folder: Path) -> set[tuple[Path, int]]:
    found = set()
    for file in folder.glob("trainings/*/*/checkpoint.pt"):
        with suppress(FileNotFoundError):
            found.add((file, file.stat().st_mtime_ns))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_interrupted_trainings_go_on_to_the_same_bits(home: Path, executor: str) -> None:
    """Four times interrupted, by Ctrl-C, SIGTERM and kill -9: nothing failed, nothing differs."""
    code, _, err = command(*TRAINED, "out=whole", cwd=home)
    assert code == 0, err
    expected = rows_of(home / "whole", "metrics")
    assert [row[2] for row in expected] == ["ok"] * 4
    assert not (home / "whole/trainings").exists()
    arguments = (*TRAINED, f"executor={executor}", "executor.workers=1", "out=broken")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
        before = checkpoints(home / "broken")
        process = start(*arguments, cwd=home)
        while process.poll() is None and checkpoints(home / "broken") <= before:
            time.sleep(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
        assert process.returncode == (-9 if number == signal.SIGKILL else 130), err
        assert "Traceback" not in err
        assert list((home / "broken").glob("trainings/*/*/*.*"))
    if executor == "inline":
        assert all(times == 1 for _, times in rows_of(home / "broken", "begun")), "only kill -9 counts"
    code, _, err = command(*arguments, cwd=home)
    assert code == 0, err
    assert rows_of(home / "broken", "metrics") == expected
    assert not (home / "broken/trainings").exists()


def test_an_interruption_says_nothing_against_what_is_measured(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(home)
    arguments = [*TINY, "samples=20", "out=i", "measure=[memory]", "measuring.batch=1", "report=false"]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(executors, "attempt_job", interrupt)
        for _ in range(5):
            assert main.main(arguments) == 130
            assert "Traceback" not in capsys.readouterr().err
    assert main.main(arguments) == 0
    assert {row[2] for row in rows_of(home / "i", "metrics")} == {"ok"}
    assert not rows_of(home / "i", "begun")


def test_trainings_have_a_limit_of_their_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    short = [*TRAINED, "model.depths=[1,1,1],[1,2,1]", "out=t", "measure=[error]"]
    assert main.main([*short, "measuring.training_limit=0.05"]) == 1
    assert {row[2] for row in rows_of(home / "t", "metrics")} == {"timeout"}
    assert main.main([*short, "measuring.limit=0.05", "retry=true"]) == 0
    assert {row[2] for row in rows_of(home / "t", "metrics")} == {"ok"}
    assert not (home / "t/trainings").exists()


def test_metrics_are_added_to_a_finished_sweep_and_conditions_held(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(home)
    swept = [word for word in TRAINED if not word.startswith("measure=")]
    assert main.main([*swept, "measure=[error]"]) == 0
    (folder,) = (home / "runs").iterdir()
    before = rows_of(folder, "metrics")
    assert main.main([*swept, "measure=[latency]", "by=error"]) == 0
    assert [path.name for path in (home / "runs").iterdir()] == [folder.name]
    after = rows_of(folder, "metrics")
    assert set(before) < set(after)
    assert {row[1] for row in after} == {"error", "latency"}
    # What is not measured anew may be measured with something else; what was measured may not.
    assert main.main([*swept, "measure=[error,synflow]", "measuring.batch=4", f"out={folder}"]) == 0
    capsys.readouterr()
    for changed, message in (
        (["measure=[latency]", "measuring.batch=4"], "holds latency measured with batch 16, not 4"),
        (["measure=[latency]", "measuring.runtime=folded"], "measured with runtime eager, not folded"),
        (
            ["measure=[error]", "measuring.study=['data=digits','train.epochs=1']"],
            "holds error measured with another study",
        ),
    ):  # fmt: skip
        assert main.main([*swept, *changed, f"out={folder}"]) == 2
        assert message in capsys.readouterr().err
    # Windows on memory are costed for a batch.
    windowed = [*TINY, "samples=9", "space.constraints.training_memory=[null,null]", "out=w", "report=false"]
    assert main.main(windowed) == 0
    assert main.main([*windowed, "measuring.batch=4"]) == 2
    assert "with another costing" in capsys.readouterr().err


def test_values_know_where_they_were_measured(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import platform

    monkeypatch.chdir(home)
    arguments = [*TINY, "samples=20", "out=e", "measure=[latency,synflow]", "measuring.batch=1"]
    assert main.main([*arguments, "executor=processes", "executor.workers=2"]) == 0
    with (home / "e/archs.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert row["latency host"] == row["synflow host"] == platform.node()
        assert (row["latency concurrency"], row["synflow concurrency"]) == ("1", "2")
        assert row["latency threads"] == "1"
        assert "torch " in row["latency versions"]
    assert f"{platform.node()}, 1 at a time, 1 thread, torch" in (home / "e/report.html").read_text()
    # A copy of the table joins nothing new.
    assert main.main(["report", "e", "errors=e/archs.csv"]) == 2


def test_results_of_earlier_versions_open_and_go_on(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    arguments = [*TINY, "samples=20", "measure=[synflow]", "measuring.batch=1", "out=old", "report=false"]
    assert main.main(arguments) == 0
    with sqlite3.connect(home / "old" / STORE_FILE) as db:
        db.execute("ALTER TABLE metrics DROP COLUMN environment")
        db.execute("DELETE FROM run WHERE key IN ('costing', 'conditions')")
        db.execute("PRAGMA user_version = 0")
    kept = rows_of(home / "old", "metrics")
    assert main.main(["report", "old"]) == 0
    assert rows_of(home / "old", "metrics") == kept, "reading changes nothing"
    assert main.main([*arguments, "measure=[synflow,memory]", "samples=30"]) == 0
    assert {(*row, "") for row in kept} <= set(rows_of(home / "old", "metrics"))
    assert main.main([*arguments, "measuring.seeds=2"]) == 2
    with sqlite3.connect(home / "old" / STORE_FILE) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (STORE_FORMAT,)
        db.execute(f"PRAGMA user_version = {STORE_FORMAT + 1}")
    assert main.main(["report", "old"]) == 2


OLD_ARCHITECTURES = """
ALTER TABLE archs RENAME TO ordered;
CREATE TABLE archs (
    plan TEXT PRIMARY KEY, sample INTEGER NOT NULL, structure INTEGER NOT NULL, numbers TEXT NOT NULL,
    changes TEXT NOT NULL, params INTEGER NOT NULL, macs INTEGER NOT NULL, activations INTEGER NOT NULL,
    further TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX in_order ON archs (sample);
INSERT INTO archs SELECT * FROM ordered;
DROP TABLE ordered;
"""
"""Architectures in the order of plan ids, as earlier versions stored them."""


def test_a_store_ordered_by_plan_ids_is_read_and_goes_on_the_same(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setattr(collection, "BATCH", 512)
    monkeypatch.setattr(store, "CHUNK", 100)  # read in several parts
    arguments = [*TINY, "space.constraints.training_memory=[null,null]", "report=false"]
    for folder in ("new", "old"):
        assert main.main([*arguments, "samples=300", f"out={folder}"]) == 0
    with closing(sqlite3.connect(home / "old" / STORE_FILE)) as db:
        db.executescript(OLD_ARCHITECTURES)
    before = (home / "new/archs.csv").read_bytes()
    assert before.count(b"\n") > 100
    assert main.main(["report", "old"]) == 0
    assert (home / "old/archs.csv").read_bytes() == before
    for folder in ("new", "old"):  # the first batch again, to its end, and others with duplicates
        assert main.main([*arguments, "samples=1400", f"out={folder}"]) == 0
    for table in ("archs", "batches", "structures"):
        assert sorted(rows_of(home / "new", table)) == sorted(rows_of(home / "old", table))
    assert (home / "old/archs.csv").read_bytes() == (home / "new/archs.csv").read_bytes() != before
    with closing(sqlite3.connect(home / "old" / STORE_FILE)) as db:
        (made,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'archs'").fetchone()
    assert made.endswith("WITHOUT ROWID")


def test_a_damaged_file_is_checked_before_anything_is_said_of_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(home)
    arguments = [*TINY, "samples=5000", "out=d", "report=false"]
    assert main.main(arguments) == 0
    file = home / "d" / STORE_FILE
    whole = file.read_bytes()
    pages = range(4096, len(whole), 4096)
    damaged = {
        "pages": b"".join([whole[:4096], *(b"\xff" * 4096 for _ in pages)]),
        "header": b"no database at all" + whole[18:],
        "cut": whole[: len(whole) // 2],
    }
    for how, data in damaged.items():
        file.write_bytes(data)
        for words in (["report", "d"], [*arguments, "samples=9000"]):
            capsys.readouterr()
            assert main.main(words) == 2, how
            said = capsys.readouterr().err
            assert "the file is damaged (" in said, how
            assert "are intact" not in said, how
    file.write_bytes(b"")
    assert main.main(["report", "d"]) == 2
    assert "holds no sweep" in capsys.readouterr().err


def test_a_changed_space_is_refused_or_started_aside(home: Path) -> None:
    assert command(*TINY, "samples=50", "out=here", "report=false", cwd=home)[0] == 0
    before = (home / "here" / STORE_FILE).read_bytes()
    for change in ("seed=1", "space.vary.widths.range=[1,5]", "model.num_classes=3", "sampler=sobol"):
        code, _, err = command(*TINY, "samples=50", "out=here", change, "report=false", cwd=home)
        assert code == 2
        assert "results are never mixed" in err
    assert rows_of(home / "here", "run")
    assert sqlite3.connect(home / "here" / STORE_FILE).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert len((home / "here" / STORE_FILE).read_bytes()) == len(before)
    for change in ("seed=0", "seed=1"):
        assert command(*TINY, "samples=50", change, "report=false", cwd=home)[0] == 0
    assert len(list((home / "runs").iterdir())) == 2


def test_a_longer_run_goes_on_where_a_shorter_one_ended(home: Path) -> None:
    assert command(*TINY, "samples=700", "out=once", "report=false", cwd=home)[0] == 0
    for samples in (100, 300, 700):
        assert command(*TINY, f"samples={samples}", "out=twice", "report=false", cwd=home)[0] == 0
    for table in ("archs", "batches"):
        assert sorted(rows_of(home / "twice", table)) == sorted(rows_of(home / "once", table))


def test_a_full_disk_is_a_clear_error_and_leaves_what_was_there(home: Path) -> None:
    first = (*TINY, "samples=200", "out=small", "report=false")
    assert command(*first, cwd=home)[0] == 0
    before = rows_of(home / "small", "archs")

    def tight() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))

    longer = (*TINY, "samples=60000", "out=small", "report=false")
    code, _, err = command(*longer, cwd=home, preexec_fn=tight)
    assert code == 2, err
    assert "cannot be used" in err
    assert "results stored before are intact" in err
    assert "Traceback" not in err
    assert rows_of(home / "small", "archs") == before
    assert command(*longer, cwd=home)[0] == 0
    assert len(rows_of(home / "small", "archs")) > len(before)


def test_an_unwritable_place_is_a_clear_error(home: Path) -> None:
    (home / "file").write_text("")
    code, _, err = command(*TINY, "out=file/below", cwd=home)
    assert code == 2
    assert "cannot be used" in err
    assert "Traceback" not in err


def test_two_at_once_are_refused(home: Path) -> None:
    from resnet_factory.sweep.store import SweepStore

    store = SweepStore(home / "held", write=True)
    code, _, err = command(*TINY, "out=held", cwd=home)
    store.close()
    assert code == 2
    assert "another sweep is writing" in err


def test_winners_are_models_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    arguments = ["sweep", "space=regnetx", "samples=3000", "by=params", "top=4", "out=rx", "report=false"]
    assert main.main(arguments) == 0
    arguments = [
        "sweep",
        "space=anynet",
        "samples=300",
        "top=5",
        "out=any",
        "model/attention=se,eca",
        "report=false",
    ]
    assert main.main(arguments) == 0
    for folder, count in (("rx", 4), ("any", 5)):
        files = sorted((home / folder / "winners" / "model").glob("*.yaml"))
        assert 0 < len(files) <= count
        for file in files:
            text = file.read_text()
            assert re.match(r"# (lowest|on the front of) .*rank \d+; [\d,]+ parameters", text)
            assert "defaults:" in text
            assert len(text.splitlines()) < 20
            config = rf.compose(file.stem, config_dir=home / folder / "winners")
            assert rf.plan(config).id == file.stem.rsplit("_", 1)[1]


def test_the_report_is_one_page_from_whatever_is_there(home: Path) -> None:
    code, _, err = command(
        *TINY, "samples=300", "out=r", "measure=[synflow,naswot]", "measuring.batch=2", "top=3", cwd=home
    )
    assert code == 0, err
    assert "Traceback" not in err
    with (home / "r/archs.csv").open() as file:
        plans = [row["plan"] for row in csv.DictReader(file)]
    chance = random.Random(0)
    lines = ["plan,error", *(f"{plan},{chance.random():.4f}" for plan in plans[:-5])]
    (home / "errors.csv").write_text("\n".join(lines))
    code, _, err = command(
        "report", "r", "errors=errors.csv", "by=error", "top=3", "pareto=[[params,error]]", cwd=home
    )
    assert code == 0, err
    page = (home / "r/report.html").read_text()
    for part in (
        "Pareto fronts", "Distributions", "Width profiles", "non_decreasing widths", "EDF, n=", "NumPy",
        "normalised by MACs", "Parameters of the best by error", "tau with error", "random, 0",
        "parameter and MAC counts alone", "expected least error",
    ):  # fmt: skip
        assert part in page, part
    elements = re.sub(
        "<script.*?</script>", "", page, flags=re.S
    )  # test_page sees that scripts ask for nothing
    assert not re.search(r'(src|href)="(http|//|file)', elements), "the page needs nothing else"
    names = {file.stem for file in (home / "r/figures").glob("*.svg")}
    assert names == {"profiles", "front_params_error", "errors", "distributions", "best_ranges"}
    files = list((home / "r/winners/model").glob("*.yaml"))
    assert len(files) == 3
    # Partial: part of a longer run, and it says so.
    with sqlite3.connect(home / "r" / STORE_FILE) as db:
        db.execute("UPDATE run SET value = '999999' WHERE key = 'samples'")
    assert command("report", "r", cwd=home)[0] == 0
    assert "Partial: 300 of 999,999" in (home / "r/report.html").read_text()


def test_failing_measurements_are_rows_and_an_exit_code(home: Path) -> None:
    code, _, err = command(
        *TINY,
        "samples=30",
        "out=f",
        "measure=[synflow]",
        "measuring.device=meta",
        "report=false",
        cwd=home,
    )
    assert code == 1, err
    states = {row[2] for row in rows_of(home / "f", "metrics")}
    assert states == {"failed"}
    assert all("meta" in row[6] for row in rows_of(home / "f", "metrics"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep"], "nothing varies"),
        (["sweep", "space=anynett"], "did you mean 'anynet'?"),
        (["sweep", "space=anynet", "sampler=randm"], "expected grid, random, sobol or conditional"),
        (["sweep", "space=anynet", "samples=1e12"], "1,000,000,000,000 are more than a sweep takes"),
        (
            ["sweep", "space=anynet_growing", "sampler=grid", "samples=null"],
            "a grid of 6.63e+16 combinations is more than a sweep takes",
        ),
        (["sweep", "space=anynet", "by=zen"], "unknown metric 'zen'"),
        (["sweep", "space=anynet", "errors=nowhere.csv"], "'nowhere.csv' cannot be read"),
        (["sweep", "space=anynet", "measure=[zenn]"], "did you mean 'zen'?"),
        (["sweep", "space=anynet", "samples=none"], "whole number"),
        (["sweep", "space=anynet", "executor=dusk"], "did you mean 'dask'?"),
        (["sweep", "space=anynet", "executor.worker=2"], "executor"),
        (["sweep", "seed=1,2"], "only the model can be swept"),
        (["sweep", "space=anynet", "smples=1"], "did you mean 'samples'?"),
        (["report"], "expected a folder, or several to compare"),
        (["report", "nowhere"], "holds no sweep"),
    ],
)
def test_mistakes_are_told(
    arguments: list[str], message: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(home)
    assert main.main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not (home / "runs").exists()


@pytest.mark.parametrize(
    ("absent", "options", "message"),
    [
        ("scipy", ["sampler=sobol", "report=false"], "sampler: needs SciPy; in"),
        ("scipy", [], "report: needs SciPy; in"),
        ("matplotlib", [], "report: needs matplotlib; in"),
        ("bokeh", [], "report: needs Bokeh; in"),
        ("distributed", ["executor=dask", "report=false"], "executor: needs dask.distributed; in"),
    ],
)
def test_missing_packages_are_told_before_anything_is_made(
    absent: str,
    options: list[str],
    message: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    monkeypatch.chdir(home)
    find = util.find_spec
    monkeypatch.setattr(options_of_sweep, "find_spec", lambda name: None if name == absent else find(name))
    assert main.main([*TINY, "samples=10", "out=o", *options]) == 2
    assert message in capsys.readouterr().err
    assert not (home / "o").exists()


def test_a_sweep_without_measured_metrics_imports_no_torch(home: Path) -> None:
    code = (
        "import sys; from resnet_factory.cli.main import main; "
        "status = main(['sweep', 'space=anynet_growing', 'samples=20000', 'out=n']); "
        "assert status == 0; assert 'torch' not in sys.modules; print('fine')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=home, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("fine\n")


def test_the_hydra_grammar_sweeps_without_a_space(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    arguments = [
        "sweep", "sampler=grid", "samples=null", "model=resnet18,resnet34",
        "model.depths=[1,1,1,1],[2,2,2,2]", "model.widths.0=range(8,33,8)", "out=g", "report=false",
    ]  # fmt: skip
    assert main.main(arguments) == 0
    found = rows_of(home / "g", "archs")
    rejected = json.loads(rows_of(home / "g", "batches")[0][2])
    # resnet18 and resnet34 differ in their depths only, which are given here.
    assert len(found) == 8
    assert rejected == {"duplicate": 8}
