"""Data sets as batches on a device. What comes when, and how cropped, depends on seed and place only."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Sampler

from resnet_factory.errors import Fault
from resnet_factory.study.distributed import World
from resnet_factory.study.randomness import key
from resnet_factory.study.settings import Data, Folder, Table

Batch = tuple[Tensor, Tensor]
"""Images (N, C, H, W), float32 and normalised, and labels (N,)."""
FEW_IMAGES = 2_000
"""Training images from which reading them in processes of their own is worth starting these."""


class Source(ABC):
    """A data set, ready to be trained on."""

    count: int
    """Training images."""

    @abstractmethod
    def training(self, seed: int, batch: int, epoch: int, first: int) -> Iterator[Batch]:
        """This process's share of each batch of one epoch, from batch `first` on; no smaller last batch."""

    @abstractmethod
    def whole(self, *, train: bool, batch: int) -> Iterator[Batch]:
        """This process's share of the training or the test set, as it is."""

    @abstractmethod
    def sample(self, count: int) -> Batch:
        """The first training images, as they are."""


def load(data: Data, world: World, loaders: int | None) -> Source:
    """The data set on the world's device.

    Raises:
        OSError, RuntimeError: it cannot be read.
    """
    return ImageFolders(data, world, loaders) if isinstance(data, Folder) else Images(data, world)


def faults(data: Data, batches: Mapping[str, int]) -> list[Fault]:
    """What would stop every training: files and settings that are not this data's, too large batches.

    `batches` holds batch sizes by the key that says them.
    """
    if isinstance(data, Folder):
        return _folder_faults(data, batches)
    found = _cifar_faults(data) if data.source in CIFAR else []
    if found:
        return found
    images, labels = READERS[data.source](data.folder)[0]
    channels, size = images.shape[1:3]
    if data.channels != channels:
        found.append(Fault("data.channels", f"images of {data.source} have {channels}, not {data.channels}"))
    if data.size != size:
        message = f"images of {data.source} are {size}x{size} pixels, not {data.size}x{data.size}"
        found.append(Fault("data.size", message))
    if data.classes < (classes := int(labels.max()) + 1):
        found.append(Fault("data.classes", f"{data.source} has {classes} classes, not {data.classes}"))
    return found + _batch_faults(len(labels), batches)


def _cifar_faults(data: Table) -> list[Fault]:
    from torchvision import datasets
    from torchvision.datasets.utils import check_integrity

    dataset: Any = getattr(datasets, CIFAR[data.source])
    folder = Path(data.folder or ".").expanduser() / dataset.base_folder
    files = [*dataset.train_list, *dataset.test_list, (dataset.meta["filename"], dataset.meta["md5"])]
    found = []
    for name, checksum in files:
        if not (folder / name).is_file():
            found.append(Fault("data.folder", f"no file '{folder / name}'; unpack the archive again"))
        elif not check_integrity(str(folder / name), checksum):
            message = (
                f"'{folder / name}' is not the file of {CIFAR[data.source]}: its MD5 checksum is another"
            )
            # These files are pickles: one of anybody else's could run code.
            advice = "unpack the archive again; images of your own are read from folders: data=folder"
            found.append(Fault("data.folder", f"{message} than {checksum}; {advice}"))
    return found


def _folder_faults(data: Folder, batches: Mapping[str, int]) -> list[Fault]:
    from torchvision import datasets

    root = Path(data.folder).expanduser()
    try:
        count = len(datasets.ImageFolder(str(root / "train")))
        datasets.ImageFolder(str(root / "val"))
    except OSError as error:
        return [Fault("data.folder", f"'{root}': {' '.join(str(error).split())}")]
    return _batch_faults(count, batches)


def _batch_faults(count: int, batches: Mapping[str, int]) -> list[Fault]:
    return [
        Fault(path, f"a batch of {batch} is more than the {count} training images")
        for path, batch in batches.items()
        if batch > count
    ]


