"""Data sets as batches on a device. What comes when, and how cropped, depends on seed and place only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from resnet_factory.fault import Fault
from resnet_factory.study.randomness import key
from resnet_factory.study.settings import Data, Folder, Table
from resnet_factory.study.world import World

Batch = tuple[Tensor, Tensor]
"""Images (N, C, H, W), float32 and normalised, and labels (N,)."""
Draw = tuple[int, int]
"""(epoch, index): which image, and for which time round."""


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


def load(data: Data, world: World, loaders: int) -> Source:
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
            found.append(Fault("data.folder", f"{message} than {checksum}; unpack the archive again"))
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
    """Images on disk, one folder per class, decoded and cropped by `loaders` processes."""

    def __init__(self, data: Folder, world: World, loaders: int) -> None:
        from torchvision import datasets
        from torchvision import transforms as library

        transforms: Any = library  # its functions carry no types
        self.world, self.loaders, self.size = world, loaders, data.size
        last = [transforms.ToTensor(), transforms.Normalize(data.mean, data.std)]
        if data.channels == 1:
            last.insert(0, transforms.Grayscale())
        mirror = [transforms.RandomHorizontalFlip()] if data.flip else []
        self.varied = transforms.Compose([transforms.RandomResizedCrop(data.size), *mirror, *last])
        still = transforms.Compose([transforms.Resize(data.resize), transforms.CenterCrop(data.size), *last])
        root = Path(data.folder).expanduser()
        self.train = datasets.ImageFolder(str(root / "train"))
        self.tests = datasets.ImageFolder(str(root / "val"), still)
        self.still_train = datasets.ImageFolder(str(root / "train"), still)
        self.count = len(self.train)

    def training(self, seed: int, batch: int, epoch: int, first: int) -> Iterator[Batch]:
        drawn = order(seed, epoch, self.count)
        batches = [
            [(epoch, int(index)) for index in self.world.part(drawn[i * batch : (i + 1) * batch])]
            for i in range(first, self.count // batch)
        ]
        yield from self.loaded(Varied(self.train, self.varied, seed), batches)

    def whole(self, *, train: bool, batch: int) -> Iterator[Batch]:
        chosen = self.still_train if train else self.tests
        starts = range(self.world.rank * batch, len(chosen), self.world.size * batch)
        batches = [list(range(at, min(at + batch, len(chosen)))) for at in starts]
        yield from self.loaded(chosen, batches)

    def sample(self, count: int) -> Batch:
        # Spread over the folder: its first images are all of one class.
        index = order(0, 0, self.count)[:count].tolist()
        return next(self.loaded(self.still_train, [index]))

    def loaded(self, dataset: Dataset[Any], batches: list[Any]) -> Iterator[Batch]:
        """Batches of a data set on the device, from lists of what to ask it for."""
        here = self.world.device
        loader: DataLoader[Any] = DataLoader(
            dataset, batch_sampler=batches, num_workers=self.loaders, pin_memory=here.type == "cuda"
        )
        for images, labels in loader:
            yield images.to(here, non_blocking=True), labels.to(here, non_blocking=True)


class Varied(Dataset[tuple[Tensor, int]]):
    """A data set whose random transform depends on (seed, epoch, index) alone, in whatever process."""

    def __init__(self, dataset: Any, transform: Callable[[Any], Tensor], seed: int) -> None:
        self.dataset, self.transform, self.seed = dataset, transform, seed

    def __getitem__(self, draw: Draw) -> tuple[Tensor, int]:
        epoch, index = draw
        image, label = self.dataset[index]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key(self.seed, "augment", epoch, index))
            return self.transform(image), label


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
