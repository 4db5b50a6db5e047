"""The commands: where each one's function is, and what it does in a line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from resnet_factory.errors import Fault


@dataclass(frozen=True)
class Verb:
    """One command: where its function is, and what it does in a line."""

    place: str
    help: str
    composes: bool = True
    """Whether its arguments are overrides of a composed configuration."""
    verbatim: tuple[str, ...] = ()
    """Keys whose value holds overrides itself and is taken as it stands, though Hydra would want quotes."""
    sweeps: bool = False
    """Whether it goes through several values itself; Hydra is then asked about the others."""
    check: str = ""
    """Place of the function that finds the faults in its own keys, where it has one."""
    writes: str = ""
    """The key of the file that it writes, where it writes one."""
    figures: str = ""
    """Place of the function that gives a job's row of a multirun its further columns, where it has one."""

    def load(self) -> Callable[..., int]:
        """Import the function; only now, so that help and completion stay quick."""
        return _imported(self.place)

    def load_check(self) -> Callable[[Mapping[str, Any]], list[Fault]] | None:
        """Import what checks its keys."""
        return _imported(self.check) if self.check else None

    def load_figures(self) -> Callable[..., Mapping[str, float]] | None:
        """Import what tells a job's figures."""
        return _imported(self.figures) if self.figures else None


def _imported(place: str) -> Callable[..., Any]:
    module, function = place.split(":")
    loaded = getattr(import_module(f"resnet_factory.{module}"), function)
    assert callable(loaded)
    return loaded  # type: ignore[no-any-return]


VERBS = {
    "build": Verb(
        "cli.commands:build",
        "compose, plan and build a network, check it and summarise it (the default)",
        check="cli.commands:build_faults",
        writes="save",
    ),
    "describe": Verb(
        "cli.commands:describe",
        "what a network costs: by stage, block or layer, as text or data",
        check="cli.commands:describe_faults",
    ),
    "diff": Verb(
        "cli.comparison:diff", "what differs between two networks: diff model=A with=B", verbatim=("with",)
    ),
    "draw": Verb(
        "cli.comparison:draw",
        "a picture as SVG or Mermaid: draw [file=NAME.svg]",
        check="cli.comparison:draw_faults",
        writes="file",
    ),
    "explain": Verb(
        "cli.commands:explain",
        "the arithmetic of a network spelled out, and what to mind about it",
        check="cli.commands:explain_faults",
    ),
    "export": Verb(
        "cli.commands:export",
        "write weights under timm's, torchvision's or pycls's names",
        check="cli.commands:export_faults",
        writes="file",
    ),
    "study": Verb(
        "study.command:study",
        "train networks side by side and report: why shortcuts",
        verbatim=("overrides",),
        figures="study.command:figures",
    ),
    "list": Verb("cli.commands:list_models", "the named models: list [PATTERN]", composes=False),
    "sweep": Verb(
        "sweep.commands:sweep",
        "many architectures of a design space: sweep space=…",
        composes=False,
        sweeps=True,
    ),
    "report": Verb("sweep.commands:report", "a sweep's results as one HTML page: report DIR", composes=False),
}
