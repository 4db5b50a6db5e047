"""Key maps: other libraries' names of a network's tensors, as YAML, usable in both directions. No torch.

A map does not depend on a checkpoint. It renames the names of a plan, so that one table serves loading
(their name -> ours) and exporting (ours -> theirs, in their order). Each line of a map is

    their.name: our.name            a module, with its weight, bias, …
    name:                           the same name in both
    their.name: [one, other]        the first of ours that this network has and no line above used
    parts.{i}: all.{i}.0            the same for every number i

under `stem` and `head` for modules of the network, under `body` for modules of a block. `block` is
their name of a block, with arithmetic over `stage` (from 1) and `block` (from 0) in braces.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from resnet_factory.config.yaml_source import load_yaml, yaml_display_path
from resnet_factory.errors import ConfigError, Fault, unknown
from resnet_factory.layers.expressions import ExpressionError, parse_expression
from resnet_factory.planning.network_plan import Plan
from resnet_factory.planning.nodes import leaves

OURS = "none"
"""The value for no key map: the names are ours."""
FOLDER = Path(__file__).resolve().parent / "keys"
"""The folder of the shipped maps."""

Line = tuple[str, tuple[str, ...]]
"""Their name, and the names of ours that it may map to."""


@dataclass(frozen=True)
class KeyMapNames:
    """The names of one network's tensors in another library."""

    theirs: Mapping[str, str]
    """Our name -> theirs, in the other library's order."""
    unnamed: tuple[str, ...] = ()
    """Our tensors without a name in the map."""


@dataclass(frozen=True)
class KeyMap:
    """The names of a network's modules in one library."""

    name: str
    library: str = ""
    stem: tuple[Line, ...] = ()
    block: str = ""
    body: tuple[Line, ...] = ()
    head: tuple[Line, ...] = ()
    bgr: bool = False
    """Whether its networks were trained on BGR images."""
    stem_stride: int | None = None
    """The stride of every stem of this family, if that distinguishes it from others."""
    having: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()

    def names(self, plan: Plan, keys: Iterable[str]) -> KeyMapNames:
        """Return the other library's names of the tensors `keys` of a network built from `plan`."""
        stages = {stage.name: (number, len(stage.blocks)) for number, stage in enumerate(plan.stages, 1)}
        outside: dict[str, None] = {}
        inside: dict[tuple[int, int], dict[str, None]] = {}
        placed: list[tuple[str, tuple[int, int] | None, str, str]] = []
        for key in keys:
            first, _, rest = key.partition(".")
            index, _, inner = rest.partition(".")
            if first in stages and index.isdigit() and int(index) < stages[first][1]:
                place = stages[first][0], int(index)
                module, _, leaf = inner.rpartition(".")
                inside.setdefault(place, {})[module] = None
                placed.append((key, place, module, leaf))
            else:
                module, _, leaf = key.rpartition(".")
                outside[module] = None
                placed.append((key, None, module, leaf))
        around = _apply_key_map_lines((*self.stem, *self.head), tuple(outside))
        named: list[tuple[tuple[float, ...], str, str]] = []
        unnamed: list[str] = []
        for key, within, module, leaf in placed:
            taken = around if within is None else _apply_key_map_lines(self.body, tuple(inside[within]))
            if module not in taken:
                unnamed.append(key)
                continue
            line, theirs = taken[module]
            if within is not None:
                named.append(((1, *within, line), key, f"{self.block_name(*within)}.{theirs}.{leaf}"))
            else:
                named.append(((0 if line < len(self.stem) else 2, line), key, f"{theirs}.{leaf}"))
        named.sort(key=lambda entry: entry[0])
        return KeyMapNames({key: theirs for _, key, theirs in named}, tuple(unnamed))

    def block_name(self, stage: int, block: int) -> str:
        """Return their name of a block: `s1.b1` for the first block of stage 1."""
        scope = {"stage": stage, "block": block}
        return re.sub(r"\{(.+?)\}", lambda match: str(parse_expression(match[1]).value(scope)), self.block)

    def misfits(self, plan: Plan, keys: Iterable[str]) -> list[str]:
        """Return the reason why a network is not of this family, by its stem and modules; empty if it is."""
        keys = list(keys)
        modules = [*{key.rpartition(".")[0] for key in keys}, *keys]
        stride = 1
        for leaf in leaves(plan.stem):
            stride *= leaf.layer.step
        found = []
        if self.stem_stride is not None and stride != self.stem_stride:
            found.append(f"its stems have stride {self.stem_stride}, this one {stride}")
        found += [f"its networks have {name!r}" for name in self.having if not fnmatch.filter(modules, name)]
        found += [f"its networks have no {name!r}" for name in self.lacking if fnmatch.filter(modules, name)]
        if unnamed := self.names(plan, keys).unnamed:
            found.append(f"it has no name for {unnamed[0]!r}")
        return found


