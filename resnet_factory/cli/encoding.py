"""Output in a terminal's encoding: characters that it lacks are replaced, and never raise an error."""

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
"""A character -> its replacement in ASCII."""
HANDLER = "resnet_factory.plain"


def text_as_ascii(text: str) -> str:
    """Return text as ASCII: symbols replaced, letters without accents, `?` for the rest."""
    spelled = unicodedata.normalize("NFKD", text.translate(PLAIN))
    kept = "".join(c for c in spelled if not unicodedata.combining(c))
    return kept.encode("ascii", "replace").decode("ascii")


def _replace_unencodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return text_as_ascii(error.object[error.start : error.end]), error.end


codecs.register_error(HANDLER, _replace_unencodable)


def forgive_encoding(stream: TextIO) -> None:
    """Make a stream replace characters that its encoding lacks."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors=HANDLER)
