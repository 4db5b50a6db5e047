"""Read a checkpoint as plain tensors, from safetensors or torch's formats, without running code in the file.

Malformed files are refused before torch reads them: truncated archives, archives whose members are
compressed or overlap (torch writes neither), text instead of data.
"""

from __future__ import annotations

import argparse
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from resnet_factory.config.file_access import weights_file_faults
from resnet_factory.errors import ConfigError, Fault, unknown

WRAPPERS = ("state_dict_ema", "model_ema", "ema_state", "state_dict", "model", "model_state")
"""The keys under which training scripts save the weights; averaged ones first, as in timm."""
SHELLS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Names that torch.compile, FSDP and activation checkpointing insert into state-dict keys."""


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of one file, by their names without the prefixes of wrappers."""

    file: Path
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)
    """The metadata of a safetensors file."""
    done: tuple[str, ...] = ()
    """The prefixes removed, one sentence each."""


def read_weights_file(
    file: str | Path, *, entry: str | None = None, device: str | torch.device = "cpu"
) -> Checkpoint:
    """Read the tensors in `file`; on the CPU they stay in the file's pages until they are touched.

    The format is detected by the first bytes, not by the file's name. `entry` is the mapping to read from a
    file that holds several (for example `state_dict` if there is a `state_dict_ema` as well).

    Raises:
        ConfigError: there is no such file, it is damaged, or it holds something other than tensors.
    """
    path = Path(file).expanduser()
    if faults := weights_file_faults(path, "weights"):
        raise ConfigError(faults)
    try:
        with path.open("rb") as stream:
            start = stream.read(64)
    except OSError as error:
        raise _unreadable_weights(path, f"cannot be read: {error.strerror}") from None
    if start[8:9] == b"{":
        tensors, metadata = _read_safetensors(path, device)
        return _read_named_tensors(path, tensors, metadata, [])
    if start[:4] == b"PK\x03\x04":
        _check_archive(path)
        return _read_wrapped_weights(path, _read_pickled_weights(path, device, mmap=True), entry)
    return _read_wrapped_weights(path, _read_pickled_weights(path, device, mmap=False), entry)


def _unreadable_weights(path: Path, message: str) -> ConfigError:
    return ConfigError([Fault("weights", f"'{path}' {message}")])


# safetensors ------------------------------------------------------------------------------------


def _read_safetensors(path: Path, device: str | torch.device) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt", device=str(device)) as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata() or {}  # noqa: SIM118
    except (
        SafetensorError,
        OSError,
        ValueError,
        RuntimeError,
        MemoryError,
        OverflowError,
        TypeError,
    ) as error:
        # The header is checked against the file's length before any tensor is created.
        raise _unreadable_weights(
            path, f"is not a whole safetensors file: {_read_error_line(error)}"
        ) from None


# torch.save -------------------------------------------------------------------------------------


def _check_archive(path: Path) -> None:
    """Refuse archives that torch.save cannot have written, before torch unpacks them."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise _unreadable_weights(
            path, f"is a damaged archive, perhaps cut off: {_read_error_line(error)}"
        ) from None
    names = {member.filename.rpartition("/")[2] for member in members}
    if any(name.endswith(".npy") for name in names):
        raise _unreadable_weights(path, "is a NumPy archive; expected safetensors or what torch.save writes")
    if "data.pkl" not in names:
        raise _unreadable_weights(path, "is an archive, but not one that torch.save wrote")
    if "constants.pkl" in names:
        raise _unreadable_weights(path, "is a TorchScript program, not weights; save its state_dict()")
    packed = [member.filename for member in members if member.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise _unreadable_weights(
            path, f"has the compressed member {packed[0]!r}, which torch.save never writes"
        )
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise _unreadable_weights(path, "has members that declare more bytes than the file has")


def _read_pickled_weights(path: Path, device: str | torch.device, *, mmap: bool) -> Any:
    # Training scripts save their arguments with the weights; a Namespace runs no code.
    allowed = torch.serialization.safe_globals([argparse.Namespace])
    try:
        with allowed, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location=device, weights_only=True, mmap=mmap)
    except Exception as error:  # noqa: BLE001 - a malicious pickle can raise anything; no code of it ran
        if named := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise _unreadable_weights(
                path,
                f"asks for {named[1]!r}, which is code; it was not run. Save only the tensors: "
                "torch.save(model.state_dict(), …), or a safetensors file",
            ) from None
        reason = _read_error_line(error)
        if reason.startswith("Unsupported operand"):
            reason = (
                "it holds a pickle that torch.save did not write; save tensors with torch.save or safetensors"
            )
        raise _unreadable_weights(path, f"cannot be read: {reason}") from None


def _read_error_line(error: BaseException) -> str:
    """Return the line of a message that states the error, without torch's advice."""
    advice = ("Weights only load failed", "Check the documentation", "changed the default", "In PyTorch 2.6")
    lines = [line.strip() for line in str(error).splitlines()]
    text = next(
        (line for line in reversed(lines) if line and not line.startswith(advice)), type(error).__name__
    )
    return text if len(text) <= 200 else text[:199] + "…"


def _read_wrapped_weights(path: Path, content: Any, entry: str | None) -> Checkpoint:
    done: list[str] = []
    for _ in range(4):
        if not isinstance(content, Mapping):
            raise _unreadable_weights(path, f"holds a {type(content).__name__}, not a state dict")
        inside = [
            key for key, value in content.items() if isinstance(key, str) and isinstance(value, Mapping)
        ]
        if entry is not None:
            if entry not in inside:
                raise ConfigError([Fault("entry", f"'{path}': {unknown('entry', entry, inside)}")])
            taken, entry = entry, None
        else:
            taken = next((key for key in WRAPPERS if key in inside), "")
        if not taken:
            break
        others = [f"{key!r}" for key in WRAPPERS if key in inside and key != taken]
        done.append(
            f"weights taken from {taken!r}" + (f"; the file also has {', '.join(others)}" if others else "")
        )
        content = content[taken]
    return _read_named_tensors(path, content, {}, done)


def _read_named_tensors(
    path: Path, content: Mapping[Any, Any], metadata: Mapping[str, str], done: list[str]
) -> Checkpoint:
    """Return the tensors by name without wrappers' prefixes; anything but dense tensors is refused."""
    faults: list[Fault] = []
    tensors: dict[str, Tensor] = {}
    changed = 0
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            faults.append(
                Fault("weights", f"'{path}': {str(key)[:100]!r} is a {type(value).__name__}, not a tensor")
            )
            continue
        if value.layout != torch.strided or value.is_quantized or value.is_meta or value.is_nested:
            faults.append(Fault("weights", f"'{path}': {key!r} is not a dense tensor"))
            continue
        name = bare_key(key)
        changed += name != key
        if name in tensors:
            faults.append(Fault("weights", f"'{path}': {name!r} occurs twice, once as {key!r}"))
        tensors[name] = value.detach()
    if not content:
        faults.append(Fault("weights", f"'{path}' holds no tensors"))
    if faults:
        raise ConfigError(faults[:20])
    if changed:
        done.append(f"prefixes of wrappers (module., _orig_mod.) removed from {changed} names")
    return Checkpoint(path, tensors, metadata, tuple(done))


def bare_key(key: str) -> str:
    """Return the name of a tensor without the prefixes of wrappers."""
    parts = [part for part in key.split(".") if part not in SHELLS]
    while len(parts) > 1 and parts[0] == "module":
        del parts[0]
    return ".".join(parts)
