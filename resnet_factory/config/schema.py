"""The config of one model, read from plain data into a typed and checked value. Independent of Hydra."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from resnet_factory.config.model_fields import (
    count_stages,
    read_arguments_field,
    read_features_field,
    read_generated_fields,
    read_image_numbers,
    read_image_size_field,
    read_per_stage_fields,
    read_whole_fields,
)
from resnet_factory.config.model_keys import (
    ACTIVATIONS,
    DEFAULTS,
    IMAGE_NUMBERS,
    KEYS,
    MAX_BLOCKS,
    MAX_CHANNELS,
    MAX_DIMS,
    NUMBERS,
    PER_STAGE,
    ROLES,
    SLOT,
    SLOTS,
    WHOLE,
)
from resnet_factory.config.named_recipes import STAND_IN, Find, with_named_recipes
from resnet_factory.config.recipe import Recipe, recipe_circles, recipe_signatures
from resnet_factory.config.recipe_reader import RecipeReader
from resnet_factory.config.specification import Init, Specification
from resnet_factory.config.unread_fields import names_of_read_fields, unread_fields
from resnet_factory.errors import ConfigError, Fault, all_of, found, unknown


@dataclass(frozen=True, eq=False)
class ModelConfig(Specification):
    """The config of one network: comparable, hashable, and serialisable by pickle and `to_dict`.

    Configs are equal if their resolved content is, whatever files and overrides they come from. To change
    one, use `changed`: `dataclasses.replace` would leave `text` unchanged.
    """

    text: str = field(default="", repr=False)
    """Canonical JSON of the plain data, used for comparison and saving."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ModelConfig) or self.text != other.text:
            return False
        return all(getattr(self, key) == getattr(other, key) for key in NUMBERS)

    def __hash__(self) -> int:
        return hash(self.text)

    def to_dict(self) -> dict[str, Any]:
        """Return the plain data of the config, with names resolved; `read` gives an equal config back."""
        data = json.loads(self.text)
        assert isinstance(data, dict)
        return data

    def changed(self, fields: Mapping[str, Any]) -> ModelConfig:
        """Return the config with other values of some fields, checked again.

        Another number of input channels drops the numbers of the channels that there were.

        Raises:
            ConfigError: with every fault found.
        """
        once = ("stem", "shortcut", "transition", "head")
        recipes = dict(self.slots) | {key: getattr(self, key) for key in once}
        titles = {key: recipe.title for key, recipe in recipes.items()}
        lists = {"block": self.blocks, **self.stage_slots}
        titles |= {f"{key}.{i}": recipe.title for key, of in lists.items() for i, recipe in enumerate(of)}
        titles["block"] = self.blocks[0].title
        data = self.to_dict() | dict(fields)
        if data.get("in_channels") != self.in_channels:
            for key in IMAGE_NUMBERS:
                if key not in fields and isinstance(data.get(key), list):
                    del data[key]
        return read_config(data, name=self.name, titles=titles)


@dataclass(frozen=True)
class SchemaExamination:
    """The result of reading a model's plain data: its config, or its faults."""

    config: ModelConfig | None
    """None if there are faults."""
    faults: tuple[Fault, ...]
    unread: tuple[Fault, ...]
    """Unused keys, one fault each; the network would be the same without them."""


def read_config(
    data: Any,
    *,
    name: str = "",
    titles: Mapping[str, str] | None = None,
    find: Find | None = None,
    path: str = "model",
) -> ModelConfig:
    """Read a typed config from plain data (a composed `model` subtree).

    `titles` are the names of the recipes for reports, `find` looks up recipes given by name, `path` is the
    key of the data in the whole config.

    Raises:
        ConfigError: with every fault found.
    """
    examined = examine_schema(data, name=name, titles=titles, find=find, path=path)
    if examined.config is None or examined.unread:
        raise ConfigError((*examined.faults, *examined.unread))
    return examined.config


