"""Read and check the numbers of a model's YAML: per-stage fields, generators, settings."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from resnet_factory.config.generators import GENERATORS
from resnet_factory.config.model_keys import MAX_CHANNELS, MAX_DIMS
from resnet_factory.errors import Fault, all_of, found, unknown
from resnet_factory.layers import Axes, merge_axes


def read_generated_fields(data: Mapping[str, Any], path: str, faults: list[Fault]) -> dict[str, list[int]]:
    """Return the per-stage fields of the model's generator."""
    if data.get("generator") is None:
        return {}
    spec, path = data["generator"], f"{path}.generator"
    if isinstance(spec, Mapping) and len(spec) > 1 and (own := [key for key in spec if key in GENERATORS]):
        faults.extend(
            Fault(
                f"{path}.{key}", f"is not a generator; for an argument of {own[0]!r} write '{own[0]}.{key}'"
            )
            for key in spec
            if key != own[0]
        )
        return {}
    if not isinstance(spec, Mapping) or len(spec) != 1:
        faults.append(Fault(path, f"expected one generator, as 'cifar: {{depth: 20}}', found {found(spec)}"))
        return {}
    name, given = next(iter(spec.items()))
    if name not in GENERATORS:
        faults.append(Fault(f"{path}.{name}", unknown("generator", str(name), GENERATORS)))
        return {}
    path = f"{path}.{name}"
    before = len(faults)
    arguments = read_arguments_field(GENERATORS[name], given, path, faults)
    if len(faults) > before:
        return {}
    generator = GENERATORS[name](**arguments)
    faults.extend(Fault(f"{path}.{key}", message) for key, message in generator.faults())
    if len(faults) > before:
        return {}
    stages = generator.stages()
    for key in stages:
        if data.get(key) is not None:
            message = f"given both here and by the generator {name!r}; remove one"
            faults.append(Fault(f"{path.rsplit('.', 2)[0]}.{key}", message))
    return stages


def read_arguments_field(made: Any, given: Any, path: str, faults: list[Fault]) -> dict[str, Any]:
    """Return the arguments of the dataclass `made` from plain data, each with the type of its field."""
    table = _generator_fields(made)
    if not isinstance(given, Mapping):
        faults.append(Fault(path, f"expected {', '.join(table)}, found {found(given)}"))
        return {}
    for key, value in given.items():
        if key not in table:
            faults.append(Fault(f"{path}.{key}", unknown("key", str(key), table)))
            continue
        wanted = table[key][0]
        if get_origin(wanted) is tuple:
            read_list_field(value, f"{path}.{key}", faults)
        elif words := get_args(wanted):
            if value not in words:
                faults.append(Fault(f"{path}.{key}", unknown("choice", value, words)))
        elif isinstance(value, bool) or not isinstance(value, (int, float) if wanted is float else int):
            name = "a number" if wanted is float else "a whole number"
            faults.append(Fault(f"{path}.{key}", f"expected {name}, found {found(value)}"))
        elif not abs(value) < MAX_CHANNELS:
            faults.append(Fault(f"{path}.{key}", f"{found(value)} exceeds the limit of {MAX_CHANNELS}"))
    faults.extend(
        Fault(path, f"{key!r} is missing")
        for key, (_, needed) in table.items()
        if needed and key not in given
    )
    return {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}


def read_list_field(value: Any, path: str, faults: list[Fault]) -> None:
    """Check a list of whole numbers, one per stage."""
    if not isinstance(value, list) or not value:
        faults.append(Fault(path, f"expected a list, one whole number per stage, found {found(value)}"))
        return
    for i, entry in enumerate(value):
        read_whole_fields(entry, 1, f"{path}.{i}", faults)


@cache
def _generator_fields(made: Any) -> dict[str, tuple[Any, bool]]:
    """Return the type of each field of a dataclass, and whether it is required."""
    hints = get_type_hints(made)
    return {entry.name: (hints[entry.name], entry.default is MISSING) for entry in fields(made)}


def read_whole_fields(
    value: Any, least: int, path: str, faults: list[Fault], most: int = MAX_CHANNELS
) -> int:
    """Return an integer within bounds; the lower bound if it is invalid."""
    if type(value) is int and least <= value <= most:
        return value
    hint = ""
    if isinstance(value, (str, float)) and re.fullmatch(r"\d{1,7}(\.0)?", str(value)):
        hint = f"; did you mean {int(float(value))}?"
    elif isinstance(value, str) and re.fullmatch(r"\d{1,7}([-, ]+\d{1,7})+", value):
        hint = f"; did you mean [{', '.join(re.findall(r'[0-9]+', value))}]?"
    message = f"expected a whole number from {least} to {most}, found {found(value)}{hint}"
    faults.append(Fault(path, message))
    return least


