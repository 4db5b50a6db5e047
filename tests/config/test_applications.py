"""Models mounted in other Hydra applications: their names, and recipes of the applications themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig

import resnet_factory as rf

SHARED = "pkg://resnet_factory.conf"
NAMESPACED = "pkg://resnet_factory.config.namespaced"
MINE = """# a block of the application
out: width
body:
  - conv: {kernel: 5, to: out, stride: stride}
  - norm
"""


def application(folder: Path, search: str, group: str) -> Path:
    """Write an application that mounts two models, with a recipe of its own."""
    text = f"""# an application
defaults:
  - {group}@backbone: resnet50
  - {group}@parts.teacher: own18
  - _self_
backbone: {{num_classes: 7}}
hydra:
  searchpath: [{search}]
"""
    own = folder / group
    (own / "block").mkdir(parents=True)
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    (own / "own18.yaml").write_text("# own\ndefaults: [resnet18, override block: mine, _self_]\n", "utf-8")
    (own / "block" / "mine.yaml").write_text(MINE, encoding="utf-8")
    return folder


@contextmanager
def running(folder: Path, *words: str) -> Iterator[Any]:
    """Give the configuration as a job of the application gets it."""
    with initialize_config_dir(str(folder), version_base="1.3"):
        config = compose("config", [*words], return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        try:
            yield config
        finally:
            HydraConfig.instance().cfg = None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("search", "group"),
    [(SHARED, "model"), (NAMESPACED, "resnet_factory/model")],
    ids=["shared", "namespaced"],
)
def test_mounted_models_keep_their_names_and_recipes(search: str, group: str, tmp_path: Path) -> None:
    with running(application(tmp_path, search, group)) as config:
        backbone, teacher = rf.read(config.backbone), rf.read(config.parts.teacher)
        assert (backbone.name, teacher.name) == ("resnet50", "own18")
        assert backbone == rf.compose("resnet50", num_classes=7)
        assert teacher.depths == (2, 2, 2, 2)
        assert "of mine" in repr(rf.plan(teacher))
        config.parts.teacher.block = ["mine", "basic", "mine", "basic"]
        mixed = rf.plan(rf.read(config.parts.teacher))
        assert [stage.blocks[0].kind for stage in mixed.stages] == ["mine", "basic", "mine", "basic"]
        config.parts.teacher.block = "mien"
        with pytest.raises(rf.ConfigError, match=r"parts\.teacher\.block: .*did you mean 'mine'"):
            rf.read(config.parts.teacher)
        assert rf.read(config.backbone, name="neck").name == "neck"
    chosen = f"{group}@backbone=resnet34"
    with running(tmp_path, chosen, f"{group}/stem@backbone.stem=deep", "backbone.act=silu") as config:
        found = rf.read(config.backbone)
        assert found == rf.compose("resnet34", "model/stem=deep", "model.act=silu", num_classes=7)
        assert found.name == "resnet34"


def test_a_model_group_of_the_application_does_not_collide(tmp_path: Path) -> None:
    folder = application(tmp_path, NAMESPACED, "resnet_factory/model")
    for name in ("resnet50", "resnet34", "block/bottleneck", "block/mine"):
        file = folder / "model" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("# of the application\ntrees: 100\n", encoding="utf-8")
    with running(folder, "+model=resnet50") as config:
        assert config.model == {"trees": 100}
        assert rf.read(config.backbone) == rf.compose("resnet50", num_classes=7)
        config.parts.teacher.block = "mine"
        assert rf.read(config.parts.teacher).depths  # the recipe, not the application's file of that name


def test_a_file_of_the_application_is_read_before_a_shipped_one(tmp_path: Path) -> None:
    """As Hydra does; also where a recipe is named in a list."""
    folder = application(tmp_path, SHARED, "model")
    (folder / "model" / "block" / "basic.yaml").write_text(MINE, encoding="utf-8")
    with running(folder, "model@backbone=resnet18") as config:
        composed = rf.plan(rf.read(config.backbone))
        config.backbone.block = "basic"
        assert rf.plan(rf.read(config.backbone)) == composed
        assert composed != rf.plan(rf.compose("resnet18", num_classes=7))


def test_recipes_of_a_folder_without_a_running_application(tmp_path: Path) -> None:
    folder = application(tmp_path, SHARED, "model")
    data = {**rf.compose("resnet18").to_dict(), "block": "mine"}
    with pytest.raises(rf.ConfigError, match="unknown block 'mine'"):
        rf.read(data)
    assert rf.read(data, config_dir=folder).depths == (2, 2, 2, 2)
    assert rf.read(data, config_dir=folder, name="own").name == "own"


def test_groups_of_the_package_are_listed_as_shipped() -> None:
    """Lists of groups and files, which Hydra's completion, `glob(*)` and its messages read."""
    from hydra._internal.core_plugins.importlib_resources_config_source import ImportlibResourcesConfigSource
    from hydra.core.object_type import ObjectType

    shared = ImportlibResourcesConfigSource("test", "pkg://resnet_factory.conf")
    namespaced = ImportlibResourcesConfigSource("test", "pkg://resnet_factory.config.namespaced")
    assert shared.available()
    assert namespaced.available()
    assert namespaced.list("", ObjectType.GROUP) == ["resnet_factory"]
    assert namespaced.list("", ObjectType.CONFIG) == []
    for group in ("", "model", "model/block"):
        for kind in (ObjectType.GROUP, ObjectType.CONFIG):
            below = f"resnet_factory/{group}".rstrip("/")
            assert namespaced.list(below, kind) == shared.list(group, kind)
    models = sorted(file.stem for file in (ROOT / "conf" / "model").glob("*.yaml"))
    assert shared.list("model", ObjectType.CONFIG) == models
    assert not namespaced.is_group("model")
    assert not namespaced.is_config("resnet_factory/model/resnet5000")
