"""The example Hydra application with two networks and a `model/` group of its own, as a user runs it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import ROOT
from test_own_layer import Answer, Place, installed_example

import resnet_factory as rf

pytestmark = pytest.mark.slow
EXAMPLE = ROOT / "examples" / "own_application"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return installed_example(EXAMPLE, tmp_path_factory.mktemp("own_application"))


def distil(place: Place, *words: str) -> Answer:
    return place.run("-m", "distil.main", "hydra.run.dir=out", "hydra.sweep.dir=out", *words)


def test_installed_it_mounts_networks_by_name_and_trains(place: Place) -> None:
    answer = distil(place)
    assert answer.code == 0, answer.err
    teacher = rf.cost(rf.compose("resnet56"))
    assert f"teacher  resnet56  {teacher.params:,} parameters  {teacher.macs:,} MACs" in answer.out
    assert "student  lean20  18,522 parameters  3,259,008 MACs" in answer.out
    other = distil(place, "resnet_factory/model@student=resnet20", "student.act=silu", "model=hard")
    assert other.code == 0, other.err
    assert "student  resnet20  269,722 parameters" in other.out


def test_each_job_of_a_multirun_returns_its_loss(place: Place) -> None:
    plugins = place.work / "hydra_plugins"
    plugins.mkdir()
    (plugins / "asking.py").write_text(ASKING, encoding="utf-8")
    plain = distil(place, "resnet_factory/model@student=lean20,resnet20", "model=soft,hard", "-m")
    assert plain.code == 0, plain.err
    losses = re.findall(r"loss ([0-9.]+) after 2 steps", plain.out)
    assert len(set(losses)) == 4
    asked = distil(place, "model=soft", "hydra/sweeper=asking", "-m")
    assert asked.code == 0, asked.err
    assert f"told {losses[0]}" in asked.out


ASKING = """
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper

ConfigStore.instance().store(
    group="hydra/sweeper", name="asking", node={"_target_": "hydra_plugins.asking.Asking"}
)

class Asking(Sweeper):
    def setup(self, *, hydra_context, task_function, config):
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments):
        (job,) = self.launcher.launch([list(arguments)], 0)
        print(f"told {job.return_value:.4f}")
"""
"""A sweeper that prints what its one job returns."""


def test_mistakes_are_said_at_their_key(place: Place) -> None:
    answer = distil(place, "+student.actt=silu", "teacher.depths=[1,2]")
    assert answer.code == 2
    assert "Traceback" not in answer.err
    assert "teacher.depths" in answer.err
    answer = distil(place, "+student.actt=silu", "~student.block", "+student.block=leen")
    assert answer.code == 2
    assert "student.actt: unknown key 'actt'" in answer.err
    assert "student.block: unknown block 'leen'" in answer.err
    assert "did you mean 'lean'?" in answer.err


def test_from_a_checkout_it_is_a_script(place: Place) -> None:
    answer = place.run(str(EXAMPLE / "distil" / "main.py"), "hydra.run.dir=out", "steps=1", installed=False)
    assert answer.code == 0, answer.err
    assert "student  lean20" in answer.out


def test_every_file_says_what_it_is() -> None:
    for file in Path(EXAMPLE).rglob("*.yaml"):
        assert file.read_text(encoding="utf-8").startswith("# ")
