"""Files that commands read and write: checked first, written atomically, never over other kinds of files."""

from __future__ import annotations

import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from resnet_factory.errors import Fault, one_of

HEAD = 512
"""Number of bytes at the beginning of a file by which its kind is detected."""


class FileKind(NamedTuple):
    """A kind of file that a command writes."""

    name: str
    endings: tuple[str, ...]
    """Allowed suffixes; empty for any."""
    begins: Callable[[bytes], bool]
    """Return whether a file that begins with these bytes is of the kind."""


def output_file_faults(
    file: str | Path, key: str, kind: FileKind, inputs: Iterable[str | Path] = ()
) -> list[Fault]:
    """Return the faults of writing `file`, the value of `key`: a folder, an input, or another kind of file.

    An input is recognised under any of its names, links included. Pipes, devices and other non-regular
    files are written to directly.
    """
    target = Path(file).expanduser()
    try:
        if target.is_dir():
            return [Fault(key, f"'{file}' is a folder")]
        if not target.parent.is_dir():
            return [Fault(key, f"there is no folder '{target.parent}'")]
        ending = target.suffix.lower()
        if kind.endings and ending[1:].isalpha() and ending not in kind.endings:
            return [Fault(key, f"'{file}' does not end in {one_of(kind.endings)}, as {kind.name} do")]
        if not target.is_file():
            return []
        for other in inputs:
            read = Path(other).expanduser()
            if read.exists() and target.samefile(read):
                return [Fault(key, f"'{file}' is an input of this command; choose another name")]
        with target.open("rb") as stream:
            head = stream.read(HEAD)
    except OSError as error:
        return [Fault(key, f"'{file}' cannot be written: {error.strerror}")]
    if head and not kind.begins(head):
        return [
            Fault(
                key, f"'{file}' already exists and contains no {kind.name}; remove it or choose another name"
            )
        ]
    return []


WEIGHTS = FileKind(
    "weights",
    (".safetensors", ".pth", ".pt", ".bin"),
    lambda head: head[8:9] == b"{" or head[:4] == b"PK\x03\x04" or head[:1] == b"\x80",
)
SVG = FileKind("SVG pictures", (".svg",), lambda head: head.lstrip().startswith((b"<svg", b"<?xml")))
MERMAID = FileKind(
    "Mermaid flowcharts",
    (".mmd", ".mermaid"),
    lambda head: head.lstrip().startswith((b"flowchart", b"graph", b"---", b"%%")),
)
ONNX = FileKind("ONNX models", (".onnx",), lambda head: head[:1] == b"\x08")
OPENVINO = FileKind("OpenVINO models", (".xml",), lambda head: head.lstrip().startswith(b"<?xml"))
TORCH_PROGRAM = FileKind("torch programs", (".pt2",), lambda head: head[:4] == b"PK\x03\x04")
AOTI = FileKind("AOTInductor packages", (".pt2",), lambda head: head[:4] == b"PK\x03\x04")
CSV = FileKind("tables", (".csv",), lambda head: b"," in head.partition(b"\n")[0])
JSON = FileKind("JSON", (".json",), lambda head: head.lstrip().startswith(b"{"))


def input_file_faults(file: str | Path, key: str) -> list[Fault]:
    """Return the faults of reading `file`, the value of `key`: it is missing, or not a regular file.

    Reading a pipe or a device could block forever. URLs and hub names are not checked.
    """
    if _is_address(file):
        return []
    if not str(file):
        return [Fault(key, "expected a file, found an empty string")]
    path = Path(file).expanduser()
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return [Fault(key, f"'{path}' does not exist")]
    except (OSError, ValueError) as error:
        return [Fault(key, f"'{path}' cannot be read: {getattr(error, 'strerror', None) or error}")]
    if stat.S_ISDIR(mode):
        return [Fault(key, f"'{path}' is a folder")]
    if not stat.S_ISREG(mode):
        return [Fault(key, f"'{path}' is a pipe, a socket or a device, not a file")]
    return []


INDEX = ".index.json"
"""Ending of a file that lists the files of a checkpoint in several parts."""
FOLDER_FILES = (
    "model.safetensors",
    f"model.safetensors{INDEX}",
    "pytorch_model.bin",
    f"pytorch_model.bin{INDEX}",
)
"""Names of the weights in a folder in Hugging Face's layout, in order of preference."""


def weights_files_in(path: Path) -> Path:
    """Return the file of weights in a folder; the path itself if it is none, or has none."""
    if not path.is_dir():
        return path
    return next((path / name for name in FOLDER_FILES if (path / name).is_file()), path)


def weights_file_faults(file: str | Path, key: str) -> list[Fault]:
    """Return the faults of reading weights from `file`, the value of `key`, including its kind."""
    if _is_address(file):
        return []
    path = weights_files_in(Path(file).expanduser()) if str(file) else file
    if faults := input_file_faults(path, key):
        return faults
    path = Path(path)
    if path.name.endswith(INDEX):
        return []
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD)
    except OSError as error:
        return [Fault(key, f"'{path}' cannot be read: {error.strerror}")]
    return [] if WEIGHTS.begins(head) else [Fault(key, f"'{path}' {_no_weights_file(head)}")]


def _no_weights_file(head: bytes) -> str:
    if len(head) < 9:
        return f"is truncated: it has {len(head)} bytes"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file it points to; fetch it with 'git lfs pull'"
    if head.lstrip()[:1] == b"<":
        return "is a web page; the download did not give the file"
    return "is neither a safetensors file nor one that torch.save wrote"


def _is_address(file: str | Path) -> bool:
    """Return whether it is a URL or a hub name rather than a file."""
    return re.match(r"[\w+-]+:(?!\\)", str(file)) is not None


@contextmanager
def replacing_file(target: Path) -> Iterator[BinaryIO]:
    """Open a stream that replaces the file when the `with` block succeeds; otherwise the file is unchanged.

    Pipes, devices and other non-regular files are written to directly.

    Raises:
        OSError: the file cannot be written.
    """
    if target.exists() and not target.is_file() and not target.is_dir():
        with target.open("wb") as stream:
            yield stream
        return
    place = target.resolve()
    if place.is_dir():
        raise IsADirectoryError(None, "is a folder")
    part = place.with_name(f".{place.name}.{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as stream:
            if place.is_file():
                shutil.copymode(place, part)
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(place)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def write_whole_file(target: Path, text: str) -> None:
    """Write a text file atomically.

    Raises:
        OSError: it cannot be written.
    """
    with replacing_file(target) as stream:
        stream.write(text.encode("utf-8"))
