"""Seeds derived from what they are for, so that a resumed run draws the same random numbers."""

from __future__ import annotations

import hashlib


def seed_for(*purpose: int | str) -> int:
    """Return a 63-bit seed for one purpose, such as (seed, "order", epoch)."""
    digest = hashlib.sha256(repr(purpose).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
