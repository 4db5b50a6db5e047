"""Networks exported for other runtimes: what each computes of its file is what the network computes."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from references import randomise
from torch import Tensor

import resnet_factory as rf
from resnet_factory.cli import main
from resnet_factory.network.runtimes import export, formats, packages
from resnet_factory.network.runtimes.program import silence_exporters

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
openvino = pytest.importorskip("openvino")

TINY = ("model.depths=[1,1]", "model.widths=[8,16]", "model.strides=[1,2]", "model.num_classes=5")
FILES = {"onnx": "n.onnx", "openvino": "n.xml", "torch": "n.pt2"}
SMALL = ["seresnet18", "res2net50_26w_4s", "resnetblur18"]
"""Networks with gates, splits and reflection padding; scripts/check_exports exports all."""


def network(name: str, *changes: str, **arguments: Any) -> rf.Network:
    made = rf.create_model(name, *changes, **arguments).eval()
    randomise(made)
    return made


@pytest.fixture(scope="module")
def small() -> rf.Network:
    return network("resnet18", *TINY)


def close(one: Tensor, other: Tensor) -> bool:
    return float((one - other).abs().max() / one.abs().max()) < 1e-4


@pytest.mark.parametrize("name", SMALL)
def test_onnx_is_the_network(name: str, tmp_path: Path) -> None:
    """Run here by onnxruntime, for numbers and sizes of images that the export has not seen."""
    made, file = network(name, *TINY), tmp_path / "n.onnx"
    done = export.export_program(made, file, "onnx", image=(3, 32, 32))
    assert done.dynamic == "size"
    assert done.difference <= done.tolerance == export.TOLERANCE
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    for shape in ((1, 3, 32, 32), (5, 3, 64, 32)):
        x = torch.randn(shape)
        with torch.no_grad():
            assert close(made(x), torch.from_numpy(session.run(["output"], {"input": x.numpy()})[0]))


def test_onnx_file_says_what_it_is(small: rf.Network, tmp_path: Path) -> None:
    file = tmp_path / "n.onnx"
    export.export_program(small, file, "onnx", image=(3, 32, 32), metadata={"mean": "0.5,0.5,0.5"})
    model = onnx.load(str(file))
    onnx.checker.check_model(model)
    stated = {entry.key: entry.value for entry in model.metadata_props}
    assert stated["plan_id"] == small.plan.id
    assert stated["folded_plan_id"] == rf.fold(small).plan.id
    assert stated["mean"] == "0.5,0.5,0.5"
    assert stated["std"] == "0.229,0.224,0.225"
    assert stated["dynamic"] == "size"
    assert [entry.version for entry in model.opset_import if not entry.domain] == [formats.OPSET]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


def test_normalisation_of_the_model_travels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From YAML into the file's metadata, unless the command says another."""
    words = ["export", "model=resnet18", *TINY, "input.size=32", "to=torch"]
    words += ["model.image_mean=[0.1,0.2,0.3]", "model.image_std=0.5"]
    for more, wanted in (([], "0.1,0.2,0.3"), (["mean=[0.4,0.5,0.6]"], "0.4,0.5,0.6")):
        file = tmp_path / f"n{len(more)}.pt2"
        assert main.main([*words, *more, f"file={file}"]) == 0
        extra = {"metadata.json": ""}
        with silence_exporters():
            torch.export.load(str(file), extra_files=extra)
        stated = json.loads(extra["metadata.json"])
        assert (stated["mean"], stated["std"]) == (wanted, "0.5,0.5,0.5")
    gray = network("resnet18", *TINY, "model.in_channels=1")
    done = export.export_program(gray, tmp_path / "gray.pt2", "torch", image=(1, 32, 32))
    with silence_exporters():
        torch.export.load(str(done.file), extra_files=extra)
    assert "mean" not in json.loads(extra["metadata.json"])  # nobody knows


