"""Layers of your own: registered by a program, or by an installed package under an entry point.

A package's layers are found by the group `resnet_factory.layers` of its entry points, and imported when a
recipe uses their word. Words of the vocabulary are never looked up: what uses no other reads no entry points.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, packages_distributions, version
from typing import Any

from resnet_factory.errors import all_of, shown
from resnet_factory.layers import VOCABULARY, Layer
from resnet_factory.layers.package_entries import installed_package_entries, package_of_entry
from resnet_factory.layers.registration_checks import probe_layer_class

GROUP = "resnet_factory.layers"
"""The group of entry points. Each names a pair: the layer's class, and what makes its module."""
Maker = Callable[[Any], Any] | str
"""A function that returns the torch module of a layer, or its import path, `package.module:function`."""


class LayerError(ValueError):
    """Raised for a layer of a package that cannot be used; the message names the package."""


@dataclass(frozen=True, slots=True)
class OwnLayer:
    """A registered layer."""

    word: str
    layer: type[Layer]
    module: Maker
    package: str = ""
    """Name and version of the package with its entry point; empty if a program registered it."""

    @property
    def origin(self) -> dict[str, str]:
        """Return the package and its version, or the module, that the layer comes from."""
        if self.package:
            name, _, number = self.package.rpartition(" ")
            return {"package": name, "version": number}
        module = self.layer.__module__
        for name in packages_distributions().get(module.partition(".")[0], ())[:1]:
            return {"package": name, "version": version(name)}
        return {"module": module}


class LayerRegistry:
    """The registered layers of this process; those of packages are added when they are first asked for."""

    def __init__(self) -> None:
        self.words: dict[str, OwnLayer] = {}
        self.classes: dict[type[Layer], OwnLayer] = {}

    def add(self, own: OwnLayer) -> None:
        """Add a layer after checking it; once more the same changes nothing.

        Raises:
            TypeError: the class is no layer.
            ValueError: its word or its class is taken, or its formulas fail.
        """
        _check_word_to_register(own.word)
        known = self.words.get(own.word)
        if known is not None and (known.layer, known.module) == (own.layer, own.module):
            return
        if known is not None:
            before = f"{known.layer.__module__}.{known.layer.__qualname__}"
            raise ValueError(f"{own.word!r} is registered already, for {before}; choose another word")
        _check_maker_to_register(own.module)
        probe_layer_class(own.layer)
        taken = self.classes.get(own.layer) or _shipped_registry_words().get(own.layer)
        if taken is not None:
            word = taken.word if isinstance(taken, OwnLayer) else taken
            raise ValueError(
                f"{own.layer.__qualname__} is the layer {word!r} already; register a class of its own"
            )
        self.words[own.word] = self.classes[own.layer] = own

    def find(self, word: str) -> OwnLayer | None:
        """Return the layer called `word`, from its package if it has one; None if there is none.

        Raises:
            LayerError: its package cannot be imported, or its class is no layer.
        """
        if word not in self.words and (entries := _registry_of_packages().get(word)):
            self.add_from(word, entries)
        return self.words.get(word)

    def of(self, layer: type[Layer]) -> OwnLayer | None:
        """Return the registered layer of a class; None for the vocabulary's own."""
        if layer not in self.classes and layer not in _shipped_registry_words():
            # A plan from another process: its class is imported, its word perhaps not looked up yet.
            for word, entries in _registry_of_packages().items():
                if any(
                    entry.module.partition(".")[0] == layer.__module__.partition(".")[0] for entry in entries
                ):
                    with suppress(LayerError):
                        self.find(word)
        return self.classes.get(layer)

    def add_from(self, word: str, entries: tuple[EntryPoint, ...]) -> None:
        """Import the layer of an entry point and add it.

        Raises:
            LayerError: it cannot be used, or several packages have one of this name.
        """
        packages = [package_of_entry(entry) for entry in entries]
        if len(entries) > 1:
            names = all_of(map(repr, packages))
            raise LayerError(f"layer {word!r} is in several packages, {names}; uninstall all but one")
        (entry,), (package,) = entries, packages
        failed = f"layer {word!r} of package {package!r} cannot be used"
        try:
            given = entry.load()
        except Exception as error:  # importing runs anything
            raise LayerError(f"{failed}: {type(error).__name__}: {error}") from error
        if not isinstance(given, tuple) or len(given) != 2:
            wanted = "a pair of a layer's class and what makes its module"
            raise LayerError(f"{failed}: '{entry.value}' is {shown(given)}, not {wanted}")
        try:
            self.add(OwnLayer(word, *given, package=package))
        except (TypeError, ValueError) as error:
            raise LayerError(f"{failed}: {error}") from error


