"""Networks in 8-bit integers: ONNX Runtime's quantisation after training, and its effect on outputs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet_factory.errors import Fault
from resnet_factory.layers import axes_text
from resnet_factory.network.network import Network
from resnet_factory.network.runtimes.calibration import PILLOW_MODES
from resnet_factory.network.runtimes.choices import int8_format_faults
from resnet_factory.network.runtimes.formats import Run
from resnet_factory.network.runtimes.packages import import_runtime_package, runtime_package_faults
from resnet_factory.network.runtimes.program import INPUT, outputs_as_tuple, silence_exporters

Images = Callable[[], Iterator[Tensor]]
"""Returns the calibration images, (1, C, H, W) each, from the beginning."""


@dataclass(frozen=True)
class Quantised:
    """The distance of a network in 8-bit integers from the network, on its calibration images."""

    images: int
    agreement: float | None
    """Share of the images whose largest output is of the same class; None for outputs that are maps."""
    difference: float
    """The largest difference of an output from the network's, relative to the largest of its values."""
    mean_difference: float
    """The mean difference, relative to the mean of its absolute values."""

    def __str__(self) -> str:
        same = ""
        if self.agreement is not None:
            count = round(self.agreement * self.images)
            same = f"the same class for {count} of {self.images} ({self.agreement:.1%}), "
        return (
            f"in 8-bit integers, on the {self.images} images it was calibrated on: {same}"
            f"difference {self.mean_difference:.1%} of an output on average, "
            f"{self.difference:.1%} of the largest output at most"
        )


def int8_faults(network: Network, to: str) -> list[Fault]:
    """Return the faults of a network in 8-bit integers for the runtime `to`, with what is not installed."""
    if faults := int8_format_faults(to):
        return faults
    faults, plan = runtime_package_faults("int8", "int8"), network.plan
    if plan.dims != 2 or plan.in_channels not in PILLOW_MODES:
        shape = axes_text(plan.image)
        faults.append(Fault("int8", f"images have 1 or 3 channels and 2 axes; this network takes {shape}"))
    return faults


class _Reader:
    """Calibration images in the form that ONNX Runtime reads them."""

    def __init__(self, images: Iterator[Tensor]) -> None:
        self.images = images

    def get_next(self) -> dict[str, Any] | None:
        """Return the next input by name; None after the last."""
        image = next(self.images, None)
        return None if image is None else {INPUT: image.numpy()}


def quantise_onnx(source: Path, target: Path, images: Images, metadata: Mapping[str, str]) -> None:
    """Write an ONNX file in 8-bit integers, its ranges those of the images: weights by channel, QDQ form.

    CPUs without instructions for sums of products of 8 bits add in 16 bits, which saturate; hence weights
    have 7 bits (`reduce_range`), and the result is the same everywhere.
    """
    onnx, quantization = import_runtime_package("onnx"), import_runtime_package("onnxruntime.quantization")
    with silence_exporters(), _no_advice():
        quantization.quantize_static(
            source,
            target,
            _Reader(images()),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
    model = onnx.load(str(target))
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.save(model, str(target))


@contextmanager
def _no_advice() -> Iterator[None]:
    """Silence the quantiser's advice to simplify the network first: it is folded."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def compare_quantised(network: Network, run: Run, images: Images) -> Quantised:
    """Return how far a runtime's outputs are from the network's for some images."""
    count, same, classified = 0, 0, True
    largest = worst = difference = magnitude = 0.0
    for image in images():
        with torch.no_grad():
            wanted = outputs_as_tuple(network(image))
        found = run(image)
        count += 1
        for one, other in zip(wanted, found, strict=True):
            far = (one - other).abs() if one.shape == other.shape else torch.full_like(one, torch.inf)
            worst, largest = max(worst, float(far.max())), max(largest, float(one.abs().max()))
            difference, magnitude = difference + float(far.mean()), magnitude + float(one.abs().mean())
        classified = classified and len(wanted) == 1 and wanted[0].dim() == 2 and wanted[0].shape[1] > 1
        same += int(classified and int(wanted[0].argmax()) == int(found[0].argmax()))
    return Quantised(
        count,
        same / count if classified else None,
        worst / max(largest, 1e-30),
        difference / max(magnitude, 1e-30),
    )
