"""Match the names in a checkpoint: unchanged, without a common prefix, or through one key map."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from resnet_factory.errors import ConfigError, Fault
from resnet_factory.layers import Linear
from resnet_factory.network.weights import key_map
from resnet_factory.network.weights.key_map import OURS
from resnet_factory.planning import anatomy
from resnet_factory.planning.network_plan import Plan

COUNTER = ".num_batches_tracked"
"""A batch norm's counter: torch before 0.4.1 had none, and it is not used with a fixed momentum."""
SHOWN = 20
"""Maximum number of names listed per kind."""
COMPARED = 1000
"""Maximum number of names searched for the closest one."""


@dataclass(frozen=True)
class KeyMatch:
    """One way to match a file's names, and the names that do not fit."""

    keys: str
    """The key map; empty if the names are ours."""
    prefix: str
    """The prefix removed from every name."""
    theirs: Mapping[str, str]
    """Our name -> the name in the file, prefix included."""
    missing: tuple[str, ...]
    """Names that the file lacks."""
    unexpected: tuple[str, ...]
    bgr: bool = False
    """Whether the file's network expects BGR images."""

    @property
    def faults(self) -> Iterator[Fault]:
        """Return a fault for every name that does not fit, with the closest name on the other side."""
        sides = (("missing", self.missing, self.unexpected), ("unexpected", self.unexpected, self.missing))
        for what, names, others in sides:
            for name in names[:SHOWN]:
                leaf = name.rpartition(".")[2]
                alike = [other for other in others if other.endswith(f".{leaf}")]
                near = get_close_matches(name, alike[:COMPARED], n=1)
                yield Fault("weights", f"{what} {name!r}" + (f"; nearest is {near[0]!r}" if near else ""))
            if len(names) > SHOWN:
                yield Fault("weights", f"{what} {len(names) - SHOWN} more")


def matched_classifier_name(plan: Plan) -> str:
    """Return the name of a network's classifier; the default name of one for a network without any."""
    known = anatomy.classifier(plan)
    return known.name if known and known.name == known.layer else Linear.family


def module_of_matched_key(name: str) -> str:
    """Return the module that a tensor belongs to."""
    return name.rpartition(".")[0]


def match_keys(
    plan: Plan, wanted: Collection[str], known: Sequence[str], found: Collection[str], keys: str | None = None
) -> KeyMatch:
    """Return the reading under which a file's names are a network's; otherwise the closest one.

    `wanted` are the names the network needs, `known` those the file may have (a backbone's file may hold
    the rest of the network), `found` those it has. The classifier may be missing on either side.

    Raises:
        ConfigError: no key map is called `keys`, or the names fit several.
    """
    maps = (
        [None, *key_map.shipped_key_maps().values()]
        if keys is None
        else [None if keys == OURS else key_map.find_named_key_map(keys)]
    )
    head = matched_classifier_name(plan)
    known = [*known, *(name for name in (f"{head}.weight", f"{head}.bias") if name not in known)]
    readings: list[KeyMatch] = []
    for prefix in _key_prefixes_to_match(found):
        for entry in maps:
            named = dict(zip(known, known, strict=True)) if entry is None else entry.names(plan, known).theirs
            theirs = {ours: prefix + name for ours, name in named.items()}
            reading = _match_keys_with_prefix(theirs, wanted, found, head, prefix, entry)
            readings.append(reading)
            if entry is None and not (reading.missing or reading.unexpected):
                return reading
        fitting = [reading for reading in readings if not (reading.missing or reading.unexpected)]
        if len({tuple(reading.theirs.items()) for reading in fitting}) > 1:
            choice = " or ".join(f"keys={reading.keys}" for reading in fitting)
            raise ConfigError([Fault("keys", f"the names fit several key maps; choose {choice}")])
        if fitting:
            return fitting[0]
    return min(readings, key=lambda reading: len(reading.missing) + len(reading.unexpected))


def _key_prefixes_to_match(found: Collection[str]) -> Iterator[str]:
    """Return the empty prefix, then each prefix common to all names, such as `model.` or `backbone.`."""
    prefix = ""
    yield prefix
    rest = list(found)
    while all("." in name for name in rest) and len({name.partition(".")[0] for name in rest}) == 1:
        prefix += rest[0].partition(".")[0] + "."
        yield prefix
        rest = [name.partition(".")[2] for name in rest]


def _match_keys_with_prefix(
    theirs: Mapping[str, str],
    wanted: Collection[str],
    found: Collection[str],
    head: str,
    prefix: str,
    entry: key_map.KeyMap | None,
) -> KeyMatch:
    absent = [name for name in wanted if theirs.get(name, name) not in found]
    of_head = [name for name in wanted if module_of_matched_key(name) == head]
    optional = set(of_head) if all(name in absent for name in of_head) else set()
    missing = [
        theirs.get(name, name) for name in absent if name not in optional and not name.endswith(COUNTER)
    ]
    named = set(theirs.values())
    # Blur filters are defined by the plan, and AveragedModel stores a counter.
    unexpected = [
        name for name in found if name not in named and not name.endswith(".filt") and name != "n_averaged"
    ]
    return KeyMatch(
        entry.name if entry else "",
        prefix,
        theirs,
        tuple(missing),
        tuple(unexpected),
        bool(entry and entry.bgr),
    )
