"""What became of a job: one JSON file, written whole or not at all, readable while the job still runs."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from resnet_factory.config.file_access import write_whole
from resnet_factory.study.jobs import Job
from resnet_factory.study.settings import Folder

RUNNING, DONE, DIVERGED, FAILED = "running", "done", "diverged", "failed"
FILE, CHECKPOINT, WEIGHTS = FILES = "result.json", "checkpoint.pt", "weights.safetensors"
"""What lies in a job's folder: for people and reports, while it runs, once it is done."""


class Score(NamedTuple):
    """A whole data set through a network in evaluation mode."""

    error: float
    """Percent of the images whose most likely class is another."""
    loss: float
    """Mean cross-entropy."""


class Epoch(NamedTuple):
    """How things stood at the end of an epoch; training figures are means over its batches as they came."""

    iteration: int
    train_error: float
    train_loss: float
    test_error: float
    test_loss: float


class Probe(NamedTuple):
    """A look inside, layer by layer from the image to the answer, on one fixed batch in training mode."""

    gradient_layers: tuple[str, ...]
    gradients: tuple[float, ...]
    """Euclidean norm of the loss's gradient in each weight."""
    response_layers: tuple[str, ...]
    responses: tuple[float, ...]
    """Standard deviation of what each convolution puts out, behind its norm (He et al. 2015, figure 7)."""


@dataclass(kw_only=True)
class Outcome:
    """One trained network, or how far it came and why no further."""

    id: str
    label: str
    series: str
    depth: int
    params: int
    macs: int
    rate: float
    seed: int
    state: str = RUNNING
    reason: str = ""
    iteration: int = 0
    iterations: int = 0
    train: Score | None = None
    """The whole training set at the end, without augmentation."""
    test: Score | None = None
    history: list[Epoch] = field(default_factory=list)
    start: Probe | None = None
    end: Probe | None = None
    seconds: float = 0.0
    place: str = ""
    """The kind of machine, and the versions of what computed."""
    date: str = ""
    """The day it ended."""
    images: str = ""
    """The transforms of images that were read from folders."""

    @property
    def finished(self) -> bool:
        """Whether there is nothing more to do: it is done, or cannot go on."""
        return self.state in (DONE, DIVERGED)

    def write(self, folder: Path) -> None:
        """Write `result.json` into `folder`.

        Raises:
            OSError: the folder cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / FILE, json.dumps(to_dict(self), allow_nan=False))


def begun(job: Job) -> Outcome:
    """The outcome of a job before its first iteration."""
    return Outcome(
        id=job.id, label=job.label, series=job.series, depth=job.depth, params=job.params, macs=job.macs,
        rate=job.rate, seed=job.seed, images=job.data.transform if isinstance(job.data, Folder) else "",
    )  # fmt: skip


def failed(job: Job, reason: str, folder: Path | None) -> Outcome:
    """The outcome of a job that could not be trained; written where that works, and tried again next time."""
    found = replace(begun(job), state=FAILED, reason=reason)
    if folder is not None:
        with contextlib.suppress(OSError):
            found.write(folder)
    return found


def read(folder: Path) -> Outcome | None:
    """The outcome in `folder`, if there is one that can be read."""
    try:
        data = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return from_dict(data)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def to_dict(outcome: Outcome) -> dict[str, Any]:
    """Plain data that `from_dict` reads; a number that is not finite is null."""
    plain = _finite(asdict(outcome))
    assert isinstance(plain, dict)
    return plain


def from_dict(data: Mapping[str, Any]) -> Outcome:
    """An outcome from its plain data; a null is a number that was not finite."""
    values = {entry.name: data[entry.name] for entry in fields(Outcome)}
    for name, kind in (("train", Score), ("test", Score), ("start", Probe), ("end", Probe)):
        if values[name] is not None:
            values[name] = kind(*map(_numbers, values[name]))
    values["history"] = [Epoch(*map(_numbers, epoch)) for epoch in values["history"]]
    return Outcome(**values)


def _numbers(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_numbers, value))
    return math.nan if value is None else value


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
