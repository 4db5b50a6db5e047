"""Reads the names in a checkpoint: as they are, without a prefix all share, or through one key map."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from resnet_factory.errors import ConfigError, Fault
from resnet_factory.layers import Activation, Conv, Dropout, Flatten, Identity, Linear
from resnet_factory.network.weights import key_map
from resnet_factory.network.weights.key_map import OURS
from resnet_factory.planning.network_plan import Plan
from resnet_factory.planning.nodes import leaves

COUNTER = ".num_batches_tracked"
"""A batch norm's counter: torch before 0.4.1 had none, and with a fixed momentum nothing reads it."""
SHOWN = 20
"""At most this many names of one kind are listed."""
COMPARED = 1000
"""At most this many names are looked through for the nearest."""


@dataclass(frozen=True)
class Reading:
    """One way to read a file's names, and which do not fit then."""

    keys: str
    """The key map; empty where the names are ours."""
    prefix: str
    """The prefix taken off every name."""
    theirs: Mapping[str, str]
    """Our name -> the name in the file, prefix included."""
    missing: tuple[str, ...]
    """Names that the file should have."""
    unexpected: tuple[str, ...]
    bgr: bool = False
    """Whether the file's networks take images with the channels blue, green, red."""

    @property
    def faults(self) -> Iterator[Fault]:
        """Every name that does not fit, with the nearest on the other side."""
        sides = (("missing", self.missing, self.unexpected), ("unexpected", self.unexpected, self.missing))
        for what, names, others in sides:
            for name in names[:SHOWN]:
                leaf = name.rpartition(".")[2]
                alike = [other for other in others if other.endswith(f".{leaf}")]
                near = get_close_matches(name, alike[:COMPARED], n=1)
                yield Fault("weights", f"{what} {name!r}" + (f"; nearest is {near[0]!r}" if near else ""))
            if len(names) > SHOWN:
                yield Fault("weights", f"{what} {len(names) - SHOWN} more")


def classifier(plan: Plan) -> str:
    """The name of a network's last convolution or linear layer, where only shaping follows it.

    A network without one (`num_classes: 0`) has none: then it is what such a layer is called.
    """
    for name, layer in reversed(list(leaves(plan.head))):
        if isinstance(layer, Conv | Linear):
            return name
        if not isinstance(layer, Flatten | Identity | Dropout | Activation):
            break
    return Linear.family


def module_of(name: str) -> str:
    """The module that a tensor belongs to."""
    return name.rpartition(".")[0]


def read(
    plan: Plan, wanted: Collection[str], known: Sequence[str], found: Collection[str], keys: str | None = None
) -> Reading:
    """The one reading under which a file's names are those of a network; else the one that comes nearest.

    `wanted` are the names the network must get, `known` those the file may have (a backbone's file may
    hold the rest of the network), `found` those it has. The classifier may be absent on either side.

    Raises:
        ConfigError: no key map is called `keys`, or the names fit several.
    """
    maps = (
        [None, *key_map.shipped().values()]
        if keys is None
        else [None if keys == OURS else key_map.find(keys)]
    )
    head = classifier(plan)
    known = [*known, *(name for name in (f"{head}.weight", f"{head}.bias") if name not in known)]
    readings: list[Reading] = []
    for prefix in _prefixes(found):
        for entry in maps:
            named = dict(zip(known, known, strict=True)) if entry is None else entry.names(plan, known).theirs
            theirs = {ours: prefix + name for ours, name in named.items()}
            reading = _held(theirs, wanted, found, head, prefix, entry)
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


def _prefixes(found: Collection[str]) -> Iterator[str]:
    """Nothing, then what every name begins with, such as `model.` or `backbone.`."""
    prefix = ""
    yield prefix
    rest = list(found)
    while all("." in name for name in rest) and len({name.partition(".")[0] for name in rest}) == 1:
        prefix += rest[0].partition(".")[0] + "."
        yield prefix
        rest = [name.partition(".")[2] for name in rest]


def _held(
    theirs: Mapping[str, str],
    wanted: Collection[str],
    found: Collection[str],
    head: str,
    prefix: str,
    entry: key_map.KeyMap | None,
) -> Reading:
    absent = [name for name in wanted if theirs.get(name, name) not in found]
    of_head = [name for name in wanted if module_of(name) == head]
    optional = set(of_head) if all(name in absent for name in of_head) else set()
    missing = [
        theirs.get(name, name) for name in absent if name not in optional and not name.endswith(COUNTER)
    ]
    named = set(theirs.values())
    # Blur filters follow from the plan, and AveragedModel counts what it has averaged.
    unexpected = [
        name for name in found if name not in named and not name.endswith(".filt") and name != "n_averaged"
    ]
    return Reading(
        entry.name if entry else "",
        prefix,
        theirs,
        tuple(missing),
        tuple(unexpected),
        bool(entry and entry.bgr),
    )
