"""The describe command: every depth and format, what can be chosen, and what a pipe gets."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from resnet_factory.cli import main
from resnet_factory.config.model_index import index_models
from resnet_factory.costing.complexity import Cost, compute_complexity
from resnet_factory.planning.planner import run_planner
from resnet_factory.reporting import tables
from resnet_factory.reporting.columns import COLUMNS, DEPTHS, ColumnSelection

Golden = Callable[[str, str], None]
MODELS = index_models()


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def described(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, str]:
    """What the command prints: to standard output, and to standard error."""
    assert main.main(["describe", *words]) == 0
    return capsys.readouterr()


@pytest.mark.parametrize(
    ("model", "depth"),
    [
        ("resnet50", "stage"),
        ("resnet18", "block"),
        ("resnet20", "layer"),
        ("seresnet50", "network"),
        ("resnest14d", "layer"),
        ("plain20", "stage"),
    ],
)
def test_tables(capsys: pytest.CaptureFixture[str], golden: Golden, model: str, depth: str) -> None:
    golden(f"describe_{model}_{depth}.txt", described(capsys, f"model={model}", f"depth={depth}")[0])


def test_markdown(capsys: pytest.CaptureFixture[str], golden: Golden) -> None:
    golden("describe_resnet50.md", described(capsys, "model=resnet50", "format=markdown")[0])


def test_json(capsys: pytest.CaptureFixture[str], golden: Golden) -> None:
    text, errors = described(capsys, "model=resnet18", "format=json", "batch=8", "dtype=float16")
    golden("describe_resnet18.json", text)
    data = json.loads(text)
    assert not errors
    assert sum(row["params"] for row in data["rows"]) == data["params"] == 11_689_512
    assert sum(row["macs"] for row in data["rows"]) == data["macs"]
    assert (data["memory"]["batch"], data["memory"]["dtype"]) == (8, "float16")
    assert set(data["conventions"]) == {*data["rows"][0], "memory", *tables.ALWAYS}
    assert set(tables.ALWAYS) <= set(data)


@pytest.mark.parametrize("depth", DEPTHS)
def test_csv_is_plain_numbers_and_nothing_else(capsys: pytest.CaptureFixture[str], depth: str) -> None:
    columns = ",".join(COLUMNS)
    text, errors = described(capsys, "model=resnet50", f"depth={depth}", "format=csv", f"columns=[{columns}]")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == list(COLUMNS)
    assert sum(int(row["params"]) for row in rows) == 25_557_032
    assert sum(int(row["macs"]) for row in rows) == 4_089_184_256
    assert sum(int(row["weights"]) for row in rows) == 102_441_032
    assert errors.startswith("MACs: ")


def test_rows_are_sorted_and_columns_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["model=resnet18", "depth=layer", "format=csv", "columns=[name,macs]"]
    rising = described(capsys, *words, "sort=macs")[0].splitlines()
    falling = described(capsys, *words, "sort=-macs")[0].splitlines()
    assert rising[0] == falling[0] == "name,macs"
    numbers = [int(line.split(",")[1]) for line in falling[1:]]
    assert numbers == sorted(numbers, reverse=True)
    assert sorted(rising) == sorted(falling)
    assert described(capsys, *words[:3], "columns=params")[0].startswith("params\n")


def test_wrong_choices_are_all_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["depth=blok", "format=cvs", "columns=[parms,3]", "sort=mac", "batch=0", "dtype=int8"]
    assert main.main(["describe", "model=resnet18", *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 7
    for line, (word, hint) in zip(
        sorted(lines, key=lambda line: (line.split("'")[1], "parms'" not in line)),
        [
            ("batch=0", "expected a number of images, 1 to 1048576, found 0"),
            ("columns=[parms,3]", "did you mean 'params'?"),
            ("columns=[parms,3]", "expected a column by name, found 3"),
            ("depth=blok", "known are network, stage, block, layer; did you mean 'block'?"),
            ("dtype=int8", "known are float64, float32, bfloat16, float16"),
            ("format=cvs", "did you mean 'csv'?"),
            ("sort=mac", "did you mean 'macs'?"),
        ],
        strict=True,
    ):
        assert f"'{word}'" in line
        assert hint in line


@pytest.fixture(scope="module")
def resnet50() -> Cost:
    return compute_complexity(run_planner(MODELS.config("resnet50")))


@pytest.mark.parametrize("width", [30, 60, 80, 120])
@pytest.mark.parametrize("depth", DEPTHS)
def test_no_terminal_is_too_narrow_for_a_number(resnet50: Cost, width: int, depth: str) -> None:
    out = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, highlight=False)
    tables.print_cost_table(resnet50, out, ColumnSelection(depth))
    assert isinstance(out.file, io.StringIO)
    text = re.sub(r"\x1b\[[0-9;]*m", "", out.file.getvalue())
    assert "…" not in text
    assert "25,557,032" in text
    assert "4,089,184,256" in text
    if width >= 80 and depth == "stage":
        table = text.split("\n\n")[1]
        assert max(map(len, table.splitlines())) <= width


def test_a_pipe_gets_no_colours_and_no_blanks_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    for form in tables.FORMATS:
        text = described(capsys, "model=resnet18", f"format={form}")[0]
        assert "\x1b" not in text
        assert not [line for line in text.splitlines() if line != line.rstrip()]
        assert text.endswith("\n")


def test_bytes_as_people_read_them() -> None:
    from resnet_factory.reporting.columns import bytes_text

    sizes = [0, 1023, 1024, 1536, 1024**2, 5 * 1024**3, 1024**4]
    assert [bytes_text(size) for size in sizes] == [
        "0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "5.0 GiB", "1.0 TiB",
    ]  # fmt: skip
