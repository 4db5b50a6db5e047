"""Winners of a sweep as short model files for `--config-dir`."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from resnet_factory.config import pruning
from resnet_factory.config.composition import compose_all
from resnet_factory.config.file_access import write_whole_file
from resnet_factory.config.library import Library, user_library_dir
from resnet_factory.config.own_layers import own_layer_origins
from resnet_factory.config.yaml_source import load_yaml
from resnet_factory.errors import ConfigError
from resnet_factory.planning.models import compose
from resnet_factory.planning.planner import run_planner
from resnet_factory.sweep.evaluation import EvaluatedCandidate
from resnet_factory.sweep.measuring import measuring_model
from resnet_factory.sweep.templates import ModelTemplate

ROOT = "resnet18"
"""The shipped model that names a recipe of every group: with enough choices, a start for any other."""
WINNER = re.compile(r".+_[0-9a-f]{12}\.yaml")


def write_winners(
    folder: Path,
    base: str,
    choices: Mapping[str, str],
    chosen: Sequence[tuple[EvaluatedCandidate, str]],
    structures: Sequence[ModelTemplate],
    config_dir: str | Path | None = None,
) -> list[Path]:
    """Write one model file per candidate below `folder`/model; older winners there are deleted.

    Each is called after the model it was made from, `base` or what its structure chose instead, and is
    a delta from a shipped model; `choices` are the space's recipes by group. It is checked to plan to the
    candidate's id. `config_dir` is where the models and recipes are that are not shipped; such recipes
    are copied beside the winners, so that `folder` alone is enough to compose them.

    Raises:
        OSError: the folder cannot be written.
    """
    target = folder / "model"
    target.mkdir(parents=True, exist_ok=True)
    starts = WinnerStarts(base, choices, config_dir)
    written = []
    for candidate, why in chosen:
        structure = structures[candidate.structure]
        file = target / f"{winner_name(base, candidate, structure)}.yaml"
        text, needed = winner_model_text(starts, candidate, structure, why)
        write_whole_file(file, text)
        written.append(file)
        for name, source in needed.items():
            copy = folder / f"{name}.yaml"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
    for file in set(target.iterdir()) - set(written):
        if WINNER.fullmatch(file.name):
            file.unlink()
    return written


def winner_base(base: str, structure: ModelTemplate) -> str:
    """Return the model of a template: `base`, unless its overrides choose another."""
    chosen = [override.partition("=")[2] for override in structure.overrides if override.startswith("model=")]
    return chosen[-1] if chosen else base


def winner_name(base: str, candidate: EvaluatedCandidate, structure: ModelTemplate) -> str:
    """Return the name of a winner's model."""
    return f"{winner_base(base, structure)}_{candidate.plan}"


class WinnerStart(NamedTuple):
    """A shipped model with some of its recipes chosen, which a file may be a delta from."""

    name: str
    choices: tuple[tuple[str, str], ...]
    """Group -> recipe, where it is not the model's own."""
    model: dict[str, Any]
    needed: dict[str, Path]
    """Recipes among them that are not shipped, as `model/block/mine`, and their files."""