def examine_schema(
    data: Any,
    *,
    name: str = "",
    titles: Mapping[str, str] | None = None,
    find: Find | None = None,
    path: str = "model",
) -> SchemaExamination:
    """Read plain data like `read_config`, and return its faults, with those of unused keys separately."""
    faults: list[Fault] = []
    titles = dict(titles or {})
    if not isinstance(data, Mapping):
        return SchemaExamination(
            None, (Fault(path, f"expected a model (a mapping), found {found(data)}"),), ()
        )
    resolved = with_named_recipes(data, titles, find, path, faults)
    for key, default in (("features", None), ("dims", 2), *((key, None) for key in IMAGE_NUMBERS)):
        if resolved.get(key, default) == default:
            resolved.pop(key, None)  # files of earlier versions do not have it
    for key in resolved:
        if key not in KEYS:
            faults.append(Fault(f"{path}.{key}", unknown("key", str(key), KEYS)))
    generated = read_generated_fields(resolved, path, faults)
    needed = [key for key in ("depths", *ROLES) if key != "transition"]
    if resolved.get("generator") is not None:
        # `depths: null` leaves to the generator what the defaults give.
        resolved = {
            key: value for key, value in resolved.items() if key not in PER_STAGE or value is not None
        }
        needed = [key for key in needed if key not in PER_STAGE]
    missing = [key for key in needed if key not in resolved and key not in generated]
    if len(missing) == 1:
        faults.append(Fault(f"{path}.{missing[0]}", "missing; every model needs it"))
    elif missing:
        message = f"{all_of(missing)} are missing; 'defaults: [resnet18, _self_]' takes them from resnet18"
        faults.append(Fault(path, message))

    whole = {
        key: read_whole_fields(
            resolved.get(key, default),
            least,
            f"{path}.{key}",
            faults,
            MAX_DIMS if key == "dims" else MAX_CHANNELS,
        )
        for key, (least, default) in WHOLE.items()
        if key != "image_size"
    }
    image_size = read_image_size_field(
        resolved.get("image_size", WHOLE["image_size"][1]), whole["dims"], f"{path}.image_size", faults
    )
    spare: list[Fault] = []
    images = {
        key: read_image_numbers(resolved.get(key), whole["in_channels"], f"{path}.{key}", faults, spare)
        for key in IMAGE_NUMBERS
    }
    zero_init = resolved.get("zero_init_residual", False)
    if not isinstance(zero_init, bool):
        message = f"expected true or false, found {found(zero_init)}"
        faults.append(Fault(f"{path}.zero_init_residual", message))
    output_stride = resolved.get("output_stride")
    if output_stride is not None:
        output_stride = read_whole_fields(output_stride, 1, f"{path}.output_stride", faults)
    first_dilation = resolved.get("first_dilation", "previous")
    if first_dilation not in ("previous", "new"):
        message = unknown("choice", first_dilation, ("previous", "new"))
        faults.append(Fault(f"{path}.first_dilation", message))
    features = read_features_field(resolved.get("features"), f"{path}.features", faults)
    before = len(faults)
    scheme = read_arguments_field(Init, resolved.get("init", {}), f"{path}.init", faults)
    init = Init(**scheme) if len(faults) == before else Init()
    block = resolved.get("block", STAND_IN["block"])
    lists = {key: resolved.get(key, DEFAULTS.get(key, 1)) for key in PER_STAGE} | {"block": block}
    lists |= generated | {key: resolved[key] for key in SLOTS if isinstance(resolved.get(key), list)}
    stages = count_stages(lists, path, faults)
    per_stage = {
        key: read_per_stage_fields(
            lists[key],
            stages,
            least,
            f"{path}.{key}",
            faults,
            MAX_BLOCKS if key == "depths" else MAX_CHANNELS,
        )
        for key, least in PER_STAGE.items()
    }
    if not faults and sum(per_stage["depths"]) > MAX_BLOCKS:
        message = f"{sum(per_stage['depths'])} blocks in all; the limit is {MAX_BLOCKS}"
        faults.append(Fault(f"{path}.depths", message))

    empty: dict[str, Any] = {"layers": []}
    slots = {key: empty if resolved.get(key, []) == [] else resolved[key] for key in SLOTS}
    reader = RecipeReader(recipe_signatures(slots), faults, path)
    stage_slots = {
        key: tuple(
            reader.recipe(entry, SLOT, f"{path}.{key}.{i}", titles.get(f"{key}.{i}", ""))
            for i, entry in enumerate(value)
        )
        for key, value in slots.items()
        if isinstance(value, list)
    }
    slot_recipes = {
        key: stage_slots[key][0]
        if key in stage_slots
        else reader.recipe(value, SLOT, f"{path}.{key}", titles.get(key, ""))
        for key, value in slots.items()
    }
    variants = {key: stage_slots.get(key, (recipe,)) for key, recipe in slot_recipes.items()}
    faults.extend(
        Fault(f"{path}.{circle[0]}", f"the recipe contains itself: {' -> '.join(circle)}")
        for circle in recipe_circles(variants)
    )
    recipes = {
        key: reader.recipe(resolved.get(key, {}), ROLES[key], f"{path}.{key}", titles.get(key, ""))
        for key in ("stem", "shortcut", "transition", "head")
        if key in resolved
    }
    blocks = (
        tuple(
            reader.recipe(b, ROLES["block"], f"{path}.block.{i}", titles.get(f"block.{i}", "block"))
            for i, b in enumerate(block)
        )
        if isinstance(block, list)
        else (reader.recipe(block, ROLES["block"], f"{path}.block", titles.get("block", "block")),) * stages
    )
    used = (recipes.values(), blocks, variants) if not faults else ((), (), {})
    names = names_of_read_fields((*used[0], *used[1]), used[2])
    if not faults and "width" in names and "widths" not in resolved.keys() | generated.keys():
        faults.append(Fault(f"{path}.widths", "missing; every model needs it"))
    if faults:
        return SchemaExamination(None, tuple(faults), (*spare, *reader.unread))
    unread = (*spare, *reader.unread, *unread_fields(resolved, names, path))
    config = ModelConfig(
        text=json.dumps(resolved, sort_keys=True, separators=(",", ":")),
        name=name,
        zero_init_residual=zero_init,
        output_stride=output_stride,
        init=init,
        first_dilation=first_dilation,
        features=features,
        image_mean=images["image_mean"],
        image_std=images["image_std"],
        path=path,
        blocks=blocks,
        slots=slot_recipes,
        stage_slots=stage_slots,
        in_channels=whole["in_channels"],
        num_classes=whole["num_classes"],
        image_size=image_size,
        dims=whole["dims"],
        **per_stage,
        stem=recipes["stem"],
        shortcut=recipes["shortcut"],
        transition=recipes.get("transition", Recipe()),
        head=recipes["head"],
    )
    return SchemaExamination(config, (), unread)


__all__ = [
    "ACTIVATIONS", "DEFAULTS", "KEYS", "MAX_BLOCKS", "MAX_CHANNELS", "MAX_DIMS", "PER_STAGE", "ROLES",
    "SLOT", "SLOTS", "WHOLE", "Find", "Init", "ModelConfig", "SchemaExamination", "Specification",
    "examine_schema", "names_of_read_fields", "read_config",
]  # fmt: skip