def read_image_size_field(value: Any, dims: int, path: str, faults: list[Fault]) -> Axes:
    """Return the sides of an image: one number for all axes, or one per axis."""
    if not isinstance(value, list):
        return read_whole_fields(value, 1, path, faults)
    if len(value) != dims:
        axes = f", or one for each of {dims} axes" if dims > 1 else ", the length"
        message = f"expected one number{axes}, found {found(value)}{dims_field_hint(value, dims)}"
        faults.append(Fault(path, message))
        return 1
    sides: Axes = merge_axes(
        tuple(read_whole_fields(side, 1, f"{path}.{i}", faults) for i, side in enumerate(value))
    )
    return sides


def read_image_numbers(
    value: Any, channels: int, path: str, faults: list[Fault], unread: list[Fault]
) -> tuple[float, ...] | None:
    """Return the mean or the deviation of images, one number per channel, from a list or one number for all.

    A list of another length than the channels is a fault of `unread`: a network of other channels than the
    one it inherits the list from drops it.
    """
    if value is None:
        return None
    numbers = value if isinstance(value, list) else [value] * channels
    positive = path.endswith("_std")
    for number in numbers:
        number_like = isinstance(number, int | float) and not isinstance(number, bool)
        if not number_like or not math.isfinite(number) or (positive and number <= 0):
            above = " above 0" if positive else ""
            message = f"expected a number{above}, or a list of one per channel, found {found(value)}"
            faults.append(Fault(path, message))
            return None
    if len(numbers) != channels:
        unread.append(Fault(path, _count_message(len(numbers), channels)))
        return None
    return tuple(map(float, numbers))


def _count_message(count: int, channels: int) -> str:
    counted = f"{count} number{'s' if count != 1 else ''} for {channels} channel{'s' if channels > 1 else ''}"
    return f"{counted}; give one number{f', or {channels}' if channels > 1 else ''}"


def dims_field_hint(size: Any, dims: int) -> str:
    """Return a hint to `dims` for a list of more sides than a map has axes."""
    if isinstance(size, list) and dims < len(size) <= MAX_DIMS and all(type(side) is int for side in size):
        return f"; {len(size)} sides need model.dims={len(size)}"
    return ""


def read_features_field(value: Any, path: str, faults: list[Fault]) -> tuple[str, ...] | None:
    """Return the names of the maps that a backbone returns, or None for a whole network."""
    if isinstance(value, str):
        value = [value]
    if value is None or (isinstance(value, list) and value and all(isinstance(v, str) for v in value)):
        return None if value is None else tuple(value)
    faults.append(
        Fault(path, f"expected names of maps, as [layer3, layer4], stages or strides, found {found(value)}")
    )
    return None


def count_stages(lists: Mapping[str, Any], path: str, faults: list[Fault]) -> int:
    """Return the number of stages: the most frequent length of per-stage lists."""
    lengths = {key: len(value) for key, value in lists.items() if isinstance(value, list)}
    empty = [key for key, length in lengths.items() if length == 0]
    for key in empty:
        faults.append(Fault(f"{path}.{key}", "an empty list; a network has at least one stage"))
        del lengths[key]
    votes = Counter(lengths.values())
    # On a tie, assume that `depths` was changed and the others were not.
    stages = max(votes, key=lambda length: (votes[length], length != lengths.get("depths")), default=1)
    for key, length in lengths.items():
        if length != stages and not empty:
            others = [other for other, count in lengths.items() if count == stages]
            has = "has" if len(others) == 1 else "have"
            entries = "1 entry" if length == 1 else f"{length} entries"
            message = f"{entries}, but {all_of(others)} {has} {stages}"
            message += "; give one value, or one for each stage"
            faults.append(Fault(f"{path}.{key}", message))
    return stages


def read_per_stage_fields(
    value: Any, stages: int, least: int, path: str, faults: list[Fault], most: int
) -> tuple[int, ...]:
    """Return one number per stage, from a list or from one number for all."""
    if isinstance(value, list):
        return tuple(read_whole_fields(v, least, f"{path}.{i}", faults, most) for i, v in enumerate(value))
    return (read_whole_fields(value, least, path, faults, most),) * stages