@cache
def _apply_key_map_lines(lines: tuple[Line, ...], modules: tuple[str, ...]) -> dict[str, tuple[float, str]]:
    """Return our modules -> (index in the other library's order, their name).

    Each line uses the first of its names that no earlier line has used.
    """
    taken: dict[str, tuple[float, str]] = {}
    for number, (theirs, ours) in enumerate(lines):
        for option in ours:
            free = [module for module in modules if module not in taken]
            if "{i}" not in option:
                found = {option: ""} if option in free else {}
            else:
                before, after = option.split("{i}", 1)
                pattern = re.compile(rf"{re.escape(before)}(\d+){re.escape(after)}")
                found = {module: match[1] for module in free if (match := pattern.fullmatch(module))}
            for place, (module, i) in enumerate(found.items()):
                taken[module] = number + place / (len(found) or 1), theirs.replace("{i}", i)
            if found:
                break
    return taken


@cache
def shipped_key_maps() -> dict[str, KeyMap]:
    """Return every shipped map by name."""
    return {file.stem: read_key_map(file) for file in sorted(FOLDER.glob("*.yaml"))}


def find_named_key_map(name: str) -> KeyMap:
    """Return the map called `name`, or read it from the YAML file at that path.

    Raises:
        ConfigError: there is no such map, or the file is invalid.
    """
    if name in shipped_key_maps():
        return shipped_key_maps()[name]
    if name.endswith((".yaml", ".yml")):
        return read_key_map(Path(name).expanduser())
    known = [*shipped_key_maps(), "a .yaml file of your own"]
    raise ConfigError([Fault("keys", unknown("key map", name, known))])


def key_map_libraries() -> list[str]:
    """Return the libraries whose names are known."""
    return sorted({entry.library for entry in shipped_key_maps().values()})


def find_key_map(library: str, plan: Plan, keys: Sequence[str]) -> KeyMap:
    """Return the one shipped map of a library that fits a network.

    Raises:
        ConfigError: the library is unknown, no map fits, or several do.
    """
    maps = shipped_key_maps()
    if library not in key_map_libraries():
        raise ConfigError([Fault("to", unknown("library", library, key_map_libraries()))])
    candidates = [entry for entry in maps.values() if entry.library == library]
    found = [entry for entry in candidates if not entry.misfits(plan, keys)]
    if len(found) == 1:
        return found[0]
    if found:
        names = " and ".join(f"keys={entry.name}" for entry in found)
        raise ConfigError(
            [Fault("to", f"several key maps of {library} fit this network; choose one: {names}")]
        )
    raise ConfigError(
        Fault("to", f"{entry.name!r} does not fit this network: {entry.misfits(plan, keys)[0]}")
        for entry in candidates
    )


def read_key_map(file: Path) -> KeyMap:
    """Read a map from its YAML file.

    Raises:
        ConfigError: with every fault found.
    """
    where, data = yaml_display_path(file), load_yaml(file)
    faults: list[Fault] = []
    known = ("library", "fits", "input", "stem", "block", "body", "head")
    if not isinstance(data, dict):
        raise ConfigError([Fault("", f"expected a mapping with {', '.join(known)}", where)])
    faults += [Fault(str(key), unknown("key", str(key), known), where) for key in data if key not in known]
    fits = data.get("fits", {})
    allowed = ("stem_stride", "with", "without")
    if not isinstance(fits, dict):
        faults.append(Fault("fits", f"expected a mapping with {', '.join(allowed)}", where))
        fits = {}
    faults += [
        Fault(f"fits.{key}", unknown("key", str(key), allowed), where) for key in fits if key not in allowed
    ]
    if data.get("input", "rgb") not in ("rgb", "bgr"):
        faults.append(Fault("input", f"expected rgb or bgr, found {data['input']!r}", where))
    result = KeyMap(
        name=file.stem,
        library=str(data.get("library", "")),
        block=str(data.get("block", "")),
        bgr=data.get("input") == "bgr",
        stem_stride=fits.get("stem_stride"),
        having=tuple(fits.get("with", ())),
        lacking=tuple(fits.get("without", ())),
        **{
            part: _read_key_map_lines(data.get(part), part, where, faults)
            for part in ("stem", "body", "head")
        },
    )
    try:
        result.block_name(1, 0)
    except (ExpressionError, KeyError) as error:
        faults.append(Fault("block", f"{error}; known are stage and block", where))
    if faults:
        raise ConfigError(faults)
    return result


def _read_key_map_lines(data: Any, part: str, where: str, faults: list[Fault]) -> tuple[Line, ...]:
    lines: list[Line] = []
    if not isinstance(data, dict | None):
        faults.append(Fault(part, f"expected lines as 'their.name: our.name', found {data!r}", where))
        return ()
    for theirs, ours in (data or {}).items():
        options = [theirs] if ours is None else ours if isinstance(ours, list) else [ours]
        if not all(isinstance(name, str) for name in (theirs, *options)):
            faults.append(Fault(f"{part}.{theirs}", f"expected names, found {ours!r}", where))
            continue
        lines.append((theirs, tuple(options)))
    return tuple(lines)
