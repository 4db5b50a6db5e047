"""Data sets as batches on a device. Order and augmentation depend on the seed and the iteration only."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Sampler

from resnet_factory.study.array_data import READERS
from resnet_factory.study.distributed import ProcessGroup
from resnet_factory.study.randomness import seed_for
from resnet_factory.study.settings import ArrayData, DataSettings, FolderData

Batch = tuple[Tensor, Tensor]
"""Images (N, C, H, W), float32 and normalised, and labels (N,)."""
FEW_IMAGES = 2_000
"""With fewer training images, starting loader processes takes longer than reading the images."""


class DataSource(ABC):
    """A data set to train on."""

    count: int
    """Training images."""

    @abstractmethod
    def training(self, seed: int, batch: int, epoch: int, first: int) -> Iterator[Batch]:
        """Yield this process's share of the full batches of an epoch, from `first` on."""

    @abstractmethod
    def whole(self, *, train: bool, batch: int) -> Iterator[Batch]:
        """Yield this process's share of the training or the test set, without augmentation."""

    @abstractmethod
    def sample(self, count: int) -> Batch:
        """Return a fixed batch of training images, without augmentation."""


def load_data(data: DataSettings, group: ProcessGroup, loaders: int | None) -> DataSource:
    """Return a data set on the device of the group.

    Raises:
        OSError, RuntimeError: it cannot be read.
    """
    return FolderSource(data, group, loaders) if isinstance(data, FolderData) else ArraySource(data, group)


def data_permutation(seed: int, epoch: int, count: int) -> Tensor:
    """Return the order of `count` images in an epoch, the same on every machine."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed_for(seed, "order", epoch)))


class ArraySource(DataSource):
    """A data set held in memory as bytes: (N, C, H, W) uint8 and (N,) int64."""

    def __init__(self, data: ArrayData, group: ProcessGroup) -> None:
        self.data, self.group = data, group
        train, test = READERS[data.source](data.folder)
        if (shape := tuple(train[0].shape[1:])) != (wanted := (data.channels, data.size, data.size)):
            raise ValueError(f"images of {data.source} are {shape}, not {wanted} as the data's settings say")
        pixels = train[0].float()
        mean = pixels.mean((0,) if data.center == "pixel" else (0, 2, 3), keepdim=True)
        std = pixels.std((0, 2, 3), keepdim=True) if data.scale else torch.full((1, 1, 1, 1), 255.0)
        self.mean, self.std = mean.to(group.device), std.to(group.device)
        self.sets = {
            is_train: (images.to(group.device), labels.to(group.device))
            for is_train, (images, labels) in {True: train, False: test}.items()
        }
        self.count = len(train[1])

    def training(self, seed: int, batch: int, epoch: int, first: int) -> Iterator[Batch]:
        images, labels = self.sets[True]
        drawn, device = data_permutation(seed, epoch, self.count), self.group.device
        for i in range(first, self.count // batch):
            here = self.group.shard(drawn[i * batch : (i + 1) * batch]).to(device)
            moves = [self.group.shard(move).to(device) for move in self.moves(seed, epoch, i, batch)]
            yield self.augmented(self.normalised(images[here]), *moves), labels[here]

    def moves(self, seed: int, epoch: int, i: int, batch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return for each image of batch `i` the rows and columns of its shift, and whether it is flipped."""
        generator = torch.Generator().manual_seed(seed_for(seed, "augment", epoch, i))
        shifts = torch.randint(2 * self.data.pad + 1, (2, batch), generator=generator)
        flips = torch.rand(batch, generator=generator) < (0.5 if self.data.flip else 0.0)
        return shifts[0], shifts[1], flips

    def augmented(self, images: Tensor, down: Tensor, right: Tensor, flips: Tensor) -> Tensor:
        """Return crops of the zero-padded images, some of them flipped (He et al. 2015, section 4.2)."""
        if self.data.pad:
            rows, columns = (torch.arange(side, device=images.device) for side in images.shape[2:])
            padded = functional.pad(images, (self.data.pad,) * 4)
            each = torch.arange(len(images), device=images.device)[:, None, None]
            rows, columns = (rows + down[:, None])[:, :, None], (columns + right[:, None])[:, None, :]
            images = padded[each, :, rows, columns].permute(0, 3, 1, 2).contiguous()
        return torch.where(flips[:, None, None, None], images.flip(3), images) if self.data.flip else images

    def normalised(self, images: Tensor) -> Tensor:
        """Return bytes as float32 with zero mean."""
        return (images.float() - self.mean) / self.std

    def whole(self, *, train: bool, batch: int) -> Iterator[Batch]:
        images, labels = self.sets[train]
        for at in range(self.group.rank * batch, len(labels), self.group.size * batch):
            yield self.normalised(images[at : at + batch]), labels[at : at + batch]

    def sample(self, count: int) -> Batch:
        images, labels = self.sets[True]
        return self.normalised(images[:count]), labels[:count]


