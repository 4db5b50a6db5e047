"""What a model's YAML may say: plain data in, a typed and checked ModelConfig out. Knows no Hydra."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, get_args, get_type_hints

from resnet_factory.fault import ConfigError, Fault, all_of, found, unknown
from resnet_factory.generators import GENERATORS
from resnet_factory.layers import VOCABULARY, Activation
from resnet_factory.lines import Line, Scope, Written, dependence, positional, ready, spelled
from resnet_factory.nodes import Init
from resnet_factory.recipe import Reader, Recipe, Role, circles

MAX_BLOCKS = 10_000
MAX_CHANNELS = 2**20
"""Limits stated before anything is unrolled; the deepest published ResNet has 600 blocks."""

COMMON = frozenset({"in_channels", "num_classes", "zero_init_residual", "stages", "always", "never"})
STAGE = frozenset(
    {
        "in", "width", "stride", "dilation", "entry_dilation", "groups", "base_width", "depth",
        "stage", "block", "index", "blocks", "first_block", "previous_depth",
    }
)  # fmt: skip
SLOTS = ("norm", "act", "conv", "stem_pool", "attention", "antialias", "drop_path", "drop_block", "gain")
INSIDE = COMMON | STAGE | {*SLOTS}

ROLES: dict[str, Role] = {
    "stem": Role(("layers",), COMMON | {"in", *SLOTS}, needs=("layers",), staged=False),
    "block": Role(("pre", "body", "post"), INSIDE | {"change"}, needs=("out", "body")),
    "shortcut": Role(
        ("layers",),
        INSIDE | {"out", "change"},
        words={
            "when": None,
            "add": None,
            "reads": ("input", "pre"),
            "identity_reads": ("input", "pre"),
        },
        needs=("when",),
    ),
    "transition": Role(("layers",), INSIDE),
    "head": Role(("layers",), COMMON | {"in", *SLOTS}, needs=("layers",), staged=False),
}
SLOT = Role(("layers",), INSIDE | {"out", "change", "channels"}, single=True)

ACTIVATIONS = tuple(word for word, (layer, _) in VOCABULARY.items() if layer is Activation)
"""What `act` may say by a layer's own name."""

PER_STAGE: dict[str, int] = {
    "depths": 1, "widths": 1, "strides": 1, "dilations": 1, "groups": 1, "base_width": 1,
}  # fmt: skip
"""Fields that take one value for all stages or one per stage, and the least value each allows."""
WHOLE: dict[str, tuple[int, int]] = {"in_channels": (1, 3), "num_classes": (0, 1000), "image_size": (1, 224)}
"""Fields that take one whole number: the least allowed and the default."""
SETTINGS = ("zero_init_residual", "output_stride", "first_dilation", "generator", "init", "features")
KEYS = (*WHOLE, *PER_STAGE, *SETTINGS, *ROLES, *SLOTS)
"""Everything a model may say."""
DEFAULTS: dict[str, Any] = {"strides": 1, "dilations": 1, "groups": 1, "base_width": 64}

Find = Callable[[str, str], Any]
"""(group, name) -> the plain data of the recipe of that name, or None."""