def order(seed: int, epoch: int, count: int) -> Tensor:
    """A permutation of `count` images, the same on every machine."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(key(seed, "order", epoch)))


class Images(Source):
    """A data set held in memory as bytes: (N, C, H, W) uint8 and (N,) int64."""

    def __init__(self, data: Table, world: World) -> None:
        self.data, self.world = data, world
        train, test = READERS[data.source](data.folder)
        if (shape := tuple(train[0].shape[1:])) != (said := (data.channels, data.size, data.size)):
            raise ValueError(f"images of {data.source} are {shape}, not {said} as the data's settings say")
        statistics = train[0].float()
        axes = (0,) if data.center == "pixel" else (0, 2, 3)
        self.mean = statistics.mean(axes, keepdim=True).to(world.device)
        self.std = statistics.std((0, 2, 3), keepdim=True) if data.scale else torch.full((1, 1, 1, 1), 255.0)
        self.std = self.std.to(world.device)
        self.sets = {True: _on(world.device, train), False: _on(world.device, test)}
        self.count = len(train[1])

    def training(self, seed: int, batch: int, epoch: int, first: int) -> Iterator[Batch]:
        images, labels = self.sets[True]
        drawn = order(seed, epoch, self.count)
        for i in range(first, self.count // batch):
            index = drawn[i * batch : (i + 1) * batch]
            moves = [
                self.world.part(move).to(self.world.device) for move in self.moves(seed, epoch, i, batch)
            ]
            here = self.world.part(index).to(self.world.device)
            yield self.augmented(self.normal(images[here]), *moves), labels[here]

    def moves(self, seed: int, epoch: int, i: int, batch: int) -> tuple[Tensor, Tensor, Tensor]:
        """For each image of a whole batch: rows and columns to shift by, and whether to flip."""
        generator = torch.Generator().manual_seed(key(seed, "augment", epoch, i))
        shifts = torch.randint(2 * self.data.pad + 1, (2, batch), generator=generator)
        flips = torch.rand(batch, generator=generator) < (0.5 if self.data.flip else 0.0)
        return shifts[0], shifts[1], flips

    def augmented(self, images: Tensor, down: Tensor, right: Tensor, flips: Tensor) -> Tensor:
        """Each image cropped out of its zero-padded self, perhaps mirrored (He et al. 2015, section 4.2)."""
        if self.data.pad:
            rows, columns = (torch.arange(side, device=images.device) for side in images.shape[2:])
            padded = functional.pad(images, (self.data.pad,) * 4)
            each = torch.arange(len(images), device=images.device)[:, None, None]
            picked = padded[
                each, :, (rows + down[:, None])[:, :, None], (columns + right[:, None])[:, None, :]
            ]
            images = picked.permute(0, 3, 1, 2).contiguous()
        return torch.where(flips[:, None, None, None], images.flip(3), images) if self.data.flip else images

    def normal(self, images: Tensor) -> Tensor:
        """Bytes as float32 around zero."""
        return (images.float() - self.mean) / self.std

    def whole(self, *, train: bool, batch: int) -> Iterator[Batch]:
        images, labels = self.sets[train]
        for at in range(self.world.rank * batch, len(labels), self.world.size * batch):
            yield self.normal(images[at : at + batch]), labels[at : at + batch]

    def sample(self, count: int) -> Batch:
        images, labels = self.sets[True]
        return self.normal(images[:count]), labels[:count]


class ImageFolders(Source):
    """Images on disk, one folder per class, decoded and cropped by `loaders` processes that stay."""

    def __init__(self, data: Folder, world: World, loaders: int | None) -> None:
        self.world, self.pictures = world, Pictures(data)
        self.count = len(self.pictures.train)
        if loaders is None:
            loaders = 0 if self.count < FEW_IMAGES else min(4, os.cpu_count() or 1)
        self.asked = Asked()
        """The batches of the pass at hand, which the one loader of all passes reads."""
        self.loader: DataLoader[Any] = DataLoader(
            self.pictures,
            batch_sampler=self.asked,
            num_workers=loaders,
            persistent_workers=loaders > 0,
            pin_memory=world.device.type == "cuda",
        )

    def training(self, seed: int, batch: int, epoch: int, first: int) -> Iterator[Batch]:
        drawn = order(seed, epoch, self.count)
        yield from self.loaded(
            [Draw(seed, epoch, int(index)) for index in self.world.part(drawn[i * batch : (i + 1) * batch])]
            for i in range(first, self.count // batch)
        )

    def whole(self, *, train: bool, batch: int) -> Iterator[Batch]:
        count = self.count if train else len(self.pictures.test)
        starts = range(self.world.rank * batch, count, self.world.size * batch)
        yield from self.loaded([Fixed(train, i) for i in range(at, min(at + batch, count))] for at in starts)

    def sample(self, count: int) -> Batch:
        # Spread over the folder: its first images are all of one class.
        asked = [Fixed(True, index) for index in order(0, 0, self.count)[:count].tolist()]
        return next(self.loaded([asked]))

    def loaded(self, batches: Iterable[list[Any]]) -> Iterator[Batch]:
        """Batches on the device, from lists of what to ask for."""
        here = self.world.device
        self.asked.batches = list(batches)
        for images, labels in self.loader:
            yield images.to(here, non_blocking=True), labels.to(here, non_blocking=True)


@dataclass(frozen=True, slots=True)
class Draw:
    """A training image, cropped and mirrored at random: its transform depends on these numbers alone."""

    seed: int
    epoch: int
    index: int


@dataclass(frozen=True, slots=True)
class Fixed:
    """A training or test image, cropped at its centre."""

    train: bool
    index: int


class Asked(Sampler[list[Any]]):
    """Batches of `Draw` and `Fixed`, exchanged from pass to pass."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []

    def __iter__(self) -> Iterator[list[Any]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class Pictures(Dataset[tuple[Tensor, int]]):
    """Training and test images in their folders, each as it is asked for."""

    def __init__(self, data: Folder) -> None:
        from torchvision import datasets
        from torchvision import transforms as library

        transforms: Any = library  # its functions carry no types
        last = [transforms.ToTensor(), transforms.Normalize(data.mean, data.std)]
        if data.channels == 1:
            last.insert(0, transforms.Grayscale())
        mirror = [transforms.RandomHorizontalFlip()] if data.flip else []
        self.random = transforms.Compose([transforms.RandomResizedCrop(data.size), *mirror, *last])
        self.fixed = transforms.Compose(
            [transforms.Resize(data.shorter_side), transforms.CenterCrop(data.size), *last]
        )
        root = Path(data.folder).expanduser()
        self.train = datasets.ImageFolder(str(root / "train"))
        self.test = datasets.ImageFolder(str(root / "val"))

    def __getitem__(self, asked: Draw | Fixed) -> tuple[Tensor, int]:
        if isinstance(asked, Fixed):
            image, label = (self.train if asked.train else self.test)[asked.index]
            return self.fixed(image), label
        image, label = self.train[asked.index]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key(asked.seed, "augment", asked.epoch, asked.index))
            return self.random(image), label


