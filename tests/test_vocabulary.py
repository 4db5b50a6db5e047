"""conf/README.md lists every word of recipes, with its arguments and meaning, as the code has them."""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import yaml
from conftest import ROOT

from resnet_factory.config.model_keys import COMMON, INNER, INSIDE, SHAPE, SLOT, SLOTS, STAGE
from resnet_factory.config.recipe import RecipeRole
from resnet_factory.config.schema import KEYS, ROLES
from resnet_factory.config.structures import MARKS, STRUCTURES, Structure
from resnet_factory.layers import VOCABULARY, Activation, Layer
from resnet_factory.layers.expressions import FUNCTIONS, USAGE, ExpressionError, parse_expression

PAGE = ROOT / "conf" / "README.md"
MODELS = ROOT / "conf" / "model"
RECIPES = {**ROLES, "slot": SLOT}

Row = tuple[str, ...]


def recipe_table() -> Iterator[Row]:
    """Kinds of recipes, with their lists and further keys."""
    yield "recipe", "lists", "other keys"
    for kind, role in RECIPES.items():
        keys = [f"`{key}`" for key in role.needs if key not in (*role.lists, *role.words)]
        keys += [
            spelled_key(f"`{key}`", "", (word for word in words or ())) for key, words in role.words.items()
        ]
        keys += ["`layer` in place of `layers`"] if role.single else []
        yield f"`{kind}`", ", ".join(f"`{key}`" for key in role.lists), ", ".join(keys)


def structure_table() -> Iterator[Row]:
    """Structures, with their lists and arguments."""
    yield "structure", "lists", "arguments", "meaning"
    for word, structure in STRUCTURES.items():
        lists = [f"`{key}`" for key in (structure.written, *structure.lists) if key]
        told = [
            spelled_key(f"`{key}`", "" if value is None else spelled(value), others(structure, key, value))
            for key, value in structure.arguments.items()
        ]
        told += [f"`{MARKS[word]}`"] if word in MARKS else []
        yield f"`{word}`", ", ".join(lists), ", ".join(told), structure.meaning


def others(structure: Structure, key: str, default: object) -> Iterator[str]:
    """The words that an argument may be besides its default."""
    yield from (word for word in structure.words.get(key, ()) if word != default)


def scope_table() -> Iterator[Row]:
    """Names that arithmetic may use, and the places where they are known."""
    yield "name", "known in", "meaning"
    for name, meaning in {**COMMON, **STAGE, **SHAPE, **INNER}.items():
        yield f"`{name}`", ", ".join(places(name)), meaning
    yield "a slot's name", "everywhere", "1 where the slot is filled, 0 where it is empty"


def places(name: str) -> list[str]:
    """The recipes and structures that know a name."""
    known = [kind for kind, role in RECIPES.items() if knows(role, name)]
    if name == "channels":
        return ["every list", *known]
    if len(known) == len(RECIPES):
        return ["everywhere"]
    return known + [f"`{word}`" for word, structure in STRUCTURES.items() if name in structure.names]


def knows(role: RecipeRole, name: str) -> bool:
    return name in role.scope or name in role.needs


def function_table() -> Iterator[Row]:
    """Functions of arithmetic."""
    yield "function", "value"
    for name, (arguments, meaning) in USAGE.items():
        yield f"`{name}({arguments})`", meaning


def slot_table() -> Iterator[Row]:
    """Slots, their shipped recipes, and the shipped recipes that call them."""
    yield "slot", "for", "recipes", "called by", "with"
    shipped = {
        (path.parent.name, path.stem): yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in sorted(MODELS.glob("*/*.yaml"))
        if path.parent.name in (*ROLES, *SLOTS)
    }
    for slot, meaning in SLOTS.items():
        groups: dict[str, list[str]] = defaultdict(list)
        given: set[str] = set()
        for (group, name), recipe in shipped.items():
            calls = list(called(recipe, slot))
            given = given.union(*calls) - {"name", "when"}
            if calls:
                groups[group].append(name)
        callers = []
        for group, names in groups.items():
            every = [name for kind, name in shipped if kind == group]
            listed = ", ".join(f"`{name}`" for name in names)
            counted = f"{len(names)} of {len(every)} {group}s"
            callers.append(f"{group} {listed}" if len(names) <= 6 else counted)
        recipes = ", ".join(f"`{name}`" for kind, name in shipped if kind == slot) or "the activations"
        told = ", ".join(f"`{argument}`" for argument in sorted(given))
        yield f"`{slot}`", meaning, recipes, "; ".join(callers), told


