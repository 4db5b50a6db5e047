"""The example package of a layer of one's own, installed without network: with it and without it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import ROOT

pytestmark = pytest.mark.slow
EXAMPLE = ROOT / "examples" / "own_layer"
MODEL = ("model=snake_resnet20", "--config-dir", str(EXAMPLE / "conf"))


class Answer(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


class Place(NamedTuple):
    """A folder to work in, and the folder of installed packages."""

    work: Path
    packages: Path

    def run(self, *arguments: str, installed: bool = True) -> Answer:
        """Run Python."""
        path = os.pathsep.join([str(ROOT), *([str(self.packages)] if installed else [])])
        environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "110"}
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.work,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def command(self, *arguments: str, installed: bool = True) -> Answer:
        """Run a command of resnet-factory."""
        answer = self.run("-m", "resnet_factory.cli", *arguments, installed=installed)
        assert "Traceback" not in answer.err, answer.err
        return answer

    def code(self, text: str, installed: bool = True) -> str:
        """Run Python code that succeeds."""
        answer = self.run("-c", text, installed=installed)
        assert answer.code == 0, answer.err
        return answer.out


def installed_example(example: Path, folder: Path) -> Place:
    """Install an example package below a folder, without network."""
    shutil.copytree(example, folder / "source")  # building leaves files beside the sources
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", folder / "packages")
    command = [sys.executable, "-m", "pip", "install", *map(str, options), str(folder / "source")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (folder / "work").mkdir()
    return Place(folder / "work", folder / "packages")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return installed_example(EXAMPLE, tmp_path_factory.mktemp("own_layer"))


def test_described_explained_drawn_and_compared(place: Place) -> None:
    described = place.command("describe", *MODEL, "depth=layer", "format=csv")
    rows = [line for line in described.out.splitlines() if ".act1," in line or line.startswith("act1,")]
    assert len(rows) == 10, described
    # ResNet-20 has 269,722 parameters, and 1 + 2 * 9 activations:
    # 7 of 16 channels, 6 of 32 and 6 of 64, each with one number for 4 channels.
    costs = place.code(
        "import resnet_factory as rf\n"
        f"config = rf.compose('snake_resnet20', config_dir={str(EXAMPLE / 'conf')!r})\n"
        "import sys\n"
        "print(rf.cost(config).params, rf.cost(config).macs == rf.cost('resnet20').macs)\n"
        "assert 'torch' not in sys.modules"
    )
    assert costs.split() == [str(269_722 + 7 * 4 + 6 * 8 + 6 * 16), "True"]
    assert place.command("explain", *MODEL).code == 0
    assert "snake" in place.command("draw", *MODEL, "format=mermaid").out
    difference = place.command("diff", "model=resnet20", "with=[model=snake_resnet20]", *MODEL[1:])
    assert "relu -> snake" in difference.out, difference


def test_built_run_and_differentiated(place: Place) -> None:
    built = place.command("build", *MODEL)
    assert "built: 269,894 parameters" in built.out
    place.code(
        f"""
import torch, resnet_factory as rf
network = rf.create_model("snake_resnet20", config_dir={str(EXAMPLE / "conf")!r}).double()
snake = network.layer2[0].act1
assert snake.alpha.shape == (8,)
with torch.no_grad():
    snake.alpha.uniform_(0.5, 2.0)
