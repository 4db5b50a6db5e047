"""What a model's YAML may say: plain data in, a typed and checked ModelConfig out. Knows no Hydra."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, get_args, get_type_hints

from resnet_factory.config.generators import GENERATORS
from resnet_factory.config.recipe import Reader, Recipe, Role, circles
from resnet_factory.errors import ConfigError, Fault, all_of, found, unknown
from resnet_factory.layers import VOCABULARY, Activation

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


@dataclass(frozen=True, slots=True)
class Init:
    """How initial weights are drawn."""

    conv: Literal["he", "fan_out", "fan_out_per_group", "fan_in"] = "he"
    linear: Literal["torch", "normal"] = "torch"
    bias: Literal["torch", "zero"] = "torch"
    """Biases of convolutions."""
    shortcut: Literal["first", "last"] = "last"
    """Whether a block's shortcut is drawn before its body or after it."""


@dataclass(frozen=True)
class Specification:
    """A model's YAML, typed: the numbers of each stage and the recipes that a plan is made from."""

    name: str = field(compare=False)
    in_channels: int
    num_classes: int
    image_size: int
    zero_init_residual: bool
    output_stride: int | None
    """Strides beyond this stride of the whole network become dilation."""
    first_dilation: str
    """Whether a stage's first block has the dilation of the `previous` stage or already the `new` one."""
    init: Init
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    groups: tuple[int, ...]
    base_width: tuple[int, ...]
    stem: Recipe = field(repr=False)
    blocks: tuple[Recipe, ...] = field(repr=False)
    """One per stage."""
    shortcut: Recipe = field(repr=False)
    transition: Recipe = field(repr=False)
    head: Recipe = field(repr=False)
    slots: Mapping[str, Recipe] = field(repr=False)
    features: tuple[str, ...] | None = None
    """The maps a backbone returns; None for a whole network."""
    path: str = field(default="model", compare=False, repr=False)
    """Position of the model in the whole configuration, which faults are reported under."""


@dataclass(frozen=True, eq=False)
class ModelConfig(Specification):
    """One network as its YAML says it: a value that can be compared, hashed, pickled and written down.

    Configs are equal where they say the same, whatever files and overrides they came from.
    """

    text: str = field(default="", repr=False)
    """Canonical JSON of the plain data: what is compared and saved."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ModelConfig) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def to_dict(self) -> dict[str, Any]:
        """The plain data this was read from, names resolved: `read` gives an equal config back."""
        data = json.loads(self.text)
        assert isinstance(data, dict)
        return data

    def changed(self, fields: Mapping[str, Any]) -> ModelConfig:
        """The config with other values of some fields, read and checked anew.

        Raises:
            ConfigError: with every fault found.
        """
        once = ("stem", "shortcut", "transition", "head")
        recipes = dict(self.slots) | {key: getattr(self, key) for key in once}
        titles = {key: recipe.title for key, recipe in recipes.items()}
        titles |= {f"block.{i}": block.title for i, block in enumerate(self.blocks)}
        titles["block"] = self.blocks[0].title
        return read(self.to_dict() | dict(fields), name=self.name, titles=titles)


@dataclass(frozen=True)
class Examination:
    """A model's plain data as it was read: its config, or what is wrong with it."""

    config: ModelConfig | None
    """None where there are faults."""
    faults: tuple[Fault, ...]
    unread: tuple[Fault, ...]
    """Keys that nothing reads, one fault each; the network would be the same without them."""


def read(
    data: Any,
    *,
    name: str = "",
    titles: Mapping[str, str] | None = None,
    find: Find | None = None,
    path: str = "model",
) -> ModelConfig:
    """A typed config from plain data (a composed `model` subtree).

    `titles` names the recipes for reports, `find` looks recipes up that are given by name, `path`
    is where the data stands in the whole config.

    Raises:
        ConfigError: with every fault found.
    """
    examined = examine(data, name=name, titles=titles, find=find, path=path)
    if examined.config is None or examined.unread:
        raise ConfigError((*examined.faults, *examined.unread))
    return examined.config


def examine(
    data: Any,
    *,
    name: str = "",
    titles: Mapping[str, str] | None = None,
    find: Find | None = None,
    path: str = "model",
) -> Examination:
    """Read plain data as `read` does, and return its faults, with keys that nothing reads apart."""
    faults: list[Fault] = []
    titles = dict(titles or {})
    if not isinstance(data, Mapping):
        return Examination(None, (Fault(path, f"expected a model (a mapping), found {found(data)}"),), ())
    resolved = _resolve(data, titles, find, path, faults)
    if resolved.get("features") is None:
        resolved.pop("features", None)
    for key in resolved:
        if key not in KEYS:
            faults.append(Fault(f"{path}.{key}", unknown("key", str(key), KEYS)))
    generated = _generated(resolved, path, faults)
    needed = [key for key in ("depths", *ROLES) if key != "transition"]
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
    reader = Reader(slots, faults, path)
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
    used = (recipes.values(), blocks, slot_recipes) if not faults else ((), (), {})
    names = read_names((*used[0], *used[1]), used[2])
    if not faults and "width" in names and "widths" not in resolved.keys() | generated.keys():
        faults.append(Fault(f"{path}.widths", "missing; a model has to say it"))
    if faults:
        return Examination(None, tuple(faults), tuple(reader.unread))
    unread = (*reader.unread, *_unread_fields(resolved, names, slot_recipes, path))
    config = ModelConfig(
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
    return Examination(config, (), unread)


def read_names(recipes: Iterable[Recipe], slots: Mapping[str, Recipe]) -> frozenset[str]:
    """The names of numbers and slots that recipes use, those of the slots they call included."""
    names: set[str] = set()
    waiting = list(recipes)
    while waiting:
        used = waiting.pop().used
        waiting += [slots[name] for name in used & slots.keys() - names]
        names |= used
    return frozenset(names)


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
"""Field -> the names by which recipes read it, for those that the planner does not read itself."""


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
"""Field -> the values with which it may stand though nothing reads it: first that of the model all others
start from; also no classes, which a network without a classifier has. A test compares."""


def _neutral(key: str, value: Any) -> bool:
    """Return whether an unread field has its neutral value; an empty slot always has."""
    empty = isinstance(value, Mapping) and value.get("layers") == []
    values = value if isinstance(value, list) else [value]
    return empty or all(any(_within(entry, known) for known in NEUTRAL.get(key, ())) for entry in values)


def _within(value: Any, known: Any) -> bool:
    """Return whether a value equals a known one but for arguments left at their defaults."""
    if isinstance(value, Mapping) and isinstance(known, Mapping):
        return value.get("layer") == known.get("layer") and all(
            key in known and known[key] == entry for key, entry in value.items()
        )
    return bool(value == known)


def _unread_fields(
    data: Mapping[str, Any], names: frozenset[str], slots: Mapping[str, Recipe], path: str
) -> Iterator[Fault]:
    """A fault for each field that no recipe of the network reads."""
    for key, read_as in READ_AS.items():
        if key in data and not names.intersection(read_as) and not _neutral(key, data[key]):
            if key in SLOTS:
                called = ", ".join(slot for slot in SLOTS if slot in names)
                message = f"nothing in this network calls {key!r}; its recipes call {called}"
            else:
                readable = ", ".join(other for other, by in READ_AS.items() if names.intersection(by))
                message = f"nothing in this network reads {key!r}; its recipes read {readable}"
            yield Fault(f"{path}.{key}", message)


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