def called(data: Any, slot: str) -> Iterator[frozenset[str]]:
    """The arguments of each call of a slot in a recipe."""
    if isinstance(data, list):
        for entry in data:
            if entry == slot:
                yield frozenset()
            elif isinstance(entry, Mapping) and slot in entry:
                yield frozenset(entry[slot] or ())
            else:
                yield from called(entry, slot)
    elif isinstance(data, Mapping):
        for value in data.values():
            yield from called(value, slot)


def layer_table() -> Iterator[Row]:
    """Layers, with their arguments."""
    yield "layer", "arguments", ""
    for word, (layer, fixed) in VOCABULARY.items():
        if layer is not Activation:
            yield f"`{word}`", ", ".join(arguments(layer, fixed)), str(layer.__doc__).splitlines()[0]


def arguments(layer: type[Layer], fixed: dict[str, Any]) -> list[str]:
    """Names, defaults and other choices; one that follows from the others is told without."""
    follows: dict[str, Any] = {}
    layer.complete(follows)
    hints = get_type_hints(layer)
    told = []
    for field in fields(layer):
        if field.name not in ("channels", "dims", *fixed):
            bare = field.default is MISSING or field.name in follows
            words = get_args(hints[field.name]) if get_origin(hints[field.name]) is Literal else ()
            choices = (word for word in words if word != field.default)
            told.append(spelled_key(f"`{field.name}`", "" if bare else spelled(field.default), choices))
    return told


def spelled_key(key: str, default: str, choices: Iterator[str]) -> str:
    listed = ", ".join(choices)
    return " ".join(part for part in (key, default, f"({listed})" if listed else "") if part)


def spelled(value: object) -> str:
    if isinstance(value, (bool, str)):
        return str(value).lower()
    return f"{value:g}"


TABLES = (recipe_table, structure_table, slot_table, scope_table, function_table, layer_table)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_tables_are_the_codes(table: Any, request: pytest.FixtureRequest) -> None:
    head, *rows = ["| " + " | ".join(row).strip() + " |" for row in table()]
    wanted = "\n".join([head, "|" + "---|" * (head.count("|") - 1), *rows]) + "\n"
    text = PAGE.read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(head)}\n(\|.*\n)*", text, re.M)
    assert found is not None, f"conf/README.md has no table {head}"
    if request.config.getoption("--refresh-golden"):
        PAGE.write_text(text.replace(found[0], wanted), encoding="utf-8")
    else:
        assert found[0] == wanted


def test_every_name_that_recipes_may_use_has_a_meaning() -> None:
    told = {*COMMON, *STAGE, *SHAPE, *INNER, *SLOTS}
    known = frozenset().union(*(role.scope for role in RECIPES.values()))
    inner = {name for structure in STRUCTURES.values() for name in structure.names}
    assert known | inner == told
    assert set(COMMON) | set(SLOTS) <= ROLES["stem"].scope == ROLES["head"].scope
    assert ROLES["transition"].scope == INSIDE


def test_every_function_has_a_meaning_and_takes_what_is_told() -> None:
    assert USAGE.keys() == FUNCTIONS.keys()
    for name, (told, _) in USAGE.items():
        names = told.split(", ")
        needed = sum("=" not in entry and entry != "…" for entry in names)
        most = 20 if "…" in names else len(names)
        for count in range(25):
            call = f"{name}({', '.join(['1'] * count)})"
            if needed <= count <= most:
                parse_expression(call)
            else:
                with pytest.raises(ExpressionError):
                    parse_expression(call)
    floor = inspect.signature(FUNCTIONS["divisible"]).parameters["floor"].default
    assert USAGE["divisible"][0].endswith(f"floor = {floor}")


def test_every_activation_and_key() -> None:
    words = set(re.findall(r"\w+", PAGE.read_text(encoding="utf-8")))
    activations = {word for word, (layer, _) in VOCABULARY.items() if layer is Activation}
    assert activations | set(KEYS) <= words