x = torch.randn(2, 32, 3, 3, dtype=torch.float64, requires_grad=True)
slow = torch.stack(
    [x[:, c] + torch.sin(snake.alpha[c // 4] * x[:, c]) ** 2 / snake.alpha[c // 4] for c in range(32)], 1
)
assert torch.allclose(snake(x), slow)
assert torch.autograd.gradcheck(snake, (x[:1, :, :1, :2].detach().requires_grad_(),))
kept = {{}}
hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: kept.setdefault(t.data_ptr(), t), lambda t: t)
with hooks:
    snake(x)
maps = [t for t in kept.values() if t.shape == x.shape]
layer = dict(network.plan.leaves)["layer2.0.act1"]
assert layer.extra_bytes((3, 3), 8, True) == sum(t[0].nbytes for t in maps) - x[0].nbytes
network(torch.randn(2, 3, 32, 32, dtype=torch.float64)).sum().backward()
assert all(parameter.grad is not None for parameter in network.parameters())
for dims in (1, 3):
    deep = rf.create_model("snake_resnet20", f"model.dims={{dims}}", config_dir={str(EXAMPLE / "conf")!r})
    assert deep(torch.randn(2, 3, *[16] * dims)).shape == (2, 10)
"""
    )


def test_saved_and_loaded_with_it_and_without_it(place: Place) -> None:
    place.code(
        f"""
import pickle, torch, resnet_factory as rf
network = rf.create_model("snake_resnet20", config_dir={str(EXAMPLE / "conf")!r}).eval()
rf.save(network, "snake.safetensors")
x = torch.randn(1, 3, 32, 32)
torch.save((x, network(x).detach()), "answer.pt")
pickle.dump(network.plan, open("plan.pickle", "wb"))
open("plan.txt", "w").write(str(network.plan))
"""
    )
    place.code(
        """
import pickle, torch, resnet_factory as rf
plan = pickle.load(open("plan.pickle", "rb"))  # read before anything asks for the word
assert str(plan) == open("plan.txt").read()
rf.build(plan)
x, y = torch.load("answer.pt")
assert torch.equal(rf.load("snake.safetensors").eval()(x), y)
"""
    )
    message = (
        "'snake.safetensors': layer 'snake' is not registered here; the network was saved with the one "
        "from package 'snake-layer 1.0'; install it"
    )
    answer = place.command("build", "weights=snake.safetensors", installed=False)
    assert answer.code == 2
    assert message in answer.err
    unknown = place.command("describe", *MODEL, installed=False)
    assert unknown.code == 2
    assert "snake_resnet20.yaml:6:3: model.act.layer: unknown layer 'snake'" in unknown.err


def test_swept_in_worker_processes(place: Place) -> None:
    varied = ("model.act.shared=choice(1,2,4,8,16)", "model.act.alpha=choice(0.5,1.0)")
    options = ("samples=16", "out=swept", "measure=[latency]", "measuring.repeats=1", "executor=processes")
    answer = place.command("sweep", *MODEL, *varied, "model.depths=1", *options)
    assert answer.code == 0, answer.err
    found = place.code(
        f"""
import csv, json, resnet_factory as rf
rows = list(csv.DictReader(open("swept/archs.csv")))
assert len(rows) > 5
for row in rows:
    changes = [f"model.act.shared={{row['act.shared']}}", f"model.act.alpha={{row['act.alpha']}}"]
    config = rf.compose("snake_resnet20", "model.depths=1", *changes, config_dir={str(EXAMPLE / "conf")!r})
    assert (rf.plan(config).id, rf.cost(config).params) == (row["plan"], int(row["params"]))
    assert float(row["latency"]) > 0
print(json.dumps(sorted({{row["act.shared"] for row in rows}})))
"""
    )
    assert len(json.loads(found)) > 2
    winners = "\n".join(file.read_text() for file in (place.work / "swept/winners/model").glob("*.yaml"))
    assert "# layer 'snake' from package snake-layer version 1.0\n" in winners
    assert place.command("report", "swept").code == 0
    answer = place.command("report", "swept", installed=False)
    assert answer.code == 2
    assert (
        "layer 'snake' is not registered here; the network was saved with the one from package" in answer.err
    )


def test_studied_in_worker_processes(place: Place) -> None:
    data = (
        "study=single",
        "data=digits",
        "train.epochs=1",
        "machine.jobs=1",
        "machine.threads=1",
        "rates=[0.1]",
        "seeds=[0]",
    )
    answer = place.command("study", *MODEL, "model.depths=1", *data, "out=studied")
    assert answer.code == 0, answer.out + answer.err
    (file,) = (place.work / "studied").rglob("weights.safetensors")
    place.code(f"import resnet_factory as rf; rf.load({str(file)!r})")


@pytest.mark.parametrize(
    "file", ["snake_layer/layer.py", "snake_layer/module.py", "conf/model/snake_resnet20.yaml"]
)
def test_the_page_shows_the_files(file: str) -> None:
    page = (ROOT / "docs" / "own-layers.md").read_text(encoding="utf-8")
    assert f"\n{(EXAMPLE / file).read_text(encoding='utf-8')}```\n" in page


def test_the_page_shows_the_entry_point() -> None:
    page = (ROOT / "docs" / "own-layers.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.S)
    assert block in (EXAMPLE / "pyproject.toml").read_text(encoding="utf-8")
