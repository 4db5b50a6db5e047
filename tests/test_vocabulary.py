"""conf/README.md lists every layer that a recipe may name, with its arguments, as the code has them."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from typing import Any

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
        if not fixed:
            assert layer.__doc__ is not None
            rows.append(f"| `{word}` | {', '.join(arguments(layer))} | {layer.__doc__.splitlines()[0]} |")
    return "\n".join(rows) + "\n"


def arguments(layer: type[Layer]) -> list[str]:
    """Names and defaults; one that follows from the others is told without."""
    follows: dict[str, Any] = {}
    layer.complete(follows)
    told = []
    for field in fields(layer):
        if field.name != "channels":
            bare = field.default is MISSING or field.name in follows
            told.append(f"`{field.name}`" if bare else f"`{field.name}` {spelled(field.default)}")
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
