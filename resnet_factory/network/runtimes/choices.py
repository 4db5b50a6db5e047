"""Allowed values of the options of exports, benchmarks and measurements. Imports no torch."""

from __future__ import annotations

from resnet_factory.errors import Fault, one_of

SIZE, BATCH, NONE = "size", "batch", "none"
DYNAMIC = (SIZE, BATCH, NONE)
"""Sizes that may differ between inputs: the number of images and their sides, their number, or none."""
EAGER, FOLDED, COMPILED = "eager", "folded", "compile"
TORCH_RUNTIMES = (EAGER, FOLDED, COMPILED)
"""Eager mode; eager mode after `fold`; torch.compile of the folded network."""
EXPORTED_RUNTIMES = {"onnxruntime": "onnx", "openvino": "openvino"}
"""Runtime that reads a file -> the format of that file, as `to` names it."""
RUNTIMES = (*TORCH_RUNTIMES, *EXPORTED_RUNTIMES)
INT8_FORMATS = ("onnx", "openvino")
"""Formats of which there are files in 8-bit integers."""
DTYPES = ("float32", "bfloat16")
INFERENCE, TRAINING = "inference", "training"
STEPS = (INFERENCE, TRAINING)
"""A forward pass in evaluation mode; or forward, backward and the optimiser's step in training mode."""
TRAINED_RUNTIMES = (EAGER, COMPILED)
"""Runtimes in which a training step can be run."""


def runtime_faults(runtime: str, device: str, dtype: str, device_key: str, dtype_key: str) -> list[Fault]:
    """Return the faults of a device and a number type that a runtime does not take."""
    faults = []
    if runtime in EXPORTED_RUNTIMES:
        if device != "cpu":
            faults.append(Fault(device_key, f"{runtime} runs only on the CPU here; use {device_key}=cpu"))
        if dtype != "float32":
            message = f"{runtime} runs only in single precision here; use {dtype_key}=float32"
            faults.append(Fault(dtype_key, message))
    return faults


def int8_format_faults(to: str) -> list[Fault]:
    """Return the fault of a format, or a library, of which there are no files in 8-bit integers."""
    if to in INT8_FORMATS:
        return []
    return [Fault("int8", f"8-bit integers are available for {one_of(INT8_FORMATS)}, not for to={to}")]
