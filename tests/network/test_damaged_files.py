"""Checkpoints that are cut off, lie or ask for code: refused in our own words, with nothing run or loaded."""

from __future__ import annotations

import copy
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from references import randomise
from safetensors.torch import save_file
from torch import Tensor, nn

import resnet_factory as rf
from resnet_factory.network.weights import reader

TINY = ("model.depths=[1,1]", "model.widths=[8,16]", "model.strides=[1,2]", "model.num_classes=5")


def tiny() -> rf.Network:
    network = rf.create_model("resnet18", *TINY)
    randomise(network)
    return network


# Code -------------------------------------------------------------------------------------------


class Hostile:
    """A pickle that would make a file if it were run."""

    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.trap}",)


def _hostile(kind: str, folder: Path) -> Path:
    file, trap = folder / "hostile.pth", Hostile(folder / "trap")
    state: dict[str, Any] = {**tiny().state_dict(), "x": trap}
    if kind == "zip":
        torch.save(state, file)
    elif kind == "legacy":
        torch.save(state, file, _use_new_zipfile_serialization=False)
    elif kind == "pickle":
        file.write_bytes(pickle.dumps(state, protocol=2))
    elif kind == "pickle 4":
        file.write_bytes(pickle.dumps(trap, protocol=4))
    elif kind == "module":
        torch.save(tiny(), file)
    else:
        torch.jit.save(torch.jit.trace(nn.ReLU(), torch.ones(1)), file)  # type: ignore[no-untyped-call]
    return file


def test_the_trap_would_work(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Hostile(tmp_path / "trap")))
    assert (tmp_path / "trap").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle", "pickle 4", "module", "TorchScript"])
def test_code_in_a_file_is_not_run(kind: str, tmp_path: Path) -> None:
    file = _hostile(kind, tmp_path)
    ours = tiny()
    before = copy.deepcopy(ours.state_dict())
    for attempt in (lambda: rf.load(file), lambda: rf.load_weights(ours, file)):
        with pytest.raises(rf.ConfigError) as caught:
            attempt()
        if kind in ("zip", "legacy", "module"):
            assert "which is code; it was not run" in str(caught.value)
    assert all(torch.equal(ours.state_dict()[key], before[key]) for key in before)
    assert not (tmp_path / "trap").exists()


# Damage -----------------------------------------------------------------------------------------


def _zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = Path("made.zip")
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.read_bytes()


def _overlapping() -> bytes:
    """Fifty members that are all the same bytes: a zip bomb without compression."""
    data = _zipped({"a/data.pkl": b"x" * 100_000})
    central, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    entry, tail = data[central:end], bytearray(data[end:])
    tail[8:12] = (50).to_bytes(2, "little") * 2
    tail[12:16] = (len(entry) * 50).to_bytes(4, "little")
    return bytes(data[:central] + entry * 50 + tail)


def _saved(content: object) -> bytes:
    torch.save(content, "made.pth")
    return Path("made.pth").read_bytes()


def _safetensors(header: Any, body: bytes = b"1234", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def _entry(*shape: int, begin: int = 0, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, begin + 4]}