@dataclass(frozen=True)
class ModelConfig:
    """One network as its YAML says it. Equal configs say the same, whatever files they came from."""

    text: str = field(repr=False)
    """Canonical JSON of everything below: what equality and hashing look at, and what is saved."""
    name: str = field(compare=False)
    in_channels: int = field(compare=False)
    num_classes: int = field(compare=False)
    image_size: int = field(compare=False)
    zero_init_residual: bool = field(compare=False)
    output_stride: int | None = field(compare=False)
    """Where the whole network has shrunk the map by this, further strides become dilation."""
    first_dilation: str = field(compare=False)
    init: Init = field(compare=False)
    """Whether a stage's first block works at the `previous` stage's dilation or already at the `new` one."""
    depths: tuple[int, ...] = field(compare=False)
    widths: tuple[int, ...] = field(compare=False)
    strides: tuple[int, ...] = field(compare=False)
    dilations: tuple[int, ...] = field(compare=False)
    groups: tuple[int, ...] = field(compare=False)
    base_width: tuple[int, ...] = field(compare=False)
    stem: Recipe = field(compare=False, repr=False)
    blocks: tuple[Recipe, ...] = field(compare=False, repr=False)
    """One per stage."""
    shortcut: Recipe = field(compare=False, repr=False)
    transition: Recipe = field(compare=False, repr=False)
    head: Recipe = field(compare=False, repr=False)
    slots: Mapping[str, Recipe] = field(compare=False, repr=False)
    features: tuple[str, ...] | None = field(default=None, compare=False)
    """The maps a backbone returns; None for a whole network."""
    path: str = field(default="model", compare=False, repr=False)
    """Where the data stood in the whole configuration."""
    locate: Callable[[Fault], Fault] = field(default=lambda fault: fault, compare=False, repr=False)
    """Says where a fault was written; configs that come from no file leave it as it is."""
    everywhere: Scope = field(init=False, compare=False, repr=False)
    """The numbers that recipes may use in the whole network; 1 for a slot with something in it, else 0."""
    lines: Mapping[str, Line | None] = field(init=False, compare=False, repr=False)
    """Every item of the recipes that is one layer, made ready, by its path; None where its slot is empty."""
    written: Mapping[str, Written] = field(init=False, compare=False, repr=False)
    """The numbers that recipes define, by the recipe's path."""
    repeats: tuple[bool, ...] = field(init=False, compare=False, repr=False)
    """By stage, whether its blocks are alike from the second on."""
    depends: tuple[Callable[[Scope], Any], ...] = field(init=False, compare=False, repr=False)
    """By stage, what of its scope a block depends on."""
    planned: dict[Any, Any] = field(init=False, compare=False, repr=False)
    """The blocks, stems and heads planned so far, by what they depend on."""

    def __post_init__(self) -> None:
        everywhere = {
            "in_channels": self.in_channels,
            "num_classes": self.num_classes,
            "zero_init_residual": self.zero_init_residual,
            "stages": len(self.depths),
            "always": 1,
            "never": 0,
            **{name: int(not slot.empty) for name, slot in self.slots.items()},
        }
        slots = tuple(self.slots.values())
        recipes = (self.stem, *self.blocks, self.shortcut, self.transition, self.head, *slots)
        alike = not positional([self.shortcut, *slots])
        repeats = tuple(alike and not positional([block]) for block in self.blocks)
        # The fields are frozen for everybody else.
        object.__setattr__(self, "everywhere", everywhere)
        object.__setattr__(self, "lines", ready(recipes, self.slots, everywhere))
        object.__setattr__(self, "written", {recipe.path: spelled(recipe) for recipe in recipes})
        object.__setattr__(self, "repeats", repeats)
        depends = tuple(dependence((block, self.shortcut, *slots)) for block in self.blocks)
        object.__setattr__(self, "depends", depends)
        object.__setattr__(self, "planned", {})

    def resized(self, sizes: Mapping[str, tuple[int, ...]]) -> ModelConfig:
        """The same recipes with other numbers per stage, by field; what was derived from the recipes stays.

        Its `text` stays as well, so it is no longer what `to_dict` gives.
        """
        other = copy(self)
        for name, values in sizes.items():
            object.__setattr__(other, name, values)
        object.__setattr__(other, "planned", {})
        return other

    def to_dict(self) -> dict[str, Any]:
        """The plain data this was read from, names resolved: `read` gives an equal config back."""
        data = json.loads(self.text)
        assert isinstance(data, dict)
        return data