class FolderSource(DataSource):
    """Images on disk, one folder per class, decoded and cropped by `loaders` persistent processes."""

    def __init__(self, data: FolderData, group: ProcessGroup, loaders: int | None) -> None:
        self.group, self.dataset = group, FolderDataset(data)
        self.count = len(self.dataset.train)
        if loaders is None:
            loaders = 0 if self.count < FEW_IMAGES else min(4, os.cpu_count() or 1)
        self.requested = RequestedBatches()
        self.loader: DataLoader[Any] = DataLoader(
            self.dataset,
            batch_sampler=self.requested,
            num_workers=loaders,
            persistent_workers=loaders > 0,
            pin_memory=group.device.type == "cuda",
        )

    def training(self, seed: int, batch: int, epoch: int, first: int) -> Iterator[Batch]:
        drawn = data_permutation(seed, epoch, self.count)
        yield from self.loaded(
            [RandomCrop(seed, epoch, int(i)) for i in self.group.shard(drawn[at : at + batch])]
            for at in range(first * batch, self.count - batch + 1, batch)
        )

    def whole(self, *, train: bool, batch: int) -> Iterator[Batch]:
        count = self.count if train else len(self.dataset.test)
        starts = range(self.group.rank * batch, count, self.group.size * batch)
        yield from self.loaded(
            [CentralCrop(train, i) for i in range(at, min(at + batch, count))] for at in starts
        )

    def sample(self, count: int) -> Batch:
        # In random order: the first images of the folder are all of one class.
        requests = [CentralCrop(True, index) for index in data_permutation(0, 0, self.count)[:count].tolist()]
        return next(self.loaded([requests]))

    def loaded(self, batches: Iterable[list[Any]]) -> Iterator[Batch]:
        """Yield requested batches on the device."""
        device = self.group.device
        self.requested.batches = list(batches)
        for images, labels in self.loader:
            yield images.to(device, non_blocking=True), labels.to(device, non_blocking=True)


class RandomCrop(NamedTuple):
    """A training image, cropped and flipped at random, which depends on these numbers alone."""

    seed: int
    epoch: int
    image: int


class CentralCrop(NamedTuple):
    """A training or test image, cropped at its centre."""

    train: bool
    image: int


class RequestedBatches(Sampler[list[Any]]):
    """Batches of `RandomCrop` and `CentralCrop`, replaced from pass to pass."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []

    def __iter__(self) -> Iterator[list[Any]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class FolderDataset(Dataset[tuple[Tensor, int]]):
    """Training and test images in their folders."""

    def __init__(self, data: FolderData) -> None:
        from torchvision import datasets
        from torchvision import transforms as library

        transforms: Any = library  # its functions carry no types
        last = [transforms.ToTensor(), transforms.Normalize(data.mean, data.std)]
        if data.channels == 1:
            last.insert(0, transforms.Grayscale())
        flip = [transforms.RandomHorizontalFlip()] if data.flip else []
        centre = [transforms.Resize(data.shorter_side), transforms.CenterCrop(data.size)]
        self.random = transforms.Compose([transforms.RandomResizedCrop(data.size), *flip, *last])
        self.central = transforms.Compose([*centre, *last])
        root = Path(data.folder).expanduser()
        self.train = datasets.ImageFolder(str(root / "train"))
        self.test = datasets.ImageFolder(str(root / "val"))

    def __getitem__(self, request: RandomCrop | CentralCrop) -> tuple[Tensor, int]:
        if isinstance(request, CentralCrop):
            image, label = (self.train if request.train else self.test)[request.image]
            return self.central(image), label
        image, label = self.train[request.image]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for(request.seed, "augment", request.epoch, request.image))
            return self.random(image), label
