"""Imports: from lower subpackages only; torch and Hydra in theirs."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT
from importlinter.cli import lint_imports

from resnet_factory import errors

PACKAGE = ROOT / "resnet_factory"
TORCH = {
    "study/array_data.py", "study/checkpoint.py", "study/data.py", "study/data_checks.py",
    "study/distributed.py", "study/optimisation.py", "study/probes.py", "study/training.py",
    "sweep/init_scores.py", "sweep/metrics.py",
}  # fmt: skip
"""Above `network/`, where torch starts, the files that compute with it."""


def imports(file: Path) -> set[str]:
    """Top-level packages a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_subpackages_import_downwards_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The contracts of pyproject.toml: the order of the subpackages, and what each may import."""
    monkeypatch.chdir(ROOT)
    assert lint_imports() == 0


@pytest.mark.parametrize(
    "file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE))
)
def test_each_library_enters_in_its_files(file: Path) -> None:
    found = imports(file)
    name = file.relative_to(PACKAGE).as_posix()
    if name not in TORCH and name != "timm.py" and not name.startswith("network/"):
        assert not found & {"torch", "torchinfo", "safetensors", "torchvision"}
    assert not found & {"timm"} or name == "timm.py"


def test_private_parts_of_hydra_stay_in_one_file() -> None:
    text = re.compile(r"hydra\._internal|omegaconf\._")
    found = {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        if text.search(file.read_text("utf-8"))
    }
    assert found == {"config/hydra_internals.py"}


def test_few_things_stand_at_the_top() -> None:
    entries = {path.name for path in PACKAGE.iterdir()} - {"__pycache__"}
    assert entries == {
        "__init__.py", "cli", "conf.py", "config", "costing", "errors.py", "layers", "network", "planning",
        "py.typed", "reporting", "study", "sweep", "timm.py",
    }  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [
        ["-c", "import resnet_factory as rf; rf.cost(rf.plan(rf.compose('resnet18')))"],
        ["-m", "resnet_factory.cli", "describe", "model=resnet18"],
        ["-m", "resnet_factory.cli", "diff", "model=resnet18", "with=model.act=silu"],
        ["-m", "resnet_factory.cli", "draw", "model=resnet18"],
        ["-m", "resnet_factory.cli", "list", "resnet*"],
        ["-m", "resnet_factory.cli", "--help"],
        ["-m", "resnet_factory.cli", "--cfg", "job"],
        ["-m", "resnet_factory.cli", "-sc", "query=bash"],
        ["-m", "resnet_factory.cli", "study", "--cfg", "job"],
        [
            "-c",
            "from resnet_factory.study.metric import TrainedError; TrainedError.compose('train.epochs=1')",
        ],
    ],
    ids=lambda command: " ".join(command)[:40],
)
def test_no_torch_without_building(command: list[str], tmp_path: Path) -> None:
    """Every module that a run imports is listed on standard error; torch is not among them."""
    typed = {"COMP_LINE": "resnet-factory model=res", "COMP_POINT": "24"}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **typed}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    modules = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "resnet_factory" in modules
    assert "torch" not in modules
    assert not list(tmp_path.iterdir()), "nothing is written unless asked for"


def test_no_message_advises_a_package_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's name may be another's there: a checkout is advised, else the packages of an extra."""
    tracked = [*PACKAGE.rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    named = [
        str(file) for file in tracked if re.search(r"resnet-factory\[[\w{]", file.read_text(encoding="utf-8"))
    ]
    assert not named
    assert errors.install_hint("sweep") == f"in {ROOT}: pip install -c constraints.txt -e '.[sweep]'"
    monkeypatch.setattr(errors, "__file__", "/elsewhere/site-packages/resnet_factory/errors.py")
    assert errors.install_hint("sweep") == "pip install 'bokeh>=3.8' 'matplotlib>=3.8' 'scipy>=1.11'"


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: file.name)
def test_docstrings_state_what_they_describe(file: Path) -> None:
    """They begin with a verb or a noun, as PyTorch's do, never with a question word."""
    questions = re.compile(r'"""(What|Where|Which|How|Why)\b.*')
    assert not questions.findall(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: file.name)
def test_files_are_short(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs", "tests/README.md"])
def test_files_that_the_pages_name_are_there(page: str) -> None:
    files = sorted((ROOT / page).glob("*.md")) if (ROOT / page).is_dir() else [ROOT / page]
    rooms = "|".join(path.name for path in PACKAGE.iterdir() if path.is_dir())
    for file in files:
        for name in re.findall(rf"`((?:{rooms})/[\w/]+?)(?:\.py)?`", file.read_text(encoding="utf-8")):
            places = [
                PACKAGE / name,
                PACKAGE / f"{name}.py",
                ROOT / "tests" / name,
                ROOT / "tests" / f"{name}.py",
            ]
            assert any(place.exists() for place in places), f"{file.name} names {name}"


def test_contributors_have_a_list_of_all_files(golden: Callable[[str, str], None]) -> None:
    """docs/files.md lists each file with the first line of its docstring."""
    rooms: dict[str, list[str]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        name = file.relative_to(PACKAGE)
        if text and (name.name != "__init__.py" or name.parent.parts):
            rooms.setdefault(name.parent.as_posix(), []).append(f"* `{name.name}`: {text.splitlines()[0]}")
    lines = ["# The files of the package and what each is for"]
    for room, files in rooms.items():
        lines += ["", "## `resnet_factory/`" if room == "." else f"## `{room}/`", "", *files]
    golden(str(ROOT / "docs/files.md"), "\n".join(lines) + "\n")
