"""Design spaces, read from YAML and the command line and checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from resnet_factory.config import schema
from resnet_factory.config.schema import MAX_CHANNELS, MAX_DIMS, PER_STAGE
from resnet_factory.errors import ConfigError, Fault, found, one_of, unknown
from resnet_factory.layers.registry import is_registered_layer
from resnet_factory.sweep import regnet
from resnet_factory.sweep.computed_numbers import (
    COMPUTED,
    ComputedNumber,
    ComputedNumberNames,
    base_names_to_compute_from,
    read_computed,
    read_drawn_and_computed_numbers,
)
from resnet_factory.sweep.dimension import DIMENSION_KEYS, Dimension, read_dimension
from resnet_factory.sweep.relation import Relation, read_relations, relation_names
from resnet_factory.sweep.windows import Windows, read_windows

SPACE_KEYS = ("numbers", "vary", "relations", "constraints")
GLOBAL_KEYS = ("space", "model", "defaults", "samples", "sampler", "seed")
"""Keys of a space's file that are beside `space`, not in it."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """Dimensions, relations between numbers, and windows on costs."""

    name: str
    dimensions: tuple[Dimension, ...]
    relations: tuple[Relation, ...]
    windows: Windows
    """On costs and on numbers of the structure."""
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
    computed: tuple[ComputedNumber, ...] = ()
    """Numbers computed from those drawn: the space's own, then keys of the model."""
    limits: Windows = field(default_factory=dict)
    """Windows on measured metrics, which decide after measuring."""

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
        if self.computed:
            parts.append([[number.key, number.expression.text] for number in self.computed])
        return json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)