LIES = "is not a whole safetensors file"
DAMAGED: dict[str, tuple[Any, str]] = {
    "empty": (lambda: b"", "is truncated: it has 0 bytes"),
    "five bytes": (lambda: b"PK\x03\x04\x00", "is a damaged archive, perhaps cut off"),
    "a web page": (lambda: b"<!DOCTYPE html><html>", "is a web page"),
    "an LFS pointer": (lambda: b"version https://git-lfs.github.com/spec/v1\noid x", "is a Git LFS pointer"),
    "text": (lambda: b"hello, this is text", "is neither a safetensors file nor one"),
    "another archive": (lambda: _zipped({"readme": b"x" * 99}), "not one that torch.save wrote"),
    "a NumPy archive": (lambda: _zipped({"a.npy": b"x" * 99}), "is a NumPy archive"),
    "a zip bomb": (
        lambda: _zipped({"a/data.pkl": b"\0" * 10_000_000}, zipfile.ZIP_DEFLATED),
        "has the compressed member 'a/data.pkl'",
    ),
    "overlapping members": (_overlapping, "has members that declare more bytes than the file has"),
    "a header longer than the file": (lambda: _safetensors({}, length=2**62), LIES),
    "a header that ends early": (lambda: _safetensors({"a": _entry(1)}, length=9), LIES),
    "no JSON": (lambda: _safetensors(b"{{{{{{{{"), LIES),
    "deep JSON": (lambda: _safetensors(b'{"a":' + b"[" * 100_000), LIES),
    "a huge shape": (lambda: _safetensors({"a": _entry(2**40)}), LIES),
    "an overflowing shape": (lambda: _safetensors({"a": _entry(2**33, 2**33)}), LIES),
    "overlapping tensors": (lambda: _safetensors({"a": _entry(1), "b": _entry(1)}), LIES),
    "a tensor behind the end": (lambda: _safetensors({"a": _entry(1, begin=400)}), LIES),
    "an unknown type": (lambda: _safetensors({"a": _entry(1, dtype="X9")}), LIES),
    "no tensors": (lambda: _safetensors({}, b""), "holds no tensors"),
    "a list": (lambda: _saved([1, 2]), "holds a list, not a state dict"),
    "numbers": (lambda: _saved({"a": 1.5, "b": torch.ones(1)}), "'a' is a float, not a tensor"),
    "sparse": (lambda: _saved({"a": torch.eye(3).to_sparse()}), "'a' is not a dense tensor"),
    "doubled": (lambda: _saved({"a": torch.ones(1), "module.a": torch.ones(1)}), "'a' occurs twice"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_files_are_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make, message = DAMAGED[kind]
    file = tmp_path / "damaged"
    file.write_bytes(make())
    with pytest.raises(rf.ConfigError, match=message):
        rf.load_weights(tiny(), file)
    with pytest.raises(rf.ConfigError):
        rf.load(file)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(rf.ConfigError, match="does not exist"):
        rf.load(tmp_path / "none.pth")
    with pytest.raises(rf.ConfigError, match="is a folder"):
        rf.load(tmp_path)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One small file of each format."""
    folder = tmp_path_factory.mktemp("samples")
    state = {f"layer{i}.weight": torch.randn(3, 4) for i in range(3)}
    torch.save(state, folder / "zip.pth")
    torch.save(state, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    save_file(state, folder / "s.safetensors", {"a": "b"})
    return [folder / name for name in ("zip.pth", "legacy.pth", "s.safetensors")]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_refused_or_harmless(data: st.DataObject, samples: list[Path]) -> None:
    """Cut a file anywhere or change bytes of it: it reads, or it is refused in our own words."""
    source = data.draw(st.sampled_from(samples))
    content = bytearray(source.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
            content[at] = data.draw(st.integers(0, 255))
    file = source.with_name("damaged")
    file.write_bytes(content)
    try:
        found = reader.read_weights_file(file)
    except rf.ConfigError:
        return
    assert all(isinstance(tensor, Tensor) for tensor in found.tensors.values())


# Configs in our own files -----------------------------------------------------------------------


def _config(**changed: Any) -> str:
    return json.dumps({**rf.compose("resnet18", *TINY).to_dict(), **changed})


LONG = {"out": "width", "body": [{"conv": {"kernel": 1, "to": "out", "stride": "stride"}}] * 500}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"version": "9"}, "has format '9'; this version reads '1'"),
        ({"plan_id": "0"}, "that this version reads differently"),
        ({"config": "{"}, "has an invalid config"),
        ({"config": "[" * 100_000}, "has an invalid config"),
        ({"config": '"' + "x" * 2_000_000 + '"'}, "the limit is"),
        ({"config": _config(depths=[10_000, 1])}, "10001 blocks in all; the limit is 10000"),
        ({"config": _config(depths=[9_000, 900], block=LONG)}, "characters for 9900 blocks: too many"),
        ({"config": _config(widths=[10**9, 16])}, "has an invalid config"),
        ({"config": _config(_target_="os.system")}, "unknown key '_target_'"),
        (
            {"config": _config(block={"out": "__import__('os').abort()", "body": []})},
            "is not allowed here; allowed are numbers",
        ),
        ({"config": _config(widths=[8, 32])}, "that this version reads differently"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_config_that_lies_is_refused(changed: dict[str, str], message: str, tmp_path: Path) -> None:
    network = tiny()
    metadata = {"version": "1", "plan_id": network.plan.id, "config": _config(), **changed}
    file = tmp_path / "lies.safetensors"
    save_file(network.state_dict(), file, {f"resnet_factory.{key}": text for key, text in metadata.items()})
    with pytest.raises(rf.ConfigError, match=message):
        rf.load(file)


def test_weights_of_another_network_than_the_config_says(tmp_path: Path) -> None:
    config = rf.compose("resnet18", *TINY)
    file = rf.save(rf.build(rf.plan(config)), config, tmp_path / "own.safetensors")
    metadata = dict(reader.read_weights_file(file).metadata)
    other = rf.create_model("resnet18", *TINY, "model.num_classes=6").state_dict()
    save_file(other, file, metadata)
    with pytest.raises(rf.ConfigError, match="6 classes in the file, 5 here"):
        rf.load(file)
    del other["layer1.0.conv1.weight"]
    save_file(other, file, metadata)
    with pytest.raises(rf.ConfigError, match="1 missing; nothing was loaded"):
        rf.load(file)


def test_a_file_without_config_says_what_to_do(tmp_path: Path) -> None:
    save_file(tiny().state_dict(), tmp_path / "bare.safetensors")
    with pytest.raises(rf.ConfigError, match="holds no config; build the network it is for"):
        rf.load(tmp_path / "bare.safetensors")
