"""Design spaces: what a space's YAML and command line say, read, checked and ready to be sampled."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from resnet_factory.config import schema
from resnet_factory.config.schema import MAX_CHANNELS, PER_STAGE
from resnet_factory.errors import ConfigError, Fault, found, one_of, unknown
from resnet_factory.layers import VOCABULARY
from resnet_factory.layers.expressions import Expression, ExpressionError, parse
from resnet_factory.sweep import regnet
from resnet_factory.sweep.dimension import KINDS, Dimension, read_dimension
from resnet_factory.sweep.population import COSTS, FURTHER
from resnet_factory.sweep.vector import Array, holds

RELATIONS = ("non_decreasing", "increasing", "non_increasing", "decreasing")
WINDOWS = (*COSTS, *FURTHER)
"""Costs that a window may be set on."""
KEYS = ("vary", "relations", "constraints")
WHOLE_FILE = ("space", "model", "defaults", "samples", "sampler", "seed")
"""Keys that stand beside `space`, not in it."""


@dataclass(frozen=True)
class Relation:
    """What must hold between the numbers of one architecture."""

    text: str
    order: str = ""
    """One of RELATIONS, over the stages of `key`."""
    key: str = ""
    expression: Expression | None = None

    def holds(self, columns: Mapping[str, Array], stages: int) -> Array:
        """For each architecture whether it does."""
        size = len(next(iter(columns.values())))
        if self.expression is not None:
            scope = {scope_name(key): values for key, values in columns.items()}
            return holds(self.expression.value, {name: scope[name] for name in self.expression.names}, size)
        good = np.ones(size, bool)
        for stage in range(1, stages):
            before, after = columns[f"{self.key}.{stage - 1}"], columns[f"{self.key}.{stage}"]
            compare = {
                "non_decreasing": np.greater_equal, "increasing": np.greater,
                "non_increasing": np.less_equal, "decreasing": np.less,
            }[self.order]  # fmt: skip
            good &= compare(after, before)
        return good


@dataclass(frozen=True)
class Space:
    """What varies, what must hold, and which costs are wanted."""

    name: str
    dimensions: tuple[Dimension, ...]
    relations: tuple[Relation, ...]
    windows: Mapping[str, tuple[float, float]]
    generator: Mapping[str, Any] | None
    """The parameters of the base model's RegNet generator, where some of them vary."""
    stages: int
    base_name: str
    choices: Mapping[str, str]
    """Which recipe the base has of each group, by name."""
    base: Mapping[str, Any]
    """The model that everything else differs from, as plain data."""
    lists: tuple[str, ...] = ()
    """The numbers of recipes that vary per stage."""

    @property
    def text(self) -> str:
        """Canonical JSON of all that decides which architectures there are."""
        dimensions = [[d.key, d.kind, list(d.values), d.low, d.high, d.step] for d in self.dimensions]
        relations = [relation.text for relation in self.relations]
        windows = {key: list(window) for key, window in self.windows.items()}
        parts = [dimensions, relations, windows, self.generator, self.base]
        return json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)

    @property
    def digest(self) -> str:
        """A short content hash."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:8]

    @property
    def count(self) -> int | None:
        """How many combinations there are; None where real numbers vary."""
        total = 1
        for dimension in self.dimensions:
            if dimension.count is None:
                return None
            total *= dimension.count
        return total


def scope_name(key: str) -> str:
    """How a relation's arithmetic calls a number: `widths.0` is widths1, as its layers are in layer1."""
    *names, last = key.removeprefix("model.").split(".")
    return f"{'_'.join(names)}{int(last) + 1}" if last.isdigit() else "_".join([*names, last])


