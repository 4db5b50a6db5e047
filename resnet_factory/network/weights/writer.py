"""Write tensors to a file atomically, aligned so that a reader can memory-map them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from resnet_factory.config.file_access import replacing_file
from resnet_factory.errors import ConfigError, Fault

ALIGNMENT = 64
"""Alignment of torch's allocator in bytes; at others, kernels sum in another order, to other bits."""
TORCH_SUFFIXES = (".pth", ".pt", ".bin")
"""Names of files in torch's format; any other is safetensors."""
DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL", torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip


def write_weights_file(file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Path:
    """Write `tensors` to a temporary file, then rename it to `file`. Equal content gives equal bytes.

    The suffix selects the format: safetensors with `metadata`, or torch.save's.

    Raises:
        ConfigError: it cannot be written; an existing file is unchanged.
    """
    target = file.expanduser()
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        with replacing_file(target) as stream:
            if target.suffix in TORCH_SUFFIXES:
                torch.save(plain, stream)
            else:
                _write_safetensors(stream, plain, metadata)
    except KeyError as error:
        raise ConfigError([Fault("save", f"safetensors cannot store tensors of {error}")]) from None
    except (OSError, RuntimeError) as error:
        raise ConfigError([Fault("save", f"'{target}' cannot be written: {error}")]) from None
    return target


def _write_safetensors(stream: BinaryIO, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write the safetensors format: the header's length, a JSON header, the tensors' bytes without gaps.

    The library's own writer does not align tensors and does not order the metadata. Here the header is
    padded and tensors of odd sizes come last, so that all others have torch's alignment.
    """
    ordered = sorted(tensors.items(), key=lambda entry: entry[1].nbytes % ALIGNMENT != 0)
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for name, tensor in ordered:
        begin, end = end, end + tensor.nbytes
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text = text.ljust(-(-(len(text) + 8) // ALIGNMENT) * ALIGNMENT - 8)
    stream.write(len(text).to_bytes(8, "little"))
    stream.write(text)
    for _, tensor in ordered:
        stream.write(tensor.reshape(-1).view(torch.uint8).numpy().data)
