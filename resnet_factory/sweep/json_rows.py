"""Rows of numbers as JSON objects and back, many at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from resnet_factory.sweep.vector import Array


def json_rows(columns: Mapping[str, tuple[Array, Sequence[Any]]], size: int) -> list[str]:
    """Return `size` objects with one number of each column, as `json.dumps` writes them without spaces.

    A column is an array, and the choices that it holds the indices of; none where it holds the numbers.
    """
    form = ",".join(f"{json.dumps(key).replace('%', '%%')}:%s" for key in columns)
    cells = [_json_row_texts(values, choices) for values, choices in columns.values()]
    rows = zip(*cells, strict=True) if cells else ((),) * size
    return [f"{{{text}}}" for text in map(form.__mod__, rows)]


def parsed_json_columns(texts: Iterable[str], keys: Iterable[str]) -> dict[str, list[Any]]:
    """Return the values that JSON objects have for keys, read in one call; None where there is none."""
    rows = json.loads(f"[{','.join(texts)}]")
    return {key: [row.get(key) for row in rows] for key in keys}


def _json_row_texts(values: Array, choices: Sequence[Any]) -> list[str]:
    if choices:
        known = [json.dumps(choice, separators=(",", ":")) for choice in choices]
        return [known[code] for code in values.tolist()]
    return list(map(repr if values.dtype.kind in "if" else json.dumps, values.tolist()))
