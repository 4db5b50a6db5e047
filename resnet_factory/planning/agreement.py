"""Agreement of the outputs of branches that are joined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from resnet_factory.layers import MAP, POINT, axes_text
from resnet_factory.planning.expansion import FORMS, Signal
from resnet_factory.planning.nodes import CONCAT, SUM, Parallel


def properties_in_agreement(signal: Signal) -> tuple[Any, ...]:
    """Return what must be equal where signals are added; the stride of a 1x1 map or a vector says nothing."""
    return signal.channels, signal.form, signal.step if signal.form == MAP else None


def join_after_agreement(how: Parallel, ends: Sequence[Signal]) -> Signal:
    """Return the join of the outputs of branches."""
    whole = next((end for end in ends if end.form == MAP), ends[0])
    return whole._replace(channels=how.leaving([end.channels for end in ends]))


def find_disagreement(kind: str, how: Parallel, ends: Sequence[Signal]) -> str | None:
    """Return the message where branches of an item called `kind` cannot be joined; None if they can.

    A term or a factor may have one channel or one position; the two of a residual are of one shape.
    """
    whole = join_after_agreement(how, ends)
    for i, end in enumerate(ends):
        if how.join == CONCAT:
            fits = properties_in_agreement(end)[1:] == properties_in_agreement(ends[0])[1:]
        elif kind == "residual":
            fits = properties_in_agreement(end) == properties_in_agreement(ends[0])
        else:
            point = end.form == POINT != whole.form
            fits = end.channels in (whole.channels, 1) and (
                point or properties_in_agreement(end)[1:] == properties_in_agreement(whole)[1:]
            )
        if not fits:
            return _disagreement_message(kind, how, ends, i)
    return None


def _disagreement_message(kind: str, how: Parallel, ends: Sequence[Signal], wrong: int) -> str:
    if how.join == CONCAT:
        one, other = ends[0], ends[wrong]
        if one.form != other.form:
            gives = f"branch 0 ends in {FORMS[one.form]}, branch {wrong} in {FORMS[other.form]}"
        else:
            steps = axes_text(one.step), axes_text(other.step)
            gives = f"branch 0 ends at stride {steps[0]}, branch {wrong} at stride {steps[1]}"
        return f"{gives}; they cannot be concatenated"
    one, other = ends[0], ends[wrong]
    if kind == "gate":
        if other.channels != one.channels:
            return (
                f"a gate multiplies its input of {one.channels} channels, but its layers end in "
                f"{other.channels}"
            )
        return f"a gate multiplies its input, but its layers shrink the map by {axes_text(other.step)}"
    ways = ("the body", "the shortcut") if kind == "residual" else ("branch 0", f"branch {wrong}")
    done = "added" if how.join == SUM else "multiplied"
    if one[:2] == other[:2]:
        gives = f"{ways[0]} gives {FORMS[one.form]}, {ways[1]} {FORMS[other.form]}"
    else:
        gives = (
            f"{ways[0]} gives {one.channels} channels at stride {axes_text(one.step)}, "
            f"{ways[1]} {other.channels} at stride {axes_text(other.step)}"
        )
    return f"{gives}; they cannot be {done}"
