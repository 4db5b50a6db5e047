"""The recipes of docs/ecosystem.md, run with the libraries that they name."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from conftest import ROOT
from torch import Tensor

PAGE = (ROOT / "docs" / "ecosystem.md").read_text(encoding="utf-8")
SECTIONS = re.split(r"^## ", PAGE, flags=re.M)[1:]
RECIPES = [
    pytest.param(code, id=f"{section.splitlines()[0]} {i}")
    for section in SECTIONS
    for i, code in enumerate(re.findall(r"^```python\n(.*?)^```$", section, flags=re.M | re.S))
]


@pytest.fixture
def operators(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's detection in Python, where its compiled operators do not load."""
    library: Any = torchvision
    if library.extension._has_ops():
        return
    align: Any = import_module("torchvision.ops.roi_align")
    monkeypatch.setattr(align, "_roi_align", align._roi_align.__wrapped__)
    monkeypatch.setattr(import_module("torchvision.ops.boxes"), "nms", suppressed)


def suppressed(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return the places of boxes that no better one covers by more than the threshold."""
    library: Any = torchvision
    covered = library.ops.box_iou(boxes, boxes) > iou_threshold
    kept: list[int] = []
    for place in scores.argsort(descending=True).tolist():
        if not covered[place, kept].any():
            kept.append(place)
    return torch.tensor(kept, dtype=torch.int64)


@pytest.mark.usefixtures("operators")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("code", RECIPES)
def test_recipes_run(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in re.findall(r"^(?:import|from) (\w+)", code, flags=re.M):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    exec(compile(code, "docs/ecosystem.md", "exec"), {"__name__": "recipe"})
