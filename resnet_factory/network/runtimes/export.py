"""Export a network to a runtime's file, and compare the outputs of that file with the network's."""

from __future__ import annotations

import copy
import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from resnet_factory.config.file_access import output_file_faults
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.layers import axes_text
from resnet_factory.network.folding import fold
from resnet_factory.network.network import Network
from resnet_factory.network.runtimes.calibration import calibration_images
from resnet_factory.network.runtimes.formats import (
    FORMATS,
    Format,
    Run,
    files_of_format,
    save_openvino,
    size_of_format_files,
)
from resnet_factory.network.runtimes.packages import import_runtime_package, runtime_package_faults
from resnet_factory.network.runtimes.program import Program, outputs_as_tuple, trace_program
from resnet_factory.network.runtimes.quantisation import (
    Quantised,
    compare_quantised,
    int8_faults,
    quantise_onnx,
)
from resnet_factory.planning.anatomy import pretrained_cfg

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
    quantised: Quantised | None = None
    """The distance of the network in 8-bit integers; `difference` is then of single precision, before."""

    def __str__(self) -> str:
        shapes, outputs = ", ".join(map(axes_text, self.compared)), ", ".join(self.outputs)
        lines = [
            f"{self.file}, {self.title}, {self.bytes / 1e6:.1f} MB",
            f"takes {FREEDOM[self.dynamic]}, as {axes_text(self.image)}; gives {outputs}",
            f"largest difference from the network{' in single precision' if self.quantised else ''}: "
            f"{self.difference:.1e} of the largest output, allowed {self.tolerance:.0e} "
            f"(random inputs {shapes})",
            *([str(self.quantised)] if self.quantised else []),
        ]
        return "\n  ".join(lines)


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
    int8: Sequence[Path] = (),
    agreement: float | None = None,
) -> ExportedFile:
    """Write a network for the runtime `to`, in evaluation mode and single precision, and try what is written.

    The network is folded first, unless `folded` is false; `dynamic` is one of choices.DYNAMIC, or None for as
    much as it allows. The file is written beside its place, and renamed when its outputs for random images
    agree with the network's own, within `tolerance` of the largest output.

    With image files `int8`, a network for `onnx` or `openvino` is then quantised to 8-bit integers, whose
    ranges are those of the images, and compared with the network on these; `agreement` is the minimum
    fraction of them whose class must stay the same.

    Raises:
        ConfigError: a package is missing, the network cannot be exported, the file cannot be written, or its
            outputs differ; nothing is left on disk.
    """
    form = FORMATS[to]
    faults = runtime_package_faults(to, "to") + output_file_faults(file, "file", form.kind)
    if faults := faults + (int8_faults(network, to) if int8 else []):
        raise ConfigError(faults)
    shape = image or network.plan.image
    reference = _network_ready_for_export(network)
    small = fold(reference, in_place=False) if folded else reference
    stated = {
        "name": network.plan.name,
        "plan_id": network.plan.id,
        "folded_plan_id": small.plan.id if folded else "",
        **_image_metadata(network),
        **(metadata or {}),
        **({"precision": "int8", "calibrated_on": f"{len(int8)} images"} if int8 else {}),
    }
    program = trace_program(small, shape, dynamic, {key: value for key, value in stated.items() if value})
    target = file.expanduser().resolve()
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
            made = Path(folder) / target.name
            plain = made.with_name(f"{target.stem}.float32.onnx") if int8 else made
            difference = _write_and_compare_export(
                FORMATS["onnx"] if int8 else form, program, plain, reference
            )
            if not difference <= tolerance:
                raise ConfigError(
                    [Fault("tolerance", _export_difference_message(form.title, difference, tolerance))]
                )
            quantised = _quantised(to, program, plain, made, reference, int8, agreement) if int8 else None
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
        quantised,
    )


def _quantised(
    to: str,
    program: Program,
    plain: Path,
    file: Path,
    network: Network,
    images: Sequence[Path],
    agreement: float | None,
) -> Quantised:
    """Write a network in 8-bit integers from its ONNX file, and compare it on the calibration images."""
    form, settings = FORMATS[to], pretrained_cfg(network.plan) | network.pretrained_cfg
    read = partial(calibration_images, images, program.image, settings)
    written = plain.with_suffix(".int8.onnx") if to == "openvino" else file
    with _refusing(form, "cannot be quantised"):
        quantise_onnx(plain, written, read, program.metadata)
        if to == "openvino":
            save_openvino(import_runtime_package("openvino").convert_model(str(written)), program, file)
        found = compare_quantised(network, form.read(file, None), read)
    if not math.isfinite(found.difference):
        raise ConfigError(
            [
                Fault(
                    "int8",
                    f"{form.title} computes values that are not finite in 8-bit integers; nothing was "
                    "written",
                )
            ]
        )
    if agreement is not None and found.agreement is None:
        raise ConfigError(
            [Fault("agreement", "compares classes, but this network returns maps; nothing was written")]
        )
    if agreement is not None and found.agreement is not None and found.agreement < agreement:
        message = f"{found}; required is the same class for {agreement:.0%}; nothing was written"
        raise ConfigError([Fault("agreement", message)])
    return found


def _image_metadata(network: Network) -> dict[str, str]:
    """Return mean and standard deviation of a network's images, where they are known."""
    settings, assumed = network.pretrained_cfg, pretrained_cfg(network.plan)
    stated = {"mean": network.plan.image_mean, "std": network.plan.image_std}
    known = [
        key
        for key, value in stated.items()
        if network.plan.in_channels == 3 or value is not None or settings.get(key) != assumed[key]
    ]
    return {key: ",".join(map(str, settings[key])) for key in known if settings.get(key) is not None}


def _export_difference_message(title: str, difference: float, tolerance: float) -> str:
    return (
        f"the output of {title} differs from the network's by {difference:.1e} of the largest output, "
        f"allowed is {tolerance:g}; nothing was written"
    )


def _network_ready_for_export(network: Network) -> Network:
    """Return a network in evaluation mode: itself, or a copy."""
    if not network.training and not any(module.training for module in network.modules()):
        return network
    return copy.deepcopy(network).eval()


def _write_and_compare_export(form: Format, program: Program, file: Path, network: Network) -> float:
    """Write a program and compare it with the network; what an exporter or a runtime raises is a fault."""
    with _refusing(form, "cannot express this network"):
        form.write(program, file)
    with _refusing(form, "cannot run what it wrote"):
        return compare_exported_outputs(network, form.read(file, None), program)


@contextmanager
def _refusing(form: Format, doing: str) -> Iterator[None]:
    """Make what an exporter or a runtime raises a fault."""
    try:
        yield
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
