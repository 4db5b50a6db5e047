"""Default names of modules, numbered as in torchvision and timm."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Namer:
    """Generates the names of the children of one module: by family (conv1, bn1, …) or by index."""

    indexed: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

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