class WinnerStarts:
    """The shipped models that winners of a sweep may be deltas from."""

    def __init__(self, base: str, choices: Mapping[str, str], config_dir: str | Path | None) -> None:
        self.base = base
        self.choices = dict(choices)
        self.config_dir = config_dir
        self.shipped = Library.of(None)
        try:
            self.library = Library.of(user_library_dir(config_dir))
        except ConfigError:  # gone since: what is shipped has to do
            self.library, self.config_dir = self.shipped, None
        self._known: dict[tuple[str, ...], list[WinnerStart]] = {}

    def of(self, structure: ModelTemplate) -> list[WinnerStart]:
        """Return the starts for a template."""
        if structure.overrides not in self._known:
            made = {(start.name, start.choices): start for start in self._start_candidates(structure)}
            self._known[structure.overrides] = list(made.values())
        return self._known[structure.overrides]

    def _start_candidates(self, structure: ModelTemplate) -> Iterator[WinnerStart]:
        own = dict(
            override.removeprefix("model/").split("=", 1)
            for override in structure.overrides
            if override.startswith("model/")
        )
        name = winner_base(self.base, structure)
        ancestor = self._nearest_model(name)
        every = self.choices | own
        if ancestor is not None:
            before = _recipes_of_winner_start(self.base, self.config_dir)
            changed = {group: choice for group, choice in every.items() if choice != before.get(group)}
            yield from self._starts_from_model(
                ancestor, _recipes_of_winner_start(name, self.config_dir) | changed | own
            )
            yield from self._starts_from_model(ancestor, every)
        yield from self._starts_from_model(ROOT, every)

    def _starts_from_model(self, name: str, choices: Mapping[str, str]) -> Iterator[WinnerStart]:
        plain = _recipes_of_winner_start(name, None)
        differ = tuple(
            (group, choice)
            for group, choice in choices.items()
            if choice != plain.get(group) and self.library.file(f"model/{group}/{choice}") is not None
        )
        overrides = [f"model/{group}={choice}" for group, choice in differ]
        try:
            model = compose(name, *overrides, config_dir=self.config_dir)
            needed = dict(
                entry
                for group, choice in differ
                for entry in self._unshipped_recipes(f"model/{group}/{choice}")
            )
        except ConfigError:
            return
        yield WinnerStart(name, differ, model.to_dict(), needed)

    def _unshipped_recipes(self, recipe: str) -> Iterator[tuple[str, Path]]:
        """Yield a recipe that is not shipped and its own defaults, with their files."""
        file = self.library.file(recipe)
        if file is None or self.shipped.file(recipe) is not None:
            return
        yield recipe, file
        for parent in load_yaml(file).get("defaults", []):
            if isinstance(parent, str) and parent != "_self_":
                yield from self._unshipped_recipes(f"{recipe.rpartition('/')[0]}/{parent}")

    def _nearest_model(self, name: str) -> str | None:
        """Return the model itself if it is shipped, or the nearest shipped one among its defaults."""
        if self.shipped.file(f"model/{name}") is not None:
            return name
        try:
            file = self.library.file(f"model/{name}")
            listed = load_yaml(file).get("defaults", []) if file is not None else []
        except ConfigError:
            return None
        parents = (entry for entry in listed if isinstance(entry, str) and entry not in ("_self_", name))
        return next((found for parent in parents if (found := self._nearest_model(parent)) is not None), None)


@cache
def _recipes_of_winner_start(name: str, config_dir: str | Path | None) -> dict[str, str]:
    """Return group -> recipe of a model; none where there is no such model."""
    try:
        choices = compose_all("config", [f"model={name}"], config_dir).choices
    except ConfigError:
        return {}
    prefix = "model/"
    return {key.removeprefix(prefix): name for key, name in choices.items() if key.startswith(prefix)}


def winner_model_text(
    starts: WinnerStarts, candidate: EvaluatedCandidate, structure: ModelTemplate, why: str
) -> tuple[str, dict[str, Path]]:
    """Return a model file: the shortest delta that plans to the candidate's id, else the whole model.

    With it the recipes that it needs and that are not shipped.
    """
    config = pruning.read_pruned(measuring_model(candidate, structure))
    wanted = config.to_dict()
    found: list[tuple[WinnerStart, str]] = []
    for start in starts.of(structure):
        delta = winner_delta(start.model, wanted)
        if winner_plan_id(start, delta) == candidate.plan_id:
            overrides = [{f"override {group}": choice} for group, choice in start.choices]
            text = winner_yaml_text({"defaults": [start.name, *overrides, "_self_"], **delta})
            found.append((start, text))
    text, needed = winner_yaml_text(wanted), {}
    if found:
        nearest = found[0][0].name
        start, text = min(found, key=lambda one: (one[0].name != nearest, one[1].count("\n")))
        needed = start.needed
    title = f"# {why}; {candidate.params:,} parameters, {candidate.macs:,} MACs\n"
    for word, place in own_layer_origins(config).items():
        title += f"# layer {word!r} from {' '.join(f'{key} {value}' for key, value in place.items())}\n"
    return title + text, needed


def winner_yaml_text(data: Mapping[str, Any]) -> str:
    """Return a model's data as the text of its file."""
    return str(yaml.safe_dump(dict(data), sort_keys=False, default_flow_style=None, width=110))


def winner_delta(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must be merged into `before` to get `after`."""
    changed: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        old = before.get(key)
        if value == old:
            continue
        inner = isinstance(value, dict) and isinstance(old, dict) and "layer" not in value
        changed[key] = winner_delta(old, value) if inner and isinstance(old, dict) else value
    return changed


def winner_plan_id(start: WinnerStart, delta: Mapping[str, Any]) -> str:
    """Return the plan id of a delta without writing it; empty where it cannot be planned."""
    try:
        return run_planner(pruning.read_pruned(_with_winner_delta(start.model, delta))).id
    except ConfigError:
        return ""


def _with_winner_delta(base: Mapping[str, Any], delta: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in delta.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _with_winner_delta(old, value) if both else value  # type: ignore[arg-type]
    return merged
