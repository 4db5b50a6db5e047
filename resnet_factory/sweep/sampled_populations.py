"""Samples of a space as populations: numbers made of what was drawn, and the template of each sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from resnet_factory.config import schema
from resnet_factory.config.schema import ModelConfig
from resnet_factory.errors import ConfigError
from resnet_factory.layers import per_axis
from resnet_factory.sweep import regnet
from resnet_factory.sweep.computed_numbers import OWN
from resnet_factory.sweep.dimension import Dimension
from resnet_factory.sweep.model_numbers import model_image_sides, model_number_may_vary
from resnet_factory.sweep.population import Population
from resnet_factory.sweep.relation import Relation
from resnet_factory.sweep.space import Space
from resnet_factory.sweep.structure_numbers import structure_number, structure_number_name
from resnet_factory.sweep.templates import template_override
from resnet_factory.sweep.vector import Array


class CostConditions(NamedTuple):
    """Conditions of costs."""

    image: tuple[int, ...] | None = None
    """None: each model's own image size."""
    batch: int = 1
    """Batch size, for memory."""
    dtype: str = "float32"
    """Type of weights and feature maps, for memory."""


def sampled_numbers_before_planning(
    relation: Relation, columns: Mapping[str, Array], stages: Array, space: Space
) -> Callable[[str], Array] | None:
    """Return the numbers that a relation reads, by name; None where only the networks' models have them."""
    known = numeric_sampled_columns(columns, space)
    by_name = {structure_number_name(key): values for key, values in known.items()}
    if space.generator is None and not relation.names(space.stages) <= by_name.keys():
        return None
    most = int(stages.max())

    def number(name: str) -> Array:
        if name in by_name:
            return by_name[name]
        return structure_number(name, space.base, known, stages, most, len(stages))

    return number


def sampled_population_numbers(
    population: Population, columns: Mapping[str, Array], members: Array, space: Space
) -> Callable[[str], Array]:
    """Return the numbers of a population by name."""
    by_name = {
        structure_number_name(key): values[members]
        for key, values in numeric_sampled_columns(columns, space).items()
    }
    stages = len(population.config.depths)
    base = {key: getattr(population.config, key) for key in schema.PER_STAGE}

    def number(name: str) -> Array:
        if name in by_name:
            return by_name[name]
        return structure_number(name, base, population.columns, stages, stages, len(members))

    return number


def generate_sampled_stages(columns: dict[str, Array], space: Space) -> tuple[Array, Array]:
    """Replace parameters of RegNet's generator by its stages; return their number, and which are valid."""
    assert space.generator is not None
    size = len(next(iter(columns.values())))
    known = numeric_sampled_columns(columns, space)
    numbers = {}
    for name in regnet.PARAMETERS:
        key = regnet.PREFIX + name
        columns.pop(key, None)
        numbers[name] = known[key] if key in known else np.full(size, space.generator[name])
    made = regnet.generate_regnet_stages(numbers, space.generator["rounding"])
    for name in ("depths", "widths", "groups"):
        for stage, values in enumerate(getattr(made, name).T):
            columns[f"{name}.{stage}"] = values
    columns[regnet.SKIPPED] = made.skipped
    block = space.base["block"]
    if regnet.PREFIX + "ratio" in known and isinstance(block, Mapping) and "ratio" in block:
        columns["block.ratio"] = numbers["ratio"]
    return made.stages, made.valid


def numeric_sampled_columns(columns: Mapping[str, Array], space: Space) -> dict[str, Array]:
    """Return the numbers among the columns; choices of numbers by value, not by index."""
    known = {dimension.key: dimension for dimension in space.dimensions}
    return {
        key: np.array(known[key].values)[values] if key in known and known[key].kind == "choice" else values
        for key, values in columns.items()
        if key not in known or known[key].numeric
    }


class _SampledStructuralNumber(NamedTuple):
    """A computed number that may not differ within a population."""

    key: str

    def shown(self, value: Any) -> Any:
        """Return the value itself."""
        return value


def sampled_structural_dimensions(space: Space) -> list[Dimension | _SampledStructuralNumber]:
    """Return what is no number, or a number that may not differ within a population."""
    try:
        base = schema.read_config(space.base)
    except ConfigError:
        return [d for d in space.dimensions if not d.key.startswith(OWN)]
    drawn = [d for d in space.dimensions if not d.key.startswith(OWN)]
    found: list[Dimension | _SampledStructuralNumber] = [
        d for d in drawn if not d.numeric or "/" in d.key or not model_number_may_vary(base, d.key)
    ]
    for number in space.computed:
        keys = [] if number.key.startswith(OWN) else number.keys(space.stages)
        found += [_SampledStructuralNumber(key) for key in keys if not model_number_may_vary(base, key)]
    return found


def sampled_members_by_template(
    structural: Sequence[Dimension | _SampledStructuralNumber],
    columns: Mapping[str, Array],
    stages: Array,
    members: Array,
) -> Iterator[tuple[tuple[str, ...], Array]]:
    """Yield the members of each template with its overrides."""
    if not members.size:
        return
    present = [d for d in structural if d.key in columns]
    codes = np.stack([stages, *(columns[d.key] for d in present)], axis=1)[members]
    if (codes == codes[0]).all():  # as in spaces of numbers alone; sorting rows takes long
        rows, inverse = codes[:1], np.zeros(len(codes), np.int64)
    else:
        rows, inverse = np.unique(codes, axis=0, return_inverse=True)
    for i, row in enumerate(rows):
        choices = zip(present, row[1:], strict=True)
        overrides = tuple(template_override(d.key, d.shown(code.item())) for d, code in choices)
        yield overrides, members[inverse.reshape(-1) == i]


def sampled_population(
    config: ModelConfig,
    space: Space,
    columns: Mapping[str, Array],
    members: Array,
    conditions: CostConditions,
) -> Population:
    """Return the members of a template as a population."""
    stages = len(config.depths)
    varying = {}
    for key, values in numeric_sampled_columns(columns, space).items():
        last = key.split(".")[-1]
        if model_number_may_vary(config, key) and not (last.isdigit() and int(last) >= stages):
            varying[key] = values[members]
    if not varying:
        varying["num_classes"] = np.full(len(members), config.num_classes)
    image = per_axis(config.image_size, config.dims)
    if conditions.image is not None:
        image = model_image_sides(conditions.image, config.dims)
    return Population(
        config=config, columns=varying, image=image, batch=conditions.batch, dtype=conditions.dtype
    )
