"""Every mistake of the corpus in tests/faults: its exact message, exit code 2, no traceback, nothing written.

A case is a title (`## …`), the user's files (`file NAME` and their text, indented), a command (`$ …`) and
the lines it prints. `pytest --refresh-golden` rewrites those lines from what the command prints now.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import ROOT

from resnet_factory import cli

FAULTS = ROOT / "tests" / "faults"
SHIPPED = str(ROOT / "conf")


@dataclass
class Case:
    """One mistake."""

    place: str
    title: str = ""
    files: dict[str, str] = field(default_factory=dict)
    command: str = ""
    printed: list[str] = field(default_factory=list)

    @property
    def words(self) -> list[str]:
        """The command's words, as a shell would pass them."""
        words = shlex.split(re.sub(r"\{(.)(.)\*(\d+)\}", lambda m: (m[1] + m[2]) * int(m[3]), self.command))
        assert words[0] == "resnet-factory"
        return words[1:]

    def write(self) -> None:
        """The user's files, in the working directory; `\\t` and `\\xff` in their text are escapes."""
        for name, text in self.files.items():
            file = Path(name)
            file.parent.mkdir(parents=True, exist_ok=True)
            raw = re.sub(rb"\\x(..)", lambda m: bytes.fromhex(m[1].decode()), text.encode())
            file.write_bytes(raw.replace(rb"\t", b"\t"))


def read(file: Path) -> Iterator[Case]:
    """The cases of one corpus file."""
    case, name = Case(""), ""
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("## "):
            if case.command:
                yield case
            case = Case(f"{file.stem}:{number}", line[3:])
        elif line.startswith("file "):
            name = line[5:]
            case.files[name] = ""
        elif line.startswith("$ "):
            case.command = line[2:]
        elif case.command and line:
            case.printed.append(line)
        elif name and line.startswith("    "):
            case.files[name] += f"{line[4:]}\n"
    yield case


CASES = [case for file in sorted(FAULTS.glob("*.txt")) for case in read(file)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    return tmp_path


def listing() -> set[str]:
    """Everything below the working directory."""
    return {str(path) for path in Path().rglob("*")}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.place)
def test_message(
    case: Case, here: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    case.write()
    before = listing()
    code = cli.main(case.words)
    out, err = capsys.readouterr()
    printed = err.replace(SHIPPED, "conf").splitlines()
    if request.config.getoption("--refresh-golden"):
        refresh(case, printed)
    assert printed == case.printed
    assert (code, out) == (2, "")
    assert listing() == before
    assert "Traceback" not in err


def refresh(case: Case, printed: list[str]) -> None:
    """Rewrite what one case prints."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        pytest.fail("refresh the corpus in one process: pytest -n0 --refresh-golden tests/test_faults.py")
    file = FAULTS / f"{case.place.partition(':')[0]}.txt"
    head, mark, rest = file.read_text(encoding="utf-8").partition(f"## {case.title}\n")
    own, following, tail = rest.partition("\n## ")
    kept = own[: own.index("$ ")] + f"$ {case.command}\n"
    file.write_text(
        head + mark + kept + "\n".join(printed) + "\n" + (following and "\n## ") + tail, encoding="utf-8"
    )
    case.printed = printed


COMPOSED = [case for case in CASES if case.words[:1] == ["describe"] and not re.search(r" -\w", case.command)]
"""Cases without options: the same words mean the same through the Python API."""
