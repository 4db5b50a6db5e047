"""The named models, shipped and a user's own: their names, and the config of each without overrides."""

from __future__ import annotations

import fnmatch
import re

from resnet_factory.config.composition import compose_in_library
from resnet_factory.config.library import Library, user_library_dir
from resnet_factory.config.schema import ModelConfig
from resnet_factory.errors import ConfigError, Fault, suggest


class ModelIndex:
    """The models of some config folders; shared files are read once."""

    def __init__(self, library: Library) -> None:
        self.library = library

    def names(self, pattern: str = "*") -> list[str]:
        """Return the names that match a glob pattern or contain a word, in natural order.

        Raises:
            ConfigError: none matches.
        """
        if found := self.matches(pattern):
            return found
        word = re.sub(r"^model=|[*?]", "", pattern)
        suggestion = suggest(word, self.group())
        message = f"no model matches {pattern!r}{suggestion}; 'resnet-factory list' shows all"
        raise ConfigError([Fault("", message, f"command line '{pattern}'")])

    def matches(self, pattern: str) -> list[str]:
        """Return the names as `names` does; none if none matches."""
        known = self.group()
        # A word that is neither a name nor a pattern matches any part of a name.
        plain = pattern not in known and not re.search(r"[*?\[]", pattern)
        found = fnmatch.filter(known, f"*{pattern}*" if plain else pattern)
        return sorted(found, key=_natural_model_order)

    def group(self, group: str = "") -> list[str]:
        """Return the choices of a recipe group such as `block`; without a group, the models."""
        return self.library.options(f"model/{group}".rstrip("/"))

    def config(self, name: str) -> ModelConfig:
        """Return the config of one model without overrides.

        Raises:
            ConfigError: the files are invalid.
        """
        return compose_in_library(self.library, "config", [f"model={name}"]).model


def _natural_model_order(name: str) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def index_models(config_dir: str | None = None) -> ModelIndex:
    """Return the shipped models, and those in a folder of the user's own.

    Raises:
        ConfigError: the folder does not exist.
    """
    return ModelIndex(Library.of(user_library_dir(config_dir)))
