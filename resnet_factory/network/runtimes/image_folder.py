"""Folders of images, on which 8-bit integers are calibrated."""

from __future__ import annotations

from pathlib import Path

from resnet_factory.errors import Fault, one_of

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff")


def image_files(folder: str | Path) -> list[Path]:
    """Return the images of a folder and of those in it, sorted by name."""
    found = Path(folder).expanduser().rglob("*")
    return sorted(file for file in found if file.suffix.lower() in IMAGE_ENDINGS and file.is_file())


def image_folder_faults(folder: str, key: str) -> list[Fault]:
    """Return the fault of a folder, the value of `key`, that is not there or has no images."""
    if not Path(folder).expanduser().is_dir():
        return [Fault(key, f"there is no folder '{folder}'")]
    if not image_files(folder):
        return [Fault(key, f"'{folder}' has no images, files that end in {one_of(IMAGE_ENDINGS)}")]
    return []
