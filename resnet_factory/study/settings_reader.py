"""Plain data read into typed settings, with every fault found at once."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from resnet_factory.errors import ConfigError, Fault, one_of, unknown
from resnet_factory.study.settings import (
    ArrayData,
    DataSettings,
    FolderData,
    StudyModelSettings,
    StudySettings,
    TrainSettings,
)

SettingsT = TypeVar("SettingsT")


def read_settings(data: Mapping[str, Any]) -> StudySettings:
    """Read a composed study.

    Raises:
        ConfigError: with every fault found.
    """
    faults: list[Fault] = []
    train = fill_settings(TrainSettings, data["train"], "train", faults)
    _check_setting_lengths(train, "train", faults)
    per_model: dict[str, TrainSettings] = {}
    for name, delta in _read_settings_mapping(data["per_model"], "per_model", faults).items():
        own = fill_settings(TrainSettings, delta, f"per_model.{name}", faults)
        if not faults:
            per_model[name] = replace(train, **{key: getattr(own, key) for key in delta})
            _check_setting_lengths(per_model[name], f"per_model.{name}", faults)
    plain = ("name", "title", "notes", "seeds", "rates", "machine", "out", "resume", "paper")
    values = {key: data[key] for key in plain} | {
        "entries": _read_model_settings(data["models"], faults),
        "overrides": _read_override_settings(data["overrides"], faults),
        "train": train,
        "per_model": per_model,
        "data": read_data_settings(data["data"], faults),
    }
    settings = fill_settings(StudySettings, values, "", faults)
    for key in ("seeds", "rates"):
        if not any(fault.path.startswith(key) for fault in faults):
            _check_distinct_settings(getattr(settings, key), key, faults)
    if faults:
        raise ConfigError(faults)
    return settings


def read_data_settings(data: Any, faults: list[Fault]) -> DataSettings:
    """Read the settings of a data set; its keys depend on its source."""
    if isinstance(data, Mapping) and data.get("source") == "folder":
        return fill_settings(FolderData, data, "data", faults)
    return fill_settings(ArrayData, data, "data", faults)


def fill_settings(cls: type[SettingsT], data: Any, path: str, faults: list[Fault]) -> SettingsT:
    """Return an instance of a settings class from plain data; not to be used if `faults` grew."""
    given = _read_settings_mapping(data, path, faults)
    hints = get_type_hints(cls)
    known = {entry.name: entry for entry in fields(cls)}  # type: ignore[arg-type]
    for key in given:
        if key not in known:
            faults.append(Fault(f"{path}.{key}".lstrip("."), unknown("key", str(key), known)))
    values: dict[str, Any] = {}
    for name, entry in known.items():
        if name in given:
            inner = f"{path}.{name}".lstrip(".")
            values[name] = _read_setting_value(given[name], hints[name], inner, entry.metadata, faults)
        elif entry.default is not MISSING:
            values[name] = entry.default
        else:
            values[name] = None
            faults.append(Fault(path, f"{name!r} is missing"))
    return cls(**values)


def _read_model_settings(models: Any, faults: list[Fault]) -> tuple[StudyModelSettings, ...]:
    if models is None:
        return ()
    by_series = models if isinstance(models, Mapping) else {"": models}
    entries: dict[str, StudyModelSettings] = {}
    before = len(faults)
    for series, names in by_series.items():
        inner = f"models.{series}".rstrip(".")
        for i, text in enumerate(_read_setting_value(names, tuple[str, ...], inner, {}, faults)):
            path = f"{inner}.{i}"
            try:
                name, *overrides = shlex.split(text)
            except ValueError:
                faults.append(Fault(path, f"expected a name, then overrides, found {text!r}"))
                continue
            entry = StudyModelSettings(name=name, overrides=tuple(overrides), series=str(series), path=path)
            if entries.setdefault(entry.text, entry) is not entry:
                faults.append(Fault(path, f"{entry.text!r} occurs twice"))
    if not entries and len(faults) == before:
        faults.append(Fault("models", "no model to train; null stands for the one given by model="))
    return tuple(entries.values())


def _read_override_settings(data: Any, faults: list[Fault]) -> tuple[str, ...]:
    """Return a list of overrides, or those of a text as on a command line."""
    if not isinstance(data, str):
        return _read_setting_value(data, tuple[str, ...], "overrides", {}, faults)  # type: ignore[no-any-return]
    if data.startswith("["):
        message = (
            "values with an equals sign need quotes inside a list: overrides=['a=1','b=2'], or "
            "overrides='a=1 b=2'"
        )
        faults.append(Fault("overrides", message))
    try:
        return tuple(shlex.split(data))
    except ValueError:
        faults.append(Fault("overrides", f"expected overrides, as model.act=silu, found {data!r}"))
        return ()


def _check_setting_lengths(train: TrainSettings, path: str, faults: list[Fault]) -> None:
    if train.epochs is None and train.iterations is None:
        faults.append(Fault(path, "the length of the training is missing; give 'epochs' or 'iterations'"))
    if train.schedule == "one_cycle" and train.warmup == 1:
        faults.append(Fault(f"{path}.warmup", "one_cycle needs a warm-up of at least 2 iterations, found 1"))
    rises = train.schedule == "one_cycle" and train.iterations is not None
    if rises and train.warmup >= (train.iterations or 0):
        message = f"the learning rate would rise over {train.warmup} iterations, but the training has "
        message += f"{train.iterations}"
        faults.append(Fault(f"{path}.warmup", message))
    if list(train.milestones) != sorted(train.milestones) or not all(0 < m < 1 for m in train.milestones):
        message = (
            f"expected increasing fractions of the training between 0 and 1, found {list(train.milestones)}"
        )
        faults.append(Fault(f"{path}.milestones", message))


def _read_settings_mapping(data: Any, path: str, faults: list[Fault]) -> Mapping[str, Any]:
    if isinstance(data, Mapping):
        return data
    faults.append(Fault(path, f"expected a mapping, found {data!r}"))
    return {}


def _check_distinct_settings(values: Sequence[object], path: str, faults: list[Fault]) -> None:
    if not values:
        faults.append(Fault(path, "an empty list; at least one value is needed"))
    for i, value in enumerate(values):
        if value in values[:i]:
            faults.append(Fault(f"{path}.{i}", f"{value!r} occurs twice"))


def _read_setting_value(
    value: Any, kind: Any, path: str, limits: Mapping[str, Any], faults: list[Fault]
) -> Any:
    """Return `value` as a `kind`: a plain type, a Literal, a settings class, a tuple of one type, or None."""
    origin, inside = get_origin(kind), get_args(kind)
    if kind is Any or origin is Mapping or is_dataclass(value) or (value is None and NoneType in inside):
        return value
    if isinstance(kind, type) and is_dataclass(kind):
        return fill_settings(kind, value, path, faults)
    if origin in (Union, UnionType):
        return _read_setting_value(value, inside[0], path, limits, faults)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            faults.append(Fault(path, f"expected a list, found {value!r}"))
            return ()
        return tuple(
            _read_setting_value(v, inside[0], f"{path}.{i}", limits, faults) for i, v in enumerate(value)
        )
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
