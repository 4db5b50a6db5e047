"""Random models that are right, and random ways to spoil them: what every property test draws from."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from resnet_factory.composer import choices
from resnet_factory.schema import ACTIVATIONS

GROUPED = {"group", "group_width", "evo"}
"""Norms of a fixed number of groups; written out below with numbers that divide any channels drawn."""
NORMS: list[Any] = [
    *sorted(set(choices("model/norm")) - GROUPED),
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


@st.composite
def models(draw: st.DrawFn) -> dict[str, Any]:
    """Plain data of a model that always plans: `rf.read` takes it. A newly shipped recipe is drawn too."""
    stages = draw(st.integers(1, 6))

    def per_stage(values: st.SearchStrategy[Any]) -> Any:
        return draw(values | st.lists(values, min_size=stages, max_size=stages))

    blocks = choices("model/block")
    shortcut = draw(st.sampled_from(choices("model/shortcut")))
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
    return {
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
        **{group: draw(st.sampled_from(choices(f"model/{group}"))) for group in ONE_EACH},
    }


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
