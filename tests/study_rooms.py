"""What the tests of the study share: small jobs, where they are trained, and made-up data in real formats."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import resnet_factory as rf
from resnet_factory.study.data import DataSource, load_data
from resnet_factory.study.distributed import ProcessGroup
from resnet_factory.study.jobs import StudyJob, new_study_job
from resnet_factory.study.settings import ArrayData, DataSettings, MachineSettings, TrainSettings

ALONE = ProcessGroup(torch.device("cpu"))
DIGITS = ArrayData(source="digits", channels=1, classes=10, size=8)
SHORT = TrainSettings(iterations=8, batch=32)
HERE = MachineSettings(device="cpu", jobs=0, loaders=0)


def small(
    name: str = "resnet8",
    *overrides: str,
    data: DataSettings = DIGITS,
    train: TrainSettings = SHORT,
    machine: MachineSettings = HERE,
    rate: float = 0.1,
    seed: int = 0,
) -> StudyJob:
    """A job that trains in a fraction of a second."""
    config = rf.compose(name, "model.widths=[8,16,32]", "model.stem.width=8", *overrides)
    return new_study_job(config, data, train, machine, rate=rate, seed=seed, label=name)


def source(data: DataSettings = DIGITS) -> DataSource:
    """A data set for this process alone."""
    return load_data(data, ALONE, 0)


def with_train(base: StudyJob, **changes: Any) -> StudyJob:
    """The same job, trained differently."""
    return replace(base, train=replace(base.train, **changes))


def make_cifar(
    root: Path, monkeypatch: pytest.MonkeyPatch, *, hundred: bool = False, images: int = 8
) -> None:
    """A CIFAR folder of a few made-up images, byte for byte in the format of the real one.

    torchvision compares checksums, so the made-up ones take the place of the real.
    """
    from torchvision import datasets

    dataset = datasets.CIFAR100 if hundred else datasets.CIFAR10
    labels = "fine_labels" if hundred else "labels"
    classes = 100 if hundred else 10
    folder = root / dataset.base_folder
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for part in ("train_list", "test_list"):
        made = []
        for name, _ in getattr(dataset, part):
            answer = [i % classes for i in range(images)]
            pixels = random.integers(0, 256, (images, 3072), dtype=np.uint8)
            pixels[:, :64] = np.array(answer, dtype=np.uint8)[:, None] * 25  # something to learn
            made.append([name, _write(folder / name, {"data": pixels, labels: answer})])
        monkeypatch.setattr(dataset, part, made)
    names = {dataset.meta["key"]: [f"class {i}" for i in range(classes)]}
    checksum = _write(folder / dataset.meta["filename"], names)
    monkeypatch.setattr(dataset, "meta", {**dataset.meta, "md5": checksum})


def _write(file: Path, content: dict[str, Any]) -> str:
    data = pickle.dumps(content)
    file.write_bytes(data)
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def make_folder(root: Path, classes: Sequence[str] = ("cat", "dog"), images: int = 6) -> None:
    """Folders of made-up JPEG and PNG images of uneven sizes, one colour for each class."""
    random = np.random.default_rng(0)
    for part in ("train", "val"):
        for i, name in enumerate(classes):
            folder = root / part / name
            folder.mkdir(parents=True)
            for image in range(images):
                pixels = random.integers(0, 60, (24 + image, 30 - image, 3), dtype=np.uint8)
                pixels[:, :, i % 3] += 150
                Image.fromarray(pixels).save(folder / f"{image}.{'png' if image % 2 else 'jpg'}")
