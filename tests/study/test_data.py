"""Real data in its real on-disk format, tiny and made up: CIFAR-10, CIFAR-100, folders of images."""

from __future__ import annotations

import multiprocessing as mp
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image
from study_rooms import ALONE, HERE, make_cifar, make_folder, small, source

from resnet_factory.cli import main
from resnet_factory.study import training_result
from resnet_factory.study.data import CentralCrop, FolderDataset, load_data
from resnet_factory.study.settings import ArrayData, FolderData, TrainSettings
from resnet_factory.study.training import run_training
from resnet_factory.study.training_result import TrainingResult

CIFAR = ArrayData(
    source="cifar10", channels=3, classes=10, size=32, center="pixel", scale=False, pad=4, flip=True
)


def outcomes(out: Path) -> list[TrainingResult]:
    found = [training_result.read_result(folder) for folder in sorted((out / "runs").iterdir())]
    return [each for each in found if each is not None]


@pytest.mark.parametrize(("hundred", "classes"), [(False, 10), (True, 100)], ids=["cifar10", "cifar100"])
def test_the_papers_recipe_end_to_end(
    hundred: bool,
    classes: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """study=cifar10_degradation from the command line on a made-up folder: two depths, a few iterations."""
    make_cifar(tmp_path / "data", monkeypatch, hundred=hundred)
    deep = 20 if hundred else 110
    status = main.main(
        [
            "study", "study=cifar10_degradation", f"data=cifar{classes}", f"data.folder={tmp_path / 'data'}",
            f"models={{plain: [plain8, plain{deep}], residual: [resnet8, resnet{deep}]}}", "seeds=[0]",
            "train.iterations=4", "train.batch=8", "machine.jobs=0", "machine.device=cpu",
            f"out={tmp_path / 'out'}",
        ]
    )  # fmt: skip
    said = capsys.readouterr().out
    assert status == 0, said
    found = outcomes(tmp_path / "out")
    assert {(each.label, each.depth, each.state) for each in found} == {
        (f"{kind}{depth}", depth, "done") for kind in ("plain", "resnet") for depth in (8, deep)
    }
    assert len({each.params for each in found if each.depth == deep}) == 1
    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert f"plain{deep} and resnet{deep} have the same" in report
    assert "weight_decay 0.0001" in report
    assert "warmup 400" in report
    assert "| resnet110 | CIFAR-10 | table 6, best of five; 6.61 ± 0.16 | 6.43 |" in report


def test_cifar_images_are_the_files_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes in the file's order: five files of 3072-byte rows, red before green before blue."""
    make_cifar(tmp_path, monkeypatch)
    data = replace(CIFAR, folder=str(tmp_path))
    here = source(data)
    assert here.count == 5 * 8
    images, labels = here.sample(3)
    raw, _ = here.sets[True]  # type: ignore[attr-defined]
    assert raw[3, 0].flatten()[:32].tolist() == [75] * 32
    assert labels.tolist() == [0, 1, 2]
    assert torch.allclose(images, (raw[:3].float() - raw.float().mean(0)) / 255)


def test_cifar_crops_are_padded_with_the_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_cifar(tmp_path, monkeypatch)
    here = source(replace(CIFAR, folder=str(tmp_path)))
    images, _ = next(here.training(0, 32, 0, 0))
    assert images.shape == (32, 3, 32, 32)
    assert (images == 0).any()


def test_broken_cifar_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once, before anything is trained, and by the names of its files."""
    make_cifar(tmp_path / "data", monkeypatch)
    inside = tmp_path / "data" / "cifar-10-batches-py"
    (inside / "data_batch_3").write_bytes(b"not a pickle")
    (inside / "test_batch").unlink()
    status = main.main(
        [
            "study", "data=cifar10", f"data.folder={tmp_path / 'data'}", "models=[resnet8,plain8]",
            "train.batch=8", "machine.jobs=0", f"out={tmp_path / 'out'}",
        ]
    )  # fmt: skip
    assert status == 2
    broken, missing = capsys.readouterr().err.splitlines()
    assert f"data.folder: '{inside / 'data_batch_3'}' is not the file of CIFAR10: its MD5 checksum" in broken
    assert f"data.folder: no file '{inside / 'test_batch'}'" in missing
    assert not (tmp_path / "out").exists()


def test_torchvision_that_does_not_load_is_said(tmp_path: Path) -> None:
    """Its compiled operators may be another torch's: then its import fails, and no network is trained."""
    broken = tmp_path / "path" / "torchvision"
    broken.mkdir(parents=True)
    text = "raise RuntimeError('operator torchvision::nms does not exist')"
    (broken / "__init__.py").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "resnet_factory.cli", "study", "data=cifar10", "models=[resnet8,plain8]"],
        env=os.environ | {"PYTHONPATH": f"{tmp_path / 'path'}{os.pathsep}{ROOT}"}, cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "is installed, but cannot be imported (RuntimeError: operator torchvision::nms does not" in line
    assert "install the torchvision built for torch" in line
    assert not (tmp_path / "studies").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train.batch=13"], "train.batch: a batch of 13 is more than the 12 training images"),
        (["data.channels=1"], "data.mean: 3 values for 1 channel"),
        (["data.channels=2"], "data.channels: images are read with 1 or 3 channels, not 2"),
        (["data.classes=3"], "has 2 classes, not 3"),
    ],
)
def test_folders_that_do_not_fit_the_settings(
    words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_folder(tmp_path / "data")
    fixed = [
        "models=[resnet8]",
        "data.size=16",
        f"data.folder={tmp_path / 'data'}",
        f"out={tmp_path / 'out'}",
    ]
    assert main.main(["study", "data=folder", *fixed, *words]) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_class_without_images_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_folder(tmp_path / "data")
    for file in (tmp_path / "data" / "val" / "dog").iterdir():
        file.unlink()
    words = [
        "models=[resnet8]",
        "data.size=16",
        f"data.folder={tmp_path / 'data'}",
        f"out={tmp_path / 'out'}",
    ]
    assert main.main(["study", "data=folder", *words]) == 2
    assert "no valid file for the classes dog" in capsys.readouterr().err


def folder(root: Path) -> FolderData:
    return FolderData(source="folder", folder=str(root), channels=3, classes=2, size=16, resize=20)


@pytest.mark.parametrize("loaders", [0, 2])
def test_folders_of_images_end_to_end(
    loaders: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_folder(tmp_path / "data")
    status = main.main(
        [
            "study", "data=folder", f"data.folder={tmp_path / 'data'}", "data.size=16", "data.resize=20",
            "models=[resnet8]", "seeds=[0]", "train.epochs=2", "train.batch=4", "machine.jobs=0",
            f"machine.loaders={loaders}", f"out={tmp_path / 'out'}",
        ]
    )  # fmt: skip
    assert status == 0, capsys.readouterr().out
    (found,) = outcomes(tmp_path / "out")
    assert found.state == "done"
    assert found.iterations == 2 * 3
    assert "classes 2" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_folders_are_augmented_alike_by_any_process(tmp_path: Path) -> None:
    """An image's crop depends on seed, epoch and image: not on who loads it, nor on where reading began."""
    make_folder(tmp_path)
    alone, helped = (load_data(folder(tmp_path), ALONE, loaders) for loaders in (0, 2))
    before = torch.get_rng_state()
    batches = list(alone.training(0, 4, 1, 0))
    for one, other in zip(batches, helped.training(0, 4, 1, 0), strict=True):
        assert torch.equal(one[0], other[0])
    assert torch.equal(next(helped.training(0, 4, 1, 2))[0], batches[2][0])
    assert not torch.equal(next(alone.training(0, 4, 2, 0))[0], batches[0][0])
    assert before.shape == torch.get_rng_state().shape


def test_folders_resume_to_the_same_bits(tmp_path: Path) -> None:
    make_folder(tmp_path / "data")
    data = folder(tmp_path / "data")
    job = small(data=data, train=TrainSettings(epochs=3, batch=4))
    whole = run_training(job, ALONE, load_data(data, ALONE, 0))
    asked = iter([False, False, False, True])
    run_training(job, ALONE, load_data(data, ALONE, 0), tmp_path / "run", stop=lambda: next(asked))
    found = run_training(job, ALONE, load_data(data, ALONE, 0), tmp_path / "run")
    assert replace(found, seconds=0.0) == replace(whole, seconds=0.0)


@pytest.mark.parametrize(
    ("words", "side", "shown"),
    [(["data.size=32"], 37, 32), (["data.size=224"], 256, 224), (["data.size=16", "data.resize=20"], 20, 16)],
)
def test_test_images_are_resized_to_suit_their_crop(
    words: list[str], side: int, shown: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same share of every test image is seen, whatever the size; held against Pillow alone."""
    make_folder(tmp_path / "data")
    study = ["models=[resnet8]", "train.epochs=null", "train.iterations=1", "train.batch=4", "seeds=[0]"]
    place = [f"data.folder={tmp_path / 'data'}", f"out={tmp_path / 'out'}"]
    assert main.main(["study", "data=folder", *words, *study, *place, "machine.jobs=0"]) == 0
    transform = f"shorter side to {side}, central {shown}x{shown}"
    assert transform in capsys.readouterr().out
    assert transform in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    (found,) = outcomes(tmp_path / "out")
    assert transform in found.images
    given = int(words[1].removeprefix("data.resize=")) if len(words) > 1 else None
    data = FolderData(source="folder", folder=str(tmp_path / "data"), classes=2, size=shown, resize=given)
    image = Image.open(tmp_path / "data" / "val" / "cat" / "0.jpg")
    study_figures = FolderDataset(data)
    scale = side / min(image.size)
    sides = round(image.width * scale), round(image.height * scale)
    resized = image.resize(sides, Image.Resampling.BILINEAR)
    left, top = (round((length - shown) / 2) for length in resized.size)
    expected = np.asarray(resized.crop((left, top, left + shown, top + shown)).convert("RGB"))
    mean, std = (np.array(values) for values in (data.mean, data.std))
    ours = study_figures[CentralCrop(False, 0)][0].permute(1, 2, 0).numpy() * std + mean
    assert np.abs(255 * ours - expected).max() <= 2


def test_a_crop_larger_than_what_it_is_cut_from_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_folder(tmp_path)
    words = ["study", "data=folder", f"data.folder={tmp_path}", "data.size=64", "data.resize=32"]
    assert main.main(words) == 2
    assert "data.resize: 32 is less than the central crop of 64" in capsys.readouterr().err


def test_reading_processes_start_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two for a whole training with its passes over the test set, and none for a few images."""
    make_folder(tmp_path)
    started = []
    start = mp.process.BaseProcess.start

    def counted(process: mp.process.BaseProcess) -> None:
        started.append(process)
        start(process)

    monkeypatch.setattr(mp.process.BaseProcess, "start", counted)
    job = small(data=folder(tmp_path), train=TrainSettings(epochs=3, batch=4))
    assert run_training(job, ALONE, load_data(folder(tmp_path), ALONE, 2)).state == "done"
    assert len(started) == 2
    assert run_training(job, ALONE, load_data(folder(tmp_path), ALONE, None)).state == "done"
    assert len(started) == 2


def test_digits_are_read_from_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["study", "data=digits", "data.folder=/nowhere"]) == 2
    assert "data.folder: digits come with their library" in capsys.readouterr().err


def test_grey_folders(tmp_path: Path) -> None:
    make_folder(tmp_path)
    grey = replace(folder(tmp_path), channels=1, mean=(0.5,), std=(0.25,))
    assert (
        run_training(
            small(data=grey, train=TrainSettings(epochs=1, batch=4), machine=HERE), ALONE, source(grey)
        ).state
        == "done"
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data=cifar10", "no 'data/cifar-10-batches-py'; unpack cifar-10-python.tar.gz into the folder"),
        ("data=cifar100", "no 'data/cifar-100-python'"),
        ("data=folder", "no folder 'data/train'; expected FOLDER/train/CLASS/*"),
        (
            "data=cifar1",
            "unknown data 'cifar1'; known are cifar10, cifar100, digits, folder; did you mean 'cifar10'?",
        ),
    ],
)
def test_missing_data_is_said(
    override: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.main(["study", override]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "nothing is written before something can be done"


def test_unlike_classes_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_folder(tmp_path)
    (tmp_path / "val" / "fox").mkdir()
    assert main.main(["study", "data=folder", f"data.folder={tmp_path}"]) == 2
    assert "have different classes: fox" in capsys.readouterr().err
