"""Checks of a data set before any training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from resnet_factory.errors import Fault
from resnet_factory.study.array_data import CIFAR, READERS
from resnet_factory.study.settings import ArrayData, DataSettings, FolderData


def data_check_faults(data: DataSettings, batches: Mapping[str, int]) -> list[Fault]:
    """Return the faults that would stop every training: unreadable files, wrong settings, large batches.

    `batches` holds batch sizes by the key that sets them.
    """
    if isinstance(data, FolderData):
        from torchvision import datasets

        root = Path(data.folder).expanduser()
        try:
            count = len(datasets.ImageFolder(str(root / "train")))
            datasets.ImageFolder(str(root / "val"))
        except OSError as error:
            return [Fault("data.folder", f"'{root}': {' '.join(str(error).split())}")]
        found = []
    else:
        if data.source in CIFAR and (found := list(_cifar_data_check_faults(data))):
            return found
        images, labels = READERS[data.source](data.folder)[0]
        count, (channels, size), classes = len(labels), images.shape[1:3], int(labels.max()) + 1
        found = list(_array_data_check_faults(data, channels, size, classes))
    for path, batch in batches.items():
        if batch > count:
            found.append(Fault(path, f"a batch of {batch} is more than the {count} training images"))
    return found


def _array_data_check_faults(data: ArrayData, channels: int, size: int, classes: int) -> Iterator[Fault]:
    if data.channels != channels:
        yield Fault("data.channels", f"images of {data.source} have {channels}, not {data.channels}")
    if data.size != size:
        message = f"images of {data.source} are {size}x{size} pixels, not {data.size}x{data.size}"
        yield Fault("data.size", message)
    if data.classes < classes:
        yield Fault("data.classes", f"{data.source} has {classes} classes, not {data.classes}")


def _cifar_data_check_faults(data: ArrayData) -> Iterator[Fault]:
    from torchvision import datasets
    from torchvision.datasets.utils import check_integrity

    dataset: Any = getattr(datasets, CIFAR[data.source])
    folder = Path(data.folder or ".").expanduser() / dataset.base_folder
    files = [*dataset.train_list, *dataset.test_list, (dataset.meta["filename"], dataset.meta["md5"])]
    for name, checksum in files:
        file = folder / name
        if not file.is_file():
            yield Fault("data.folder", f"no file '{file}'; unpack the archive again")
        elif not check_integrity(str(file), checksum):
            # These files are pickles: one from another source could run code.
            message = f"'{file}' is not the file of {CIFAR[data.source]}: its MD5 checksum"
            hint = "unpack the archive again; images of your own are read from folders: data=folder"
            yield Fault("data.folder", f"{message} is not {checksum}; {hint}")
