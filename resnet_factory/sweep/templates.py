"""Model templates: what the architectures of a space share besides their numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from resnet_factory.config import pruning
from resnet_factory.config.schema import PER_STAGE, ROLES, SLOTS, ModelConfig
from resnet_factory.config.unread_fields import READ_AS, names_of_read_fields
from resnet_factory.errors import ConfigError, Fault
from resnet_factory.sweep.plan_ids import LayerTexts
from resnet_factory.sweep.space import Space, space_model_with_lists


@dataclass(frozen=True)
class ModelTemplate:
    """A model whose numbers vary."""

    overrides: tuple[str, ...]
    stages: int
    model: Mapping[str, Any] | None
    """Plain data; None: the overrides cannot be composed."""


@dataclass
class ModelTemplates:
    """The templates of a sweep, each composed once."""

    space: Space
    compose: Callable[[Sequence[str]], Mapping[str, Any]]
    """Overrides of the base model -> a model's plain data."""
    known: list[ModelTemplate] = field(default_factory=list)
    numbers: dict[tuple[tuple[str, ...], int], int] = field(default_factory=dict)
    """Overrides and stages -> index in `known`."""
    configs: dict[int, ModelConfig | ConfigError] = field(default_factory=dict)
    """Index in `known` -> config, or why it has none."""
    layer_texts: LayerTexts = field(default_factory=dict)
    """Descriptions of layers, shared by the architectures of all templates."""

    def config(self, number: int) -> ModelConfig:
        """Return the config of a template, read once.

        Raises:
            ConfigError: its overrides cannot be composed.
        """
        if number not in self.configs:
            try:
                self.configs[number] = self._read(self.known[number])
            except ConfigError as error:
                self.configs[number] = error
        found = self.configs[number]
        if isinstance(found, ConfigError):
            raise found
        return found

    def _read(self, template: ModelTemplate) -> ModelConfig:
        if template.model is None:
            self.compose(template.overrides)  # raises the reason
            raise ConfigError([Fault("model", "could not be composed when this sweep started")])
        return pruning.read_pruned(template.model)

    def add(self, template: ModelTemplate) -> int:
        """Return the index of a template in `known`, to which it is added if it is new."""
        known = self._number(template.overrides, template.stages)
        if known is None:
            known = len(self.known)
            self.known.append(template)
        return known

    def _number(self, overrides: tuple[str, ...], stages: int) -> int | None:
        for number in range(len(self.numbers), len(self.known)):  # of an earlier run, or just added
            template = self.known[number]
            self.numbers[template.overrides, template.stages] = number
        return self.numbers.get((overrides, stages))

    def find(self, overrides: tuple[str, ...], stages: int) -> int:
        """Return the index of a template in `known`, composed if it is new."""
        if (known := self._number(overrides, stages)) is not None:
            return known
        try:
            model: Mapping[str, Any] | None = self.compose(overrides) if overrides else self.space.base
        except ConfigError:
            model = None
        if model is not None:
            if self.space.generator is not None:
                model = template_with_stages(model, stages)
            model = space_model_with_lists(model, self.space.lists, stages)
        self.known.append(ModelTemplate(overrides, stages, model))
        return len(self.known) - 1


def unread_template_faults(templates: ModelTemplates) -> Iterator[Fault]:
    """Yield a fault for each field that varies, but that none of the networks composed so far reads."""
    names: set[str] = set()
    for number in range(len(templates.known)):
        with suppress(ConfigError):
            config = templates.config(number)
            recipes = (*config.blocks, config.stem, config.shortcut, config.transition, config.head)
            names |= names_of_read_fields(recipes, config.slot_recipes)
    keys = [dimension.key.removeprefix("model/") for dimension in templates.space.dimensions]
    for key in dict.fromkeys(key.split(".")[0] for key in keys):
        if names and key in READ_AS and not names.intersection(READ_AS[key]):
            readable = ", ".join(other for other, by in READ_AS.items() if names.intersection(by))
            message = f"nothing in these networks reads {key!r}; their recipes read {readable}"
            yield Fault(f"space.vary.{key}", message)


def template_with_stages(model: Mapping[str, Any], stages: int) -> Mapping[str, Any]:
    """Return a model's plain data with another number of stages; the last stage's values are repeated."""
    data = {key: value for key, value in model.items() if key != "generator"}
    for key in (*PER_STAGE, "block", *SLOTS):
        if isinstance(value := data.get(key), list):
            data[key] = [value[min(i, len(value) - 1)] for i in range(stages)]
    return data | {"depths": [1] * stages, "widths": [8] * stages, "groups": [1] * stages}


def template_override(key: str, value: Any) -> str:
    """Return a choice as an override of the base model, in Hydra's grammar."""
    if key == "model" or "/" in key:
        return f"{key}={value}"
    if key in (*ROLES, *SLOTS) and isinstance(value, str) and key != "act":
        return f"model/{key}={value}"
    text = json.dumps(value, separators=(",", ":")).replace('"', "")
    return f"++model.{key}={text}"
