"""Random models that are right, and random ways to spoil them: what every property test draws from."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterator
from typing import Any

from conftest import ROOT
from hypothesis import strategies as st

import resnet_factory as rf
from resnet_factory.config.composition import group_choices
from resnet_factory.config.schema import ACTIVATIONS

ONE_USE = {
    ("stem", "none"),
    ("stem", "quad"),
    ("stem", "quad_bare"),
    ("head", "attention"),
    ("block", "ratio_two_convs"),
}
"""Stems of one channel or of many, a head for one size of image, a block for four stages."""
SIDES = re.compile(r"(kernel|stride): \[")
"""A number per axis: such a recipe is for maps of three axes."""


def flat_recipes(group: str) -> list[str]:
    """The shipped recipes of a group that work on images of any size."""
    folder = ROOT / "conf" / "model" / group
    names = group_choices(f"model/{group}")
    flat = [name for name in names if not SIDES.search((folder / f"{name}.yaml").read_text())]
    return [name for name in flat if (group, name) not in ONE_USE]


GROUPED = {"group", "group_width", "evo"}
"""Norms of a fixed number of groups; written out below with numbers that divide any channels drawn."""
NORMS: list[Any] = [
    *sorted(set(flat_recipes("norm")) - GROUPED),
    {"layer": "group_norm", "groups": 2},
    {"layer": "group_norm", "groups": "channels"},
    {"layer": "evo_norm", "groups": 1},
]
GROWING = {"pyramid_basic", "pyramid_bottleneck"}
"""Blocks that change channels every time: a shortcut must project, or pad, wherever they do."""
FIRST_ONLY = {"avg_down_preact", "projection_preact_first"}
"""Shortcuts that project in a stage's first block only."""
ONE_EACH = (
    "stem",
    "head",
    "conv",
    "attention",
    "antialias",
    "drop_path",
    "drop_block",
    "gain",
    "stem_pool",
    "init",
)
"""Recipe groups of which any choice goes with any other."""


def read_by_recipes(data: dict[str, Any]) -> dict[str, Any]:
    """The data without the fields that the drawn recipes do not read, which would be faults."""
    try:
        rf.read(data)
    except rf.ConfigError as error:
        for fault in error.faults:
            if "nothing in this network" in fault.message:
                data.pop(fault.path.split(".")[1], None)
    return data


@st.composite
def models(draw: st.DrawFn) -> dict[str, Any]:
    """Plain data of a model that always plans: `rf.read` takes it. A newly shipped recipe is drawn too."""
    stages = draw(st.integers(1, 6))

    def per_stage(values: st.SearchStrategy[Any]) -> Any:
        return draw(values | st.lists(values, min_size=stages, max_size=stages))

    blocks = flat_recipes("block")
    shortcut = draw(st.sampled_from(flat_recipes("shortcut")))
    if "zero_pad" in shortcut:  # zeros are added only, never taken away
        block = draw(st.sampled_from(blocks))
        widths = sorted(draw(st.lists(st.sampled_from([64, 80, 96]), min_size=stages, max_size=stages)))
    else:
        steady = sorted(set(blocks) - GROWING)
        block = per_stage(st.sampled_from(steady))
        if shortcut not in FIRST_ONLY and draw(st.integers(0, 9)) == 0:
            block = draw(st.sampled_from(sorted(GROWING)))
        widths = per_stage(st.integers(1, 6).map(lambda n: 16 * n))
    norms = NORMS[:-3] if block in sorted(GROWING) else NORMS  # of odd widths, which no groups divide
    return read_by_recipes(
        {
            "in_channels": draw(st.integers(1, 4)),
            "num_classes": draw(st.integers(0, 20)),
            "zero_init_residual": draw(st.booleans()),
            "output_stride": draw(st.sampled_from([None, None, 8, 16, 32])),
            "depths": draw(st.lists(st.integers(1, 2), min_size=stages, max_size=stages)),
            "widths": widths,
            "strides": per_stage(st.integers(1, 2)),
            "dilations": per_stage(st.integers(1, 2)),
            "groups": per_stage(st.sampled_from([1, 2, 4])),
            "base_width": per_stage(st.sampled_from([16, 32, 64, 128])),
            "block": block,
            "shortcut": shortcut,
            "norm": draw(st.sampled_from(norms)),
            "act": draw(st.sampled_from(ACTIVATIONS)),
            **{group: draw(st.sampled_from(flat_recipes(group))) for group in ONE_EACH},
        }
    )


