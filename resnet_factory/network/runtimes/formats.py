"""The formats of files that runtimes read: ONNX, OpenVINO's, torch.export's and AOTInductor's."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet_factory.config.file_access import AOTI, ONNX, OPENVINO, TORCH_PROGRAM, FileKind
from resnet_factory.network.runtimes.packages import import_runtime_package
from resnet_factory.network.runtimes.program import INPUT, Program, silence_exporters

OPSET = 18
"""The ONNX operator set that is written: what torch's exporter gives, and runtimes of 2023 read."""
Run = Callable[[Tensor], tuple[Tensor, ...]]
"""Runs (N, C, H, W) float32 images and returns the outputs in order."""


@dataclass(frozen=True)
class Format:
    """A format of exported networks."""

    title: str
    kind: FileKind
    write: Callable[[Program, Path], None]
    """Writes a program to a new file, or files that begin with its name."""
    read: Callable[[Path, int | None], Run]
    """Reads a file for use with that many threads; None for the runtime's choice."""


def write_onnx(program: Program, file: Path) -> None:
    """Write a program as ONNX, its weights in the same file."""
    free = {"size": [0, *range(2, 1 + len(program.image))], "batch": [0], "none": []}[program.dynamic]
    names = dict(zip([0, 2, 3, 4], ["batch", *_onnx_axis_names(len(program.image) - 1)], strict=False))
    with silence_exporters():
        made = torch.onnx.export(
            program.graph,
            (),
            dynamo=True,
            input_names=[INPUT],
            output_names=list(program.outputs),
            dynamic_shapes=({axis: names[axis] for axis in free},) if free else None,
            opset_version=OPSET,
            verbose=False,
        )
        assert made is not None
        made.model.metadata_props.update(program.metadata)
        made.save(str(file), external_data=False)


def _onnx_axis_names(count: int) -> Sequence[str]:
    return ("depth", "height", "width")[-count:] if count > 1 else ("length",)


def read_onnx(file: Path, threads: int | None) -> Run:
    """Return a function that runs an ONNX file with onnxruntime on the CPU."""
    runtime = import_runtime_package("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(entry) for entry in session.run(None, {INPUT: images.numpy()}))

    return run


def write_openvino(program: Program, file: Path) -> None:
    """Write a program as OpenVINO's .xml with its .bin beside it, in single precision."""
    with silence_exporters():
        save_openvino(import_runtime_package("openvino").convert_model(program.graph), program, file)


def save_openvino(model: Any, program: Program, file: Path) -> None:
    """Write a model of OpenVINO's with the names and the metadata of a program."""
    openvino = import_runtime_package("openvino")
    with silence_exporters():
        model.inputs[0].set_names({INPUT})
        for output, name in zip(model.outputs, program.outputs, strict=True):
            output.set_names({name})
        for key, value in program.metadata.items():
            model.set_rt_info(value, ["resnet_factory", key])
        openvino.save_model(model, str(file), compress_to_fp16=False)


def read_openvino(file: Path, threads: int | None) -> Run:
    """Return a function that runs an OpenVINO file on the CPU, in single precision."""
    openvino = import_runtime_package("openvino")
    hints: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        hints["INFERENCE_NUM_THREADS"] = threads
    compiled = openvino.Core().compile_model(str(file), "CPU", hints)

    def run(images: Tensor) -> tuple[Tensor, ...]:
        found = compiled([images.numpy()])
        return tuple(torch.from_numpy(found[output].copy()) for output in compiled.outputs)

    return run


def write_torch(program: Program, file: Path) -> None:
    """Write a program in the format of torch.export.save, with its metadata as an extra file."""
    with silence_exporters():
        torch.export.save(
            program.graph, str(file), extra_files={"metadata.json": json.dumps(program.metadata)}
        )


def read_torch(file: Path, threads: int | None) -> Run:
    """Return a function that runs the program of a file of torch.export.save."""
    with silence_exporters():
        module = torch.export.load(str(file)).module()
    return partial(_run_torch_file, module)


def write_aotinductor(program: Program, file: Path) -> None:
    """Compile a program ahead of time with AOTInductor, for this kind of machine; needs a C++ compiler."""
    options: Any = {"aot_inductor.metadata": program.metadata}
    with silence_exporters():
        torch._inductor.aoti_compile_and_package(
            program.graph, package_path=str(file), inductor_configs=options
        )


def read_aotinductor(file: Path, threads: int | None) -> Run:
    """Return a function that runs a package of AOTInductor."""
    with silence_exporters():
        compiled = torch._inductor.aoti_load_package(str(file))
    return partial(_run_torch_file, compiled)


def _run_torch_file(module: Callable[[Tensor], Any], images: Tensor) -> tuple[Tensor, ...]:
    with torch.no_grad():
        output = module(images)
    return tuple(output) if isinstance(output, (tuple, list)) else (output,)


FORMATS: dict[str, Format] = {
    "onnx": Format(f"ONNX, opset {OPSET}", ONNX, write_onnx, read_onnx),
    "openvino": Format("OpenVINO", OPENVINO, write_openvino, read_openvino),
    "torch": Format("torch.export", TORCH_PROGRAM, write_torch, read_torch),
    "aoti": Format("AOTInductor", AOTI, write_aotinductor, read_aotinductor),
}
"""Value of `to` -> its format."""


def files_of_format(file: Path) -> list[Path]:
    """Return the files of a written network: the file itself last, so that it names what is there."""
    beside = [other for other in (file.with_suffix(".bin"),) if file.suffix == ".xml" and other.exists()]
    return [*beside, file]


def size_of_format_files(file: Path) -> int:
    """Return the bytes of all files of a written network."""
    return sum(os.path.getsize(part) for part in files_of_format(file))
