"""The command `draw`: a network's picture in a file or on standard output."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnet_factory.config.composition import Composed, composed_image_size
from resnet_factory.config.file_access import MERMAID, SVG, output_file_faults, write_whole_file
from resnet_factory.errors import ConfigError, Fault, one_of, suggest, unknown
from resnet_factory.planning.planner import run_planner
from resnet_factory.reporting import tables

ENDINGS = {".svg": "svg", ".mmd": "mermaid", ".mermaid": "mermaid"}
"""File suffix -> format."""


def draw_command(composed: Composed) -> int:
    """Write a picture of the network to a file or to standard output."""
    from resnet_factory.reporting.drawing import draw as drawn

    if faults := draw_command_faults(composed.data):
        raise ConfigError(map(composed.locate, faults))
    file, form = composed.data["file"], composed.data["format"]
    if isinstance(file, str) and form is None:
        form = ENDINGS[Path(file).suffix.lower()]
    with composed.locating():
        planned = run_planner(composed.model)
        image = (planned.in_channels, *composed_image_size(composed.data))
        picture = drawn(planned, image, form or "svg")
        if file is None:
            sys.stdout.buffer.write(picture.encode())
            sys.stdout.flush()
        else:
            tables.table_console().print(f"drawn: {_write_drawn_text(Path(file), picture)}", markup=False)
    return 0


def draw_command_faults(data: Mapping[str, Any]) -> list[Fault]:
    """Return the faults of the keys of `draw`."""
    from resnet_factory.reporting.drawing import FORMATS

    file, form = data["file"], data["format"]
    faults = []
    if file is not None and not isinstance(file, str):
        faults.append(Fault("file", f"expected a file name, found {file!r}"))
    if form is not None and form not in FORMATS:
        faults.append(Fault("format", unknown("format", form, FORMATS)))
    if isinstance(file, str) and form is None:
        ending = Path(file).suffix.lower()
        if ending not in ENDINGS:
            message = f"{file!r} does not end in {one_of(ENDINGS)}{suggest(ending, ENDINGS)}"
            faults.append(
                Fault("file", f"{message}; or give {one_of(f'format={known}' for known in FORMATS)}")
            )
    if isinstance(file, str) and not faults:
        kind = MERMAID if (form or ENDINGS.get(Path(file).suffix.lower())) == "mermaid" else SVG
        faults += output_file_faults(file, "file", kind if form is None else kind._replace(endings=()))
    return faults


def _write_drawn_text(file: Path, text: str) -> Path:
    """Write a picture atomically.

    Raises:
        ConfigError: it cannot be written.
    """
    target = file.expanduser()
    try:
        write_whole_file(target, text)
    except OSError as error:
        raise ConfigError([Fault("file", f"'{file}' cannot be written: {error.strerror}")]) from None
    return target
