"""What is read of overrides here is what Hydra's parser reads; what is not, is left to it."""

from __future__ import annotations

from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hypothesis import example, given
from hypothesis import strategies as st

from resnet_factory.config import override_grammar

_PIECES = r"""
a b2 _x x-y null True false inf nan 0 1 -3 +7 10 007 1_0 1__0 1. .5 1e5 1E-3 1.5e+2 -inf e5 1e
. - + / $ % * @ ? | = ~
[ ] { } , : , : [ ] ( ) ' " \ é ${a} 5x .5. 1.2.3 -.5 _1 1_
"""
PIECES = [*_PIECES.split(), " "]
KEYS = [
    "a", "model.depths", "model/stem", "a.0.b", "a-b", "+a.b", "++x", "~a", "a@b", "a.00", "a.", ".a", "0.a",
    "a/b.c", "a..b", "", "a/0", "$a", "é", "+++a", "a b",
]  # fmt: skip
VALUES = st.recursive(
    st.sampled_from(["1", "-2", "0.5", "1e-3", "true", "null", "word", "a/b", "x*2", "50d", "-"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda values: f"[{','.join(values)}]")
        | st.dictionaries(st.sampled_from(["a", "b", "1", "null", "0.5"]), inner, max_size=3).map(
            lambda pairs: f"{{{','.join(f'{key}:{value}' for key, value in pairs.items())}}}"
        )
    ),
    max_leaves=8,
)


def by_hydra(word: str) -> Any:
    """The parts of an override as Hydra reads them; None where it reads none."""
    try:
        read = OverridesParser.create().parse_override(word)
    except (HydraException, ValueError, AttributeError):
        return None
    sweep = read.is_sweep_override()
    return read.get_key_element(), sweep, repr(None if sweep else read.value())


def same(word: str) -> bool:
    """Hold an override against Hydra's reading; whether it was read without Hydra."""
    expected = by_hydra(word)
    if expected is None:
        with pytest.raises(ValueError, match=r"$"):
            override_grammar.parse_override_text(word)
        return False
    found = override_grammar.parse_override_text(word)
    assert (found.element, found.several is not None, repr(found.value)) == expected
    return override_grammar._parse_plain_override(word) is not None


@given(st.sampled_from(KEYS), st.lists(st.sampled_from(PIECES), max_size=6).map("".join))
@example("a", "[1,]")
@example("a", "{a:1,}")
@example("a", "[a:1]")
@example("a", "{a:{b:1},a:[2]}")
@example("a", "9" * 5000)
def test_any_pieces(key: str, value: str) -> None:
    same(f"{key}={value}")


@given(st.sampled_from(["a", "+model.depths", "++a.0.b", "model/stem"]), VALUES)
def test_plain_values_are_read_here(key: str, value: str) -> None:
    assert same(f"{key}={value}")