def read_space(
    name: str,
    data: Any,
    sweeps: Sequence[Dimension],
    base: Mapping[str, Any],
    base_name: str = "",
    choices: Mapping[str, str] | None = None,
    names: Callable[[str], Sequence[str]] = lambda group: (),
    measured: Sequence[str] = (),
) -> Space:
    """Read the `space` subtree of a composed configuration, and the command line's own sweeps.

    `names` returns the recipes of a group, where they are known; `measured` are the metrics that
    constraints may be on.

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
    scope = base_names_to_compute_from(base, stages)
    numbers, own = read_drawn_and_computed_numbers(data.get("numbers") or {}, scope, stages, faults)
    reader = _SpaceVaryReader(base, stages, scope, faults)
    reader.read(data.get("vary") or {}, given)
    dimensions, lists = [*numbers, *reader.dimensions], reader.lists
    computed = [*own, *reader.computed()]
    dimensions += [dimension.at(key) for key, dimension in given.items()]
    base = space_model_with_lists(base, lists, stages)
    varied = {dimension.key for dimension in dimensions}
    for dimension in reader.dimensions + [each for each in dimensions if each.key in given]:
        path = f"model.{dimension.key}" if dimension.key in given else f"space.vary.{dimension.key}"
        faults += dict.fromkeys(_space_value_faults(dimension, path.removesuffix(".0"), base, varied, names))
    generator = _read_space_generator(base, dimensions, faults)
    relations = read_relations(data.get("relations") or [], dimensions, computed, stages, faults)
    known = relation_names(dimensions, computed, stages)
    windows, limits = read_windows(data.get("constraints") or {}, known, measured, faults)
    if not dimensions and not faults:
        message = "nothing varies; choose a space, as in space=anynet, or sweep on the command line"
        faults.append(Fault("space", message))
    if faults:
        raise ConfigError(faults)
    return Space(
        name=name, dimensions=tuple(dimensions), relations=relations, windows=windows, generator=generator,
        stages=stages, base_name=base_name, choices=choices or {}, base=base, lists=tuple(lists),
        computed=tuple(computed), limits=limits,
    )  # fmt: skip


class _SpaceVaryReader:
    """Reads `vary`: keys of the model that are drawn, and those that are computed."""

    def __init__(
        self, base: Mapping[str, Any], stages: int, names: ComputedNumberNames, faults: list[Fault]
    ) -> None:
        self.base, self.stages, self.names, self.faults = base, stages, names, faults
        self.dimensions: list[Dimension] = []
        self.lists: list[str] = []
        """The keys of recipes that are per stage."""
        self._texts: dict[str, Any] = {}

    def read(self, data: Any, given: Mapping[str, Dimension]) -> None:
        """Read all keys but those that are `given` on the command line."""
        if not isinstance(data, Mapping):
            self.faults.append(Fault("space.vary", f"expected keys of the model, found {data!r}"))
            return
        for key, value in _flat_space_keys(data):
            head, _, rest = key.partition(".")
            if key in given:
                continue
            if head not in schema.KEYS:
                self.faults.append(Fault(f"space.vary.{head}", unknown("key of a model", head, schema.KEYS)))
            elif rest and head in (*PER_STAGE, *schema.WHOLE) and not rest.isdigit():
                self.faults.append(Fault(f"space.vary.{key}", unknown("key", rest, DIMENSION_KEYS)))
            elif isinstance(value, Mapping) and COMPUTED in value:
                self._read_text(key, value)
            else:
                self._read_dimension(key, value)

    def _read_text(self, key: str, value: Mapping[str, Any]) -> None:
        if others := [str(word) for word in value if word != COMPUTED]:
            message = f"a computed number has {COMPUTED!r} alone, found {one_of(others)} beside it; "
            message += "put arithmetic that contains commas in quotes"
            self.faults.append(Fault(f"space.vary.{key}", message))
        else:
            self._texts[key] = value[COMPUTED]

    def _read_dimension(self, key: str, value: Any) -> None:
        dimension, each = read_dimension(key, value, f"space.vary.{key}", self.faults)
        if each and not self._may_be_staged(key):
            return
        if dimension.numeric:
            self.names.add(key, each=each, stages=self.stages)
        stages = range(self.stages)
        self.dimensions += [dimension.at(f"{key}.{stage}") for stage in stages] if each else [dimension]

    def _may_be_staged(self, key: str) -> bool:
        if key not in PER_STAGE:
            if not _space_key_may_be_list(self.base, key):
                self.faults.append(Fault(f"space.vary.{key}.each", f"{key!r} has no value per stage"))
                return False
            self.lists.append(key)
        return True

    def computed(self) -> Iterator[ComputedNumber]:
        """Yield the computed keys, once all that is drawn is known."""
        for key, text in self._texts.items():
            found = read_computed(key, text, f"space.vary.{key}.{COMPUTED}", self.names, self.faults)
            if found is not None and (not found.each or self._may_be_staged(key)):
                yield found


def _flat_space_keys(data: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values; a mapping without a distribution holds further keys."""
    for key, value in data.items():
        if isinstance(value, Mapping) and not {*DIMENSION_KEYS, COMPUTED} & set(map(str, value)):
            yield from _flat_space_keys(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _space_key_may_be_list(base: Mapping[str, Any], key: str) -> bool:
    """Return whether a dotted key is a number of a recipe that may have one value per stage."""
    head, _, name = key.partition(".")
    role = schema.ROLES.get(head, schema.SLOT if head in schema.SLOTS else None)
    if role is None or not role.staged or not isinstance(base.get(head), Mapping):
        return False
    value = base[head].get(name)
    return name not in (*role.lists, *role.words) and isinstance(value, (int, float, str, list))


def space_model_with_lists(model: Mapping[str, Any], keys: Sequence[str], stages: int) -> Mapping[str, Any]:
    """Return a model's plain data with the numbers at `keys` repeated in lists, one value per stage."""
    data = dict(model)
    for key in keys:
        head, _, name = key.partition(".")
        recipe = data[head]
        if isinstance(recipe, Mapping) and name in recipe:
            values = recipe[name] if isinstance(recipe[name], list) else [recipe[name]]
            data[head] = {**recipe, name: [values[min(i, len(values) - 1)] for i in range(stages)]}
    return data


def _space_value_faults(
    dimension: Dimension,
    path: str,
    base: Mapping[str, Any],
    varied: set[str],
    recipes: Callable[[str], Sequence[str]],
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
        known = [*recipes(head), *(schema.ACTIVATIONS if head == "act" else ())]
        for value in values:
            if known and isinstance(value, str) and value not in known and not is_registered_layer(value):
                yield Fault(path, unknown(head, value, known))
    elif rest and not {head, f"model/{head}"} & varied and isinstance(base.get(head), Mapping):
        own = {name for name, value in base[head].items() if isinstance(value, (int, float, str))}
        own -= {"layer", "when", "add", "reads", "identity_reads"}
        if rest[0] not in base[head]:
            yield Fault(path, unknown(f"number of {head!r}", rest[0], sorted(own)))


def _read_space_generator(
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
