"""Folders in the layout of Hugging Face's hub: written, read back, also by its libraries, uploaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import ModelCard, save_torch_state_dict
from safetensors.torch import load_file

import resnet_factory as rf


@pytest.fixture
def network() -> Any:
    """A small network with a change of its own."""
    return rf.create_model("resnet20", "model.act=silu", num_classes=3)


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Return whether two networks have equal tensors of equal names."""
    pair = one.state_dict(), other.state_dict()
    return list(pair[0]) == list(pair[1]) and all(torch.equal(pair[0][key], pair[1][key]) for key in pair[0])


def test_a_folder_is_written_and_read(network: Any, tmp_path: Path) -> None:
    folder = rf.save(network, f"{tmp_path / 'new'}/")
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    again = rf.load(folder)
    assert (again.plan, again.config) == (network.plan, network.config)
    assert same(again, network)
    assert same(network, rf.load(rf.save(network, tmp_path / "one.safetensors")))
    assert (folder / "model.safetensors").read_bytes() == (tmp_path / "one.safetensors").read_bytes()
    fresh = rf.build(network.plan)
    assert rf.load_weights(fresh, folder).tensors == len(network.state_dict())
    assert same(fresh, network)


def test_other_libraries_read_it(network: Any, tmp_path: Path) -> None:
    rf.save(network, tmp_path)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.to_dict()["pipeline_tag"] == "image-classification"
    assert "| layer3 |" in card.text
    assert f"{rf.cost(network.plan).params:,}" in card.text
    assert set(load_file(tmp_path / "model.safetensors")) == set(network.state_dict())
    entries = json.loads((tmp_path / "config.json").read_text())
    assert (entries["architecture"], entries["num_classes"], entries["num_features"]) == ("resnet20", 3, 64)
    assert entries["pretrained_cfg"]["input_size"] == [3, 32, 32]


def test_a_card_that_is_there_is_kept(network: Any, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine\n")
    rf.save(network, tmp_path)
    rf.save(network, tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine\n"


def test_what_is_anothers_is_not_written_over(network: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architecture": "resnet50"}')
    with pytest.raises(rf.ConfigError, match=r"config\.json' already exists and belongs to another library"):
        rf.save(network, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]
    network.fc = torch.nn.Linear(64, 4)
    with pytest.raises(rf.ConfigError, match="no longer what"):
        rf.save(network, f"{tmp_path}/new/")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("form", ["folder", "index"])
def test_shards_that_the_hubs_library_wrote(network: Any, tmp_path: Path, form: str) -> None:
    """With our config.json beside them, the network comes from the folder alone."""
    rf.save(network, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    save_torch_state_dict(network.state_dict(), tmp_path, max_shard_size="200KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    source = tmp_path if form == "folder" else tmp_path / "model.safetensors.index.json"
    again = rf.load(source)
    assert again.config == network.config
    assert same(again, network)
    (tmp_path / "config.json").unlink()
    fresh = rf.build(network.plan)
    rf.load_weights(fresh, source)
    assert same(fresh, network)
    with pytest.raises(rf.ConfigError, match="holds no config"):
        rf.load(source)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "does not contain a mapping"),
        ('{"weight_map": {}}', "has no weight_map"),
        (
            '{"weight_map": {"fc.weight": "../secret.safetensors"}}',
            r"names '\.\./secret\.safetensors', which is not next to it",
        ),
        ('{"weight_map": {"fc.weight": "absent.safetensors"}}', r"absent\.safetensors' does not exist"),
        ('{"weight_map": {"fc.wait": "there.safetensors"}}', r"lists 'fc\.wait', which 'there\.safetensors'"),
    ],
)
def test_damaged_indexes_are_refused(network: Any, tmp_path: Path, index: str, message: str) -> None:
    rf.save(network, tmp_path / "there.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(rf.ConfigError, match=message):
        rf.load(tmp_path)


def test_an_empty_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(rf.ConfigError, match="is a folder"):
        rf.load(tmp_path)


def test_uploading(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of the hub, without it: a repository, and a folder that loads."""
    asked: list[Any] = []

    def create_repo(_self: Any, name: str, *, private: bool, exist_ok: bool) -> None:
        asked.append((name, private, exist_ok))

    def upload_folder(
        _self: Any, *, repo_id: str, folder_path: str, commit_message: str, ignore_patterns: Any
    ) -> None:
        asked.append((repo_id, ignore_patterns, same(rf.load(Path(folder_path)), network)))

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    monkeypatch.setattr(huggingface_hub.HfApi, "file_exists", lambda _self, _name, file: file == "README.md")
    assert rf.push_to_hub(network, "me/net", private=True) == "https://huggingface.co/me/net"
    assert asked == [("me/net", True, True), ("me/net", ["README.md"], True)]
