"""Every random choice follows from where it is made, so that a resumed run draws what any other draws."""

from __future__ import annotations

import hashlib


def key(*place: int | str) -> int:
    """A 63-bit seed for one place, such as (seed, "order", epoch); different places, unrelated numbers."""
    digest = hashlib.sha256(repr(place).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
