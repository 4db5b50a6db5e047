"""A network as one graph of torch operators, for images of any number and, where it can be, of any size."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from resnet_factory.errors import ConfigError, Fault
from resnet_factory.network.network import Network
from resnet_factory.network.runtimes.choices import BATCH, DYNAMIC, NONE, SIZE

INPUT = "input"
"""The name of the input."""
OUTPUT = "output"
"""The name of the output of a network that is no backbone."""


@dataclass(frozen=True)
class Program:
    """A network's graph, and what a file of it states."""

    graph: ExportedProgram
    image: tuple[int, ...]
    """The shape of an image, (C, H, W) in 2 dimensions; an example where sizes may differ."""
    dynamic: str
    """One of DYNAMIC."""
    outputs: tuple[str, ...]
    metadata: dict[str, str] = field(default_factory=dict)

    def shapes(self) -> list[tuple[int, ...]]:
        """Return the shapes of inputs that it is to be tried with."""
        if self.dynamic == NONE:
            return [(1, *self.image)]
        tried = [(1, *self.image), (3, *self.image)]
        if self.dynamic == SIZE:
            tried.append((2, *self.other_image()))
        return tried

    def other_image(self) -> tuple[int, ...]:
        """Return an image of another size, with sides that differ."""
        return (self.image[0], *(side + 32 * (axis + 1) for axis, side in enumerate(self.image[1:])))


class ProgramOutputs(nn.Module):
    """A network whose maps come as a tuple, as formats without dictionaries want them."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, input: Tensor) -> tuple[Tensor, ...]:
        """Return the output of (N, C, H, W) images, or the maps of a backbone in order."""
        return outputs_as_tuple(self.network(input))


def outputs_as_tuple(output: Tensor | dict[str, Tensor] | Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return a network's output, or its maps in order."""
    if isinstance(output, Tensor):
        return (output,)
    return tuple(output.values() if isinstance(output, dict) else output)


def output_names(network: Network) -> tuple[str, ...]:
    """Return the names of the maps of a backbone, or OUTPUT."""
    return tuple(feature.name for feature in network.plan.features) or (OUTPUT,)


@contextmanager
def silence_exporters() -> Iterator[None]:
    """Silence exporters' warnings about their internals, such as that torchvision is not installed."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            log.setLevel(level)


def trace_program(
    network: Network, image: tuple[int, ...], dynamic: str | None, metadata: dict[str, str]
) -> Program:
    """Return the graph of a network in evaluation mode; `dynamic` None allows as much freedom as possible.

    Raises:
        ConfigError: the network cannot be traced with that freedom.
    """
    names = output_names(network)
    for kind in DYNAMIC if dynamic is None else (dynamic,):
        axes = {SIZE: (0, *range(2, 1 + len(image))), BATCH: (0,), NONE: ()}[kind]
        shapes = dict.fromkeys(axes, Dim.DYNAMIC)
        # An example of 0 or 1 images would fix their number.
        example = torch.zeros(2 if 0 in axes else 1, *image)
        try:
            with silence_exporters(), torch.no_grad():
                graph = torch.export.export(
                    ProgramOutputs(network), (example,), dynamic_shapes=(shapes,), strict=False
                )
            program = Program(graph, image, kind, names, {**metadata, "dynamic": kind})
            _run_program_once(program)
        except Exception as error:  # noqa: BLE001  # the exporter raises what it likes
            last = error
            continue
        return program
    first = str(last).strip().splitlines()[0]
    raise ConfigError([Fault("to", f"torch.export cannot trace this network: {first}")]) from None


def _run_program_once(program: Program) -> None:
    """Run the graph at every shape that it is said to take."""
    module = program.graph.module()
    with torch.no_grad():
        for shape in program.shapes():
            module(torch.zeros(shape))
