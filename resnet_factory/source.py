"""YAML files: their data, and at which line and column each key stands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as OmegaConf reads it: `1e-5` is a number too."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def load(file: Path) -> Any:
    """The data in a YAML file.

    Raises:
        OSError, UnicodeDecodeError, yaml.YAMLError: it cannot be read.
    """
    return yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a safe loader


def shown(file: Path) -> str:
    """A path as a person would type it: relative to here where it lies below here."""
    try:
        return str(file.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(file)


def position(file: Path, keys: Sequence[str]) -> tuple[int, str]:
    """How many of `keys` the file spells out, and `file:line:col` of the last one it does."""
    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return 0, shown(file)
    depth, mark = 0, node.start_mark if node is not None else None
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            found = [(k, v) for k, v in node.value if k.value == key]
            if not found:
                break
            mark, node = found[-1][0].start_mark, found[-1][1]
        elif isinstance(node, yaml.SequenceNode) and key.isdigit() and int(key) < len(node.value):
            node = node.value[int(key)]
            mark = node.start_mark
        elif isinstance(node, yaml.ScalarNode) and node.value == key:
            pass  # `- norm` says the same as `- norm: {}`
        else:
            break
        depth += 1
    return depth, f"{shown(file)}:{mark.line + 1}:{mark.column + 1}" if mark else shown(file)
