"""Words for maps of one, two or three axes: sides, kernels, images and pixels."""

from __future__ import annotations

import re

from resnet_factory.layers import Axes, Size, axes_text, per_axis

AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}
"""The names of a map's axes."""
DIRECTIONS = {1: ("long",), 2: ("high", "wide"), 3: ("deep", "high", "wide")}
GENERAL = {"image": "input", "images": "inputs", "pixel": "input position", "pixels": "input positions"}
"""Words for images -> those that hold for sequences and volumes, too."""
_IMAGES = re.compile(rf"(?<![\w.])({'|'.join(GENERAL)})(?!\w|\.\w)", re.IGNORECASE)


def kernel_wording(kernel: Axes | Size, dims: int, sign: str = "x") -> str:
    """Return a kernel as an adjective: `3x3`, `1x3x3`, or `length-3`."""
    sides = sign.join(map(str, per_axis(kernel, dims)))
    return f"length-{sides}" if dims == 1 else sides


def kernel_noun_wording(kernel: Axes | Size, dims: int) -> str:
    """Return a kernel as a noun: `3x3`, or `length-3 kernel`."""
    return f"{kernel_wording(kernel, dims)} kernel" if dims == 1 else kernel_wording(kernel, dims)


def window_wording(kernel: Axes | Size, dims: int) -> str:
    """Return what a window covers, to follow `of`: `3x3`, or `length 3`."""
    return kernel_wording(kernel, dims).replace("-", " ")


def axes_number_wording(value: Axes) -> str:
    """Return a number as `1,234`; where axes differ, `1x7`; a fraction as `1/2`."""
    return f"{value:,}" if isinstance(value, int) else axes_text(value)


def wording_along_axes(texts: list[str]) -> str:
    """Return a text per axis as `A high, B wide`, or only one if all are the same."""
    if len(set(texts)) == 1:
        return texts[0]
    return ", ".join(
        f"{text} {direction}" for text, direction in zip(texts, DIRECTIONS[len(texts)], strict=True)
    )


def wording_for_dimensions(text: str, dims: int) -> str:
    """Return a text about images; in other than 2 dimensions, with words that hold there."""
    if dims == 2:
        return text
    return _IMAGES.sub(lambda match: _wording_in_case_of(GENERAL[match[0].lower()], match[0]), text)


def _wording_in_case_of(word: str, other: str) -> str:
    return word.capitalize() if other[0].isupper() else word
