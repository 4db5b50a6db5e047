"""The wheel in a clean virtual environment, used from another folder; the scripts a newcomer runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

CLEAN = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that succeeds."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=CLEAN, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.mark.slow
def test_archives_hold_what_they_should(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    shipped = {str(file.relative_to(ROOT)) for file in (ROOT / "conf").rglob("*.yaml")}
    assert {f"resnet_factory/{name}" for name in shipped} <= set(names)
    assert {"resnet_factory/py.typed", "resnet_factory/conf/__init__.py"} <= set(names)
    assert "resnet_factory/conf.py" not in names, "it stands for the folder in a checkout"
    assert not [name for name in names if name.startswith(("tests", "scripts", "conf"))]
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        inside = {name.split("/", 1)[-1] for name in opened.getnames()}
    assert shipped | {"README.md", "constraints.txt", "scripts/run", "tests/conftest.py"} <= inside


@pytest.mark.slow
def test_wheel_works_in_a_clean_environment(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    home = tmp_path / "environment"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel, cwd=tmp_path)
    elsewhere = tmp_path / "elsewhere"
    mine = elsewhere / "mine" / "model"
    mine.mkdir(parents=True)
    (mine / "small.yaml").write_text("# small\ndefaults:\n  - resnet18\n  - _self_\ndepths: [1, 1, 1, 1]\n")
    command = home / "bin" / "resnet-factory"
    before = sorted(elsewhere.rglob("*"))
    assert "built: 11,689,512 parameters" in run(command, "model=resnet18", cwd=elsewhere)
    assert "5,418,792" in run(command, "model=small", "--config-dir", "mine", cwd=elsewhere)
    assert "small" in run(command, "list", "small", "--config-dir", "mine", cwd=elsewhere)
    assert sorted(elsewhere.rglob("*")) == before, "nothing is written unless asked for"
    code = (
        "import resnet_factory as rf; print(sum(p.numel() for p in rf.create_model('resnet20').parameters()))"
    )
    assert run(python, "-c", code, cwd=elsewhere).strip() == "269722"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", example(tmp_path), cwd=tmp_path)
    for folder in (home, ROOT):  # the wheel; then an editable install of the checkout
        if folder == ROOT:
            run(python, "-m", "pip", "install", "--quiet", "--no-deps", "-e", ROOT, cwd=tmp_path)
        where = run(python, "-c", "import resnet_factory; print(resnet_factory.__file__)", cwd=elsewhere)
        assert Path(where.strip()).is_relative_to(folder)
        out = run(home / "bin" / "distil", "steps=1", "hydra.run.dir=../out", cwd=elsewhere)
        assert "teacher  resnet56" in out
        assert "student  lean20" in out
        assert run(python, "-W", "error", "-c", SHARED, cwd=elsewhere).strip() == "resnet18 7"


SHARED = """
from hydra import compose, initialize_config_dir
import resnet_factory as rf
words = ["hydra.searchpath=[pkg://resnet_factory.conf]", "+model@net=resnet18", "net.num_classes=7"]
with initialize_config_dir("/", version_base="1.3"):
    config = rf.read(compose(overrides=words, return_hydra_config=True).net)
print(config.name, config.num_classes)
"""
"""An application without files of its own."""


def example(folder: Path) -> Path:
    """A copy of the example application, since building it leaves files beside its sources."""
    return Path(shutil.copytree(ROOT / "examples" / "own_application", folder / "application"))


def test_scripts_are_executable_and_say_what_they_are() -> None:
    for name in ("scripts/run", "scripts/test", "scripts/check", "scripts/setup", ".ci/run"):
        file = ROOT / name
        assert os.access(file, os.X_OK)
        assert file.read_text().splitlines()[1].startswith("# ")
    assert "scripts/test" in (ROOT / ".ci/run").read_text()


def test_every_command_has_its_script() -> None:
    from resnet_factory.cli.verbs import VERBS

    assert {file.stem for file in (ROOT / "scripts").glob("*.py")} >= set(VERBS)
    for verb in VERBS:
        assert f'["{verb}"' in (ROOT / "scripts" / f"{verb}.py").read_text()


def test_torch_is_pinned_where_everything_installs_from() -> None:
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text()
    for script in (ROOT / "scripts").iterdir():
        if script.is_file() and "pip install" in script.read_text():
            assert "-c constraints.txt" in script.read_text()
