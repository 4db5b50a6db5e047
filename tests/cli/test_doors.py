"""Whatever a config says, nothing it names is run: every command, way of asking and place to say it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import resnet_factory as rf
from resnet_factory.cli import main
from resnet_factory.cli.verbs import VERBS
from resnet_factory.config import permission

CANARY = Path("canary")
TARGET = "{_target_: os.mkdir, path: canary}"
FACTORY = "{version: 1, handlers: {x: {'()': os.mkdir, path: canary}}, root: {handlers: [x]}}"
OPENED = "{version: 1, handlers: {x: {class: logging.FileHandler, filename: canary}}, root: {handlers: [x]}}"
DECODED = "${oc.decode:'{_target_: os.mkdir, path: canary}'}"
CREATED = "${oc.create:{_target_: os.mkdir, path: canary}}"

FILES = {
    "experiment/target.yaml": f"# @package _global_\nhydra: {{callbacks: {{x: {TARGET}}}}}\n",
    "experiment/decoded.yaml": f'# @package _global_\nhydra: {{callbacks: {{x: "{DECODED}"}}}}\n',
    "experiment/created.yaml": f'# @package _global_\nhydra: {{callbacks: {{x: "{CREATED}"}}}}\n',
    "experiment/section.yaml": f'# @package _global_\nhydra: {{callbacks: "{CREATED}"}}\n',
    "experiment/nested.yaml": f'# @package _global_\nhydra: {{launcher: {{x: "{DECODED}"}}}}\n',
    "experiment/sweeper.yaml": f"# @package _global_\nhydra: {{sweeper: {TARGET}}}\n",
    "experiment/named.yaml": (
        "# @package _global_\nhydra: {launcher: {_target_: '${oc.env:CANARY_TARGET}', path: canary}}\n"
    ),
    "experiment/custom.yaml": "# @package _global_\nhydra: {callbacks: {x: '${canary:}'}}\n",
    "experiment/factory.yaml": f"# @package _global_\nhydra: {{job_logging: {FACTORY}}}\n",
    "experiment/opened.yaml": f"# @package _global_\nhydra: {{job_logging: {OPENED}}}\n",
    "experiment/own_logging.yaml": f"# @package _global_\nhydra: {{hydra_logging: {FACTORY}}}\n",
    "experiment/group.yaml": "# @package _global_\ndefaults: [override /hydra/callbacks: x]\n",
    "experiment/chain.yaml": "# @package _global_\ndefaults: [override /hydra/callbacks: y]\n",
    "experiment/moved.yaml": "# @package _global_\ndefaults: [/elsewhere/x@hydra.callbacks]\n",
    "elsewhere/x.yaml": f"x: {TARGET}\n",
    "hydra/callbacks/x.yaml": f"x: {TARGET}\n",
    "hydra/callbacks/y.yaml": "defaults: [x]\n",
    "hydra/launcher/mine.yaml": f"{TARGET}\n",
    "hydra/sweeper/mine.yaml": f"{TARGET}\n",
    "hydra/job_logging/mine.yaml": f"{FACTORY}\n",
    "hydra/hydra_logging/mine.yaml": f"{FACTORY}\n",
    "model/target.yaml": f"defaults: [resnet18, _self_]\nstem: {TARGET}\n",
    "model/interpolated.yaml": f'defaults: [resnet18, _self_]\nstem: "{CREATED}"\n',
    "model/hydra.yaml": f"defaults: [resnet18, _self_]\nhydra: {{callbacks: {{x: {TARGET}}}}}\n",
}
DOORS = [
    *([f"experiment={Path(name).stem}"] for name in FILES if name.startswith("experiment/")),
    *([f"model={Path(name).stem}"] for name in FILES if name.startswith("model/")),
    ["hydra/launcher=mine"], ["hydra/sweeper=mine"], ["+hydra/callbacks=x"],
    ["hydra/job_logging=mine"], ["hydra/hydra_logging=mine"],
    ["+hydra.callbacks.x._target_=os.mkdir", "+hydra.callbacks.x.path=canary"],
    ["+hydra.callbacks.x={_target_:os.mkdir,path:canary}"],
    ["hydra.launcher._target_=os.mkdir", "+hydra.launcher.path=canary"],
    ["hydra.sweeper._target_=os.mkdir", "+hydra.sweeper.path=canary"],
    ["++hydra.launcher.x={_target_:os.mkdir,path:canary}"],
    ["+hydra.job_logging.handlers.x={'()':os.mkdir,path:canary}", "hydra.job_logging.root={handlers:[x]}"],
    ["+hydra.callbacks.x=${oc.create:{_target_:os.mkdir,path:canary}}"],
    ["hydra.launcher._target_=${oc.env:CANARY_TARGET}", "+hydra.launcher.path=canary"],
    ["+hydra.job.env_set.PYTHONPATH=canary"],
    ["model.stem={_target_:os.mkdir,path:canary}"],
    ["+x._target_=os.mkdir", "+x.path=canary"],
    ["hydra.searchpath=[pkg://canary]"],
]  # fmt: skip
WAYS = [[], ["-m"], ["--cfg", "job"], ["--cfg", "hydra"], ["--cfg", "all", "--resolve"],
        ["--info"], ["-m", "--cfg", "hydra"]]  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of hostile files, and resolvers and variables that serve them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["resnet-factory"])
    monkeypatch.setenv("CANARY_TARGET", "os.mkdir")
    OmegaConf.register_new_resolver(
        "canary", lambda: OmegaConf.create({"_target_": "os.mkdir", "path": "canary"}), replace=True
    )
    for name, text in FILES.items():
        file = Path("mine", name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
@pytest.mark.parametrize("verb", VERBS)
def test_nothing_that_a_config_names_is_run(
    verb: str, way: list[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # One command is asked at all the doors; the others, which share its runner, at a file's and a word's.
    everywhere = verb == "describe" and way in ([], ["-m"], ["--cfg", "hydra"])
    doors = DOORS if everywhere else [["experiment=group"], DOORS[-7]]
    for words in doors:
        try:
            code = main.main([verb, *way, *words, "--config-dir", "mine"])
        except SystemExit as left:
            code = int(left.code or 0)
        err = capsys.readouterr().err
        # Without a flag of Hydra's its settings are left aside, and a file that has some may pass.
        assert code == 2 or (code == 0 and not way), (words, err)
        assert "Traceback" not in err
        assert {path.name for path in here.iterdir()} == {"mine"}, words


def test_the_doors_would_open(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check the canary is made, so the test above can fail."""
    monkeypatch.setattr("resnet_factory.cli.hydra_runner.permission_refusals", lambda settings: [])
    main.main(["describe", "-m", "+hydra.callbacks.x._target_=os.mkdir", "+hydra.callbacks.x.path=canary"])
    assert CANARY.is_dir()


def test_a_foreign_applications_config_runs_nothing(here: Path) -> None:
    config = OmegaConf.create({"model": rf.compose("resnet18").to_dict()})
    config.model.stem = OmegaConf.create({"_target_": "os.mkdir", "path": "canary"})
    with pytest.raises(rf.ConfigError):
        rf.read(config.model)
    config.model.stem = "${canary:}"
    with pytest.raises(rf.ConfigError):
        rf.read(config.model)
    assert not CANARY.exists()


def test_what_hydra_and_its_plugins_name_may_be_chosen(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])  # Hydra's own would outlive the streams of this test
    targets = {
        value
        for section, key, value in permission.permitted_values()
        if (section, key) == ("launcher", "_target_")
    }
    basic = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
    assert basic in targets
    file = Path("mine", "experiment", "basic.yaml")
    file.write_text(f"# @package _global_\nhydra: {{launcher: {{_target_: {basic}}}}}\n", encoding="utf-8")
    assert main.main(["describe", "-m", "experiment=basic", "--config-dir", "mine"]) == 0
    assert main.main(["describe", "-m", "hydra/job_logging=stdout", "hydra/hydra_logging=default"]) == 0
    assert "0 failed" in capsys.readouterr().out