def read(
    data: Any,
    *,
    name: str = "",
    titles: Mapping[str, str] | None = None,
    find: Find | None = None,
    path: str = "model",
    locate: Callable[[Fault], Fault] = lambda fault: fault,
    inherited: Callable[[str], bool] = lambda path: False,
) -> ModelConfig:
    """A typed config from plain data (what a composed `model` subtree holds).

    `titles` names the recipes for reports, `find` looks recipes up that are given by name, `path`
    is where the data stands in the whole config. `inherited` says whether a key comes from a shipped
    file: one that nothing reads any more, its reader replaced, is no mistake.

    Raises:
        ConfigError: with every fault found.
    """
    faults: list[Fault] = []
    titles = dict(titles or {})
    if not isinstance(data, Mapping):
        raise ConfigError([locate(Fault(path, f"expected a model (a mapping), found {found(data)}"))])
    resolved = _resolve(data, titles, find, path, faults)
    if resolved.get("features") is None:
        resolved.pop("features", None)
    for key in resolved:
        if key not in KEYS:
            faults.append(Fault(f"{path}.{key}", unknown("key", str(key), KEYS)))
    generated = _generated(resolved, path, faults)
    needed = [key for key in ("depths", "widths", *ROLES) if key != "transition"]
    if resolved.get("generator") is not None:
        needed = [key for key in needed if key not in PER_STAGE]
    missing = [key for key in needed if key not in resolved and key not in generated]
    if len(missing) == 1:
        faults.append(Fault(f"{path}.{missing[0]}", "missing; a model has to say it"))
    elif missing:
        message = f"{all_of(missing)} are missing; 'defaults: [resnet18, _self_]' takes them from resnet18"
        faults.append(Fault(path, message))

    whole = {
        key: _whole(resolved.get(key, default), least, f"{path}.{key}", faults)
        for key, (least, default) in WHOLE.items()
    }
    zero_init = resolved.get("zero_init_residual", False)
    if not isinstance(zero_init, bool):
        message = f"expected true or false, found {found(zero_init)}"
        faults.append(Fault(f"{path}.zero_init_residual", message))
    output_stride = resolved.get("output_stride")
    if output_stride is not None:
        output_stride = _whole(output_stride, 1, f"{path}.output_stride", faults)
    first_dilation = resolved.get("first_dilation", "previous")
    if first_dilation not in ("previous", "new"):
        message = unknown("choice", first_dilation, ("previous", "new"))
        faults.append(Fault(f"{path}.first_dilation", message))
    features = _features(resolved.get("features"), f"{path}.features", faults)
    before = len(faults)
    scheme = _arguments(Init, resolved.get("init", {}), f"{path}.init", faults)
    init = Init(**scheme) if len(faults) == before else Init()
    block = resolved.get("block", _STAND_IN["block"])
    lists = {key: resolved.get(key, DEFAULTS.get(key, 1)) for key in PER_STAGE} | {"block": block}
    lists |= generated
    stages = _stages(lists, path, faults)
    per_stage = {
        key: _per_stage(
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

    slots = {key: resolved.get(key, {"layers": []}) for key in SLOTS}
    reader = Reader(slots, faults, path, inherited)
    slot_recipes = {
        key: reader.recipe(value, SLOT, f"{path}.{key}", titles.get(key, "")) for key, value in slots.items()
    }
    faults.extend(
        Fault(f"{path}.{circle[0]}", f"a recipe that contains itself: {' -> '.join(circle)}")
        for circle in circles(slot_recipes)
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
    faults.extend(fault for fault in reader.unread if not inherited(fault.path))
    if faults:
        raise ConfigError(map(locate, faults))
    return ModelConfig(
        text=json.dumps(resolved, sort_keys=True, separators=(",", ":")),
        name=name,
        zero_init_residual=zero_init,
        output_stride=output_stride,
        init=init,
        first_dilation=first_dilation,
        features=features,
        path=path,
        blocks=blocks,
        slots=slot_recipes,
        locate=locate,
        in_channels=whole["in_channels"],
        num_classes=whole["num_classes"],
        image_size=whole["image_size"],
        depths=per_stage["depths"],
        widths=per_stage["widths"],
        strides=per_stage["strides"],
        dilations=per_stage["dilations"],
        groups=per_stage["groups"],
        base_width=per_stage["base_width"],
        stem=recipes["stem"],
        shortcut=recipes["shortcut"],
        transition=recipes.get("transition", Recipe()),
        head=recipes["head"],
    )


_STAND_IN: dict[str, Any] = {"block": {"out": "width", "body": []}, "shortcut": {"when": "never"}}
"""Recipes in the place of one that was not found, in which nothing further is wrong."""


def _resolve(
    data: Mapping[str, Any], titles: dict[str, str], find: Find | None, path: str, faults: list[Fault]
) -> dict[str, Any]:
    """Put the recipe itself wherever one is given by name."""

    def named(key: str, value: Any, where: str, title: str) -> Any:
        if not isinstance(value, str):
            if not isinstance(value, Mapping):
                known = find(key, "") if find else ()
                names = f"; there are {', '.join(known)}" if known else ""
                message = f"expected the name of a recipe, or a recipe (a mapping), found {found(value)}"
                faults.append(Fault(where, message + names))
                return {} if key == "init" else _STAND_IN.get(key, {"layers": []})
            return value
        recipe = find(key, value) if find else None
        if recipe is None and key in SLOTS and value in VOCABULARY:
            recipe = {"layer": value}
        if recipe is None:
            known = [*(find(key, "") if find else ()), *(ACTIVATIONS if key == "act" else ())]
            faults.append(Fault(where, unknown(key, value, known)))
            return {} if key == "init" else _STAND_IN.get(key, {"layers": []})
        titles[title] = value
        return recipe

    resolved = dict(data)
    if isinstance(resolved.get("init"), str):
        resolved["init"] = named("init", resolved["init"], f"{path}.init", "init")
    for key in (*ROLES, *SLOTS):
        value = resolved.get(key)
        if key == "block" and isinstance(value, list):
            resolved[key] = [
                named(key, entry, f"{path}.{key}.{i}", f"{key}.{i}") for i, entry in enumerate(value)
            ]
        elif key in resolved:
            resolved[key] = named(key, value, f"{path}.{key}", key)
    return resolved


def _generated(data: Mapping[str, Any], path: str, faults: list[Fault]) -> dict[str, list[int]]:
    """The per-stage fields that the model's generator gives."""
    if data.get("generator") is None:
        return {}
    spec, path = data["generator"], f"{path}.generator"
    if not isinstance(spec, Mapping) or len(spec) != 1:
        faults.append(Fault(path, f"expected one generator, as 'cifar: {{depth: 20}}', found {found(spec)}"))
        return {}
    name, given = next(iter(spec.items()))
    if name not in GENERATORS:
        faults.append(Fault(f"{path}.{name}", unknown("generator", str(name), GENERATORS)))
        return {}
    path = f"{path}.{name}"
    before = len(faults)
    arguments = _arguments(GENERATORS[name], given, path, faults)
    if len(faults) > before:
        return {}
    generator = GENERATORS[name](**arguments)
    faults.extend(Fault(f"{path}.{key}", message) for key, message in generator.faults())
    if len(faults) > before:
        return {}
    stages = generator.stages()
    for key in stages:
        if data.get(key) is not None:
            message = f"given here and by the generator {name!r}; leave one out"
            faults.append(Fault(f"{path.rsplit('.', 2)[0]}.{key}", message))
    return stages


def _arguments(made: type[Any], given: Any, path: str, faults: list[Fault]) -> dict[str, Any]:
    """A dataclass's arguments from plain data, each of the type its field has."""
    hints = get_type_hints(made)
    table = {entry.name: (hints[entry.name], entry.default is MISSING) for entry in fields(made)}
    if not isinstance(given, Mapping):
        faults.append(Fault(path, f"expected {', '.join(table)}, found {found(given)}"))
        return {}
    for key, value in given.items():
        if key not in table:
            faults.append(Fault(f"{path}.{key}", unknown("key", str(key), table)))
            continue
        wanted = table[key][0]
        words = get_args(wanted)
        if words:
            if value not in words:
                faults.append(Fault(f"{path}.{key}", unknown("choice", value, words)))
        elif isinstance(value, bool) or not isinstance(value, (int, float) if wanted is float else int):
            name = "a number" if wanted is float else "a whole number"
            faults.append(Fault(f"{path}.{key}", f"expected {name}, found {found(value)}"))
        elif not abs(value) < MAX_CHANNELS:
            faults.append(Fault(f"{path}.{key}", f"{found(value)} is beyond the limit of {MAX_CHANNELS}"))
    faults.extend(
        Fault(path, f"{key!r} is missing")
        for key, (_, needed) in table.items()
        if needed and key not in given
    )
    return dict(given)


def _whole(value: Any, least: int, path: str, faults: list[Fault], most: int = MAX_CHANNELS) -> int:
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


def _features(value: Any, path: str, faults: list[Fault]) -> tuple[str, ...] | None:
    if isinstance(value, str):
        value = [value]
    if value is None or (isinstance(value, list) and value and all(isinstance(v, str) for v in value)):
        return None if value is None else tuple(value)
    faults.append(Fault(path, f"expected names of maps, as [layer3, layer4] or stages, found {found(value)}"))
    return None


def _stages(lists: Mapping[str, Any], path: str, faults: list[Fault]) -> int:
    """How many stages there are: as many as most lists have entries."""
    lengths = {key: len(value) for key, value in lists.items() if isinstance(value, list)}
    empty = [key for key, length in lengths.items() if length == 0]
    for key in empty:
        faults.append(Fault(f"{path}.{key}", "an empty list; a network has at least one stage"))
        del lengths[key]
    votes = Counter(lengths.values())
    # Where as many say one thing as another, the depths are what people change.
    stages = max(votes, key=lambda length: (votes[length], length != lengths.get("depths")), default=1)
    for key, length in lengths.items():
        if length != stages and not empty:
            others = [other for other, entries in lengths.items() if entries == stages]
            has = "has" if len(others) == 1 else "have"
            message = f"{length} entries, but {all_of(others)} {has} {stages}"
            message += "; give one value, or one for each stage"
            faults.append(Fault(f"{path}.{key}", message))
    return stages


def _per_stage(
    value: Any, stages: int, least: int, path: str, faults: list[Fault], most: int
) -> tuple[int, ...]:
    if isinstance(value, list):
        return tuple(_whole(v, least, f"{path}.{i}", faults, most) for i, v in enumerate(value))
    return (_whole(value, least, path, faults, most),) * stages
