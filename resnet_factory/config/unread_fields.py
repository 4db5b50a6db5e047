"""Fields of a model that no recipe of its network reads: errors, unless they have neutral values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from resnet_factory.config.model_keys import SLOTS
from resnet_factory.config.recipe import Recipe
from resnet_factory.errors import Fault

READ_AS: dict[str, tuple[str, ...]] = {
    "widths": ("width",),
    "dilations": ("dilation", "entry_dilation"),
    "groups": ("groups",),
    "base_width": ("base_width",),
    "zero_init_residual": ("zero_init_residual",),
    "first_dilation": ("entry_dilation",),
    "num_classes": ("num_classes",),
    **{slot: (slot,) for slot in SLOTS},
}
"""Field -> its names in recipes, for fields that the planner does not read itself."""


NEUTRAL: dict[str, tuple[Any, ...]] = {
    "dilations": (1,),
    "groups": (1,),
    "base_width": (64,),
    "zero_init_residual": (False,),
    "first_dilation": ("previous",),
    "num_classes": (1000, 0),
    "norm": ({"layer": "batch_norm", "eps": 1e-5, "momentum": 0.1},),
    "act": ({"layer": "relu"},),
    "conv": ({"layer": "conv2d", "bias": "not norm"},),
    "stem_pool": ({"layers": [{"max_pool": {"kernel": 3, "stride": 2}}]},),
}
"""Field -> the values it may have though nothing reads it: first that of the model all others
start from; also no classes, which a network without a classifier has. A test compares."""


def _is_neutral_unread_field(key: str, value: Any) -> bool:
    """Return whether an unread field has its neutral value; an empty slot always has."""
    empty = isinstance(value, Mapping) and value.get("layers") == []
    values = value if isinstance(value, list) else [value]
    return empty or all(
        any(_equals_but_unread_defaults(entry, known) for known in NEUTRAL.get(key, ())) for entry in values
    )


def _equals_but_unread_defaults(value: Any, known: Any) -> bool:
    """Return whether a value equals a known one, apart from arguments left at their defaults."""
    if isinstance(value, Mapping) and isinstance(known, Mapping):
        return value.get("layer") == known.get("layer") and all(
            key in known and known[key] == entry for key, entry in value.items()
        )
    return bool(value == known)


def unread_fields(data: Mapping[str, Any], names: frozenset[str], path: str) -> Iterator[Fault]:
    """Yield a fault for each field that no recipe of the network reads."""
    for key, read_as in READ_AS.items():
        if key in data and not names.intersection(read_as) and not _is_neutral_unread_field(key, data[key]):
            if key in SLOTS:
                called = ", ".join(slot for slot in SLOTS if slot in names)
                message = f"nothing in this network calls {key!r}; its recipes call {called}"
            else:
                readable = ", ".join(other for other, by in READ_AS.items() if names.intersection(by))
                message = f"nothing in this network reads {key!r}; its recipes read {readable}"
            yield Fault(f"{path}.{key}", message)


def names_of_read_fields(
    recipes: Iterable[Recipe], slots: Mapping[str, tuple[Recipe, ...]]
) -> frozenset[str]:
    """Return the names of numbers and slots that recipes use, directly or in the slots they call."""
    names: set[str] = set()
    waiting = list(recipes)
    while waiting:
        used = waiting.pop().used
        waiting += [recipe for name in used & slots.keys() - names for recipe in slots[name]]
        names |= used
    return frozenset(names)
