"""Translate our overrides for Hydra's own composition, which is stricter about what they may replace."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from typing import Any

from resnet_factory.config.library import Library
from resnet_factory.config.override_grammar import override_location, parse_override_text
from resnet_factory.config.overrides import parsed_overrides
from resnet_factory.errors import Fault


def unreadable_hydra_overrides(word: str) -> Fault | None:
    """Return the fault of an override of Hydra's own settings that its grammar does not accept."""
    try:
        parse_override_text(word)
    except ValueError as error:
        return Fault("", f"not an override: {str(error).splitlines()[0]}", override_location(word))
    return None


def split_hydra_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the overrides of our configuration, and those of Hydra's own settings."""
    hydra = [word for word in words if re.match(r"[+~]*hydra(/|\.(?!searchpath)|=)", word)]
    return [word for word in words if word not in hydra], hydra


def force_hydra_overrides(
    words: Sequence[str],
    library: Library,
    bases: Sequence[Mapping[str, Any]],
    whole: Container[str] = (),
) -> list[str]:
    """Return equivalent overrides for Hydra's own composition, which is stricter about what they may replace.

    `bases` are the data that the jobs start from; at a key of `whole` a mapping replaces the existing value.
    """
    result = []
    for override in parsed_overrides(words, library, []):
        word, key = override.text, override.key
        if not (override.operation == "delete" or override.package or library.is_group(key)):
            old = [_hydra_override_value(base, key.split(".")) for base in bases]
            lists = any(isinstance(value, dict) for value in old) and "=[" in word
            if lists or (key in whole and "={" in word):
                # A list replaces a mapping (`model.block=[basic, bottleneck]`) only after it is null.
                result.append(f"{key}=null")
                word = f"++{word.lstrip('+')}"
            elif None in old:
                word = f"++{word.lstrip('+')}"
        result.append(word)
    return result


def adds_hydra_key(word: str, library: Library, base: Mapping[str, Any]) -> bool:
    """Return whether an override gives a value to a key that `base` does not have."""
    for override in parsed_overrides([word], library, []):
        *above, last = override.key.split(".")
        holder = _hydra_override_value(base, above)
        if not library.is_group(override.key):
            return not isinstance(holder, list) and last not in (holder or {})
    return False


def _hydra_override_value(data: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        if isinstance(data, list) and key.isdecimal() and int(key) < len(data):
            data = data[int(key)]
        elif isinstance(data, Mapping):
            data = data.get(key)
        else:
            return None
    return data


def block_list_overrides(bases: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return overrides, placed before the user's, for lists of blocks, which Hydra would merge."""
    models = [base["model"] for base in bases if isinstance(base.get("model"), Mapping)]
    blocks = models[0].get("block") if len(models) == 1 else None
    if not isinstance(blocks, list):
        return []
    return ["~model.block", f"++model.block=[{','.join(map(str, blocks))}]"]
