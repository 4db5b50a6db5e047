"""Unroll the structures of a recipe: lists in a row, repeated, or side by side, and maps read by name.

`parallel`, `repeat`, `tap` and `read` are the general forms; `residual`, `gate`, `select` and `branches` are
short ones of common cases.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, NoReturn

from resnet_factory.config.recipe import RecipeItem
from resnet_factory.errors import unknown
from resnet_factory.layers import POINT
from resnet_factory.planning.agreement import find_disagreement, join_after_agreement, properties_in_agreement
from resnet_factory.planning.compiled import Scope
from resnet_factory.planning.evaluation import EvaluationStopped
from resnet_factory.planning.expansion import MAX_LAYERS, Children, RecipeExpander, Signal
from resnet_factory.planning.naming import Namer
from resnet_factory.planning.nodes import (
    CASCADE,
    CONCAT,
    DENSE,
    IDENTITY,
    INPUT,
    PREVIOUS,
    PRODUCT,
    SELECT,
    SUM,
    Chain,
    Node,
    Parallel,
    Read,
    Tap,
)

Lists = Sequence[tuple[RecipeItem, ...]]
Given = dict[str, Any]
"""The arguments of an item: numbers and words."""


class StructureUnroller(RecipeExpander):
    """Unrolls items that hold lists, and marks."""

    def structure(
        self, item: RecipeItem, signal: Signal, scope: Scope, names: Namer
    ) -> tuple[Children, Signal]:
        """Return the nodes of a structure, with its lists unrolled, and the signal after it."""
        given: Given = {
            name: value
            if isinstance(value, str)
            else self.whole(self.value(value, scope, f"{item.path}.{name}"), f"{item.path}.{name}", scope)
            for name, value in item.arguments
        }
        match item.kind:
            case "tap":
                return self.tap(item, signal, names)
            case "read":
                return self.read(item, names)
            case "branches":
                return self.branches(item, given, signal, scope, names)
            case "parallel":
                return self.parallel(item, given, signal, scope, names)
        lists = dict(item.lists)
        name = "" if item.name is None else self.take(item, names, "", False)
        inner = names.inside(indexed=item.kind != "residual") if name else names
        match item.kind:
            case "chain" | "repeat":
                if item.kind == "chain":
                    children, after = self.expand(lists["layers"], signal, scope, inner)
                else:
                    count = self.count(item, given, scope)
                    children, after = self.repeated(lists["layers"], count, signal, scope, inner)
                return (((name, Chain(children, inner.taps)),) if name else children), after
            case "residual":
                both = [lists["body"], lists.get("shortcut", ())]
                node, after = self.joined(item, Parallel((), SUM), both, signal, scope, inner)
            case "gate":
                node, after = self.joined(
                    item, Parallel((), PRODUCT), [(), lists["layers"]], signal, scope, inner
                )
            case "select":
                node, after = self.select(item, given, signal, scope, inner)
            case _:
                raise AssertionError(f"nothing unrolls {item.kind!r}")
        return ((name, enclose_structure(node, inner) if name else node),), after

    def tap(self, item: RecipeItem, signal: Signal, names: Namer) -> tuple[Children, Signal]:
        """Return a tap: from here on the layers of this module may read the map by its name."""
        assert item.name is not None
        if item.name in names.reserved:
            self.fail(item.path, f"{item.name!r} is the output of a stage; choose another name")
        names.maps[item.name] = signal
        names.taps = True
        return (("", Tap(item.name)),), signal

    def read(self, item: RecipeItem, names: Namer) -> tuple[Children, Signal]:
        """Return a read: the map of a tap in place of what arrives."""
        assert item.name is not None
        signal = names.maps.get(item.name)
        if signal is None:
            message = unknown("tap", item.name, names.maps)
            if item.name in names.outside:
                message = f"{item.name!r} is tapped outside of this module, which reads only its own taps"
                known = ", ".join(names.maps)
                message += f"; known here are {known}" if known else "; none is known here"
            self.fail(item.path, message)
        return (("", Read(item.name)),), signal

    def repeated(
        self, items: tuple[RecipeItem, ...], count: int, signal: Signal, scope: Scope, names: Namer
    ) -> tuple[Children, Signal]:
        """Return a list unrolled `count` times in a row."""
        children: list[tuple[str, Node]] = []
        for i in range(count if items else 0):
            with names.round(i + 1):
                more, signal = self.expand(items, signal, {**scope, "iteration": i}, names)
            children.extend(more)
        return tuple(children), signal

    def count(self, item: RecipeItem, given: Given, scope: Scope) -> int:
        """Return a number of repetitions or branches."""
        count = operator.index(given["count"])
        what = "repetitions" if item.kind == "repeat" else "branches"
        if count > MAX_LAYERS:
            self.fail(f"{item.path}.count", f"{count} {what}; the limit is {MAX_LAYERS}", scope)
        if count < 0:
            self.fail(f"{item.path}.count", f"{count} {what}; at least 0 are needed", scope)
        return count

    def parallel(
        self, item: RecipeItem, given: Given, signal: Signal, scope: Scope, names: Namer
    ) -> tuple[Children, Signal]:
        """Return branches side by side, as one module if they have a name."""
        written = [items for key, items in item.lists if key == "branches"]
        each = [items for key, items in item.lists if key == "each"]
        lists = [*written, *each * self.count(item, given, scope)]
        self.room -= len(lists)
        if not lists:
            self.fail(f"{item.path}.count", "0 branches; at least 1 is needed")
        name = "" if item.name is None else self.take(item, names, "", False)
        inner = names.inside() if name else names
        how = Parallel(
            (),
            given["join"],
            self.split(item, given, len(lists), signal),
            given["reads"],
            0 if given["reads"] == INPUT else len(lists),
            inline=True,
        )
        node, after = self.joined(item, how, lists, signal, scope, inner, own=len(written))
        return ((name, enclose_structure(node, inner) if name else node),), after

    def split(self, item: RecipeItem, given: Given, count: int, signal: Signal) -> bool | tuple[int, ...]:
        """Return how the channels of the input are split over branches."""
        arrive = signal.channels
        shares = tuple(value for name, value in given.items() if name.startswith("split."))
        if not shares:
            if not given["split"]:
                return False
            if arrive % count:
                self.fail(f"{item.path}.split", f"{arrive} channels cannot be split over {count} branches")
        elif len(shares) != count:
            self.fail(f"{item.path}.split", f"{len(shares)} shares, but {count} branches")
        elif any(share < 1 for share in shares):
            self.fail(f"{item.path}.split", f"a share of {min(shares)} channels; at least 1 is needed")
        elif sum(shares) != arrive:
            added = " + ".join(map(str, shares))
            self.fail(
                f"{item.path}.split",
                f"the shares {added} sum to {sum(shares)} channels, but the input has {arrive}",
            )
        if given["reads"] == PREVIOUS:
            self.fail(
                f"{item.path}.split",
                "with 'reads: previous' only the first branch reads the input; the other shares would be "
                "unused",
            )
        return all(share == shares[0] for share in shares) or shares

    def joined(
        self,
        item: RecipeItem,
        how: Parallel,
        lists: Lists,
        signal: Signal,
        scope: Scope,
        names: Namer,
        own: int | None = None,
    ) -> tuple[Parallel, Signal]:
        """Return branches unrolled from `lists` and joined as in `how`.

        From branch `own` on, each forgets its taps at its end.
        """
        how = replace(how, branches=(IDENTITY,) * len(lists))
        branches: list[Chain] = []
        ends: list[Signal] = []
        for i, items in enumerate(lists):
            share = signal._replace(channels=how.share(signal.channels, i))
            entry = self.entry(item, how, i, share, ends)
            inner = names.inside(indexed=True) if how.indexed else names
            with inner.passage(i - own + 1) if own is not None and i >= own else nullcontext():
                children, end = self.expand(items, entry, {**scope, "branch": i}, inner)
            branches.append(Chain(children, how.indexed and inner.taps))
            ends.append(end)
        if (message := find_disagreement(item.kind, how, ends)) is not None:
            self.fail(item.path, message)
        return replace(how, branches=tuple(branches)), join_after_agreement(how, ends)

    def entry(
        self, item: RecipeItem, how: Parallel, branch: int, share: Signal, ends: list[Signal]
    ) -> Signal:
        """Return what a branch reads."""
        source = how.source(branch)
        if source == PREVIOUS:
            return ends[-1]
        if source == CASCADE and properties_in_agreement(ends[-1]) != properties_in_agreement(share):
            message = f"a cascade adds each branch to the next; all must keep {share.channels} channels"
            self.fail(item.path, f"{message}, and the size of the map")
        if source == DENSE:
            if any(properties_in_agreement(end)[1:] != properties_in_agreement(share)[1:] for end in ends):
                self.fail(
                    item.path,
                    f"branch {branch} reads the outputs of all branches before it, which must keep the "
                    "size of the map",
                )
            return share._replace(channels=share.channels + sum(end.channels for end in ends))
        return share

    def select(
        self, item: RecipeItem, given: Given, signal: Signal, scope: Scope, names: Namer
    ) -> tuple[Parallel, Signal]:
        """Return parts of the input, weighted by what the layers make of their sum."""
        parts = given["parts"]
        if parts < 1 or signal.channels % parts:
            self.fail(f"{item.path}.parts", f"{signal.channels} channels cannot be split into {parts} parts")
        summed = signal._replace(channels=signal.channels // parts)
        children, after = self.expand(dict(item.lists)["layers"], summed, scope, names)
        if after.channels != signal.channels:
            self.fail(
                item.path,
                f"a gate multiplies its input of {signal.channels} channels, but its layers end in "
                f"{after.channels}",
            )
        if after.form != POINT:
            self.fail(
                item.path, "select weights whole channels: its layers must end in a 1x1 map; add global_pool"
            )
        return Parallel((IDENTITY, Chain(children)), SELECT, parts=parts, groups=given["groups"]), summed

    def branches(
        self, item: RecipeItem, given: Given, signal: Signal, scope: Scope, names: Namer
    ) -> tuple[Children, Signal]:
        """Return modules side by side, concatenated."""
        lists = dict(item.lists)
        count = self.count(item, given, scope)
        plans = [lists["each"]] * count + ([lists["last"]] if "last" in lists else [])
        if not plans or (given["split"] and signal.channels % len(plans)):
            message = f"{signal.channels} channels cannot be split over {len(plans)} branches"
            self.fail(f"{item.path}.count", message if plans else "0 branches; at least 1 is needed")
        linked = count if given["cascade"] else 0
        how = Parallel((), CONCAT, bool(given["split"]), CASCADE if linked else INPUT, linked)
        node, after = self.joined(item, how, plans, signal, scope, names)
        return ((self.take(item, names, "branches", True), node),), after

    def fail(self, path: str, message: str, scope: Scope | None = None) -> NoReturn:
        """Record a fault after which the rest of the list cannot be planned."""
        self.fault(path, message, scope)
        raise EvaluationStopped


def enclose_structure(node: Parallel, names: Namer) -> Node:
    """Return a node that is a module of its own, whose taps are in `names`."""
    return Chain((("", node),), taps=True) if names.taps else node
