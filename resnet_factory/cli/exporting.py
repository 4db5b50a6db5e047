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
from resnet_factory.errors import ConfigError, Fault, found, unknown
from resnet_factory.network.runtimes.choices import DYNAMIC, int8_format_faults
from resnet_factory.network.runtimes.image_folder import image_files, image_folder_faults
from resnet_factory.network.runtimes.packages import runtime_package_faults
from resnet_factory.network.weights import key_map
from resnet_factory.reporting import tables

if TYPE_CHECKING:
    from resnet_factory.network.network import Network

KINDS: dict[str, FileKind] = {"onnx": ONNX, "openvino": OPENVINO, "torch": TORCH_PROGRAM, "aoti": AOTI}
"""Runtime -> the kind of file that is written for it."""
NORMALISATION = ("mean", "std")
"""Keys that replace settings of the network's images."""


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
    """Return the network with its weights, and with the normalisation of its images that is given."""
    options = composed.data
    network = _loaded(composed)
    given = {key: options[key] for key in NORMALISATION if options[key] is not None}
    channels = network.plan.in_channels
    if faults := [
        Fault(key, f"expected one number per channel, {channels}, found {found(value)}")
        for key, value in given.items()
        if len(value) != channels
    ]:
        raise ConfigError(faults)
    if given:
        network.pretrained_cfg = network.pretrained_cfg | given
    return network


def _loaded(composed: Composed) -> Network:
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
            int8=[] if options["int8"] is None else image_files(options["int8"]),
            agreement=options["agreement"],
        )
    if options["weights"] is None:
        tables.table_console().print(
            "weights: freshly initialised; give weights=… for trained ones", markup=False
        )
    tables.table_console().print(f"exported: {done}", markup=False)
    return 0


def export_command_faults(data: Mapping[str, Any]) -> list[Fault]:
    """Return the faults of the keys of `export`: of all that are given, then those that are missing."""
    texts = dict.fromkeys(("to", "keys", "weights", "file", "int8"), str | None)
    faults = key_type_faults(data, texts | {"fold": bool})
    faulty = {fault.path for fault in faults}
    to, keys, weights, file = (
        None if key in faulty else data[key] for key in ("to", "keys", "weights", "file")
    )
    targets = (*KINDS, *key_map.key_map_libraries())
    if to is not None and to not in targets:
        faults.append(Fault("to", unknown("format or library", to, targets)))
    faults += _exported_program_faults(data)
    if "int8" not in faulty and data["int8"] is not None:
        faults += _int8_faults(data["int8"], to)
    faults += command_weights_faults(weights, keys)
    read = [] if weights is None else [weights]
    if file is not None and to in KINDS:
        faults += _file_faults(file, KINDS[to], read)
    elif file is not None and (to in targets or keys is not None):
        faults += output_file_faults(file, "file", WEIGHTS, read)
    wanted = [] if to in KINDS or (to is not None and to not in targets) else ["weights"]
    missing = [key for key in (*wanted, "file") if data[key] is None]
    if data["to"] is None and data["keys"] is None:
        missing.append("to")
    faults += [Fault(key, f"is missing; export needs {key}=…", "command line 'export'") for key in missing]
    return faults + (runtime_package_faults(to, "to") if to in KINDS else [])


def _file_faults(file: str, kind: FileKind, inputs: list[str]) -> list[Fault]:
    """Return the faults of the file that a network is written to."""
    (ending,) = kind.endings
    if not file.lower().endswith(ending):
        return [Fault("file", f"'{file}' does not end in {ending}, as {kind.name} do")]
    return output_file_faults(file, "file", kind, inputs)


def _int8_faults(folder: str, to: str | None) -> list[Fault]:
    """Return the faults of the folder of images, and of a format without 8-bit integers."""
    faults = image_folder_faults(folder, "int8") + runtime_package_faults("int8", "int8")
    if to is not None and to in (*KINDS, *key_map.key_map_libraries()):
        faults += int8_format_faults(to)
    return faults


def _exported_program_faults(data: Mapping[str, Any]) -> list[Fault]:
    """Return the faults of the keys that only exports for runtimes read."""
    faults = []
    if data["dynamic"] is not None and data["dynamic"] not in DYNAMIC:
        faults.append(Fault("dynamic", unknown("freedom", data["dynamic"], DYNAMIC)))
    tolerance = data["tolerance"]
    if not isinstance(tolerance, int | float) or isinstance(tolerance, bool) or not tolerance >= 0:
        faults.append(Fault("tolerance", f"expected a number of at least 0, found {found(tolerance)}"))
    agreement = data["agreement"]
    if agreement is not None:
        if isinstance(agreement, bool) or not isinstance(agreement, int | float) or not 0 <= agreement <= 1:
            faults.append(Fault("agreement", f"expected a fraction from 0 to 1, found {found(agreement)}"))
        elif data["int8"] is None:
            faults.append(Fault("agreement", "applies to 8-bit integers only; give int8=FOLDER as well"))
    for key in NORMALISATION:
        value = data[key]
        numbers = isinstance(value, list) and value and all(isinstance(each, int | float) for each in value)
        if value is not None and not numbers:
            faults.append(Fault(key, f"expected a list of numbers, one per channel, found {found(value)}"))
    return faults
