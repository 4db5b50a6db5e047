"""Models mounted in other Hydra applications: their key and name, and the application's own recipes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from resnet_factory.config.hydra_internals import key_of, running_settings, running_sources
from resnet_factory.config.namespaced import NAMESPACE


@dataclass(frozen=True)
class MountedModel:
    """A model in the configuration of an application, as reported by Hydra."""

    path: str
    """Its key, such as `backbone`; empty for a whole configuration."""
    name: str = ""
    """The model chosen for it, such as `resnet50`; empty if unknown."""
    titles: Mapping[str, str] = field(default_factory=dict)
    """Slot -> the recipe chosen for it."""
    folders: tuple[Path, ...] = ()
    """The application's own config folders, those with precedence last."""


def mounted_model(node: Any) -> MountedModel:
    """Return where a part of an OmegaConf configuration was mounted, from Hydra's choices."""
    path = key_of(node)
    settings = running_settings(node)
    chosen = settings.get("runtime", {}).get("choices", {}) if settings else {}
    names: dict[str, str] = {}
    namespaces = set()
    for key, choice in chosen.items():
        group, _, package = str(key).partition("@")
        place = package or group.replace("/", ".")
        inner = _below(group)
        if inner is not None and isinstance(choice, str) and (place == path or place.startswith(f"{path}.")):
            names[inner] = choice
            namespaces.add(group.startswith(f"{NAMESPACE}/"))
    titles = {slot: name for slot, name in names.items() if slot}
    return MountedModel(path, names.get("", ""), titles, tuple(_own_folders(namespaces)))


def _below(group: str) -> str | None:
    """Return the part of a config group below `model`, empty for itself; None for other groups."""
    group = group.removeprefix(f"{NAMESPACE}/")
    head, _, inner = group.partition("/")
    return inner if head == "model" else None


def _own_folders(namespaces: set[bool]) -> Iterator[Path]:
    """Yield the folders of the running application that hold `model/`, last ones first in its search path."""
    for schema, path in reversed(running_sources()):
        if schema == "file":
            folder = Path(path)
        elif schema == "pkg" and path.partition(".")[0] not in ("hydra", NAMESPACE):
            found = files(path)
            if not isinstance(found, Path):
                continue
            folder = found
        else:
            continue
        if False in namespaces or not namespaces:
            yield folder
        if True in namespaces or not namespaces:
            yield folder / NAMESPACE


__all__ = ["MountedModel", "mounted_model"]
