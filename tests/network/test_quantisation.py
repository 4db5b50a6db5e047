"""Networks in 8-bit integers: calibrated on images made here, and as near to the network as is said."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm.data
import torch
from conftest import ROOT
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate

import resnet_factory as rf
from resnet_factory.cli import main
from resnet_factory.network.runtimes import packages
from resnet_factory.network.runtimes.calibration import calibration_images, covering_size
from resnet_factory.network.runtimes.export import export_program
from resnet_factory.network.runtimes.image_folder import image_files

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
openvino = pytest.importorskip("openvino")
pillow: Any = pytest.importorskip("PIL.Image")

library: Any = timm.data
FILES = {"onnx": "n.onnx", "openvino": "n.xml"}
IMAGES = 18


def picture(label: int, generator: torch.Generator) -> Tensor:
    """Return blots of which one channel is lighter, the class: 3x50x60."""
    blots = interpolate(torch.rand(1, 3, 5, 6, generator=generator), (50, 60), mode="bilinear")[0] * 0.6
    blots[label] += 0.35
    return (blots.clamp(0, 1) * 255).byte()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made, generator = tmp_path_factory.mktemp("images"), torch.Generator().manual_seed(0)
    for i in range(IMAGES):
        inner = made / str(i % 3)
        inner.mkdir(exist_ok=True)
        pixels = picture(i % 3, generator).permute(1, 2, 0).contiguous()
        pillow.frombytes("RGB", (60, 50), pixels.numpy().tobytes()).save(inner / f"{i}.png")
    (made / "notes.txt").write_text("no image")
    return made


@pytest.fixture(scope="module")
def trained() -> rf.Network:
    """A network that tells the pictures apart: without classes that differ, agreement would mean nothing."""
    torch.manual_seed(0)
    network = rf.create_model(
        "resnet18",
        "model.widths=[16,32,64,128]",
        "model.num_classes=3",
        "model.image_size=32",
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    mean, std = (torch.tensor(network.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    generator = torch.Generator().manual_seed(1)
    for _ in range(30):
        labels = torch.randint(0, 3, (16,), generator=generator)
        pictures = torch.stack([picture(int(label), generator)[:, 8:40, 10:42] for label in labels])
        loss = cross_entropy(network((pictures / 255 - mean) / std), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return network.eval()


@pytest.fixture(scope="module")
def prepared(folder: Path, trained: rf.Network) -> Tensor:
    """The images as timm's own transform prepares them for the network's settings."""
    transform = library.create_transform(**library.resolve_model_data_config(trained), is_training=False)
    return torch.stack([transform(pillow.open(file)) for file in sorted(folder.rglob("*.png"))])


def test_images_are_prepared_as_timm_prepares_them(
    folder: Path, trained: rf.Network, prepared: Tensor
) -> None:
    files = image_files(folder)
    assert [file.name for file in files] == [file.name for file in sorted(folder.rglob("*.png"))]
    for crop in (1.0, 0.875):
        settings = trained.pretrained_cfg | {"crop_pct": crop}
        ours = torch.cat(list(calibration_images(files, (3, 32, 32), settings)))
        config = library.resolve_model_data_config(trained) | {"crop_pct": crop}
        transform = library.create_transform(**config, is_training=False)
        theirs = torch.stack([transform(pillow.open(file)) for file in files])
        assert torch.allclose(ours, theirs, atol=1e-5)
    assert covering_size((60, 50), (40, 20), 1.0) == (40, 33)
    (gray,) = calibration_images(files[:1], (1, 24, 40), {"mean": (0.5,), "std": (0.5,), "crop_pct": 1.0})
    assert gray.shape == (1, 1, 24, 40)
    assert -1 <= float(gray.min()) < float(gray.max()) <= 1


@pytest.mark.parametrize("to", FILES)
def test_what_is_said_is_what_the_file_computes(
    to: str, folder: Path, trained: rf.Network, tmp_path: Path
) -> None:
    """The file is run here by its runtime, on the images, and held against the network."""
    file, files = tmp_path / FILES[to], image_files(folder)
    done = export_program(trained, file, to, image=(3, 32, 32), int8=files)
    assert done.quantised is not None
    images = torch.cat(list(calibration_images(files, (3, 32, 32), trained.pretrained_cfg)))
    with torch.no_grad():
        wanted = trained(images)
    if to == "onnx":
        model = onnx.load(str(file))
        onnx.checker.check_model(model)
        stated = {entry.key: entry.value for entry in model.metadata_props}
        assert (stated["precision"], stated["calibrated_on"]) == ("int8", f"{IMAGES} images")
        assert stated["plan_id"] == trained.plan.id
        assert "QuantizeLinear" in {node.op_type for node in model.graph.node}
        kinds = {tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) == 4}
        assert kinds == {onnx.TensorProto.INT8}
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        found = torch.from_numpy(session.run(["output"], {"input": images.numpy()})[0])
    else:
        model = openvino.Core().read_model(str(file))
        assert model.get_rt_info(["resnet_factory", "precision"]).astype(str) == "int8"
        assert "FakeQuantize" in {each.get_type_name() for each in model.get_ops()}
        compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        found = torch.from_numpy(compiled([images.numpy()])[compiled.outputs[0]].copy())
    agreement = float((wanted.argmax(1) == found.argmax(1)).float().mean())
    difference = float((wanted - found).abs().max() / wanted.abs().max())
    assert done.quantised.images == IMAGES
    assert done.quantised.agreement == agreement == 1
    assert done.quantised.difference == pytest.approx(difference, rel=0.02)
    assert 1e-4 < difference < 0.1
    assert done.difference < 1e-5  # of single precision, before
    plain = export_program(trained, tmp_path / f"float.{file.suffix[1:]}", to, image=(3, 32, 32))
    assert done.bytes < 0.5 * plain.bytes
    assert f"the same class for {IMAGES} of {IMAGES} (100.0%)" in str(done)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_too_little_agreement_is_refused(folder: Path, tmp_path: Path) -> None:
    """Classes of a network that was never trained are near to one another, and change."""
    torch.manual_seed(0)
    small = ("model.widths=8", "model.depths=1", "model.image_size=32")
    untrained = rf.create_model("resnet18", *small).eval()
    backbone = rf.create_model("resnet18", *small, features=["layer2"]).eval()
    sequences = rf.create_model("time_series_resnet", "model.image_size=64").eval()
    files, onnx_file = image_files(folder), tmp_path / "n.onnx"
    export = partial(export_program, int8=files)
    with pytest.raises(rf.ConfigError, match=r"agreement: in 8-bit .* required is the same class for 100%"):
        export(untrained, onnx_file, "onnx", image=(3, 32, 32), agreement=1)
    with pytest.raises(rf.ConfigError, match="compares classes, but this network returns maps"):
        export(backbone, onnx_file, "onnx", image=(3, 32, 32), agreement=0)
    with pytest.raises(
        rf.ConfigError, match="int8: 8-bit integers are available for onnx or openvino, not for to"
    ):
        export(untrained, tmp_path / "n.pt2", "torch")
    with pytest.raises(rf.ConfigError, match="int8: images have 1 or 3 channels and 2 axes"):
        export(sequences, onnx_file, "onnx")
    assert not list(tmp_path.iterdir())
    done = export(backbone, onnx_file, "onnx", image=(3, 32, 32))
    assert done.quantised is not None
    assert done.quantised.agreement is None
    assert "class" not in str(done)


def test_command(
    folder: Path, trained: rf.Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    rf.save(trained, "w.safetensors")
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/a.png").write_text("letters")
    words = ["export", "weights=w.safetensors", "to=onnx", "file=n.onnx"]
    for more, message in (
        ([f"int8={tmp_path / 'none'}"], "int8: there is no folder"),
        (["int8=empty", "to=torch"], "int8: 'empty' has no images, files that end in .png, .jpg"),
        (
            ["int8=empty", "to=torch"],
            "int8: 8-bit integers are available for onnx or openvino, not for to=torch",
        ),
        (["int8=damaged"], "int8: 'damaged/a.png' cannot be read as an image"),
        (["agreement=0.9"], "agreement: applies to 8-bit integers only; give int8=FOLDER as well"),
        (["agreement=2"], "agreement: expected a fraction from 0 to 1, found 2"),
    ):
        assert main.main([*words, *more]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert "Traceback" not in said
        assert not list(tmp_path.glob("n.*"))
    assert main.main([*words, f"int8={folder}", "agreement=1"]) == 0
    out = capsys.readouterr().out
    assert (
        f"in 8-bit integers, on the {IMAGES} images it was calibrated on: the same class for {IMAGES}" in out
    )
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name == "PIL" else object())
    assert main.main([*words, f"int8={folder}"]) == 2
    hint = f"in {ROOT}: pip install -c constraints.txt -e '.[export]'"
    assert f"int8: 'int8' needs pillow, not installed here; {hint}" in capsys.readouterr().err
