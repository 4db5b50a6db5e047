"""Translate our overrides for Hydra's own composition, which is stricter about what they may replace."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from typing import Any

from resnet_factory.config.override_grammar import command_line, parse
from resnet_factory.config.overrides import parsed
from resnet_factory.config.repository import Library
from resnet_factory.errors import Fault


def unreadable(word: str) -> Fault | None:
    """Return the fault of an override of Hydra's own settings that its grammar does not accept."""
    try:
        parse(word)
    except ValueError as error:
        return Fault("", f"not an override: {str(error).splitlines()[0]}", command_line(word))
    return None


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the overrides of our configuration, and those of Hydra's own settings."""
    hydra = [word for word in words if re.match(r"[+~]*hydra(/|\.(?!searchpath)|=)", word)]
    return [word for word in words if word not in hydra], hydra


def forced(
    words: Sequence[str],
    library: Library,
    bases: Sequence[Mapping[str, Any]],
    whole: Container[str] = (),
) -> list[str]:
    """Return equivalent overrides for Hydra's own composition, which is stricter about what they may replace.

    `bases` are the data that the jobs start from; at a key of `whole` a mapping replaces the existing value.
    """
    result = []
    for override in parsed(words, library, []):
        word, key = override.text, override.key
        if not (override.operation == "delete" or override.package or library.is_group(key)):
            old = [_value(base, key.split(".")) for base in bases]
            lists = any(isinstance(value, dict) for value in old) and "=[" in word
            if lists or (key in whole and "={" in word):
                # A list replaces a mapping (`model.block=[basic, bottleneck]`) only after it is null.
                result.append(f"{key}=null")
                word = f"++{word.lstrip('+')}"
            elif None in old:
                word = f"++{word.lstrip('+')}"
        result.append(word)
    return result


def adds(word: str, library: Library, base: Mapping[str, Any]) -> bool:
    """Return whether an override gives a value to a key that `base` does not have."""
    for override in parsed([word], library, []):
        *above, last = override.key.split(".")
        holder = _value(base, above)
        if not library.is_group(override.key):
            return not isinstance(holder, list) and last not in (holder or {})
    return False


def _value(data: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        if isinstance(data, list) and key.isdecimal() and int(key) < len(data):
            data = data[int(key)]
        elif isinstance(data, Mapping):
            data = data.get(key)
        else:
            return None
    return data


def block_lists(bases: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return overrides, placed before the user's, for lists of blocks, which Hydra would merge."""
    models = [base["model"] for base in bases if isinstance(base.get("model"), Mapping)]
    blocks = models[0].get("block") if len(models) == 1 else None
    if not isinstance(blocks, list):
        return []
    return ["~model.block", f"++model.block=[{','.join(map(str, blocks))}]"]