def read_space(
    name: str,
    data: Any,
    sweeps: Sequence[Dimension],
    base: Mapping[str, Any],
    base_name: str = "",
    choices: Mapping[str, str] | None = None,
    names: Callable[[str], Sequence[str]] = lambda group: (),
) -> Space:
    """A space from the `space` subtree of a composed configuration and the command line's own sweeps.

    `names` gives the recipes of a group, where they are known.

    Raises:
        ConfigError: with every fault found.
    """
    faults: list[Fault] = []
    if not isinstance(data or {}, Mapping):
        raise ConfigError([Fault("space", f"expected {one_of(KEYS)}, found {data!r}")])
    data = data or {}
    for key in data:
        if key not in KEYS:
            whole = "; a space's file begins with '# @package _global_'" if key in WHOLE_FILE else ""
            faults.append(Fault(f"space.{key}", unknown("key", str(key), KEYS) + whole))
    if not isinstance(data.get("vary") or {}, Mapping):
        faults.append(Fault("space.vary", f"expected keys of the model, found {data['vary']!r}"))
        data = {**data, "vary": {}}
    stages = max((len(base[key]) for key in PER_STAGE if isinstance(base.get(key), list)), default=1)
    given = {dimension.key.removeprefix("model."): dimension for dimension in sweeps}
    dimensions: list[Dimension] = []
    lists: list[str] = []
    for key, value in _flat(data.get("vary") or {}):
        if key in given:
            continue
        head, _, rest = key.partition(".")
        if head not in schema.KEYS:
            faults.append(Fault(f"space.vary.{head}", unknown("key of a model", head, schema.KEYS)))
            continue
        if rest and head in (*PER_STAGE, *schema.WHOLE) and not rest.isdigit():
            known = (*KINDS, "step", "each")
            faults.append(Fault(f"space.vary.{key}", unknown("key", rest, known)))
            continue
        dimension, each = read_dimension(key, value, f"space.vary.{key}", faults)
        if each and key not in PER_STAGE:
            if not staged(base, key):
                faults.append(Fault(f"space.vary.{key}.each", f"{key!r} has no value per stage"))
                continue
            lists.append(key)
        dimensions += [dimension.at(f"{key}.{stage}") for stage in range(stages)] if each else [dimension]
    dimensions += [dimension.at(key) for key, dimension in given.items()]
    base = with_lists(base, lists, stages)
    varied = {dimension.key for dimension in dimensions}
    for dimension in dimensions:
        path = f"model.{dimension.key}" if dimension.key in given else f"space.vary.{dimension.key}"
        faults += dict.fromkeys(_misfits(dimension, path.removesuffix(".0"), base, varied, names))
    generator = _generator(base, dimensions, faults)
    relations = _relations(data.get("relations") or [], dimensions, stages, faults)
    windows = _windows(data.get("constraints") or {}, faults)
    if not dimensions and not faults:
        faults.append(
            Fault("space", "nothing varies; choose a space, as in space=anynet, or sweep on the command line")
        )
    if faults:
        raise ConfigError(faults)
    return Space(
        name, tuple(dimensions), relations, windows, generator, stages, base_name, choices or {}, base,
        tuple(lists),
    )  # fmt: skip


def staged(base: Mapping[str, Any], key: str) -> bool:
    """Whether a dotted key is a number of a recipe that may be a list with one value per stage."""
    head, _, name = key.partition(".")
    role = schema.ROLES.get(head, schema.SLOT if head in schema.SLOTS else None)
    if role is None or not role.staged or not isinstance(base.get(head), Mapping):
        return False
    value = base[head].get(name)
    return name not in (*role.lists, *role.words) and isinstance(value, (int, float, str, list))


def with_lists(model: Mapping[str, Any], keys: Sequence[str], stages: int) -> Mapping[str, Any]:
    """The model's plain data with the numbers at `keys` as lists: one value per stage, the same in each."""
    data = dict(model)
    for key in keys:
        head, _, name = key.partition(".")
        recipe = data[head]
        if isinstance(recipe, Mapping) and name in recipe:
            values = recipe[name] if isinstance(recipe[name], list) else [recipe[name]]
            data[head] = {**recipe, name: [values[min(i, len(values) - 1)] for i in range(stages)]}
    return data


def _misfits(
    dimension: Dimension,
    path: str,
    base: Mapping[str, Any],
    varied: set[str],
    names: Callable[[str], Sequence[str]],
) -> Iterator[Fault]:
    """What is wrong with a dimension's values whatever else is chosen."""
    head, *rest = dimension.key.split(".")
    if rest and rest[-1].isdigit() and rest != ["0"] and head in PER_STAGE:
        return  # said for the first stage
    values = dimension.values if dimension.kind == "choice" else (dimension.low, dimension.high)
    if head in (*PER_STAGE, *schema.WHOLE) and head != "output_stride":
        least, most = PER_STAGE.get(head, schema.WHOLE.get(head, (0,))[0]), MAX_CHANNELS
        flat = [entry for value in values for entry in (value if isinstance(value, tuple) else (value,))]
        for value in flat:
            whole = isinstance(value, (int, float)) and not isinstance(value, bool) and value == int(value)
            if not whole or not least <= value <= most:
                yield Fault(path, f"expected whole numbers from {least} to {most}, found {found(value)}")
    elif head in (*schema.ROLES, *schema.SLOTS) and not rest:
        known = [*names(head), *(schema.ACTIVATIONS if head == "act" else ())]
        for value in values:
            if known and isinstance(value, str) and value not in known and value not in VOCABULARY:
                yield Fault(path, unknown(head, value, known))
    elif (
        rest and head not in varied and f"model/{head}" not in varied and isinstance(base.get(head), Mapping)
    ):
        own = {name for name, value in base[head].items() if isinstance(value, (int, float, str))}
        own -= {"layer", "when", "add", "reads", "identity_reads"}
        if rest[0] not in base[head]:
            yield Fault(path, unknown(f"number of {head!r}", rest[0], sorted(own)))


