"""Text of a difference, as `diff` prints it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from resnet_factory.costing.complexity import Cost
from resnet_factory.costing.node_costs import NOTHING, Tally
from resnet_factory.layers import axes_text
from resnet_factory.reporting.columns import bytes_text
from resnet_factory.reporting.difference.alignment import AlignedLine, AlignmentEdit, altered_in_alignment
from resnet_factory.reporting.difference.block_changes import ChangedBlocks, changed_blocks_text
from resnet_factory.reporting.wording import axes_number_wording, wording_for_dimensions

if TYPE_CHECKING:
    from resnet_factory.reporting.difference import Difference

SHOWN = 4
"""Largest number of values listed for a number that differs from block to block."""
STYLES = {"+": "green", "-": "red", "~": "yellow"}
TITLES = {"params": "parameters", "macs": "MACs"}
FURTHER: tuple[tuple[str, Callable[[Cost], Any], Callable[[Any], str]], ...] = (
    ("weights", lambda cost: cost.memory().weights, bytes_text),
    ("inference, maps", lambda cost: cost.memory().inference, bytes_text),
    ("training, maps and gradients", lambda cost: cost.memory().training, bytes_text),
    ("receptive field", lambda cost: cost.receptive_field, axes_number_wording),
    ("stride", lambda cost: cost.stride, axes_number_wording),
)
"""Further costs shown if they differ (memory: for one image in float32): title, value, format."""


def difference_report(difference: Difference) -> RenderableType:
    """Yield config, layers and costs as far as they differ; nothing for equal networks."""
    if not difference:
        return Group()
    before, after = difference.before, difference.after
    parts: list[RenderableType] = [_difference_headline(before, after)]
    if difference.config:
        parts += [Text("\nconfig", "bold"), _config_difference_text(difference)]
    if difference.places:
        parts.append(Text("\nlayers", "bold"))
        parts += [line for place in difference.places for line in _block_difference_text(place)]
    rest = _unedited_difference(difference)
    if difference.places and rest != NOTHING:
        parts.append(
            Text("  unchanged layers, on maps of another size") + Text(_cost_difference_text(rest), "dim")
        )
    parts += [Text(), _total_difference_table(before, after)]
    if before.total != after.total:
        parts += [Text(), _section_difference_table(before, after)]
    return Group(*parts)


def difference_text(difference: Difference) -> str:
    """Return the report without colour, as one string."""
    # In a notebook, a console would display its output besides capturing it.
    console = Console(
        width=10_000,
        no_color=True,
        highlight=False,
        color_system=None,
        force_terminal=False,
        force_jupyter=False,
    )
    with console.capture() as capture:
        console.print(difference_report(difference))
    return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines())


def _unedited_difference(difference: Difference) -> Tally:
    """Return the change of cost of unedited layers whose maps changed in size."""
    whole = difference.before.total
    for place in difference.places:
        whole = whole.plus(place.change)
    return Tally(*(new - old for old, new in zip(whole, difference.after.total, strict=True)))


def _difference_headline(before: Cost, after: Cost) -> Text:
    costs = (before, after)
    names = dict.fromkeys(cost.plan.name or "plan" for cost in costs)
    ids = dict.fromkeys(cost.plan.id for cost in costs)
    images = dict.fromkeys("x".join(map(str, cost.image)) for cost in costs)
    # Of a network for images and another one, the word that holds for both.
    word = wording_for_dimensions("image", before.plan.dims if before.plan.dims == after.plan.dims else 1)
    return Text(f"{' -> '.join(names)}  id {' -> '.join(ids)}  {word} {' -> '.join(images)}", "bold")


def _config_difference_text(difference: Difference) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for change in difference.config:
        before, after = (Text(said or "(nothing)") for said in (change.before, change.after))
        table.add_row(f"  {change.key}", before.append(" -> ").append(after))
    return table


def _block_difference_text(place: ChangedBlocks) -> Iterator[RenderableType]:
    if place.sign == "~":
        heading = Text(f"  {changed_blocks_text(place)}", "bold")
    else:
        heading = Text(f"  {place.sign} {changed_blocks_text(place)}  {place.kind}", STYLES[place.sign])
    yield heading + Text(_cost_difference_text(place.change), "dim")
    lines: dict[tuple[str, str], list[str]] = {}
    for edits in place.edits:
        sign, name, told = _line_difference_text(edits)
        lines.setdefault((sign, told), []).append(name)
    table = Table.grid(padding=(0, 2, 0, 0))
    for (sign, told), names in lines.items():
        table.add_row(Text(f"    {sign} {', '.join(names)}", STYLES[sign]), Text(told))
    if lines:
        yield table


def _cost_difference_text(change: Tally) -> str:
    """Return the change of parameters and MACs by the edits of a place."""
    changes = {"parameters": change.params, "MACs": change.macs}
    told = [f"{value:+,} {title}" for title, value in changes.items() if value]
    return f"  ({', '.join(told)})" if told else ""


def _line_difference_text(edits: Sequence[AlignmentEdit]) -> tuple[str, str, str]:
    """Return the sign, name and edit of one line over all spots."""
    first = edits[0]
    old = [edit.before for edit in edits if edit.before]
    new = [edit.after for edit in edits if edit.after]
    if first.before is None:
        return "+", new[0].label, _whole_line_difference_text(new)
    if first.after is None:
        return "-", old[0].label, _whole_line_difference_text(old)
    parts = []
    if first.before.word != first.after.word:
        bare = [entry.width for entry in old] == [entry.width for entry in new]
        parts.append(
            (" -> " if bare else ", now ").join(
                _whole_line_difference_text(side, bare=bare) for side in (old, new)
            )
        )
    deltas: dict[str, list[str]] = {}
    for field in altered_in_alignment(edits):
        told = " -> ".join(
            _difference_values_text(entry.values.get(field) for entry in side) for side in (old, new)
        )
        deltas.setdefault(told, []).append(field)
    parts += [f"{' and '.join(names)} {told}" for told, names in deltas.items()]
    if first.follows is not None:
        parts.append(f"now after {first.follows}" if first.follows else "now first")
    names = dict.fromkeys((first.before.label, first.after.label))
    return "~", " -> ".join(names), "; ".join(parts) or "renamed"


def _whole_line_difference_text(entries: Sequence[AlignedLine], *, bare: bool = False) -> str:
    """Return a line without default arguments; `bare` also leaves out the channels."""
    first = entries[0]

    def told(name: str) -> str:
        return _difference_values_text(entry.values[name] for entry in entries)

    if first.word == "shortcut":
        return f"{told('kind')}, from before {told('from before')}"
    parts = [] if first.meets else [first.kind]
    if "out" in first.values and not bare:
        parts.append(f"{told('in')} -> {told('out')}")
    elif "channels" in first.values and not bare:
        parts.append(told("channels"))
    for name in first.values:
        if name in first.defaults and any(entry.values[name] != first.defaults[name] for entry in entries):
            parts.append(f"{name}={told(name)}")
    return " ".join(parts)


def _difference_values_text(values: Iterable[Any]) -> str:
    """Return one value, or its values per block: `64/128/256`, or the first … last of many."""
    texts = list(dict.fromkeys(map(_difference_value_text, values)))
    return "/".join(texts) if len(texts) <= SHOWN else f"{texts[0]} … {texts[-1]}"


def _difference_value_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else axes_text(value)


def _total_difference_table(before: Cost, after: Cost) -> Table:
    names = [cost.plan.name or "plan" for cost in (before, after)]
    table = _empty_difference_table(
        "costs", *(names if len(set(names)) == 2 else ("before", "after")), "change", ""
    )
    for field in Tally._fields:
        old, new = getattr(before.total, field), getattr(after.total, field)
        change = _signed_difference_text(new - old), _relative_difference_text(old, new)
        table.add_row(f"  {TITLES.get(field, field)}", f"{old:,}", f"{new:,}", *change)
    for title, read, told in FURTHER:
        old, new = read(before), read(after)
        if isinstance(old, tuple) or isinstance(new, tuple):
            if old != new:
                table.add_row(f"  {title}", told(old), told(new), "", "")
        elif old != new:
            signed = f"{'+' if new > old else '-'}{told(abs(new - old))}"
            table.add_row(f"  {title}", told(old), told(new), signed, _relative_difference_text(old, new))
    for title, shapes in (
        ("last map", (before.last_map, after.last_map)),
        ("output", (before.shape, after.shape)),
    ):
        if shapes[0] != shapes[1]:
            table.add_row(f"  {title}", *("x".join(map(str, shape)) for shape in shapes), "", "")
    return table


def _section_difference_table(before: Cost, after: Cost) -> Table:
    """Return the change of cost by section; a section of only one network counts fully."""
    table = _empty_difference_table("by section", *(TITLES.get(field, field) for field in Tally._fields))
    sides = [{row.name: row.tally for row in cost.sections} for cost in (before, after)]
    for row in max(before.sections, after.sections, key=len):
        old, new = (side.get(row.name, NOTHING) for side in sides)
        if old != new:
            table.add_row(
                f"  {row.name}", *(_signed_difference_text(b - a) for a, b in zip(old, new, strict=True))
            )
    return table


def _empty_difference_table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(first)
    for title in others:
        table.add_column(title, justify="right")
    return table


def _signed_difference_text(change: int) -> str:
    return f"{change:+,}" if change else "="


def _relative_difference_text(old: int, new: int) -> str:
    """Return a change as `+5.9 %`, or as a factor if it is tenfold or more."""
    if not old or new == old:
        return ""
    change = 100 * (new - old) / old
    if change >= 900:
        return f"{new / old:,.0f} ×"
    return f"{change:+.1f} %" if abs(change) >= 0.095 else f"{change:+.1g} %"
