"""Winners as files: the best architectures as short model YAMLs that `model=` takes from `--config-dir`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from resnet_factory import schema
from resnet_factory.composer import compose, compose_all
from resnet_factory.fault import ConfigError
from resnet_factory.planner import plan
from resnet_factory.schema import ROLES, SLOTS, ModelConfig
from resnet_factory.sweep.candidates import Candidate, Structure
from resnet_factory.sweep.run import model_of

GROUPS = tuple(name for name in (*ROLES, *SLOTS) if name != "act")


def write_winners(
    folder: Path,
    base: str,
    choices: Mapping[str, str],
    chosen: Sequence[tuple[Candidate, str]],
    structures: Sequence[Structure],
) -> list[Path]:
    """Write one model file per candidate below `folder`/model; older winners there go away.

    Each is a delta from the model called `base` with `choices` of recipes by group, and is held to plan
    to the candidate's id.

    Raises:
        OSError: the folder cannot be written.
    """
    target = folder / "model"
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for candidate, why in chosen:
        structure = structures[candidate.structure]
        file = target / f"{base}_{candidate.plan}.yaml"
        part = file.with_suffix(".part")
        part.write_text(model_text(base, choices, candidate, structure, why), encoding="utf-8")
        os.replace(part, file)
        written.append(file)
    for file in set(target.glob(f"{base}_*.yaml")) - set(written):
        file.unlink()
    return written


def model_text(
    base: str, choices: Mapping[str, str], candidate: Candidate, structure: Structure, why: str
) -> str:
    """A model file: what differs from `base`; everything, where `base` is no shipped model."""
    wanted = schema.read(model_of(candidate, structure))
    comment = f"# {why}; {candidate.params:,} parameters, {candidate.macs:,} MACs"
    data = _delta(base, choices, wanted, structure)
    if data is None or _plan_id(base, data) != candidate.plan:
        data = wanted.to_dict()
    return f"{comment}\n{yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=110)}"


def _delta(
    base: str, choices: Mapping[str, str], wanted: ModelConfig, structure: Structure
) -> dict[str, Any] | None:
    """The model as what differs from `base`; None where there is no shipped model of that name."""
    chosen = dict(choices) | dict(
        override.removeprefix("model/").split("=", 1)
        for override in structure.overrides
        if override.startswith("model/")
    )
    try:
        plain = compose_all("config", [f"model={base}"]).choices
        before = compose(base, *(f"model/{group}={choice}" for group, choice in chosen.items()))
    except ConfigError:
        return None
    overrides = [
        {f"override {group}": choice}
        for group, choice in chosen.items()
        if choice != plain.get(f"model/{group}")
    ]
    old, new = before.to_dict(), wanted.to_dict()
    gone = {key: None for key in old if key not in new}
    return {"defaults": [base, *overrides, "_self_"], **gone, **_difference(old, new)}


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What has to be merged into `before` to make `after`."""
    changed: dict[str, Any] = {}
    for key, value in after.items():
        old = before.get(key)
        if value == old:
            continue
        inner = isinstance(value, dict) and isinstance(old, dict) and "layer" not in value
        changed[key] = _difference(old, value) if inner and isinstance(old, dict) else value
    return changed


def _plan_id(base: str, data: Mapping[str, Any]) -> str:
    """The id of what composing the file gives, without writing it first; empty where it cannot be."""
    choices = [
        f"model/{key.removeprefix('override ')}={value}"
        for entry in data["defaults"]
        if isinstance(entry, dict)
        for key, value in entry.items()
    ]
    delta = {key: value for key, value in data.items() if key != "defaults"}
    try:
        return plan(schema.read(_merged(compose(base, *choices).to_dict(), delta))).id
    except ConfigError:
        return ""


def _merged(base: Mapping[str, Any], delta: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in delta.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _merged(old, value) if both else value  # type: ignore[arg-type]
    return merged
