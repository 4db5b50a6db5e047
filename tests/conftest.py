"""What several tests share: the references made importable, golden files, the shipped models."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import Phase, settings
from references import MODELS

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"

# Two workers on two cores: one thread each is faster than two, and sums come out in one order.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")


def _declare_torchvision_operators() -> torch.library.Library:
    """What torchvision's Python needs where its compiled operators do not load: two schemas."""
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name, threshold in (("nms", "iou_threshold"), ("qnms", "iou_threshold")):
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}(Tensor dets, Tensor scores, float {threshold}) -> Tensor")  # type: ignore[no-untyped-call]
    return library


_LIBRARY = _declare_torchvision_operators()
"""Kept alive: the schemas go with the object."""


# A shell's background jobs ignore Ctrl-C, and so would the commands that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# One budget for every run, the same examples each time; `--hypothesis-profile=long` searches on.
_PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
settings.register_profile(
    "every_run", max_examples=60, derandomize=True, deadline=None, database=None, phases=_PHASES
)
settings.register_profile("long", max_examples=3000, deadline=None, phases=_PHASES)
settings.load_profile("every_run")


def pytest_addoption(parser: pytest.Parser) -> None:
    """One flag rewrites every golden file from what the code says now."""
    parser.addoption("--refresh-golden", action="store_true", help="rewrite tests/golden from current output")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Hold a text against tests/golden/NAME."""

    def check(name: str, text: str) -> None:
        file = GOLDEN / name
        if request.config.getoption("--refresh-golden"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        assert text == file.read_text(encoding="utf-8")

    return check


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A table of the reference networks: family, models, equal."""
    families: dict[str, list[bool]] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            if (
                found := re.search(r"equals_the_reference\[(\w+)/(.+)\]", report.nodeid)
            ) and report.when == "call":
                source = MODELS.get(f"{found[1]}/{found[2]}", {}).get("source", "timm nf_resnet")
                families.setdefault(source, []).append(outcome == "passed")
    if families:
        terminalreporter.section("reference networks")
        for source, equal in sorted(families.items()):
            terminalreporter.write_line(f"{source:<24} {len(equal):>3} models {sum(equal):>3} equal")
