"""Design spaces, read from YAML and the command line and checked."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resnet_factory.config import schema
from resnet_factory.config.schema import MAX_CHANNELS, MAX_DIMS, PER_STAGE
from resnet_factory.errors import ConfigError, Fault, found, one_of, unknown
from resnet_factory.layers.registry import is_layer
from resnet_factory.sweep import regnet
from resnet_factory.sweep.dimension import DIMENSION_KEYS, Dimension, read_dimension
from resnet_factory.sweep.population import BASIC_COSTS, OPTIONAL_COSTS
from resnet_factory.sweep.relation import Relation, read_relations

WINDOW_COSTS = (*BASIC_COSTS, *OPTIONAL_COSTS)
"""Costs that a window may be set on."""
SPACE_KEYS = ("vary", "relations", "constraints")
GLOBAL_KEYS = ("space", "model", "defaults", "samples", "sampler", "seed")
"""Keys of a space's file that are beside `space`, not in it."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """Dimensions, relations between numbers, and windows on costs."""

    name: str
    dimensions: tuple[Dimension, ...]
    relations: tuple[Relation, ...]
    windows: Mapping[str, tuple[float, float]]
    generator: Mapping[str, Any] | None
    """The parameters of the base model's RegNet generator, where some of them vary."""
    stages: int
    base_name: str
    choices: Mapping[str, str]
    """Group -> recipe of the base."""
    base: Mapping[str, Any]
    """The model that is varied, as plain data."""
    lists: tuple[str, ...] = ()
    """The numbers of recipes that vary per stage."""

    @property
    def dimension_rows(self) -> list[list[Any]]:
        """Return the dimensions as plain data."""
        return [[d.key, d.kind, list(d.values), d.low, d.high, d.step] for d in self.dimensions]

    @property
    def text(self) -> str:
        """Return canonical JSON of all that decides which architectures there are."""
        relations = [relation.text for relation in self.relations]
        windows = {key: list(window) for key, window in self.windows.items()}
        parts = [self.dimension_rows, relations, windows, self.generator, self.base]
        return json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)


def read_space(
    name: str,
    data: Any,
    sweeps: Sequence[Dimension],
    base: Mapping[str, Any],
    base_name: str = "",
    choices: Mapping[str, str] | None = None,
    names: Callable[[str], Sequence[str]] = lambda group: (),
) -> Space:
    """Read the `space` subtree of a composed configuration, and the command line's own sweeps.

    `names` returns the recipes of a group, where they are known.

    Raises:
        ConfigError: with every fault found.
    """
    faults: list[Fault] = []
    if not isinstance(data or {}, Mapping):
        raise ConfigError([Fault("space", f"expected {one_of(SPACE_KEYS)}, found {data!r}")])
    data = data or {}
    for key in data:
        if key not in SPACE_KEYS:
            hint = "; a space's file begins with '# @package _global_'" if key in GLOBAL_KEYS else ""
            faults.append(Fault(f"space.{key}", unknown("key", str(key), SPACE_KEYS) + hint))
    stages = max((len(base[key]) for key in PER_STAGE if isinstance(base.get(key), list)), default=1)
    given = {dimension.key.removeprefix("model."): dimension for dimension in sweeps}
    dimensions, lists = _read_dimensions(data.get("vary") or {}, given, base, stages, faults)
    dimensions += [dimension.at(key) for key, dimension in given.items()]
    base = with_lists(base, lists, stages)
    varied = {dimension.key for dimension in dimensions}
    for dimension in dimensions:
        path = f"model.{dimension.key}" if dimension.key in given else f"space.vary.{dimension.key}"
        faults += dict.fromkeys(_value_faults(dimension, path.removesuffix(".0"), base, varied, names))
    generator = _read_generator(base, dimensions, faults)
    relations = read_relations(data.get("relations") or [], dimensions, stages, faults)
    windows = _read_windows(data.get("constraints") or {}, faults)
    if not dimensions and not faults:
        message = "nothing varies; choose a space, as in space=anynet, or sweep on the command line"
        faults.append(Fault("space", message))
    if faults:
        raise ConfigError(faults)
    return Space(
        name=name, dimensions=tuple(dimensions), relations=relations, windows=windows, generator=generator,
        stages=stages, base_name=base_name, choices=choices or {}, base=base, lists=tuple(lists),
    )  # fmt: skip


def _read_dimensions(
    data: Any, given: Mapping[str, Dimension], base: Mapping[str, Any], stages: int, faults: list[Fault]
) -> tuple[list[Dimension], list[str]]:
    """Return the dimensions that are not `given`, and which keys of recipes are per stage."""
    if not isinstance(data, Mapping):
        faults.append(Fault("space.vary", f"expected keys of the model, found {data!r}"))
        return [], []
    dimensions: list[Dimension] = []
    lists: list[str] = []
    for key, value in _flat_keys(data):
        if key in given:
            continue
        head, _, rest = key.partition(".")
        if head not in schema.KEYS:
            faults.append(Fault(f"space.vary.{head}", unknown("key of a model", head, schema.KEYS)))
            continue
        if rest and head in (*PER_STAGE, *schema.WHOLE) and not rest.isdigit():
            faults.append(Fault(f"space.vary.{key}", unknown("key", rest, DIMENSION_KEYS)))
            continue
        dimension, each = read_dimension(key, value, f"space.vary.{key}", faults)
        if each and key not in PER_STAGE:
            if not _may_be_list(base, key):
                faults.append(Fault(f"space.vary.{key}.each", f"{key!r} has no value per stage"))
                continue
            lists.append(key)
        dimensions += [dimension.at(f"{key}.{stage}") for stage in range(stages)] if each else [dimension]
    return dimensions, lists


