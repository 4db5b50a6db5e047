"""Checks before a study: its settings, its packages, its folders."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from resnet_factory.config.composition import Composed, group_choices
from resnet_factory.errors import ConfigError, Fault, install_hint, unknown
from resnet_factory.study.settings import DataSettings, FolderData, StudySettings
from resnet_factory.study.settings_reader import read_settings

TORCHVISION = {"torchvision": "torchvision"}
READER_PACKAGES = {
    "digits": {"sklearn": "scikit-learn"},
    "cifar10": TORCHVISION,
    "cifar100": TORCHVISION,
    "folder": TORCHVISION,
}
"""Source -> what reads it: import name and package."""
ARCHIVES = {
    "cifar10": ("cifar-10-batches-py", "cifar-10-python.tar.gz"),
    "cifar100": ("cifar-100-python", "cifar-100-python.tar.gz"),
}
"""Source -> the folder in its archive, and the archive."""


def preflight_settings(composed: Composed) -> StudySettings:
    """Return the settings of a composed study, completed from its data folder.

    Imports torch only if torchvision reads the data.

    Raises:
        ConfigError: with every fault in the settings, or naming what is missing on this machine.
    """
    with composed.locating():
        settings = read_settings(composed.data)
        known = group_choices("model", composed.config_dir)
        faults = [
            Fault(f"per_model.{name}", unknown("model", name, known))
            for name in settings.per_model
            if name not in known
        ]
        data = settings.data
        faults = faults or list(_preflight_package_faults(data)) or list(_preflight_folder_faults(data))
        if faults:
            raise ConfigError(faults)
        if isinstance(data, FolderData):
            classes = len(_preflight_folder_classes(data, "train"))
            settings = replace(settings, data=replace(data, classes=classes, resize=data.shorter_side))
        return settings


def _preflight_package_faults(data: DataSettings) -> Iterator[Fault]:
    readers = READER_PACKAGES[data.source]
    needed = readers | {"matplotlib": "matplotlib"}
    if missing := [name for module, name in needed.items() if find_spec(module) is None]:
        yield Fault("data.source", f"this study needs {' and '.join(missing)}; {install_hint('study')}")
        return
    for module, package in readers.items():
        try:
            import_module(module)
        except Exception as error:  # noqa: BLE001 - whatever it was, no network could be trained
            yield Fault("data.source", _import_message(package, error))


def _import_message(package: str, error: Exception) -> str:
    message = f"{package} {_preflight_package_version(package)} is installed, but cannot be imported"
    message += f" ({type(error).__name__}: {' '.join(str(error).split())})"
    if package != "torchvision":
        return f"{message}; reinstall it"
    wanted = next(
        filter(None, (re.match(r"torch\s*\(?==\s*([\w.]+)", r) for r in requires(package) or [])), None
    )
    if wanted and wanted[1] != _preflight_package_version("torch").partition("+")[0]:
        message += (
            f"; it is built for torch {wanted[1]}, but torch {_preflight_package_version('torch')} is "
            "installed"
        )
    return (
        f"{message}; install the torchvision built for torch {_preflight_package_version('torch')}: both "
        "from one index"
    )


def _preflight_package_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of unknown version"


def _preflight_folder_faults(data: DataSettings) -> Iterator[Fault]:
    """Yield the faults of a data folder."""
    if not isinstance(data, FolderData):
        if data.source not in ARCHIVES:
            if data.folder is not None:
                message = f"{data.source} come with their library and are read from no folder; leave it out"
                yield Fault("data.folder", message)
            return
        folder, archive = ARCHIVES[data.source]
        root = Path(data.folder or "").expanduser()
        if not (root / folder).is_dir():
            message = f"no '{root / folder}'; unpack {archive} into the folder, or give data.folder="
            yield Fault("data.folder", message)
        return
    root = Path(data.folder).expanduser()
    missing = [root / part for part in ("train", "val") if not (root / part).is_dir()]
    for part in missing:
        message = f"no folder '{part}'; expected FOLDER/train/CLASS/* and FOLDER/val/CLASS/*"
        yield Fault("data.folder", message)
    if missing:
        return
    train, test = _preflight_folder_classes(data, "train"), _preflight_folder_classes(data, "val")
    if train != test:
        odd = ", ".join(sorted(train ^ test)[:5])
        yield Fault("data.folder", f"train and val in '{root}' have different classes: {odd}")
    if data.shorter_side < data.size:
        message = f"{data.shorter_side} is less than the central crop of {data.size}; null is 8/7 of it"
        yield Fault("data.resize", message)
    if data.channels not in (1, 3):
        yield Fault("data.channels", f"images are read with 1 or 3 channels, not {data.channels}")
    for key, values in (("mean", data.mean), ("std", data.std)):
        if len(values) != data.channels:
            message = f"{len(values)} values for {data.channels} channel{'s' if data.channels > 1 else ''}"
            yield Fault(f"data.{key}", message)
    if data.classes not in (None, len(train)):
        message = f"'{root / 'train'}' has {len(train)} classes, not {data.classes}"
        yield Fault("data.classes", message)


def _preflight_folder_classes(data: FolderData, part: str) -> set[str]:
    return {folder.name for folder in (Path(data.folder).expanduser() / part).iterdir() if folder.is_dir()}
