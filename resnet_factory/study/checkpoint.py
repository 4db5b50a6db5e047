"""Checkpoints of trainings, written atomically and read without running code from them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from resnet_factory.config.file_access import replacing_file
from resnet_factory.study.training_result import CHECKPOINT


def save_checkpoint(state: dict[str, Any], folder: Path) -> None:
    """Write `checkpoint.pt`; after a crash the previous or the new one is there.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with replacing_file(folder / CHECKPOINT) as file:
        torch.save(state, file)


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Return the state in `folder`, tensors on the CPU; None without a checkpoint.

    Raises:
        RuntimeError: the checkpoint cannot be read.
    """
    file = folder / CHECKPOINT
    if not file.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, OSError) as error:
        reason = " ".join(str(error).split())[:80]
        raise RuntimeError(f"{file} cannot be read ({reason}); delete it") from None
    return state
