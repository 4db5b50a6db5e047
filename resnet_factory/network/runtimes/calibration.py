"""Calibration images for quantisation: a folder of images, preprocessed for the network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet_factory.errors import ConfigError, Fault
from resnet_factory.network.runtimes.packages import import_runtime_package

PILLOW_MODES = {1: "L", 3: "RGB"}
"""Channels -> Pillow's mode of images."""


def calibration_images(
    files: Sequence[Path], image: tuple[int, ...], settings: Mapping[str, Any]
) -> Iterator[Tensor]:
    """Yield images one by one, (1, C, H, W), preprocessed as timm's evaluation does for `settings`.

    The shorter side becomes that of `image` over `crop_pct`, bicubic, the middle is cropped, and values from
    0 to 1 are normalised by `mean` and `std`.

    Raises:
        ConfigError: a file cannot be read as an image.
    """
    pillow = import_runtime_package("PIL.Image")
    mean, std = (torch.tensor(settings[key]).view(1, -1, 1, 1) for key in ("mean", "std"))
    _, height, width = image
    for file in files:
        try:
            with pillow.open(file) as opened:
                read = opened.convert(PILLOW_MODES[image[0]])
        except (OSError, ValueError, pillow.DecompressionBombError) as error:
            raise ConfigError([Fault("int8", f"'{file}' cannot be read as an image: {error}")]) from None
        size = covering_size((read.width, read.height), (width, height), settings["crop_pct"])
        read = read.resize(size, pillow.Resampling.BICUBIC)
        left, top = round((size[0] - width) / 2), round((size[1] - height) / 2)
        cropped = read.crop((left, top, left + width, top + height))
        values = torch.frombuffer(bytearray(cropped.tobytes()), dtype=torch.uint8)
        pixels = values.view(1, height, width, image[0]).permute(0, 3, 1, 2)
        yield (pixels / 255 - mean) / std


def covering_size(size: tuple[int, int], wanted: tuple[int, int], crop: float) -> tuple[int, int]:
    """Return the sides to which an image is resized so that `wanted` is its middle, of `crop` of one side."""
    least = [math.floor(side / crop) for side in wanted]
    if least[0] * size[1] > least[1] * size[0]:
        return least[0], least[0] * size[1] // size[0]
    return least[1] * size[0] // size[1], least[1]
