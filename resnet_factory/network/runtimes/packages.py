"""The optional packages of runtimes, and what to install where they are missing."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from resnet_factory.errors import ConfigError, Fault, install_hint, unknown

PACKAGES: dict[str, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "onnxruntime": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino",),
    "int8": ("onnx", "onnxscript", "onnxruntime", "PIL"),
}
"""Format or runtime -> the packages that it needs; torch's own need none."""
PACKAGE_TITLES = {"PIL": "pillow"}
"""Packages that are installed under another name than they are imported by."""
EXTRA = "export"
"""The extra of this package that installs them."""


def runtime_package_faults(runtime: str, key: str) -> list[Fault]:
    """Return the fault of a runtime, the value of `key`, whose packages are not installed."""
    missing = [
        PACKAGE_TITLES.get(name, name) for name in PACKAGES.get(runtime, ()) if find_spec(name) is None
    ]
    if not missing:
        return []
    message = f"{runtime!r} needs {', '.join(missing)}, not installed here"
    return [Fault(key, f"{message}; {install_hint(EXTRA)}")]


def runtime_device_faults(device: str, key: str) -> list[Fault]:
    """Return the fault of a device, the value of `key`, that torch does not find here."""
    if device == "cpu":
        return []
    import torch

    if re.fullmatch(r"cuda(:\d+)?", device) is None:
        return [Fault(key, unknown("device", device, ("cpu", "cuda")))]
    if int(device.partition(":")[2] or 0) < torch.cuda.device_count():
        return []
    return [Fault(key, f"torch finds no {device!r} on this machine; use device=cpu")]


def import_runtime_package(name: str) -> Any:
    """Import an optional package.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
        raise ConfigError([Fault("to", f"{name} is not installed; {install_hint(EXTRA)}")]) from None
