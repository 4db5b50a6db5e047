"""The result of training one network: a JSON file, written atomically, readable while training goes on."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from resnet_factory.config.file_access import write_whole_file
from resnet_factory.study.jobs import StudyJob
from resnet_factory.study.settings import FolderData

RUNNING, DONE, DIVERGED, FAILED = "running", "done", "diverged", "failed"
RESULT_FILE, CHECKPOINT, WEIGHTS = FILES = "result.json", "checkpoint.pt", "weights.safetensors"
"""The files in a job's folder: always, during training, after training."""


class EvaluationResult(NamedTuple):
    """Error and loss over a whole data set, in evaluation mode."""

    error: float
    """Percent of the images, top-1."""
    loss: float
    """Mean cross-entropy."""


class EpochRecord(NamedTuple):
    """Errors and losses at the end of an epoch; those of training are means over its batches."""

    iteration: int
    train_error: float
    train_loss: float
    test_error: float
    test_loss: float


class LayerProbeResult(NamedTuple):
    """Gradients and responses of layers from input to output, on one batch in training mode."""

    gradient_layers: tuple[str, ...]
    gradients: tuple[float, ...]
    """Euclidean norm of the gradient of each weight."""
    response_layers: tuple[str, ...]
    responses: tuple[float, ...]
    """Standard deviation of each convolution's output after its norm (He et al. 2015, figure 7)."""


@dataclass(kw_only=True)
class TrainingResult:
    """The result of training one network, finished or so far; its fields are the keys of the file."""

    id: str
    label: str
    series: str
    depth: int
    params: int
    macs: int
    rate: float
    """Learning rate."""
    seed: int
    state: str = RUNNING
    reason: str = ""
    """The reason of `diverged` or `failed`."""
    iteration: int = 0
    iterations: int = 0
    train: EvaluationResult | None = None
    """Over the training set after training, without augmentation."""
    test: EvaluationResult | None = None
    history: list[EpochRecord] = field(default_factory=list)
    start: LayerProbeResult | None = None
    end: LayerProbeResult | None = None
    seconds: float = 0.0
    place: str = ""
    """Machine and versions."""
    date: str = ""
    """The day it ended."""
    images: str = ""
    """The transforms of images from folders."""

    @property
    def finished(self) -> bool:
        """Return whether there is nothing more to train."""
        return self.state in (DONE, DIVERGED)

    def write(self, folder: Path) -> None:
        """Write `result.json` into `folder`.

        Raises:
            OSError: the folder cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        write_whole_file(folder / RESULT_FILE, json.dumps(result_to_dict(self), allow_nan=False))


def new_result(job: StudyJob) -> TrainingResult:
    """Return the result of a job before its first iteration."""
    return TrainingResult(
        id=job.id, label=job.label, series=job.series, depth=job.depth, params=job.params, macs=job.macs,
        rate=job.rate, seed=job.seed, images=job.data.transform if isinstance(job.data, FolderData) else "",
    )  # fmt: skip


def failed_result(job: StudyJob, reason: str, folder: Path | None) -> TrainingResult:
    """Return, and try to write, the result of a job that failed; it is tried again next time."""
    found = replace(new_result(job), state=FAILED, reason=reason)
    if folder is not None:
        with contextlib.suppress(OSError):
            found.write(folder)
    return found


def read_result(folder: Path) -> TrainingResult | None:
    """Return the result in `folder`, if there is one that can be read."""
    try:
        return result_from_dict(json.loads((folder / RESULT_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def result_to_dict(result: TrainingResult) -> dict[str, Any]:
    """Return plain data; a number that is not finite is null."""
    plain: dict[str, Any] = _finite_training_result(asdict(result))
    return plain


def result_from_dict(data: Mapping[str, Any]) -> TrainingResult:
    """Return a result from its plain data; null is NaN."""
    values = {entry.name: data[entry.name] for entry in fields(TrainingResult)}
    for name, kind in {
        "train": EvaluationResult,
        "test": EvaluationResult,
        "start": LayerProbeResult,
        "end": LayerProbeResult,
    }.items():
        if values[name] is not None:
            values[name] = kind(*map(_training_result_with_nan, values[name]))
    values["history"] = [EpochRecord(*map(_training_result_with_nan, epoch)) for epoch in values["history"]]
    return TrainingResult(**values)


def _training_result_with_nan(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_training_result_with_nan, value))
    return math.nan if value is None else value


def _finite_training_result(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite_training_result(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite_training_result(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
