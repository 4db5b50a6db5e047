"""What a study is set to: plain typed data. No Hydra, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


def _least(least: float, **more: Any) -> Any:
    return field(metadata={"least": least}, **more)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A data set that fits in memory: digits, CIFAR."""

    source: Literal["digits", "cifar10", "cifar100"]
    folder: str | None = None
    channels: int = _least(1)
    classes: int = _least(2)
    size: int = _least(1)
    center: Literal["channel", "pixel"] = "channel"
    """Which mean over the training images is taken off: one number per channel, or one per pixel."""
    scale: bool = True
    """Whether to divide by each channel's standard deviation as well."""
    pad: int = _least(0, default=0)
    """A random crop of the image padded by this much, while training."""
    flip: bool = False


@dataclass(frozen=True, kw_only=True)
class Folder:
    """Images in folders named by class; read from disk again and again."""

    source: Literal["folder"]
    folder: str = ""
    channels: int = _least(1, default=3)
    classes: int | None = None
    size: int = _least(1)
    resize: int | None = _least(1, default=None)
    """The shorter side before the central crop of a test image; None: 8/7 of `size`, as 256 is of 224."""
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    flip: bool = True

    @property
    def shorter_side(self) -> int:
        """Pixels of a test image's shorter side before its central crop."""
        return round(self.size * 8 / 7) if self.resize is None else self.resize

    @property
    def transform(self) -> str:
        """The transforms in force, in words."""
        mirrored = ", half of them mirrored" if self.flip else ""
        return (
            f"training images: random crops resized to {self.size}x{self.size}{mirrored}; test images: "
            f"shorter side to {self.shorter_side}, central {self.size}x{self.size}"
        )


Data = Table | Folder


@dataclass(frozen=True, kw_only=True)
class Train:
    """How one network is trained; every network of a study in the same way."""

    epochs: int | None = _least(1, default=15)
    iterations: int | None = _least(1, default=None)
    batch: int = _least(1, default=128)
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = _least(0, default=0.9)
    weight_decay: float = _least(0, default=0.0)
    label_smoothing: float = _least(0, default=0.0)
    clip: float | None = _least(0, default=None)
    schedule: Literal["one_cycle", "cosine", "steps", "constant"] = "one_cycle"
    milestones: tuple[float, ...] = (0.5, 0.75)
    warmup: int = _least(0, default=0)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where and how fast; what it says changes no result but for rounding."""

    device: str = "auto"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    channels_last: bool = False
    compile: bool = False
    sync_batch_norm: bool = False
    threads: int = _least(1, default=1)
    jobs: int | None = _least(0, default=None)
    loaders: int | None = _least(0, default=None)
    """Processes that read image files; None: none for a few images, else as many as cores, at most four."""
    checkpoint: float = _least(0, default=30.0)


@dataclass(frozen=True, kw_only=True)
class Published:
    """A figure from a paper, to print beside ours."""

    model: str
    data: str
    error: float
    where: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One network of a study: its name, the overrides of its own, and the line it belongs to."""

    name: str
    overrides: tuple[str, ...]
    series: str
    path: str
    """Where it was written."""

    @property
    def text(self) -> str:
        """As it was written."""
        return " ".join([self.name, *self.overrides])


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A whole study."""

    name: str
    title: str
    notes: tuple[str, ...]
    entries: tuple[Entry, ...]
    """Empty: the one composed `model`."""
    overrides: tuple[str, ...]
    seeds: tuple[int, ...]
    rates: tuple[float, ...]
    train: Train
    per_model: Mapping[str, Train]
    data: Data
    machine: Machine
    out: str
    resume: bool
    paper: tuple[Published, ...]