WIDTH = 8
"""Channels of the maps everywhere."""
CONV = {"conv": {"kernel": 3, "to": WIDTH}}
SQUEEZE = ["global_pool", {"conv": {"to": WIDTH, "bias": True}}, "sigmoid"]


@st.composite
def lists(draw: st.DrawFn, depth: int = 2, width: int = WIDTH) -> list[Any]:
    """Items of a recipe that keep the shape of a map of `width` channels, structures inside structures."""
    conv = {"conv": {"kernel": draw(st.sampled_from([1, 3])), "to": width}}
    simple = [conv, "norm", "act", {"scale": {"init": 0.5}}, {"max_pool": {"kernel": 3, "stride": 1}}]
    found: list[Any] = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["simple", *(["structure"] * 2 if depth else [])]))
        found += [draw(st.sampled_from(simple))] if kind == "simple" else draw(structures(depth - 1, width))
    return found


@st.composite
def structures(draw: st.DrawFn, depth: int, width: int) -> list[Any]:
    """One structure of any kind, named or not, and what brings its output back to `width` channels."""
    inner = lists(depth, width)
    named = {"name": "part"} if draw(st.booleans()) else {}
    back: list[Any] = [{"conv": {"to": width}}]
    general = ["parallel"] * 3 + ["repeat", "tap"]
    halves = ["shares"] if width % 2 == 0 else []
    match draw(st.sampled_from(["chain", "residual", "gate", "select", "branches", *halves, *general])):
        case "chain":
            return [{"chain": {"layers": draw(inner), **named}}]
        case "residual":
            beside = {"shortcut": draw(inner)} if draw(st.booleans()) else {}
            return [{"residual": {"body": draw(inner), **beside, **named}}]
        case "gate":
            after = draw(st.sampled_from([["sigmoid"], ["global_pool", *back, "sigmoid"]]))
            return [{"gate": {"layers": [*draw(inner), *after], **named}}]
        case "select":
            parts = draw(st.sampled_from([parts for parts in (1, 2, 4) if width % parts == 0]))
            expand = ["global_pool", {"conv": {"to": width}}]
            groups = draw(st.sampled_from([1, 2])) if parts == 2 and width % 4 == 0 else 1
            select = {
                "parts": parts,
                "groups": groups,
                "layers": [*draw(lists(depth, width // parts)), *expand],
            }
            return [{"select": select | named}, *back]
        case "shares":
            cascade = draw(st.booleans())
            split = {"count": 2, "split": True, "cascade": cascade, "each": draw(lists(depth, width // 2))}
            return [{"branches": split | named}]
        case "repeat":
            return [{"repeat": {"count": draw(st.integers(0, 2)), "layers": draw(inner), **named}}]
        case "tap":
            return draw(skips(depth, width))
        case "parallel":
            return [{"parallel": draw(parallels(depth, width)) | named}, *back]
        case _:
            last = {"last": draw(inner)} if draw(st.booleans()) else {}
            count = draw(st.integers(1, 3))
            return [{"branches": {"count": count, "each": draw(inner), **last, **named}}, *back]


@st.composite
def parallels(draw: st.DrawFn, depth: int, width: int) -> dict[str, Any]:
    """A `parallel` over a map of `width` channels: every join, way to read, and way to split."""
    reads = draw(st.sampled_from(["input", "previous", "cascade", "dense"]))
    join = draw(st.sampled_from(["sum", "product", "concat"]))
    halves, uneven = [width // 2, width // 2], [width // 4, width - width // 4]
    sizes = draw(st.sampled_from([None, None, halves, uneven]))
    if sizes and (join != "concat" or reads == "cascade"):
        sizes = halves
    if reads == "previous" or width % 4:
        sizes = None
    count = 2 if sizes else draw(st.integers(1, 3))
    each = draw(st.integers(0, count)) if not sizes else 0

    def branch(size: int) -> list[Any]:
        if reads == "dense":  # every branch ends in the channels of its part, whatever it reads
            return [{"conv": {"to": size}}, *draw(lists(depth, size))]
        return [] if draw(st.integers(0, 3)) == 0 else draw(lists(depth, size))

    def bounded(items: list[Any], first: bool) -> list[Any]:
        """Factors below one, lest products outgrow what gradients can be compared at."""
        return items if join != "product" or (first and not items) else [*items, "sigmoid"]

    written = [bounded(branch((sizes or [width] * count)[i]), i == 0) for i in range(count - each)]
    if join != "concat" and draw(st.booleans()):  # a term or a factor for all positions, or for all channels
        last: list[Any] = draw(st.sampled_from([["global_pool"], [{"conv": {"to": 1}}]]))
        if len(written) > 1 and reads == "input":
            written[-1] = [*last, "sigmoid"]
    found: dict[str, Any] = {"join": join, "reads": reads}
    if sizes:
        found["split"] = True if sizes[0] == sizes[1] and draw(st.booleans()) else sizes
    if written:
        found["branches"] = written
    if each:
        found |= {"count": each, "each": bounded(branch(width), False)}
    return found


@st.composite
def skips(draw: st.DrawFn, depth: int, width: int) -> list[Any]:
    """A map that is named, and read again later: in place of what arrives, or beside it."""
    inner, beside = draw(lists(depth, width)), draw(lists(depth, width))
    join = draw(st.sampled_from(["sum", "product", "concat"]))
    factor = ["sigmoid"] if join == "product" else []
    again = {"parallel": {"join": join, "branches": [[], [{"read": "map"}, *beside, *factor]]}}
    return [
        {"tap": "map"},
        *inner,
        draw(st.sampled_from([again, {"read": "map"}])),
        {"conv": {"to": width}},
    ]


@st.composite
def structured_models(draw: st.DrawFn) -> dict[str, Any]:
    """A model with structures in its stem, head, transitions, shortcuts and all three lists of its blocks."""
    some = lists()
    maybe: st.SearchStrategy[list[Any]] = st.just([]) | some
    data = {
        "depths": draw(st.lists(st.integers(1, 2), min_size=1, max_size=2)),
        "widths": WIDTH,
        "num_classes": 3,
        "stem": {"layers": [CONV, *draw(some)]},
        "block": {"out": "width", "pre": draw(maybe), "body": draw(some), "post": draw(maybe)},
        "shortcut": {
            "when": draw(st.sampled_from(["always", "never"])),
            "reads": draw(st.sampled_from(["input", "pre"])),
            "layers": draw(some),
        },
        "transition": {"layers": draw(maybe)},
        "head": {"layers": [*draw(some), "global_pool", "flatten", {"linear": {"to": "num_classes"}}]},
        "norm": {"layer": "batch_norm"},
        "act": "relu",
        "conv": {"layer": "conv2d"},
    }
    number = itertools.count()
    for keys in list(places(data)):
        holder: Any = data
        for key in keys[:-1]:
            holder = holder[key]
        if keys and holder[keys[-1]] == "part":
            holder[keys[-1]] = f"part_{next(number)}"
    name_maps(data, number)
    return copy.deepcopy(data)


@st.composite
def axial_models(draw: st.DrawFn) -> dict[str, Any]:
    """A model of 1 to 3 dimensions whose windows differ from axis to axis, and paddings from side to side."""
    dims = draw(st.integers(1, 3))

    def axes(values: st.SearchStrategy[Any]) -> Any:
        return draw(values | st.lists(values, min_size=dims, max_size=dims))

    def padding() -> dict[str, Any]:
        pairs = st.lists(st.integers(0, 3), min_size=2, max_size=2)
        sides = st.lists(pairs, min_size=dims, max_size=dims)
        drawn = draw(st.none() | st.just("same") | sides)
        return {} if drawn is None else {"padding": drawn}

    small, odd = st.integers(1, 3), st.sampled_from([1, 3, 5])
    window = {"kernel": axes(st.integers(1, 7)), "stride": axes(small), **padding()}
    pooled = {"kernel": axes(st.integers(2, 4)), "stride": axes(st.integers(1, 2)), **padding()}
    pooled["ceil_mode"] = draw(st.booleans())
    pool = draw(st.sampled_from(["max_pool", "avg_pool"]))
    strided: Any = ["stride" if draw(st.booleans()) else 1 for _ in range(dims)]
    strided = draw(st.sampled_from(["stride", [*strided[:-1], "stride"]]))
    inside = {"kernel": axes(odd), "to": "width", "groups": "groups"} | draw(
        st.sampled_from([{}, {"padding": "same"}])
    )
    return {
        "dims": dims,
        "image_size": axes(st.integers(40, 70)),
        "depths": draw(st.lists(st.integers(1, 3), min_size=2, max_size=2)),
        "widths": [WIDTH, 2 * WIDTH],
        "strides": [1, draw(st.integers(1, 3))],
        "groups": draw(st.sampled_from([1, 2])),
        "num_classes": 3,
        "stem": {
            "layers": [
                {"conv": {"to": WIDTH, "dilation": axes(st.integers(1, 2)), **window}},
                "norm",
                "act",
                {pool: pooled},
            ]
        },
        "block": {
            "out": "width",
            "body": [{"conv": inside | {"stride": strided}}, "norm", "act", {"conv": inside}],
            "post": ["act"],
        },
        "shortcut": {"when": "change", "layers": [{"conv": {"to": "out", "stride": strided}}]},
        "head": {"layers": ["global_pool", "flatten", {"linear": {"to": "num_classes"}}]},
        "norm": {"layer": "batch_norm"},
        "act": "relu",
        "conv": {"layer": "conv2d"},
    }


def name_maps(data: Any, number: Iterator[int], name: str = "") -> None:
    """Give each map that is tapped a name of its own, which is what the reads after it in its list say."""
    for part in data.values() if isinstance(data, dict) else data:
        if isinstance(part, dict) and part.get("tap") == "map":
            name = f"map_{next(number)}"
            part["tap"] = name
        elif isinstance(part, dict) and part.get("read") == "map":
            part["read"] = name
        if isinstance(part, (dict, list)):
            name_maps(part, number, name)


def images() -> st.SearchStrategy[tuple[int, int]]:
    """Height and width, odd ones too."""
    return st.tuples(st.integers(32, 80), st.integers(32, 80))


JUNK: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.sampled_from([-1, 0, 2, 7, 10**6 + 1, 10**9, 2**40, 10**30, 0.5, 1e300, float("nan"), float("inf")])
    | st.sampled_from(
        ["", "x", "width", "conv", "norm", "1/0", "2**9", "${x}", "???", "in - in", "ｗidth", "a\x00b"]
    )
    | st.text(max_size=5)
    | st.sampled_from(
        [[], {}, [[]], [None], {"layers": []}, {"layer": "conv2d"}, {"conv": {"to": 3}}, ["norm"]]
    )
)
"""Values that stand where others belong."""


def places(data: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of nested data, as the keys that lead there."""
    yield keys
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in entries:
        yield from places(value, (*keys, key))


@st.composite
def spoiled(draw: st.DrawFn, data: dict[str, Any]) -> dict[str, Any]:
    """The same data with one to three things changed, taken away, repeated or added anywhere in it."""
    data = copy.deepcopy(data)
    for _ in range(draw(st.integers(1, 3))):
        keys = draw(st.sampled_from([keys for keys in places(data) if keys]))
        holder: Any = data
        for key in keys[:-1]:
            holder = holder[key]
        match draw(st.sampled_from(["change", "change", "take", "add"])):
            case "change":
                holder[keys[-1]] = copy.deepcopy(draw(JUNK))
            case "take":
                del holder[keys[-1]]
            case "add" if isinstance(holder, dict):
                key = draw(JUNK.filter(lambda value: not isinstance(value, (list, dict))))
                holder[key] = copy.deepcopy(draw(JUNK))
            case _:
                holder.insert(draw(st.integers(0, len(holder))), copy.deepcopy(draw(JUNK)))
        if not any(places(data)):
            break
    return data
