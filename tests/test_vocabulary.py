"""conf/README.md lists every layer that a recipe may name, with its arguments, as the code has them."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from conftest import ROOT

from resnet_factory.config.recipe import STRUCTURES
from resnet_factory.config.schema import KEYS
from resnet_factory.layers import VOCABULARY, Activation, Layer

PAGE = ROOT / "conf" / "README.md"
START = "| layer | arguments | |"


def table() -> str:
    """The table, from the code."""
    rows = [START, "|---|---|---|"]
    for word, (layer, fixed) in VOCABULARY.items():
        if layer is not Activation:
            assert layer.__doc__ is not None
            rows.append(
                f"| `{word}` | {', '.join(arguments(layer, fixed))} | {layer.__doc__.splitlines()[0]} |"
            )
    return "\n".join(rows) + "\n"


def arguments(layer: type[Layer], fixed: dict[str, Any]) -> list[str]:
    """Names, defaults and other choices; one that follows from the others is told without."""
    follows: dict[str, Any] = {}
    layer.complete(follows)
    hints = get_type_hints(layer)
    told = []
    for field in fields(layer):
        if field.name not in ("channels", "dims", *fixed):
            bare = field.default is MISSING or field.name in follows
            parts = [f"`{field.name}`", *([] if bare else [spelled(field.default)])]
            words = get_args(hints[field.name]) if get_origin(hints[field.name]) is Literal else ()
            if others := [word for word in words if word != field.default]:
                parts.append(f"({', '.join(others)})")
            told.append(" ".join(parts))
    return told


def spelled(value: object) -> str:
    if isinstance(value, (bool, str)):
        return str(value).lower()
    return f"{value:g}"


def test_every_layer_and_its_arguments(request: pytest.FixtureRequest) -> None:
    text = PAGE.read_text(encoding="utf-8")
    if request.config.getoption("--refresh-golden"):
        PAGE.write_text(text.partition(START)[0] + table(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8").endswith(table())


def test_every_activation_structure_and_key() -> None:
    text = PAGE.read_text(encoding="utf-8")
    words = set(re.findall(r"\w+", text))
    activations = {word for word, (layer, _) in VOCABULARY.items() if layer is Activation}
    assert activations | set(STRUCTURES) | set(KEYS) <= words
