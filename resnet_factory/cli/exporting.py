"""The export command: weights with another library's names, or the whole network for another runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_factory.cli.commands import (
    check_command_keys,
    command_weights_faults,
    key_type_faults,
    one_command_fault_per_file,
)
from resnet_factory.config.composition import Composed, composed_image_size
from resnet_factory.config.file_access import (
    AOTI,
    ONNX,
    OPENVINO,
    TORCH_PROGRAM,
    WEIGHTS,
    FileKind,
    output_file_faults,
)
from resnet_factory.costing.complexity import compute_complexity
from resnet_factory.errors import Fault, found, unknown
from resnet_factory.reporting import tables

if TYPE_CHECKING:
    from resnet_factory.network.network import Network

KINDS: dict[str, FileKind] = {"onnx": ONNX, "openvino": OPENVINO, "torch": TORCH_PROGRAM, "aoti": AOTI}
"""Runtime -> the kind of file that is written for it."""
DYNAMIC = ("size", "batch", "none")
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
"""Mean and deviation of images of three channels, where nothing else is said."""


def export_command(composed: Composed) -> int:
    """Write the network for a runtime, or its weights to a file with another library's names."""
    check_command_keys(composed, export_command_faults)
    options = composed.data
    if options["to"] in KINDS:
        return _write_exported_program(composed)
    from resnet_factory.network.weights import transfer

    with one_command_fault_per_file(composed):
        network = _network_to_export(composed)
        done = transfer.export(network, options["file"], to=options["to"], keys=options["keys"])
    tables.table_console().print(f"exported: {done}", markup=False)
    return 0


def _network_to_export(composed: Composed) -> Network:
    """Return the network with its weights: the model's, or the one saved in the file of weights."""
    from resnet_factory.network.weights import transfer

    weights = composed.data["weights"]
    if weights is not None and not composed.given & {"model", "experiment"}:
        return transfer.load(weights)
    from resnet_factory.network.builder import build

    network = build(composed.model)
    if weights is not None:
        loaded = transfer.load_weights(network, weights, keys=composed.data["keys"])
        tables.table_console().print(f"loaded: {loaded}", markup=False)
    return network


def _write_exported_program(composed: Composed) -> int:
    """Write the whole network for a runtime, and print how far its outputs are from the network's."""
    options = composed.data
    from resnet_factory.network.runtimes.export import export_program

    with one_command_fault_per_file(composed):
        network = _network_to_export(composed)
        sides = composed_image_size(options) if "input" in composed.given else network.plan.image[1:]
        image = compute_complexity(network.plan, (network.plan.in_channels, *sides)).image
        done = export_program(
            network,
            Path(options["file"]),
            options["to"],
            image=image,
            dynamic=options["dynamic"],
            folded=options["fold"],
            tolerance=options["tolerance"],
            metadata=_normalisation_to_export(options, network.plan.in_channels),
        )
    if options["weights"] is None:
        tables.table_console().print(
            "weights: freshly initialised; give weights=… for trained ones", markup=False
        )
    tables.table_console().print(f"exported: {done}", markup=False)
    return 0


def _normalisation_to_export(options: Mapping[str, Any], channels: int) -> dict[str, str]:
    """Return the mean and the standard deviation of images, as metadata; nothing where they are not known."""
    stated = {key: options[key] or (IMAGENET[key] if channels == 3 else None) for key in IMAGENET}
    return {key: ",".join(map(str, value)) for key, value in stated.items() if value is not None}


def export_command_faults(data: Mapping[str, Any]) -> list[Fault]:
    """Return the faults of the keys of `export`."""
    if faults := key_type_faults(data, dict.fromkeys(("to", "keys", "weights", "file"), str | None)):
        return faults
    program = data["to"] in KINDS
    wanted = ["file"] if program else ["weights", "file"]
    missing = [key for key in wanted if data[key] is None]
    if data["to"] is None and data["keys"] is None:
        missing.append("to")
    if missing:
        return [Fault(key, f"is missing; export needs {key}=…", "command line 'export'") for key in missing]
    weights = data["weights"]
    faults = command_weights_faults(weights, data["keys"])
    read = [] if weights is None else [weights]
    if not program:
        return faults + output_file_faults(data["file"], "file", WEIGHTS, read)
    return (
        faults
        + _exported_program_faults(data)
        + output_file_faults(data["file"], "file", KINDS[data["to"]], read)
    )


def _exported_program_faults(data: Mapping[str, Any]) -> list[Fault]:
    """Return the faults of what only exports for runtimes read."""
    faults = key_type_faults(data, {"fold": bool})
    if data["dynamic"] is not None and data["dynamic"] not in DYNAMIC:
        faults.append(Fault("dynamic", unknown("freedom", data["dynamic"], DYNAMIC)))
    tolerance = data["tolerance"]
    if not isinstance(tolerance, int | float) or isinstance(tolerance, bool) or tolerance < 0:
        faults.append(Fault("tolerance", f"expected a number from 0 on, found {found(tolerance)}"))
    (ending,) = KINDS[data["to"]].endings
    if not data["file"].lower().endswith(ending):
        faults.append(
            Fault("file", f"'{data['file']}' does not end in {ending}, as {KINDS[data['to']].name} do")
        )
    for key in IMAGENET:
        value = data[key]
        numbers = isinstance(value, list) and value and all(isinstance(each, int | float) for each in value)
        if value is not None and not numbers:
            faults.append(Fault(key, f"expected a list of numbers, one per channel, found {found(value)}"))
    if faults:
        return faults
    from resnet_factory.network.runtimes.packages import runtime_package_faults

    return runtime_package_faults(data["to"], "to")