def _flat(data: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """What varies, by dotted key: a mapping that says no values holds the keys of more."""
    for key, value in data.items():
        if isinstance(value, Mapping) and not {*KINDS, "each", "step"} & set(map(str, value)):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _generator(
    base: Mapping[str, Any], dimensions: Sequence[Dimension], faults: list[Fault]
) -> dict[str, Any] | None:
    """The base model's RegNet generator, where its parameters vary."""
    varied = [d.key.removeprefix(regnet.PREFIX) for d in dimensions if d.key.startswith(regnet.PREFIX)]
    if not varied:
        return None
    own = (base.get("generator") or {}).get("regnet")
    if own is None:
        message = "the base model has no RegNet generator; choose one that does, as model=regnetx_002"
        faults.append(Fault("space.vary", message))
        return None
    for key in varied:
        if key not in regnet.PARAMETERS:
            path = f"space.vary.{regnet.PREFIX}{key}"
            faults.append(Fault(path, unknown("number", key, regnet.PARAMETERS)))
    return {"ratio": 1.0, "rounding": "nearest", **own}


def _relations(
    data: Any, dimensions: Sequence[Dimension], stages: int, faults: list[Fault]
) -> tuple[Relation, ...]:
    keys = {dimension.key for dimension in dimensions if dimension.numeric}
    if any(key.startswith(regnet.PREFIX) for key in keys):
        keys |= {f"{field}.{stage}" for field in ("depths", "widths", "groups") for stage in range(stages)}
    names = {scope_name(key) for key in keys}
    relations = []
    for i, entry in enumerate(data if isinstance(data, list) else [data]):
        path = f"space.relations.{i}"
        if isinstance(entry, Mapping) and len(entry) == 1:
            (order, key), *_ = entry.items()
            if order not in RELATIONS:
                faults.append(Fault(path, unknown("relation", str(order), RELATIONS)))
            elif f"{key}.0" not in keys:
                known = sorted({k.split(".")[0] for k in keys if k.endswith(".0")})
                faults.append(Fault(path, unknown("per-stage key that varies", str(key), known)))
            relations.append(Relation(f"{order} {key}", str(order), str(key)))
            continue
        try:
            expression = parse(str(entry))
        except ExpressionError as error:
            faults.append(Fault(path, str(error)))
            continue
        for name in sorted(expression.names - names):
            faults.append(Fault(path, unknown(f"name in {str(entry)!r},", name, sorted(names))))
        relations.append(Relation(str(entry), expression=expression))
    return tuple(relations)


def limit_of(limit: float) -> str:
    """One end of a window, for a person."""
    return f"{limit:,.0f}" if limit == round(limit) else f"{limit:g}"


def _windows(data: Any, faults: list[Fault]) -> dict[str, tuple[float, float]]:
    windows = {}
    if not isinstance(data, Mapping):
        faults.append(Fault("space.constraints", f"expected cost: [low, high], found {data!r}"))
        return {}
    for key, window in data.items():
        path = f"space.constraints.{key}"
        if key not in WINDOWS:
            faults.append(Fault(path, unknown("cost", str(key), WINDOWS)))
            continue
        if window is None:
            continue
        ends = window if isinstance(window, list) else []
        if len(ends) != 2 or not all(
            end is None
            or (isinstance(end, (int, float)) and not isinstance(end, bool) and not math.isnan(end))
            for end in ends
        ):
            faults.append(
                Fault(path, f"expected [low, high], null where there is no limit, found {window!r}")
            )
            continue
        low, high = (-np.inf if ends[0] is None else ends[0], np.inf if ends[1] is None else ends[1])
        if low > high:
            faults.append(Fault(path, f"{low:g} is more than {high:g}"))
        windows[str(key)] = (low, high)
    return windows
