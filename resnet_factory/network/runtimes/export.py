"""Export a network to a runtime's file, and hold what that file computes against the network itself."""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from resnet_factory.config.file_access import output_file_faults
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.layers import axes_text
from resnet_factory.network.folding import fold
from resnet_factory.network.network import Network
from resnet_factory.network.runtimes.formats import (
    FORMATS,
    Format,
    Run,
    files_of_format,
    size_of_format_files,
)
from resnet_factory.network.runtimes.packages import runtime_package_faults
from resnet_factory.network.runtimes.program import Program, outputs_as_tuple, trace_program

TOLERANCE = 1e-4
"""Allowed difference of an output in single precision, relative to the largest of its values."""
SEED = 0
"""Seed of the random images that the two are compared on."""
FREEDOM = {
    "size": "any number of images of any size",
    "batch": "any number of images of one size",
    "none": "one image of one size",
}


@dataclass(frozen=True)
class ExportedFile:
    """A written file, and how far its outputs are from the network's."""

    file: Path
    title: str
    bytes: int
    image: tuple[int, ...]
    dynamic: str
    outputs: tuple[str, ...]
    difference: float
    """The largest difference of an output from the network's, relative to the largest of its values."""
    tolerance: float
    compared: tuple[tuple[int, ...], ...]
    """The shapes of the random inputs compared."""

    def __str__(self) -> str:
        shapes, outputs = ", ".join(map(axes_text, self.compared)), ", ".join(self.outputs)
        return "\n".join(
            [
                f"{self.file}, {self.title}, {self.bytes / 1e6:.1f} MB",
                f"  takes {FREEDOM[self.dynamic]}, as {axes_text(self.image)}; gives {outputs}",
                f"  largest difference from the network: {self.difference:.1e} of the largest output, "
                f"allowed {self.tolerance:.0e} (random inputs {shapes})",
            ]
        )


def export_program(
    network: Network,
    file: Path,
    to: str,
    *,
    image: tuple[int, ...] | None = None,
    dynamic: str | None = None,
    folded: bool = True,
    tolerance: float = TOLERANCE,
    metadata: Mapping[str, str] | None = None,
) -> ExportedFile:
    """Write a network for the runtime `to`, in evaluation mode and single precision, and try what is written.

    The network is folded first, unless `folded` is false; `dynamic` is one of program.DYNAMIC, or None for as
    much as it allows. The file is written beside its place, and renamed when its outputs for random images
    agree with the network's own, within `tolerance` of the largest output.

    Raises:
        ConfigError: a package is missing, the network cannot be exported, the file cannot be written, or its
            outputs differ; nothing is left on disk.
    """
    form = FORMATS[to]
    if faults := runtime_package_faults(to, "to") + output_file_faults(file, "file", form.kind):
        raise ConfigError(faults)
    shape = image or network.plan.image
    reference = _network_ready_for_export(network)
    small = fold(reference, in_place=False) if folded else reference
    stated = {
        "name": network.plan.name,
        "plan_id": network.plan.id,
        "folded_plan_id": small.plan.id if folded else "",
        **(metadata or {}),
    }
    program = trace_program(small, shape, dynamic, {key: value for key, value in stated.items() if value})
    target = file.expanduser().resolve()
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
            made = Path(folder) / target.name
            difference = _write_and_compare_export(form, program, made, reference)
            if not difference <= tolerance:
                raise ConfigError(
                    [Fault("tolerance", _export_difference_message(form.title, difference, tolerance))]
                )
            size = size_of_format_files(made)
            for part in files_of_format(made):
                shutil.move(part, target.with_name(part.name))
    except OSError as error:
        raise ConfigError([Fault("file", f"'{file}' cannot be written: {error.strerror or error}")]) from None
    return ExportedFile(
        file,
        form.title,
        size,
        shape,
        program.dynamic,
        program.outputs,
        difference,
        tolerance,
        tuple(program.shapes()),
    )


def _export_difference_message(title: str, difference: float, tolerance: float) -> str:
    return (
        f"what {title} computes differs from the network by {difference:.1e} of the largest output, "
        f"allowed is {tolerance:g}; nothing was written"
    )


def _network_ready_for_export(network: Network) -> Network:
    """Return a network in evaluation mode: itself, or a copy."""
    if not network.training and not any(module.training for module in network.modules()):
        return network
    return copy.deepcopy(network).eval()


def _write_and_compare_export(form: Format, program: Program, file: Path, network: Network) -> float:
    """Write a program and compare it with the network; what an exporter or a runtime raises is a fault."""
    doing = "cannot express this network"
    try:
        form.write(program, file)
        doing = "cannot run what it wrote"
        return compare_exported_outputs(network, form.read(file, None), program)
    except (ConfigError, OSError):
        raise
    except Exception as error:
        last = next(iter(str(error).strip().splitlines()[::-1]), type(error).__name__)
        raise ConfigError([Fault("to", f"{form.title} {doing}: {last}; nothing was written")]) from error


def compare_exported_outputs(network: Network, run: Run, program: Program) -> float:
    """Return the largest relative difference of a runtime's outputs from the network's, for random images."""
    generator = torch.Generator().manual_seed(SEED)
    worst = 0.0
    for shape in program.shapes():
        images = torch.randn(shape, generator=generator)
        with torch.no_grad():
            wanted = outputs_as_tuple(network(images))
        for one, other in zip(wanted, run(images), strict=True):
            worst = max(worst, relative_export_difference(one, other))
    return worst


def relative_export_difference(wanted: Tensor, found: Tensor) -> float:
    """Return the largest difference, relative to the largest value; infinite where shapes or numbers lack."""
    if wanted.shape != found.shape or not bool(torch.isfinite(found).all()):
        return float("inf")
    return float((wanted - found).abs().max() / wanted.abs().max().clamp_min(1e-30))
