"""Resolve interpolations one by one, so that each one without a value is reported."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from resnet_factory.errors import Fault, found, suggest

MAX_VALUES = 10_000
MAX_DEPTH = 100
MAX_TEXT = 1_000_000
"""Limits of one configuration after interpolation, so that it cannot exhaust memory."""
REFERENCE = re.compile(r"\$\{(\.*)([\w.-]+)\}")

if TYPE_CHECKING:
    from omegaconf import DictConfig, ListConfig


class _NotPlainError(Exception):
    """Raised for data with interpolations other than plain references to keys."""


def resolve_interpolations(
    data: Mapping[str, Any], left: str = "", known: Callable[[], Sequence[str]] = list
) -> InterpolationResolver:
    """Resolve every interpolation of plain data; the returned object's `result` is a resolved copy.

    Data with other interpolations than whole values `${key}` is resolved by OmegaConf, ten times slower.
    """
    resolver = InterpolationResolver(left, known)
    try:
        resolver.result = _copied_interpolation(data, data, 1, iter(range(MAX_VALUES)))
    except _NotPlainError:
        from omegaconf import OmegaConf

        resolver.result = resolver.plain(OmegaConf.create(dict(data)), "")
    return resolver


def _copied_interpolation(value: Any, root: Mapping[str, Any], depth: int, left: Iterator[int]) -> Any:
    """Return a copy of a value with references resolved; `left` limits the number of values."""
    if next(left, None) is None or depth > MAX_DEPTH:
        raise _NotPlainError
    if isinstance(value, dict):
        if not all(type(key) is str for key in value):
            raise _NotPlainError
        return {key: _copied_interpolation(entry, root, depth + 1, left) for key, entry in value.items()}
    if isinstance(value, list):
        return [_copied_interpolation(entry, root, depth + 1, left) for entry in value]
    if isinstance(value, str):
        return _referred_by_interpolation(value, root) if "${" in value or value == "???" else value
    if value is None or isinstance(value, (bool, int, float)):
        return value
    raise _NotPlainError


def _referred_by_interpolation(text: str, root: Mapping[str, Any]) -> Any:
    reference = REFERENCE.fullmatch(text)
    value: Any = root
    for key in reference[2].split(".") if reference and not reference[1] else ["???"]:
        if not isinstance(value, dict) or key not in value:
            raise _NotPlainError
        value = value[key]
    if isinstance(value, (dict, list)) or (isinstance(value, str) and ("${" in value or value == "???")):
        raise _NotPlainError
    return value


class InterpolationResolver:
    """Converts OmegaConf data to plain data, and collects interpolations without a value.

    `left` is the name of a resolver whose interpolations are left unresolved; `known` returns the keys to
    suggest.
    """

    def __init__(self, left: str = "", known: Callable[[], Sequence[str]] = list) -> None:
        self.left = left
        self.known = known
        self.result: Any = None
        self.faults: list[Fault] = []
        self.waiting: list[str] = []
        """Keys whose value is filled in later, by Hydra."""
        self.values = 0
        self.full = False
        """Whether there was more than any configuration holds: what is left was not examined."""

    def plain(self, node: Any, path: str) -> Any:
        """Return the plain data of the node at `path`."""
        from omegaconf import DictConfig, ListConfig, OmegaConf

        if not self.values and isinstance(node, (DictConfig, ListConfig)):
            self._measure(OmegaConf.to_container(node, resolve=False))
        self.values += 1
        if self.full:
            return None
        if self.values > MAX_VALUES or path.count(".") > MAX_DEPTH:
            if not self.full:
                self.full = True
                message = (
                    f"more than {MAX_VALUES} values or {MAX_DEPTH} levels of nesting after resolving "
                    "interpolations"
                )
                self.faults.append(Fault(".".join(path.split(".")[:2]), message))
            return None
        if isinstance(node, DictConfig):
            return {key: self._child(node, key, path) for key in node}
        if isinstance(node, ListConfig):
            return [self._child(node, i, path) for i in range(len(node))]
        return node

    def _measure(self, root: Any) -> None:
        """Record a text that interpolation makes too long, such as forty lines that each double the last."""
        lengths: dict[tuple[str, ...], int] = {}

        def length(path: tuple[str, ...]) -> int:
            if path in lengths:
                return lengths[path]
            lengths[path] = 0  # a reference to itself, which OmegaConf reports when it resolves it
            value = root
            for key in path:
                value = _interpolated_entry(value, key)
            if isinstance(value, (Mapping, list)):
                keys = value if isinstance(value, Mapping) else range(len(value))
                lengths[path] = sum(length((*path, str(key))) for key in keys)
            elif isinstance(value, str):
                total = len(value)
                for dots, name in REFERENCE.findall(value):
                    above = path[: len(path) - len(dots)] if dots else ()
                    total += length((*above, *name.split(".")))
                lengths[path] = total
                if total > MAX_TEXT and not self.full and not REFERENCE.fullmatch(value):
                    self.full = True
                    message = f"its interpolations expand to more than {MAX_TEXT:,} characters"
                    self.faults.append(Fault(".".join(path), message))
            return lengths[path]

        try:
            length(())
        except RecursionError:
            self.full = True
            self.faults.append(Fault("", "the chain of interpolations that refer to each other is too long"))

    def _child(self, node: DictConfig | ListConfig, key: Any, path: str) -> Any:
        from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

        where = f"{path}.{key}" if path else str(key)
        if self.full:
            return None
        try:
            return self.plain(node[key], where)
        except MissingMandatoryValue:
            self.faults.append(Fault(where, "'???' marks a mandatory value; give one"))
        except (OmegaConfBaseException, RecursionError) as error:
            raw = node._get_node(key)._value()  # type: ignore[union-attr]
            if self.left and f"${{{self.left}" in str(raw):
                self.waiting.append(where)
                return raw
            self.faults.append(Fault(where, self._explained(error, raw)))
        return None

    def _explained(self, error: Exception, raw: Any) -> str:
        if isinstance(error, RecursionError):
            return f"{found(raw)} refers to itself"
        reason = re.sub(r"^\w+ raised while resolving interpolation: ", "", str(error).splitlines()[0])
        if missing := re.fullmatch(r"Interpolation key '(.+)' not found", reason):
            return f"{found(raw)}: there is no key {missing[1]!r}{suggest(missing[1], self.known())}"
        return f"{found(raw)} has no value: {reason.strip(chr(34))}"


def _interpolated_entry(value: Any, key: str) -> Any:
    """Return the value at `key` of raw data; None if there is no such key."""
    if isinstance(value, Mapping):
        return next((entry for name, entry in value.items() if str(name) == key), None)
    if isinstance(value, list) and key.isdigit() and int(key) < len(value):
        return value[int(key)]
    return None