def _flat_keys(data: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values; a mapping without a distribution holds further keys."""
    for key, value in data.items():
        if isinstance(value, Mapping) and not set(DIMENSION_KEYS) & set(map(str, value)):
            yield from _flat_keys(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _may_be_list(base: Mapping[str, Any], key: str) -> bool:
    """Return whether a dotted key is a number of a recipe that may have one value per stage."""
    head, _, name = key.partition(".")
    role = schema.ROLES.get(head, schema.SLOT if head in schema.SLOTS else None)
    if role is None or not role.staged or not isinstance(base.get(head), Mapping):
        return False
    value = base[head].get(name)
    return name not in (*role.lists, *role.words) and isinstance(value, (int, float, str, list))


def with_lists(model: Mapping[str, Any], keys: Sequence[str], stages: int) -> Mapping[str, Any]:
    """Return a model's plain data with the numbers at `keys` repeated in lists, one value per stage."""
    data = dict(model)
    for key in keys:
        head, _, name = key.partition(".")
        recipe = data[head]
        if isinstance(recipe, Mapping) and name in recipe:
            values = recipe[name] if isinstance(recipe[name], list) else [recipe[name]]
            data[head] = {**recipe, name: [values[min(i, len(values) - 1)] for i in range(stages)]}
    return data


def _value_faults(
    dimension: Dimension,
    path: str,
    base: Mapping[str, Any],
    varied: set[str],
    names: Callable[[str], Sequence[str]],
) -> Iterator[Fault]:
    """Yield the faults of values that are wrong whatever else is chosen."""
    head, *rest = dimension.key.split(".")
    if rest and rest[-1].isdigit() and rest != ["0"] and head in PER_STAGE:
        return  # reported for the first stage
    values = dimension.values if dimension.kind == "choice" else (dimension.low, dimension.high)
    if head in (*PER_STAGE, *schema.WHOLE) and head != "output_stride":
        least = PER_STAGE.get(head, schema.WHOLE.get(head, (0,))[0])
        most = MAX_DIMS if head == "dims" else MAX_CHANNELS
        for value in [entry for each in values for entry in (each if isinstance(each, tuple) else (each,))]:
            whole = isinstance(value, (int, float)) and not isinstance(value, bool) and value == int(value)
            if not whole or not least <= value <= most:
                yield Fault(path, f"expected whole numbers from {least} to {most}, found {found(value)}")
    elif head in (*schema.ROLES, *schema.SLOTS) and not rest:
        known = [*names(head), *(schema.ACTIVATIONS if head == "act" else ())]
        for value in values:
            if known and isinstance(value, str) and value not in known and not is_layer(value):
                yield Fault(path, unknown(head, value, known))
    elif rest and not {head, f"model/{head}"} & varied and isinstance(base.get(head), Mapping):
        own = {name for name, value in base[head].items() if isinstance(value, (int, float, str))}
        own -= {"layer", "when", "add", "reads", "identity_reads"}
        if rest[0] not in base[head]:
            yield Fault(path, unknown(f"number of {head!r}", rest[0], sorted(own)))


def _read_generator(
    base: Mapping[str, Any], dimensions: Sequence[Dimension], faults: list[Fault]
) -> dict[str, Any] | None:
    """Return the parameters of the base model's RegNet generator, if some of them vary."""
    prefix = regnet.PREFIX
    varied = [d.key.removeprefix(prefix) for d in dimensions if d.key.startswith(prefix)]
    if not varied:
        return None
    own = (base.get("generator") or {}).get("regnet")
    if own is None:
        message = "the base model has no RegNet generator; choose one that does, as model=regnetx_002"
        faults.append(Fault("space.vary", message))
        return None
    for key in varied:
        if key not in regnet.PARAMETERS:
            faults.append(Fault(f"space.vary.{prefix}{key}", unknown("number", key, regnet.PARAMETERS)))
    return {"ratio": 1.0, "rounding": "nearest", **own}


def format_limit(limit: float) -> str:
    """Return one end of a window as text."""
    return f"{limit:,.0f}" if limit == round(limit) else f"{limit:g}"


def _read_windows(data: Any, faults: list[Fault]) -> dict[str, tuple[float, float]]:
    windows = {}
    if not isinstance(data, Mapping):
        faults.append(Fault("space.constraints", f"expected cost: [low, high], found {data!r}"))
        return {}
    for key, window in data.items():
        path = f"space.constraints.{key}"
        if key not in WINDOW_COSTS:
            faults.append(Fault(path, unknown("cost", str(key), WINDOW_COSTS)))
        elif window is not None:
            if not (isinstance(window, list) and len(window) == 2 and all(map(_is_limit, window))):
                message = f"expected [low, high], null where there is no limit, found {window!r}"
                faults.append(Fault(path, message))
                continue
            low, high = (
                -math.inf if window[0] is None else window[0],
                math.inf if window[1] is None else window[1],
            )
            if low > high:
                faults.append(Fault(path, f"{low:g} is more than {high:g}"))
            windows[str(key)] = (low, high)
    return windows


def _is_limit(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value is None or (number and not math.isnan(value))
