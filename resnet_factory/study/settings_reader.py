"""A study's YAML as typed settings, every fault found at once."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from resnet_factory.errors import ConfigError, Fault, one_of, unknown
from resnet_factory.study.settings import Data, Entry, Folder, Machine, Published, Settings, Table, Train

T = TypeVar("T")


def read(data: Mapping[str, Any]) -> Settings:
    """Typed settings from a composed study.

    Raises:
        ConfigError: with every fault found.
    """
    faults: list[Fault] = []
    train = fill(Train, data["train"], "train", faults)
    _lengths(train, "train", faults)
    changed: dict[str, Train] = {}
    for name, delta in _mapping(data["per_model"], "per_model", faults).items():
        own = fill(Train, delta, f"per_model.{name}", faults)
        if not faults:
            changed[name] = replace(train, **{key: getattr(own, key) for key in delta})
            _lengths(changed[name], f"per_model.{name}", faults)
    entries = _entries(data["models"], faults)
    settings = Settings(
        name=_value(data["name"], str, "name", {}, faults),
        title=_value(data["title"], str, "title", {}, faults),
        notes=_value(data["notes"], tuple[str, ...], "notes", {}, faults),
        entries=entries,
        overrides=_overrides(data["overrides"], faults),
        seeds=_several(data["seeds"], tuple[int, ...], "seeds", {"least": 0}, faults),
        rates=_several(data["rates"], tuple[float, ...], "rates", {"above": 0}, faults),
        train=train,
        per_model=changed,
        data=read_data(data["data"], faults),
        machine=fill(Machine, data["machine"], "machine", faults),
        out=_value(data["out"], str, "out", {}, faults),
        resume=_value(data["resume"], bool, "resume", {}, faults),
        paper=tuple(
            fill(Published, row, f"paper.{i}", faults)
            for i, row in enumerate(_value(data["paper"], list, "paper", {}, faults))
        ),
    )
    if faults:
        raise ConfigError(faults)
    return settings


def read_data(data: Any, faults: list[Fault]) -> Data:
    """The settings of a data set; which keys there are depends on its source."""
    source = data.get("source") if isinstance(data, Mapping) else None
    if source == "folder":
        return fill(Folder, data, "data", faults)
    return fill(Table, data, "data", faults)


def fill(cls: type[T], data: Any, path: str, faults: list[Fault]) -> T:
    """An instance of a settings class from plain data; not to be used where `faults` grew."""
    given = _mapping(data, path, faults)
    hints = get_type_hints(cls)
    known = {entry.name: entry for entry in fields(cls)}  # type: ignore[arg-type]
    for key in given:
        if key not in known:
            faults.append(Fault(f"{path}.{key}", unknown("key", str(key), known)))
    values: dict[str, Any] = {}
    for name, entry in known.items():
        if name in given:
            values[name] = _value(given[name], hints[name], f"{path}.{name}", entry.metadata, faults)
        elif entry.default is not MISSING:
            values[name] = entry.default
        else:
            values[name] = None
            faults.append(Fault(path, f"{name!r} is missing"))
    return cls(**values)


def _entries(models: Any, faults: list[Fault]) -> tuple[Entry, ...]:
    if models is None:
        return ()
    lines = (
        {f".{name}": names for name, names in models.items()} if isinstance(models, Mapping) else {"": models}
    )
    entries, before = [], len(faults)
    for line, names in lines.items():
        for i, text in enumerate(_value(names, tuple[str, ...], f"models{line}", {}, faults)):
            path = f"models{line}.{i}"
            try:
                name, *overrides = shlex.split(text)
            except ValueError:
                faults.append(Fault(path, f"expected a name, then overrides, found {text!r}"))
                continue
            entries.append(Entry(name=name, overrides=tuple(overrides), series=line[1:], path=path))
    if not entries and len(faults) == before:
        faults.append(Fault("models", "no model to train; null stands for the one that model= names"))
    seen: set[str] = set()
    for entry in entries:
        if entry.text in seen:
            faults.append(Fault(entry.path, f"{entry.text!r} is there twice"))
        seen.add(entry.text)
    return tuple(entries)


def _overrides(data: Any, faults: list[Fault]) -> tuple[str, ...]:
    """A list of overrides, or several in one text, as a command line has them."""
    if not isinstance(data, str):
        return _value(data, tuple[str, ...], "overrides", {}, faults)  # type: ignore[no-any-return]
    if data.startswith("["):
        message = "an equals sign inside a list wants quotes: overrides=['a=1','b=2'], or overrides='a=1 b=2'"
        faults.append(Fault("overrides", message))
    try:
        return tuple(shlex.split(data))
    except ValueError:
        faults.append(Fault("overrides", f"expected overrides, as model.act=silu, found {data!r}"))
        return ()


def _lengths(train: Train, path: str, faults: list[Fault]) -> None:
    if train.epochs is None and train.iterations is None:
        faults.append(Fault(path, "how long to train? give 'epochs', or 'iterations'"))
    if train.schedule == "one_cycle" and train.warmup == 1:
        faults.append(Fault(f"{path}.warmup", "one_cycle rises over 2 iterations at least, found 1"))
    rises = train.schedule == "one_cycle" and train.iterations is not None
    if rises and train.warmup >= (train.iterations or 0):
        message = (
            f"the rate would rise over {train.warmup} iterations, but the training has {train.iterations}"
        )
        faults.append(Fault(f"{path}.warmup", message))
    if list(train.milestones) != sorted(train.milestones) or not all(0 < m < 1 for m in train.milestones):
        message = f"expected rising shares of the training between 0 and 1, found {list(train.milestones)}"
        faults.append(Fault(f"{path}.milestones", message))


def _mapping(data: Any, path: str, faults: list[Fault]) -> Mapping[str, Any]:
    if isinstance(data, Mapping):
        return data
    faults.append(Fault(path, f"expected a mapping, found {data!r}"))
    return {}


def _several(data: Any, kind: Any, path: str, limits: Mapping[str, Any], faults: list[Fault]) -> Any:
    before = len(faults)
    values = _value(data, kind, path, limits, faults)
    if not values and len(faults) == before:
        faults.append(Fault(path, "an empty list; one value at least"))
    for i, value in enumerate(values):
        if value in values[:i]:
            faults.append(Fault(f"{path}.{i}", f"{value!r} is there twice"))
    return values


def _value(value: Any, kind: Any, path: str, limits: Mapping[str, Any], faults: list[Fault]) -> Any:
    """`value` as a `kind`: a plain type, a Literal, a tuple of one type, or one of these or None."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if value is None:
            return None
        return _value(value, inside[0], path, limits, faults)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            faults.append(Fault(path, f"expected a list, found {value!r}"))
            return ()
        return tuple(_value(v, inside[0], f"{path}.{i}", limits, faults) for i, v in enumerate(value))
    if origin is Literal:
        if value not in inside:
            faults.append(Fault(path, f"expected {one_of(inside)}, found {value!r}"))
        return value
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", list: "a list"}
    right = isinstance(value, (int, float) if kind is float else kind)
    if not right or (isinstance(value, bool) and kind is not bool):
        faults.append(Fault(path, f"expected {names[kind]}, found {value!r}"))
        return kind()
    if kind is float:
        value = float(value)
        if not math.isfinite(value):
            faults.append(Fault(path, f"expected a finite number, found {value!r}"))
    if "least" in limits and value < limits["least"]:
        faults.append(Fault(path, f"{value} is less than {limits['least']}"))
    if "above" in limits and value <= limits["above"]:
        faults.append(Fault(path, f"expected a number above {limits['above']}, found {value:g}"))
    return value
