"""Colours and fonts of a picture, for light and dark mode, as one style sheet."""

from __future__ import annotations

FONT = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

LIGHT = {
    "paper": "#ffffff", "card": "#f6f8fa", "edge": "#d8dee4", "ink": "#1f2328", "muted": "#59636e",
    "flow": "#818b98", "accent": "#d9691b", "identity": "#2f6fd6", "beam": "#2f6fd6",
    "front": "#2f6fd6", "side": "#75a3ec", "lid": "#b4cef7",
    "image": "#8a94a0", "image-side": "#b9c0c9", "image-lid": "#d9dde2",
    "weight": "#dbe8fd", "weight-edge": "#84aef0", "weight-ink": "#123d7d",
    "norm": "#ffffff", "norm-edge": "#d0d7de", "norm-ink": "#59636e",
    "act": "#fdf3dc", "act-edge": "#e7c987", "act-ink": "#7a5310",
    "shape": "#efe8fb", "shape-edge": "#c3aeea", "shape-ink": "#553098",
    "other": "#e3f5e8", "other-edge": "#97d3a8", "other-ink": "#1a6433",
}  # fmt: skip
DARK = {
    "paper": "#0d1117", "card": "#151b23", "edge": "#2f3742", "ink": "#f0f6fc", "muted": "#9198a1",
    "flow": "#6e7781", "accent": "#f5924e", "identity": "#6aa6ff", "beam": "#5b9bf8",
    "front": "#4c8df0", "side": "#2c5fb3", "lid": "#8fbaf9",
    "image": "#8b949e", "image-side": "#525a64", "image-lid": "#b3bbc4",
    "weight": "#16305c", "weight-edge": "#2f5fb0", "weight-ink": "#cfe1ff",
    "norm": "#1c232d", "norm-edge": "#3d4651", "norm-ink": "#a9b2bc",
    "act": "#3a2c0d", "act-edge": "#77591c", "act-ink": "#f2d591",
    "shape": "#2c1f4a", "shape-edge": "#5d449a", "shape-ink": "#d8c8fb",
    "other": "#12351f", "other-edge": "#2b6f43", "other-ink": "#a8e6bb",
}  # fmt: skip
ROLES = ("weight", "norm", "act", "shape", "other")

SHAPES = """\
.rf text{font-variant-numeric:tabular-nums}
.rf .strong{font-weight:600}
.rf .front,.rf .side,.rf .lid{stroke-linejoin:round}
.rf .flow,.rf .identity,.rf .projection,.rf .padding{fill:none;stroke-width:1.5;stroke-linejoin:round}
.rf .projection,.rf .padding{stroke-width:2}
.rf .padding{stroke-dasharray:4 3}
.rf .more{fill:none;stroke-width:1.5;stroke-dasharray:.1 5;stroke-linecap:round}
.rf .beam{fill-opacity:.07}
.rf .sum{stroke-width:1.3}
"""
"""Styles common to light and dark."""

COLOURS = """\
.rf .paper{{fill:{paper}}}
.rf .card{{fill:{card};stroke:{edge}}}
.rf .track{{fill:{edge}}}
.rf .ink{{fill:{ink}}}
.rf .muted{{fill:{muted}}}
.rf .flow,.rf .more{{stroke:{flow}}}
.rf .tip{{fill:{flow}}}
.rf .identity{{stroke:{identity}}}
.rf .projection,.rf .padding{{stroke:{accent}}}
.rf .beam{{fill:{beam}}}
.rf .front{{fill:{front}}}
.rf .side{{fill:{side}}}
.rf .lid{{fill:{lid}}}
.rf .image.front{{fill:{image}}}
.rf .image.side{{fill:{image-side}}}
.rf .image.lid{{fill:{image-lid}}}
.rf .accent{{fill:{accent}}}
.rf .sum{{fill:{paper};stroke:{flow}}}
"""


def palette_style_sheet() -> str:
    """Return the style sheet: light, and dark by `prefers-color-scheme`."""
    return (
        f"{SHAPES}{_palette_colours(LIGHT)}@media (prefers-color-scheme:dark){{\n{_palette_colours(DARK)}}}"
    )


def _palette_colours(colours: dict[str, str]) -> str:
    pills = "".join(
        f".rf .{role}{{fill:{colours[role]};stroke:{colours[f'{role}-edge']}}}"
        f"\n.rf .{role}-ink{{fill:{colours[f'{role}-ink']}}}\n"
        for role in ROLES
    )
    return COLOURS.format(**colours) + pills
