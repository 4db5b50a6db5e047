"""The commands of README and docs, run as written: what a newcomer copies prints what the page shows.

A `console` block is commands after `$ ` and what they print; a `yaml` block whose first line names a
file is that file; a `python` block runs. `pytest --refresh-golden` rewrites the outputs. What has
seconds or dates in it stands in plain blocks. `pip install examples/NAME` holds for the commands after it.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES.remove(ROOT / "docs" / "ecosystem.md")  # run by test_ecosystem, in one process
BLOCK = re.compile(r"^```(console|yaml|python)\n(.*?)^```$", re.M | re.S)


@pytest.fixture
def shell(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """An empty folder, and an environment in which `resnet-factory` is this checkout's."""
    programs = tmp_path / "programs"
    programs.mkdir()
    command = programs / "resnet-factory"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m resnet_factory.cli "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IEXEC)
    work = tmp_path / "work"
    work.mkdir()
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    packages = f"{ROOT}{os.pathsep}{tmp_path / 'packages'}"
    return work, {**os.environ, "PATH": path, "PYTHONPATH": packages, "COLUMNS": "110"}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_print_what_the_page_shows(
    page: Path, shell: tuple[Path, dict[str, str]], request: pytest.FixtureRequest
) -> None:
    work, environment = shell
    text = shown = page.read_text(encoding="utf-8")
    for kind, body in BLOCK.findall(text):
        if kind == "yaml":
            if named := re.match(r"# (\S+\.yaml)\b", body):
                file = work / named[1]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(body, encoding="utf-8")
        elif kind == "python":
            run(f"{sys.executable} -c '{body}'", work, environment)
        else:
            commands = re.split(r"^\$ ", body, flags=re.M)[1:]
            real = ""
            for entry in commands:
                command = entry.splitlines()[0]
                if example := re.match(r"pip (?:un)?install (examples/\S+|[\w-]+)$", command):
                    install(example[1], work, environment)
                if command.startswith(("scripts/", "pip ", "git ")):
                    real += f"$ {entry}"
                    continue
                printed = run(command, work, environment)
                real += f"$ {command}\n{printed}\n" if printed else f"$ {command}\n"
            body_now = re.sub(r"\n+\Z", "\n", real)
            shown = shown.replace(f"```console\n{body}```", f"```console\n{body_now}```")
    if request.config.getoption("--refresh-golden"):
        page.write_text(shown, encoding="utf-8")
    assert shown == page.read_text(encoding="utf-8")


def install(name: str, work: Path, environment: dict[str, str]) -> None:
    """Install an example of the checkout into the folder of packages, or remove all from there."""
    packages = work.parent / "packages"
    if not name.startswith("examples/"):
        shutil.rmtree(packages)
        return
    shutil.copytree(ROOT / name, work / name)  # building leaves files beside the sources
    options = f"--quiet --no-deps --no-build-isolation --no-index --target {packages}"
    assert not run(f"{sys.executable} -m pip install {options} {name}", work, environment)


def run(command: str, work: Path, environment: dict[str, str]) -> str:
    """What a command prints."""
    done = subprocess.run(
        command, shell=True, cwd=work, env=environment, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    lines = [line.rstrip() for line in (done.stdout + done.stderr).splitlines()]
    return "\n".join(lines) + "\n" if lines else ""