REGISTRY = LayerRegistry()
"""The layers of this process."""


def register(word: str, layer: type[Layer], module: Maker) -> None:
    """Register a layer; `resnet_factory.config.own_layers` checks its word against the config's, too.

    Raises:
        TypeError: the class is no layer.
        ValueError: the word is taken, also by a package, or the layer's formulas fail.
    """
    own = OwnLayer(word, layer, module)
    if isinstance(word, str) and word not in REGISTRY.words and isinstance(layer, type):
        for entry in _registry_of_packages().get(word, ()):
            if entry.module.partition(".")[0] != layer.__module__.partition(".")[0]:
                raise ValueError(
                    f"{word!r} is a layer of package {package_of_entry(entry)!r}; choose another word"
                )
    REGISTRY.add(own)


def is_registered_layer(word: str) -> bool:
    """Return whether a recipe may use `word` for a layer; its package is not imported."""
    return word in VOCABULARY or word in REGISTRY.words or word in _registry_of_packages()


def registered_own_words() -> list[str]:
    """Return the words of all registered layers, those of packages included."""
    return sorted({*REGISTRY.words, *_registry_of_packages()} - VOCABULARY.keys())


def class_of_registered_word(word: str) -> tuple[type[Layer], Mapping[str, Any]]:
    """Return the class of a layer, and the arguments that its word fixes.

    Raises:
        KeyError: there is no such layer.
        LayerError: its package cannot be used.
    """
    if word in VOCABULARY:
        return VOCABULARY[word]
    own = REGISTRY.find(word)
    if own is None:
        raise KeyError(word)
    return own.layer, {}


def registered_word_of(layer: Layer) -> tuple[str, Mapping[str, Any]]:
    """Return the word of a layer and the arguments that it fixes; an unregistered class has its own name."""
    made = type(layer)
    if made in _shipped_registry_words():
        word = _shipped_registry_words()[made] or layer.function  # type: ignore[attr-defined]
        return word, VOCABULARY[word][1]
    own = REGISTRY.of(made)
    return (made.__name__ if own is None else own.word), {}


@lru_cache(maxsize=1)
def _shipped_registry_words() -> Mapping[type[Layer], str]:
    """Return the word of each class of the vocabulary; empty where it depends on the layer's function."""
    return {made: "" if fixed else word for word, (made, fixed) in VOCABULARY.items()}


def _registry_of_packages() -> Mapping[str, tuple[EntryPoint, ...]]:
    """Return the entry points of installed packages by word."""
    return installed_package_entries(GROUP)


def _check_word_to_register(word: object) -> None:
    if not isinstance(word, str):
        raise TypeError(f"the word of a layer is a string, as 'snake'; found {shown(word)}")
    if not word.isidentifier() or keyword.iskeyword(word):
        raise ValueError(
            f"{word!r} cannot be the word of a layer: letters, digits and _ only, no digit first"
        )
    if word in VOCABULARY:
        raise ValueError(f"{word!r} is a layer of the vocabulary; choose another word")


def _check_maker_to_register(module: object) -> None:
    if isinstance(module, str):
        if not re.fullmatch(r"[\w.]+:[\w.]+", module):
            raise ValueError(
                "expected 'package.module:function' for the function that returns the module, found "
                f"{module!r}"
            )
    elif not callable(module):
        wanted = "a function that returns its torch module, or 'package.module:function'"
        raise TypeError(f"a layer is registered with {wanted}; found {shown(module)}")