@lru_cache(maxsize=1)
def _digits(_folder: str | None) -> tuple[Batch, Batch]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = torch.from_numpy(digits.images.astype(np.uint8))[:, None]
    labels = torch.from_numpy(digits.target.astype(np.int64))
    train, test = train_test_split(range(len(labels)), test_size=0.2, random_state=0, stratify=digits.target)
    return (images[train], labels[train]), (images[test], labels[test])


def _cifar(name: str) -> Callable[[str | None], tuple[Batch, Batch]]:
    def read(folder: str | None) -> tuple[Batch, Batch]:
        from torchvision import datasets

        root = str(Path(folder or ".").expanduser())
        train, test = (getattr(datasets, name)(root, train=train, download=False) for train in (True, False))
        return _cifar_batch(train), _cifar_batch(test)

    return read


def _cifar_batch(dataset: Any) -> Batch:
    return torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(dataset.targets)


CIFAR = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}
"""Source -> torchvision's class."""
READERS: dict[str, Callable[[str | None], tuple[Batch, Batch]]] = {
    "digits": _digits,
    **{source: _cifar(name) for source, name in CIFAR.items()},
}
"""Source -> what reads its training and its test set."""


def _on(device: torch.device, batch: Batch) -> Batch:
    return batch[0].to(device), batch[1].to(device)
