"""Output in a terminal's encoding: characters that it lacks are spelled plainly, and are never an error."""

from __future__ import annotations

import codecs
import io
import unicodedata
from typing import TextIO

PLAIN = str.maketrans(
    {
        "×": "x", "·": "*", "…": "...", "–": "-", "—": "-", "−": "-", "‑": "-", "→": "->", "←": "<-",
        "⌊": "floor(", "⌋": ")", "⌈": "ceil(", "⌉": ")", "≈": "~", "≤": "<=", "≥": ">=",
        "≠": "!=", "√": "sqrt", "±": "+-",
        "²": "^2", "³": "^3", "½": "1/2", "‘": "'", "’": "'", "“": '"', "”": '"', "•": "*", "─": "-",
        "━": "-",
        "│": "|", "┃": "|", "\N{NO-BREAK SPACE}": " ",
    }
)  # fmt: skip
"""A character -> what stands for it in ASCII."""
HANDLER = "resnet_factory.plain"


def plain(text: str) -> str:
    """Text in ASCII: signs spelled, letters without their accents, `?` for the rest."""
    spelled = unicodedata.normalize("NFKD", text.translate(PLAIN))
    kept = "".join(c for c in spelled if not unicodedata.combining(c))
    return kept.encode("ascii", "replace").decode("ascii")


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return plain(error.object[error.start : error.end]), error.end


codecs.register_error(HANDLER, _replace)


def forgive(stream: TextIO) -> None:
    """Let a stream replace what its encoding lacks."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors=HANDLER)
