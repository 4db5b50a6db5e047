"""The commands: the import path of each function, and a one-line help text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from resnet_factory.errors import Fault


@dataclass(frozen=True)
class Verb:
    """One command: the import path of its function, and a one-line help text."""

    place: str
    help: str
    composes: bool = True
    """Whether its arguments are overrides of a composed configuration."""
    verbatim: tuple[str, ...] = ()
    """Keys whose value holds overrides and is taken literally, without the quotes that Hydra requires."""
    sweeps: bool = False
    """Whether it handles overrides with several values itself, instead of Hydra."""
    check: str = ""
    """Import path of the function that returns the faults of its own keys, if any."""
    writes: str = ""
    """The key of its output file, if any."""
    figures: str = ""
    """Import path of the function that returns additional columns of a job's row in a multirun, if any."""

    def load(self) -> Callable[..., int]:
        """Import the function; done late so that help and completion stay fast."""
        return _import_verb_function(self.place)

    def load_check(self) -> Callable[[Mapping[str, Any]], list[Fault]] | None:
        """Import the function that checks its keys."""
        return _import_verb_function(self.check) if self.check else None

    def load_figures(self) -> Callable[..., Mapping[str, float]] | None:
        """Import the function that returns a job's additional columns."""
        return _import_verb_function(self.figures) if self.figures else None


def _import_verb_function(place: str) -> Callable[..., Any]:
    module, function = place.split(":")
    loaded = getattr(import_module(f"resnet_factory.{module}"), function)
    assert callable(loaded)
    return loaded  # type: ignore[no-any-return]


VERBS = {
    "build": Verb(
        "cli.commands:build_command",
        "compose, plan and build a network, check it and summarise it (the default)",
        check="cli.commands:build_command_faults",
        writes="save",
    ),
    "describe": Verb(
        "cli.commands:describe_command",
        "print the cost of a network: by stage, block or layer, as text or data",
        check="cli.commands:describe_command_faults",
    ),
    "diff": Verb(
        "cli.comparison:diff_command", "compare two networks: diff model=A with=B", verbatim=("with",)
    ),
    "draw": Verb(
        "cli.drawing:draw_command",
        "draw a network as SVG or Mermaid: draw [file=NAME.svg]",
        check="cli.drawing:draw_command_faults",
        writes="file",
    ),
    "explain": Verb(
        "cli.commands:explain_command",
        "explain the arithmetic of a network step by step, with warnings",
        check="cli.commands:explain_command_faults",
    ),
    "export": Verb(
        "cli.exporting:export_command",
        "write a network for ONNX, OpenVINO or torch, or weights with other libraries' names",
        check="cli.exporting:export_command_faults",
        writes="file",
    ),
    "benchmark": Verb(
        "cli.benchmarking:benchmark_command",
        "time networks in several runtimes: benchmark model=A,B runtime=eager,onnxruntime batch=1,8",
        composes=False,
        sweeps=True,
    ),
    "study": Verb(
        "study.command:study_command",
        "train and compare several networks, such as plain and residual ones",
        verbatim=("overrides",),
        figures="study.command:study_command_figures",
    ),
    "list": Verb("cli.commands:list_command", "list the named models: list [PATTERN]", composes=False),
    "sweep": Verb(
        "sweep.commands:sweep_command",
        "sample and evaluate architectures of a design space: sweep space=…",
        composes=False,
        sweeps=True,
    ),
    "report": Verb(
        "sweep.commands:report_command",
        "write a sweep's results as one HTML page: report DIR",
        composes=False,
    ),
}
