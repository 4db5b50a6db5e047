"""YAML and commands of all architectures of a sweep: one text per structure, with places for its numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from shlex import quote, split
from typing import Any

import yaml

from resnet_factory.config import pruning
from resnet_factory.config.composition import compose_all
from resnet_factory.config.schema import PER_STAGE
from resnet_factory.errors import ConfigError
from resnet_factory.planning.planner import run_planner
from resnet_factory.sweep.evaluation import EvaluatedCandidate
from resnet_factory.sweep.measuring import measuring_model
from resnet_factory.sweep.model_numbers import place_model_number
from resnet_factory.sweep.templates import ModelTemplate
from resnet_factory.sweep.winners import (
    WinnerStart,
    WinnerStarts,
    winner_base,
    winner_delta,
    winner_plan_id,
    winner_yaml_text,
)

PLACE = re.compile(r"QQ(\d+)QQ")
"""A place of a text; its number is an index of `ArchitectureTexts.keys`."""
SHORT = 200
"""Structures whose text is the shortest difference from a shipped model; further ones are whole models."""
MOST = 2_000
"""Structures that have a text."""


@dataclass(frozen=True, kw_only=True)
class ArchitectureTexts:
    """The texts of a structure."""

    base: str
    """The model it is made from: with `_` and a plan id the name of the file."""
    yaml: str
    command: str | None
    """A command that needs no file; None where the file is needed."""
    keys: tuple[tuple[str, int | None], ...]
    """For each place the column, and the index of a dashed list there; None where it is a number."""

    def filled(self, numbers: Mapping[str, Any]) -> tuple[str, str | None]:
        """Return YAML and command of one architecture from its columns, as the page's script does."""

        def value(match: re.Match[str]) -> str:
            column, index = self.keys[int(match[1])]
            found = numbers[column]
            return f"{found:g}" if index is None else str(found).split("-")[index]

        command = None if self.command is None else PLACE.sub(value, self.command)
        return PLACE.sub(value, self.yaml), command


def read_architecture_texts(
    candidates: Sequence[EvaluatedCandidate],
    structures: Sequence[ModelTemplate],
    starts: WinnerStarts,
) -> dict[int, ArchitectureTexts]:
    """Return the recipes of the first `MOST` structures among candidates, by index.

    A recipe is held to plan to the id of the first candidate of its structure.
    """
    first: dict[int, EvaluatedCandidate] = {}
    for candidate in candidates:
        first.setdefault(candidate.structure, candidate)
        if len(first) >= MOST:
            break
    found = {}
    for rank, (number, candidate) in enumerate(first.items()):
        known = starts.of(structures[number]) if rank < SHORT else []
        try:
            found[number] = _architecture_texts(candidate, structures[number], known, starts)
        except ConfigError:  # a recipe or layer of its own is gone since
            continue
    return found


def _architecture_texts(
    candidate: EvaluatedCandidate,
    structure: ModelTemplate,
    known: Sequence[WinnerStart],
    starts: WinnerStarts,
) -> ArchitectureTexts:
    wanted = pruning.read_pruned(measuring_model(candidate, structure)).to_dict()
    depths = wanted.get("depths")
    stages = len(depths) if isinstance(depths, list) else structure.stages
    places: list[tuple[str, int | None]] = []
    for key in json.loads(candidate.changes):
        head, *rest = key.split(".")
        if head not in wanted:  # nothing reads it
            continue
        if head in PER_STAGE:
            for stage in [int(rest[0])] if rest else range(stages):
                places.append((head, stage))
                place_model_number(wanted, f"{head}.{stage}", f"QQ{len(places) - 1}QQ", stages)
        else:
            places.append((key, None))
            place_model_number(wanted, key, f"QQ{len(places) - 1}QQ", stages)
    base, keys = winner_base(starts.base, structure), tuple(places)
    made = []
    for start in known:
        delta = winner_delta(start.model, wanted)
        overrides = [{f"override {group}": choice} for group, choice in start.choices]
        text = winner_yaml_text({"defaults": [start.name, *overrides, "_self_"], **delta})
        command = _architecture_command_text(start, delta, starts)
        made.append((start, ArchitectureTexts(base=base, yaml=text, command=command, keys=keys)))
    row = architecture_text_numbers(candidate, structure)
    for start, recipe in sorted(made, key=lambda one: one[1].yaml.count("\n")):
        text, command = recipe.filled(row)
        delta = {key: value for key, value in yaml.safe_load(text).items() if key != "defaults"}
        if winner_plan_id(start, delta) == candidate.plan_id:
            known_command = (
                command is not None and _plan_id_of_command_text(command, starts) == candidate.plan_id
            )
            return recipe if known_command else replace(recipe, command=None)
    return ArchitectureTexts(base=base, yaml=winner_yaml_text(wanted), command=None, keys=keys)


def architecture_text_numbers(candidate: EvaluatedCandidate, structure: ModelTemplate) -> dict[str, Any]:
    """Return the columns that recipes read of one architecture: numbers, and dashed lists per stage."""
    changes = json.loads(candidate.changes)
    lists = {}
    for head in dict.fromkeys(key.split(".")[0] for key in changes):
        if head in PER_STAGE:
            old = (structure.model or {}).get(head, 1)
            values = list(old) if isinstance(old, list) else [old] * structure.stages
            for key, number in changes.items():
                name, *rest = key.split(".")
                if name == head:
                    values[int(rest[0]) if rest else slice(None)] = number if rest else [number] * len(values)
            lists[head] = "-".join(map(str, values))
    return {**changes, **lists}


def _architecture_command_text(
    start: WinnerStart, delta: Mapping[str, Any], starts: WinnerStarts
) -> str | None:
    words = [f"model={start.name}", *(f"model/{group}={choice}" for group, choice in start.choices)]
    for key, value in _architecture_text_leaves(start.model, delta, "model"):
        words.append(f"{key}={value}")
    folder = [] if starts.config_dir is None else ["--config-dir", str(starts.config_dir)]
    return " ".join(["resnet-factory", *map(quote, [*folder, *words])])


def _architecture_text_leaves(
    before: Mapping[str, Any], delta: Mapping[str, Any], above: str
) -> Iterator[tuple[str, str]]:
    for key, value in delta.items():
        path, old = f"{above}.{key}", before.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and value:
            yield from _architecture_text_leaves(old, value, path)
        else:
            text = json.dumps(value, separators=(",", ":")).replace('"', "")
            yield (path if key in before else f"++{path}"), text


def _plan_id_of_command_text(command: str, starts: WinnerStarts) -> str:
    """Return the plan id of a command; empty where it does not compose."""
    words = split(command)[1:]
    if words[:1] == ["--config-dir"]:
        words = words[2:]
    try:
        return run_planner(compose_all("config", words, starts.config_dir).model).id
    except ConfigError:
        return ""
