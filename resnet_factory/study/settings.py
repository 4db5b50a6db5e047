"""Settings of a study as typed data, without Hydra and torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field
from typing import Any, Literal


def setting_minimum(least: float, default: Any = MISSING) -> Any:
    """Return a field whose values are not less than `least`."""
    return field(metadata={"least": least}, default=default)


def setting_above(limit: float) -> Any:
    """Return a field whose values are greater than `limit`."""
    return field(metadata={"above": limit})


@dataclass(frozen=True, kw_only=True)
class ArrayData:
    """A data set that fits in memory: digits, CIFAR."""

    source: Literal["digits", "cifar10", "cifar100"]
    folder: str | None = None
    channels: int = setting_minimum(1)
    classes: int = setting_minimum(2)
    size: int = setting_minimum(1)
    center: Literal["channel", "pixel"] = "channel"
    """The mean over the training images that is subtracted: one number per channel, or one per pixel."""
    scale: bool = True
    """Divide by the standard deviation of each channel."""
    pad: int = setting_minimum(0, default=0)
    """Padding before a random crop, while training."""
    flip: bool = False


@dataclass(frozen=True, kw_only=True)
class FolderData:
    """Images in folders named by class, read from disk in every epoch."""

    source: Literal["folder"]
    folder: str = ""
    channels: int = setting_minimum(1, default=3)
    classes: int | None = None
    size: int = setting_minimum(1)
    resize: int | None = setting_minimum(1, default=None)
    """The shorter side before the central crop of a test image; None: 8/7 of `size`, as 256 is of 224."""
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    flip: bool = True

    @property
    def shorter_side(self) -> int:
        """Return the pixels of a test image's shorter side before its central crop."""
        return round(self.size * 8 / 7) if self.resize is None else self.resize

    @property
    def transform(self) -> str:
        """Return the transforms as text."""
        mirrored = ", half of them mirrored" if self.flip else ""
        return (
            f"training images: random crops resized to {self.size}x{self.size}{mirrored}; test images: "
            f"shorter side to {self.shorter_side}, central {self.size}x{self.size}"
        )


DataSettings = ArrayData | FolderData


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Settings of training, the same for every network of a study."""

    epochs: int | None = setting_minimum(1, default=15)
    iterations: int | None = setting_minimum(1, default=None)
    batch: int = setting_minimum(1, default=128)
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = setting_minimum(0, default=0.9)
    weight_decay: float = setting_minimum(0, default=0.0)
    label_smoothing: float = setting_minimum(0, default=0.0)
    clip: float | None = setting_minimum(0, default=None)
    schedule: Literal["one_cycle", "cosine", "steps", "constant"] = "one_cycle"
    milestones: tuple[float, ...] = (0.5, 0.75)
    warmup: int = setting_minimum(0, default=0)


@dataclass(frozen=True, kw_only=True)
class MachineSettings:
    """Device and precision, which change results by rounding only."""

    device: str = "auto"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    channels_last: bool = False
    compile: bool = False
    sync_batch_norm: bool = False
    threads: int = setting_minimum(1, default=1)
    jobs: int | None = setting_minimum(0, default=None)
    loaders: int | None = setting_minimum(0, default=None)
    """Processes that read image files; None: none for a few images, else as many as cores, at most four."""
    checkpoint: float = setting_minimum(0, default=30.0)


@dataclass(frozen=True, kw_only=True)
class PublishedError:
    """A test error from a paper, shown beside ours."""

    model: str
    data: str
    error: float
    where: str


@dataclass(frozen=True, kw_only=True)
class StudyModelSettings:
    """A network of a study with its own overrides, and its series."""

    name: str
    overrides: tuple[str, ...]
    series: str
    path: str
    """The key that it was written at."""

    @property
    def text(self) -> str:
        """Return it as it was written."""
        return " ".join([self.name, *self.overrides])


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """Settings of a study."""

    name: str
    title: str
    notes: tuple[str, ...]
    entries: tuple[StudyModelSettings, ...]
    """Empty: the one composed `model`."""
    overrides: tuple[str, ...]
    seeds: tuple[int, ...] = setting_minimum(0)
    rates: tuple[float, ...] = setting_above(0)
    """Learning rates."""
    train: TrainSettings
    per_model: Mapping[str, TrainSettings]
    data: DataSettings
    machine: MachineSettings
    out: str
    resume: bool
    paper: tuple[PublishedError, ...]
