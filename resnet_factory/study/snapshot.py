"""The state of a training run in one file: written whole or not at all, read without running code from it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from resnet_factory.config.file_access import replacing
from resnet_factory.study.result import CHECKPOINT as FILE


def save(state: dict[str, Any], folder: Path) -> None:
    """Write `checkpoint.pt`; a crash at any moment leaves the previous one or the new one.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / FILE) as file:
        torch.save(state, file)


def load(folder: Path) -> dict[str, Any] | None:
    """The state in `folder`, tensors on the CPU; None where there is no checkpoint.

    Raises:
        RuntimeError: there is one that cannot be read.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, OSError) as error:
        raise RuntimeError(
            f"{file} cannot be read ({' '.join(str(error).split())[:80]}); delete it"
        ) from None
    assert isinstance(state, dict)
    return state