def test_every_mistake_is_named_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The unknown format first, and no weights asked for, which it might not need."""
    words = ["export", "model=resnet18", "to=opnevino", "dynamic=all", "tolerance=-1", "fold=3", "std=2"]
    assert main.main(words) == 2
    said = capsys.readouterr().err
    for key in ("to: unknown format or library 'opnevino'", "dynamic: ", "tolerance: ", "fold: ", "std: "):
        assert key in said
    assert "did you mean 'openvino'?" in said
    assert "file: is missing" in said
    assert "weights" not in said


@pytest.mark.parametrize("to", FILES)
def test_backbones_name_their_maps(to: str, tmp_path: Path) -> None:
    made = network("resnet18", *TINY[:3], features=["layer1", "layer2"])
    done = export.export_program(made, tmp_path / FILES[to], to, image=(3, 32, 32), dynamic="batch")
    assert done.outputs == ("layer1", "layer2")
    x = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        wanted = made(x)
    found = formats.FORMATS[to].read(done.file, 1)(x)
    assert all(close(one, other) for one, other in zip(wanted.values(), found, strict=True))
    if to == "onnx":
        session = onnxruntime.InferenceSession(str(done.file), providers=["CPUExecutionProvider"])
        assert [entry.name for entry in session.get_outputs()] == ["layer1", "layer2"]
    if to == "openvino":
        compiled = openvino.Core().compile_model(str(done.file), "CPU")
        assert [output.get_any_name() for output in compiled.outputs] == ["layer1", "layer2"]


def test_torch_and_openvino_files_say_what_they_are(small: rf.Network, tmp_path: Path) -> None:
    for to in ("torch", "openvino"):
        export.export_program(small, tmp_path / FILES[to], to, image=(3, 32, 32))
    extra = {"metadata.json": ""}
    with silence_exporters():
        program = torch.export.load(str(tmp_path / "n.pt2"), extra_files=extra)
    assert json.loads(extra["metadata.json"])["plan_id"] == small.plan.id
    x = torch.randn(3, 3, 48, 32)
    with torch.no_grad():
        assert close(small(x), program.module()(x)[0])
    model = openvino.Core().read_model(str(tmp_path / "n.xml"))
    assert model.get_rt_info(["resnet_factory", "plan_id"]).astype(str) == small.plan.id
    assert sorted(file.name for file in tmp_path.iterdir()) == ["n.bin", "n.pt2", "n.xml"]


def test_fixed_sizes_where_the_network_has_one(tmp_path: Path) -> None:
    """A network whose positions are learned for one size is exported for that."""
    made = network(
        "resnet50_clip", *TINY[:1], "model.widths=[16,32]", "model.strides=[1,2]", "model.image_size=128"
    )
    assert export.export_program(made, tmp_path / "n.pt2", "torch", image=(3, 32, 32)).dynamic == "batch"
    with pytest.raises(rf.ConfigError, match="cannot trace"):
        export.export_program(made, tmp_path / "o.pt2", "torch", image=(3, 32, 32), dynamic="size")
    assert not (tmp_path / "o.pt2").exists()


def test_what_differs_is_refused(small: rf.Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "fold", lambda network, **_: rf.create_model("resnet18", *TINY).eval())
    for to in ("torch", "openvino"):
        with pytest.raises(rf.ConfigError, match="differs from the network's by"):
            export.export_program(small, tmp_path / FILES[to], to, image=(3, 32, 32), dynamic="none")
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_named(
    small: rf.Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(rf.ConfigError, match=r"pip install -c constraints.txt -e '.\[export\]'"):
        export.export_program(small, tmp_path / "n.onnx", "onnx")
    assert main.main(["export", "model=resnet18", "to=openvino", f"file={tmp_path / 'n.xml'}"]) == 2
    said = capsys.readouterr().err
    assert "command line 'to=openvino': to: 'openvino' needs openvino, not installed here; in " in said


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["export", "model=resnet18", *TINY, "to=torch", "file=n.pt2", "input.size=32"]
    assert main.main(words) == 0
    out = capsys.readouterr().out
    assert "freshly initialised" in out
    assert "exported: n.pt2, torch.export" in out
    assert "largest difference from the network: " in out
    assert main.main([*words, "tolerance=0", "file=o.pt2"]) == 2
    assert (
        "command line 'tolerance=0': tolerance: the output of torch.export differs" in capsys.readouterr().err
    )
    rf.save(rf.create_model("resnet18", *TINY), "own.safetensors")
    assert main.main(["export", "weights=own.safetensors", "to=torch", "file=p.pt2", "input.size=32"]) == 0
    assert "freshly" not in capsys.readouterr().out
    assert sorted(file.name for file in tmp_path.iterdir()) == ["n.pt2", "own.safetensors", "p.pt2"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["to=onnx"], "file: is missing; export needs file=…"),
        (["to=onnx", "file=n.xml"], "'n.xml' does not end in .onnx"),
        (["to=torch", "file=n"], "'n' does not end in .pt2"),
        (["to=torch", "file=n.pt2", "dynamic=all"], "unknown freedom 'all'; known are size, batch, none"),
        (["to=torch", "file=n.pt2", "tolerance=-1"], "expected a number of at least 0, found -1"),
        (["to=torch", "file=n.pt2", "mean=3"], "expected a list of numbers, one per channel, found 3"),
        (["to=torch", "file=n.pt2", "fold=3"], "expected true or false, found 3"),
        (["to=onnx", "file=old.onnx"], "already exists and contains no ONNX models"),
        (["to=torch", "file=n.pt2", "mean=[0.5]"], "mean: expected one number per channel, 3, found [0.5]"),
        (["to=onnxx"], "unknown format or library 'onnxx'; known are onnx, openvino, torch, aoti,"),
    ],
)
def test_mistakes_exit_with_2(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("old.onnx").write_text("letters")
    torch.save(rf.create_model("resnet18", *TINY).state_dict(), "w.pth")
    assert main.main(["export", "model=resnet18", *TINY, *words]) == 2
    caught = capsys.readouterr()
    assert message in caught.err
    assert "Traceback" not in caught.err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["old.onnx", "w.pth"]


def test_exporters_are_silent_about_packages_that_are_not_needed() -> None:
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = log.isEnabledFor(logging.WARNING)
    with silence_exporters():
        assert not log.isEnabledFor(logging.WARNING)
        assert log.isEnabledFor(logging.ERROR)
    assert log.isEnabledFor(logging.WARNING) == before
