"""Whether a study can begin: its settings read, its packages installed, its folders there."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from resnet_factory.config.composition import Composed, choices
from resnet_factory.errors import ConfigError, Fault, install_hint, unknown
from resnet_factory.study.settings import Data, Settings, Table
from resnet_factory.study.settings_reader import read

NEEDS = {
    "digits": {"sklearn": "scikit-learn"},
    "cifar10": {"torchvision": "torchvision"},
    "cifar100": {"torchvision": "torchvision"},
    "folder": {"torchvision": "torchvision"},
}
"""Source -> what reads it: import name and package."""
ARCHIVES = {
    "cifar10": ("cifar-10-batches-py", "cifar-10-python.tar.gz"),
    "cifar100": ("cifar-100-python", "cifar-100-python.tar.gz"),
}
"""Source -> the folder that its archive holds, and the archive."""
DRAWS = {"matplotlib": "matplotlib", "jinja2": "jinja2"}


def ready(composed: Composed) -> Settings:
    """A composed study's settings, with what only the machine knows filled in.

    Imports no torch but where torchvision reads the data.

    Raises:
        ConfigError: with every fault in the settings, or naming what is missing on this machine.
    """
    try:
        settings = read(composed.data)
        known = choices("model", composed.config_dir)
        if odd := [name for name in settings.per_model if name not in known]:
            raise ConfigError([Fault(f"per_model.{name}", unknown("model", name, known)) for name in odd])
        _require(settings.data)
        return replace(settings, data=_found(settings.data))
    except ConfigError as error:
        raise ConfigError(map(composed.locate, error.faults)) from None


def _require(data: Data) -> None:
    missing = [name for module, name in (NEEDS[data.source] | DRAWS).items() if find_spec(module) is None]
    if missing:
        message = f"this study needs {' and '.join(missing)}; {install_hint('study')}"
        raise ConfigError([Fault("data.source", message)])
    for module, package in NEEDS[data.source].items():
        try:
            import_module(module)
        except Exception as error:  # noqa: BLE001 - whatever it was, no network could be trained
            raise ConfigError([Fault("data.source", _broken(package, error))]) from None


def _broken(package: str, error: Exception) -> str:
    """What to say of a package that is there and cannot be imported."""
    message = f"{package} {_version(package)} is installed, but cannot be imported"
    message += f" ({type(error).__name__}: {' '.join(str(error).split())})"
    if package != "torchvision":
        return f"{message}; install it anew"
    if (wanted := _torch_of_torchvision()) not in ("", _version("torch").partition("+")[0]):
        message += f"; it is built for torch {wanted}, but torch {_version('torch')} is installed"
    return f"{message}; install the torchvision built for torch {_version('torch')}: both from one index"


def _torch_of_torchvision() -> str:
    """The version of torch that the installed torchvision is built for; empty where it does not say."""
    for line in requires("torchvision") or []:
        if match := re.match(r"torch\s*\(?==\s*([\w.]+)", line):
            return match[1]
    return ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of unknown version"


def _found(data: Data) -> Data:
    """The same data, its folder looked at and its classes counted."""
    if isinstance(data, Table):
        return _table_found(data)
    root = Path(data.folder).expanduser()
    faults = [
        Fault(
            "data.folder", f"no folder '{root / part}'; expected FOLDER/train/CLASS/* and FOLDER/val/CLASS/*"
        )
        for part in ("train", "val")
        if not (root / part).is_dir()
    ]
    if faults:
        raise ConfigError(faults)
    train, test = (sorted(f.name for f in (root / part).iterdir() if f.is_dir()) for part in ("train", "val"))
    if train != test:
        odd = ", ".join(sorted(set(train) ^ set(test))[:5])
        raise ConfigError([Fault("data.folder", f"train and val in '{root}' have different classes: {odd}")])
    if data.shorter_side < data.size:
        message = f"{data.shorter_side} is less than the central crop of {data.size}; null is 8/7 of it"
        raise ConfigError([Fault("data.resize", message)])
    if data.channels not in (1, 3):
        raise ConfigError(
            [Fault("data.channels", f"images are read with 1 or 3 channels, not {data.channels}")]
        )
    for key, values in (("mean", data.mean), ("std", data.std)):
        if len(values) != data.channels:
            message = f"{len(values)} values for {data.channels} channel{'s' if data.channels > 1 else ''}"
            raise ConfigError([Fault(f"data.{key}", message)])
    if data.classes not in (None, len(train)):
        raise ConfigError(
            [Fault("data.classes", f"'{root / 'train'}' has {len(train)} classes, not {data.classes}")]
        )
    return replace(data, classes=len(train), resize=data.shorter_side)


def _table_found(data: Table) -> Table:
    inside = ARCHIVES.get(data.source)
    if inside is None:
        if data.folder is not None:
            message = f"{data.source} come with their library and are read from no folder; leave it out"
            raise ConfigError([Fault("data.folder", message)])
        return data
    root = Path(data.folder or "").expanduser()
    if not (root / inside[0]).is_dir():
        message = f"no '{root / inside[0]}'; unpack {inside[1]} into the folder, or give data.folder="
        raise ConfigError([Fault("data.folder", message)])
    return data
