"""Files that commands read and write: none over an input, a file of another kind or another job's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

import resnet_factory as rf
from resnet_factory.cli import main
from resnet_factory.network import capacity

SMALL = ["model=resnet18", "model.depths=1", "model.widths=8", "model.stem.width=8", "input.size=32"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with weights, files of other kinds, and what only looks like files."""
    monkeypatch.chdir(tmp_path)
    network = rf.create_model("resnet18", *SMALL[1:-1])
    rf.save(network, "a.safetensors")
    os.link("a.safetensors", "hard.safetensors")
    os.symlink("a.safetensors", "soft.safetensors")
    Path("cfg.yaml").write_text("mine: 1 # and more\n")
    Path("notes.safetensors").write_text("not weights at all, but notes\n")
    Path("notes.svg").write_text("not a picture\n")
    Path("notes.mmd").write_text("not a picture\n")
    Path("folder").mkdir()
    os.mkfifo("pipe.pth")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    """Every regular file and its bytes."""
    return {str(file): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


REFUSED = {
    "export over its input": (
        ["export", "weights=a.safetensors", "to=timm", "file=a.safetensors"], "an input of this command"),
    "export over its input by another path": (
        ["export", "weights=a.safetensors", "to=timm", "file=folder/../a.safetensors"], "an input of this"),
    "export over its input by a hard link": (
        ["export", "weights=a.safetensors", "to=timm", "file=hard.safetensors"], "an input of this command"),
    "export over its input by a symbolic link": (
        ["export", "weights=soft.safetensors", "to=timm", "file=a.safetensors"], "an input of this command"),
    "save over a YAML file": (["build", *SMALL, "save=cfg.yaml"], "does not end in .safetensors, .pth"),
    "save over notes": (["build", *SMALL, "save=notes.safetensors"], "exists and contains no weights"),
    "export into a format that it does not write": (
        ["export", "weights=a.safetensors", "to=timm", "file=x.onnx"], "does not end in .safetensors"),
    "save into a folder": (["build", *SMALL, "save=folder"], "'folder' is a folder"),
    "save nowhere": (["build", *SMALL, "save=no/where.safetensors"], "there is no folder 'no'"),
    "draw over notes": (["draw", *SMALL, "file=notes.svg"], "already exists and contains no SVG pictures"),
    "draw Mermaid over notes": (["draw", *SMALL, "file=notes.mmd"], "already exists and contains no Mermaid"),
    "draw a picture in another's file": (
        ["draw", *SMALL, "file=cfg.yaml", "format=svg"], "already exists and contains no SVG"),
    "save over the weights it reads": (
        ["build", *SMALL, "weights=a.safetensors", "save=soft.safetensors"], "an input of this command"),
    "read YAML": (["build", *SMALL, "weights=cfg.yaml"], "is neither a safetensors file nor"),
    "export YAML": (["export", "weights=cfg.yaml", "to=timm", "file=b.pth"], "is neither a safetensors"),
    "read no hub name": (["build", *SMALL, "weights=hf-hub:nobody"], "is not a hub name"),
    "read a pipe": (["build", *SMALL, "weights=pipe.pth"], "is a pipe, a socket or a device"),
    "read a device": (["build", *SMALL, "weights=/dev/zero"], "is a pipe, a socket or a device"),
    "read a folder": (["build", *SMALL, "weights=folder"], "'folder' is a folder"),
    "read nothing": (["build", *SMALL, "weights=nothing.pth"], "'nothing.pth' does not exist"),
    "export a pipe": (["export", "weights=pipe.pth", "to=timm", "file=b.safetensors"], "is a pipe"),
    "an unknown key map": (["build", *SMALL, "weights=a.safetensors", "keys=tim"], "tim"),
    "a key map without weights": (["build", *SMALL, "keys=timm_resnet"], "give weights=… as well"),
    "pictures of several jobs in one file": (
        ["draw", "-m", "model=resnet18,resnet34", "file=x.svg"], "2 jobs would all write this file"),
    "weights of several jobs in one file": (
        ["build", "-m", *SMALL, "model.act=relu,silu", "save=b.safetensors"], "2 jobs would all write"),
}  # fmt: skip


@pytest.mark.parametrize(("words", "says"), REFUSED.values(), ids=REFUSED)
def test_refused_before_torch_and_nothing_is_touched(words: list[str], says: str, home: Path) -> None:
    """In a process of its own: what is wrong with a file is said without importing torch."""
    before = contents(home)
    code = (
        "import sys; from resnet_factory.cli.main import main; status = main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules, 'torch was imported'; sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=home, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert contents(home) == before


def test_pictures_of_several_jobs_each_have_a_file(home: Path) -> None:
    words = ["draw", "-m", "model=resnet18,resnet34", "file='x_${hydra:job.num}.svg'"]
    assert main.main(words) == 0
    assert {file.name for file in home.glob("x_*.svg")} == {"x_0.svg", "x_1.svg"}
    assert "resnet34" in Path("x_1.svg").read_text()


@pytest.mark.parametrize(
    "words",
    [
        ["model=resnet18", "file=x.svg,./x.svg"],
        ["model=resnet18,resnet34", "file='x_${model.act}.svg'"],
        ["model=resnet18", "file=x.svg,link.svg"],
    ],
    ids=["two spellings", "an interpolation that says the same", "a symbolic link"],
)
def test_a_job_does_not_write_over_another_jobs_file(
    words: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What only the composed jobs tell: the first has the file, the second says so and fails."""
    os.symlink("x.svg", "link.svg")
    assert main.main(["draw", "-m", *words]) == 1
    assert "another job of this run writes" in capsys.readouterr().err
    assert len([file for file in home.glob("*.svg") if file.name.startswith("x")]) == 1


def test_files_of_the_same_kind_are_written_over(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert main.main(["draw", *SMALL, "file=x.svg"]) == 0
        assert main.main(["draw", *SMALL, "file=x.mmd"]) == 0
        assert main.main(["build", *SMALL, "save=b.safetensors"]) == 0
        assert main.main(["export", "weights=b.safetensors", "to=timm", "file=c.pth"]) == 0
    network = rf.load("b.safetensors")
    rf.save(network, "b.safetensors")
    assert rf.load("b.safetensors").plan == network.plan


def test_python_writes_over_no_other_kind_of_file_either(home: Path) -> None:
    before = contents(home)
    network = rf.load("a.safetensors")
    for file in ("cfg.yaml", "notes.safetensors", "folder", "no/where.safetensors", "x.onnx"):
        if file != "folder":  # gets the layout of the hub
            with pytest.raises(rf.ConfigError):
                rf.save(network, file)
        with pytest.raises(rf.ConfigError):
            rf.export(network, file, to="timm")
    assert contents(home) == before


# Memory -----------------------------------------------------------------------------------------------


def test_a_network_that_does_not_fit_is_refused_before_it_is_built(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(capacity, "available_memory", lambda: 40 * 2**20)
    assert main.main(["build", "model=resnet18"]) == 2
    said = capsys.readouterr().err
    assert "its 11,689,512 parameters take 44.6 MiB, but only 40.0 MiB of memory are available" in said
    with pytest.raises(rf.ConfigError, match=r"11,689,512 parameters take 44\.6 MiB"):
        rf.create_model("resnet18")
    assert rf.build("resnet18", device="meta").fc.weight.is_meta  # type: ignore[union-attr]
    monkeypatch.setattr(capacity, "available_memory", lambda: 50 * 2**20)
    assert sum(p.numel() for p in rf.create_model("resnet18").parameters()) == 11_689_512


def test_widths_beyond_the_machine_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The real figure of this machine, against a network of some terabytes."""
    assert main.main(["build", "model=resnet18", "model.widths=100000"]) == 2
    assert "of memory are available" in capsys.readouterr().err


KB = 1024
V1, V2 = ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"), ("memory.max", "memory.current")
GROUPS = {
    "no limit": ("0::/", V2, {"": ("max", 5, 0)}, 3000 * KB),
    "a limit": ("0::/", V2, {"": ("1000000", 400_000, 0)}, 600_000),
    "a limit above the machine's": ("0::/", V2, {"": ("9000000000", 1, 0)}, 3000 * KB),
    "files in the cache can be dropped": ("0::/", V2, {"": ("1000000", 900_000, 700_000)}, 800_000),
    "a group of one's own": ("0::/a/b", V2, {"/a/b": ("50000", 20_000, 0)}, 30_000),
    "a group around it": ("0::/a/b", V2, {"/a/b": ("max", 1, 0), "/a": ("70000", 20_000, 0)}, 50_000),
    "version 1": ("4:cpu,memory:/a", V1, {"/a": ("60000", 20_000, 10_000)}, 50_000),
    "version 1 inside a container": ("4:memory:/docker/xyz", V1, {"": ("60000", 20_000, 0)}, 40_000),
}  # fmt: skip


@pytest.mark.parametrize(("own", "version", "groups", "expected"), GROUPS.values(), ids=GROUPS)
def test_the_memory_of_control_groups_counts(
    own: str,
    version: tuple[str, str],
    groups: dict[str, tuple[str, int, int]],
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, (limit, used, cached) in groups.items():
        root, _, file = version[0].rpartition("/")
        folder = tmp_path / root / name.strip("/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(f"{limit}\n")
        (folder / version[1].rpartition("/")[2]).write_text(f"{used}\n")
        prefix = "total_" if version is V1 else ""
        (folder / "memory.stat").write_text(f"{prefix}active_file 1\n{prefix}inactive_file {cached}\n")
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    3000 kB\n")
    (tmp_path / "own").write_text(f"12:pids:/elsewhere\n{own}\n")
    monkeypatch.setattr(capacity, "CGROUP", tmp_path)
    monkeypatch.setattr(capacity, "OWN_GROUP", tmp_path / "own")
    monkeypatch.setattr(capacity, "MEMINFO", tmp_path / "meminfo")
    assert capacity.available_memory() == expected
    monkeypatch.setattr(capacity, "MEMINFO", tmp_path / "nothing")
    assert capacity.available_memory() is None


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One attempt to connect, with a limit; its client library would go on trying."""
    constants = pytest.importorskip("huggingface_hub.constants")
    asked: list[float] = []

    def refuse(address: tuple[str, int], timeout: float) -> socket.socket:
        asked.append(timeout)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(constants, "ENDPOINT", "https://nowhere.invalid")
    with pytest.raises(rf.ConfigError, match="the hub does not answer, and the file is not in the cache"):
        rf.load_weights(rf.create_model("resnet18", *SMALL[1:-1]), "hf-hub:nobody/nothing")
    assert asked == [3]


def test_the_hub_is_asked_through_the_proxy_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only a proxy reaches the hub, the proxy is what has to answer."""
    from resnet_factory.network.weights import download

    asked: list[tuple[str, int]] = []

    class Connection:
        def close(self) -> None: ...

    def connect(address: tuple[str, int], timeout: float) -> Connection:
        asked.append(address)
        return Connection()

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setenv("https_proxy", "http://user:word@proxy.invalid:3128")
    monkeypatch.setenv("no_proxy", "inside.invalid")
    assert download.server_answers("https://nowhere.invalid")
    assert download.server_answers("https://inside.invalid")
    monkeypatch.setenv("https_proxy", "proxy.invalid:8080")
    assert download.server_answers("https://nowhere.invalid")
    assert asked == [("proxy.invalid", 3128), ("inside.invalid", 443), ("proxy.invalid", 8080)]


def test_a_hub_name_without_its_library_is_refused_before_torch(home: Path) -> None:
    code = (
        "import sys; sys.modules['huggingface_hub'] = None; from resnet_factory.cli.main import main; "
        "status = main(sys.argv[1:]); assert 'torch' not in sys.modules; sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "build", *SMALL, "weights=hf-hub:a/b"], cwd=home,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "hub names need huggingface_hub" in done.stderr
