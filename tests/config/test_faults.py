"""Every mistake of the corpus in faults/: its exact message, exit code 2, no traceback, nothing written.

A case is a title (`## …`), the user's files (`file NAME` and their text, indented), a command (`$ …`) and
the lines it prints. `pytest --refresh-golden` rewrites those lines from what the command prints now.
"""

from __future__ import annotations

import os
import re
import resource
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from omegaconf import OmegaConf

import resnet_factory as rf
from resnet_factory.cli import main
from resnet_factory.cli.verbs import VERBS

FAULTS = ROOT / "tests" / "config" / "faults"
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
        words = shlex.split(repeated(self.command))
        assert words[0] == "resnet-factory"
        return words[1:]

    def write(self) -> None:
        """The user's files, in the working directory; `\\t` and `\\xff` in their text are escapes."""
        for name, text in self.files.items():
            file = Path(name)
            file.parent.mkdir(parents=True, exist_ok=True)
            plain = repeated(text).encode()
            raw = re.sub(rb"\\x(..)", lambda m: bytes.fromhex(m[1].decode()), plain)
            file.write_bytes(raw.replace(rb"\t", b"\t"))


def repeated(text: str) -> str:
    """`{2,*100}` stands for a hundred times `2,`."""
    return re.sub(r"\{(..)\*(\d+)\}", lambda m: m[1] * int(m[2]), text)


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
    code = main.main(case.words)
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


def call(case: Case) -> tuple[str, list[str], str | None] | None:
    """The words as name, overrides and folder for `rf.compose`; None where they mean more than it does."""
    verb, *words = case.words
    folder = None
    if "--config-dir" in words[:-1]:
        at = words.index("--config-dir")
        folder = words[at + 1]
        del words[at : at + 2]
    if (
        case.place.startswith("verbs")
        or verb != "describe"
        or not words
        or not words[0].startswith("model=")
        or folder == ""
    ):
        return None
    if any(word.startswith(("-", "input")) or word in VERBS for word in words):
        return None
    return words[0].removeprefix("model="), words[1:], folder


OWN = ("batch, columns, depth, dtype, format, input, model, objective, sort", "input, model, objective")
"""The keys that describe reads, and those of them that it has in common with `rf.compose`."""
CALLS = [(case, found) for case in CASES if (found := call(case)) is not None]


@pytest.mark.parametrize(("case", "arguments"), CALLS, ids=lambda value: getattr(value, "place", ""))
def test_python_says_the_same(case: Case, arguments: tuple[str, list[str], str | None], here: Path) -> None:
    case.write()
    name, overrides, folder = arguments
    with pytest.raises(rf.ConfigError) as error:
        rf.plan(rf.compose(name, *overrides, config_dir=folder))
    said = str(error.value).replace(SHIPPED, "conf").splitlines()
    assert said == [line.replace(*OWN) for line in case.printed]


REAL = [
    "a model misspelt",
    "a tab in the indentation",
    "aliases of aliases of aliases",
    "a depth of a billion",
    "a billion branches",
    "slots of slots of slots",
    "a file to save that is a folder",
    "a model with a letter of another alphabet",
    "a key misspelt in all jobs",
]


@pytest.mark.parametrize("title", REAL)
def test_process(title: str, here: Path) -> None:
    """The same from a process of its own, which may not take more than 1.5 GiB."""
    case = next(case for case in CASES if case.title == title)
    case.write()
    before = listing()

    def limit() -> None:
        if "build" not in case.command:  # torch alone maps more
            resource.setrlimit(resource.RLIMIT_AS, (3 << 29, 3 << 29))

    done = subprocess.run(
        [sys.executable, "-m", "resnet_factory.cli", *case.words],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, preexec_fn=limit, timeout=120,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr.replace(SHIPPED, "conf").splitlines() == case.printed
    assert (done.returncode, done.stdout) == (2, "")
    assert listing() == before


def test_the_corpus_is_large() -> None:
    assert len(CASES) >= 250
    titles = [case.title for case in CASES]
    assert len(set(titles)) > len(titles) - 20
    assert all(case.printed for case in CASES)


def test_every_line_has_a_place() -> None:
    """`file:line:col: …` or `command line '…': …`, as the documentation promises."""
    form = re.compile(r"[^:]+:\d+:\d+: \S|command line '.*': \S", re.DOTALL)
    odd = [line for case in CASES for line in case.printed if not form.match(line)]
    assert not odd


def test_a_job_that_fails_leaves_the_others(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main.main(["describe", "-m", "model=resnet18,resnet34", "model.groups=1,3"])
    out, err = capsys.readouterr()
    assert code == 1
    assert [line.split()[0] for line in out.splitlines() if " id " in line] == ["resnet18", "resnet34"]
    said = "command line 'model.groups=3': model.groups: 64 input channels are not divisible by 3 groups"
    lines = err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(said) for line in lines)


def test_another_application_reads_with_the_same_faults() -> None:
    """A `model` subtree under another name, composed by somebody else's Hydra."""
    config = OmegaConf.create({"backbone": rf.compose("resnet18").to_dict(), "width": 3})
    config.backbone.widths = "${width}"
    assert rf.read(config.backbone, "backbone").widths == (3, 3, 3, 3)
    config.backbone.widths = "${widht}"
    config.backbone.depths = "???"
    config.backbone.stem.layers[0].conv.kernel = "${stem}"
    with pytest.raises(rf.ConfigError) as error:
        rf.read(config.backbone, "backbone")
    assert sorted(str(error.value).splitlines()) == [
        "backbone.depths: '???' marks a mandatory value; give one",
        "backbone.stem.layers.0.conv.kernel: '${stem}': there is no key 'stem'",
        "backbone.widths: '${widht}': there is no key 'widht'",
    ]


@pytest.mark.parametrize("data", [None, 3, "resnet18", [], {}, {"depths": {}}, {3: 4}, {"stem": {None: 1}}])
def test_any_data_is_read_or_refused(data: Any) -> None:
    with pytest.raises(rf.ConfigError, match="model"):
        rf.read(data)


@pytest.mark.parametrize("what", ["mine", "mine/model", "mine/model/mine.yaml"])
def test_what_may_not_be_read(what: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder or file without permission; root may read it all the same, so the answer is played."""
    case = Case("", "", {"mine/model/mine.yaml": "defaults: [resnet18, _self_]\n"})
    case.write()
    denied = here / what
    for name in ("iterdir", "is_file", "read_bytes", "stat", "is_dir"):
        real = getattr(Path, name)

        def played(path: Path, *args: Any, real: Any = real, name: str = name, **kwargs: Any) -> Any:
            inside = denied in path.parents or (path == denied and name in ("iterdir", "read_bytes"))
            if inside:
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *args, **kwargs)

        monkeypatch.setattr(Path, name, played)
    with pytest.raises(rf.ConfigError) as error:
        rf.compose("mine", config_dir="mine")
    monkeypatch.undo()
    expected = {
        "mine": "command line '--config-dir mine': cannot be listed as a folder",
        "mine/model": "command line '--config-dir mine': 'mine/model/antialias' cannot be read",
        "mine/model/mine.yaml": "mine/model/mine.yaml:1:1: cannot be read",
    }
    assert str(error.value) == f"{expected[what]}: Permission denied"
