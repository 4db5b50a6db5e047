"""Random folders of YAML compose as Hydra composes them, and what it refuses is refused."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from resnet_factory.config.config_file import read_config_file
from resnet_factory.config.defaults_list import DefaultsError, DefaultsList
from resnet_factory.config.library import merge_library_data
from resnet_factory.config.override_grammar import parse_override_text

GROUPS = ["a", "b", "a/c"]
FILES = ["top", "other", *(f"{group}/{name}" for group in GROUPS for name in ("one", "two"))]
NAMES = st.sampled_from(["one", "two"])
PACKAGES = st.sampled_from(
    ["", "", "", "", "@x", "@_global_", "@_here_", "@_group_", "@_global_.y", "@x._group_"]
)
WORDS = st.sampled_from(["", "", "", "", "", "override ", "optional "])


def choices(groups: list[str]) -> st.SearchStrategy[Any]:
    """An entry of a defaults list, whose files and groups are named as from the top, or from a group."""
    one = NAMES | st.none() | st.lists(NAMES, min_size=1, max_size=2, unique=True)
    one |= NAMES | NAMES | st.sampled_from(["${a}", "${b}", "missing"])
    group = st.builds(
        lambda word, group, package, choice: {f"{word}{group}{package}": choice},
        WORDS, st.sampled_from(groups), PACKAGES, one,
    )  # fmt: skip
    names = NAMES if "/b" in groups[:1] else st.just("other")
    plain = st.builds(lambda name, package: f"{name}{package}", names, PACKAGES)
    return group | group | plain | st.just("_self_")


def entries(name: str) -> st.SearchStrategy[list[Any]]:
    """A defaults list of the file called `name`, in an order that Hydra takes."""
    group, _, _ = name.rpartition("/")
    inner = [other[len(group) + 1 :] for other in GROUPS if group and other.startswith(f"{group}/")]
    found = st.lists(choices(["/b", *inner] if group else [*GROUPS, "/b"]), max_size=4, unique_by=str)
    return found.map(lambda listed: sorted(listed, key=lambda entry: "override" in str(entry)))


@st.composite
def folders(draw: st.DrawFn) -> dict[str, str]:
    """Files by name, each with its text."""
    files = {}
    for name in FILES:
        data: dict[str, Any] = {}
        if listed := draw(entries(name)) if name == "top" or draw(st.integers(0, 4)) == 0 else []:
            data["defaults"] = listed
        data[draw(st.sampled_from(["k", "m"]))] = name
        data["deep"] = {draw(st.sampled_from(["p", "q"])): name}
        line = draw(
            st.sampled_from(
                ["", "", "", "# @package _global_\n", "# @package z\n", "# @package _global_.w\n"]
            )
        )
        files[name] = (line if name != "top" else "") + yaml.safe_dump(data, sort_keys=False)
    return files


OVERRIDES = st.lists(
    st.sampled_from(
        ["a=one", "a=two", "b=two", "+b=one", "~a", "~a=one", "a/c=two", "+a/c=one", "a@x=two", "b=[one,two]",
         "+a@_global_=two", "~b", "b@_global_=one"]
    ),
    max_size=2, unique=True,
)  # fmt: skip


def ours(folder: Path, words: list[str]) -> tuple[dict[str, Any], bool]:
    """The merged data of the configuration called `top`, and whether a file is in it twice."""
    listed = DefaultsList(
        lambda name: (
            read_config_file(name, file, False) if (file := folder / f"{name}.yaml").is_file() else None
        ),
        [parse_override_text(word) for word in words],
    )
    data: dict[str, Any] = {}
    parts = listed.parts("top")
    for part in parts:
        content = dict(part.file.data)
        for key in reversed(part.package.split(".") if part.package else []):
            content = {key: content}
        data = merge_library_data(data, content)
    return data, len({part.file.name for part in parts}) < len(parts)


def by_hydra(folder: Path, words: list[str]) -> Any:
    """The same, by Hydra itself."""
    GlobalHydra.instance().clear()
    with warnings.catch_warnings(), initialize_config_dir(str(folder), version_base="1.3"):
        warnings.simplefilter("ignore")
        return OmegaConf.to_container(compose("top", words), resolve=False)


@settings(suppress_health_check=list(HealthCheck))
@given(files=folders(), words=OVERRIDES)
def test_as_hydra_composes(
    files: dict[str, str], words: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("conf")
    for name, text in files.items():
        file = folder / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    try:
        expected = by_hydra(folder, words)
    except Exception as error:  # noqa: BLE001 - Hydra raises whatever its parts do
        event(f"refused: {type(error).__name__}")
        with pytest.raises(DefaultsError):
            ours(folder, words)
        return
    found, twice = ours(folder, words)
    event("composed twice" if twice else "composed")
    assert found == expected or twice  # of one file at two places Hydra merges the second into the first
