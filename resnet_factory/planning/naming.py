"""Names within one module: of its children, numbered as in torchvision and timm, and of its tapped maps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Namer:
    """Generates the names of the children of one module: by family (conv1, bn1, …) or by index."""

    indexed: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    maps: dict[str, Any] = field(default_factory=dict)
    """The signals of the maps tapped so far that may be read here, by name."""
    reserved: frozenset[str] = frozenset()
    """Names that no tap may have."""
    outside: frozenset[str] = frozenset()
    """Names of maps tapped around this module, which cannot be read inside of it."""
    suffix: str = ""
    """The end of names that are given here."""
    taps: bool = False
    """Whether there has been a tap."""

    def inside(self, *, indexed: bool = False) -> Namer:
        """Return the names of a module among the children of this one."""
        return Namer(indexed, outside=self.outside | self.maps.keys())

    @contextmanager
    def passage(self, number: int = 0) -> Iterator[None]:
        """Forget the taps of the `with` block after it; names given in it end in `number`, as in `round`."""
        outer = self.maps
        self.maps = dict(outer)
        with self.round(number):
            yield
        self.maps = outer

    @contextmanager
    def round(self, number: int) -> Iterator[None]:
        """End the names that are given in the `with` block in `number`, unless that is 0."""
        suffix = self.suffix
        if number:
            self.suffix = f"{suffix}_{number}" if suffix else str(number)
        yield
        self.suffix = suffix

    def name(self, family: str, numbered: bool) -> str:
        """Return the next free name of a family."""
        counts, taken = self.counts, self.taken
        if self.indexed:
            family, numbered = "", True
        count = counts.get(family, -1 if self.indexed else 0)
        while True:
            count += 1
            name = f"{family}{count}" if numbered or count > 1 else family
            if name not in taken:
                counts[family] = count
                taken.add(name)
                return name
