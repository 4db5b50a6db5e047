"""Data sets that are held in memory: digits and CIFAR."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

Arrays = tuple[Tensor, Tensor]
"""Images (N, C, H, W), uint8, and labels (N,), int64."""


@lru_cache(maxsize=1)
def _read_digits_arrays(_folder: str | None) -> tuple[Arrays, Arrays]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = torch.from_numpy(digits.images.astype(np.uint8))[:, None]
    labels = torch.from_numpy(digits.target.astype(np.int64))
    train, test = train_test_split(range(len(labels)), test_size=0.2, random_state=0, stratify=digits.target)
    return (images[train], labels[train]), (images[test], labels[test])


def _read_cifar_arrays(name: str, folder: str | None) -> tuple[Arrays, Arrays]:
    from torchvision import datasets

    def read(train: bool) -> Arrays:
        root = str(Path(folder or ".").expanduser())
        dataset = getattr(datasets, name)(root, train=train, download=False)
        return torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(dataset.targets)

    return read(True), read(False)


CIFAR = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}
"""Source -> torchvision's class."""
READERS: dict[str, Callable[[str | None], tuple[Arrays, Arrays]]] = {
    "digits": _read_digits_arrays,
    **{source: partial(_read_cifar_arrays, name) for source, name in CIFAR.items()},
}
"""Source -> reader of its training and its test set in a folder."""
