"""The shipped config groups below `resnet_factory/`, at `pkg://resnet_factory.config.namespaced`.

For a Hydra application that has a `model/` group of its own: `resnet_factory/model@backbone: resnet50`. No
such folder exists: Hydra asks this module for its files, which are those of the shipped folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources.abc import Traversable, TraversableResources
from pathlib import Path
from typing import IO, Any

from resnet_factory.config.library import conf_dir

NAMESPACE = "resnet_factory"
"""The config group that holds the shipped ones."""
_FOLDER = Path(__file__).with_suffix("")
"""The folder that these files seem to be in."""


class _Namespace(Traversable):
    """A folder that contains the shipped one, under another name."""

    name = _FOLDER.name

    def iterdir(self) -> Iterator[Traversable]:
        """Yield the entries; Hydra wants an `__init__.py` in a package of YAML."""
        yield Path(__file__).with_name("__init__.py")
        yield _FOLDER / NAMESPACE

    def joinpath(self, *descendants: Any) -> Any:
        """Return the shipped file or folder that is meant."""
        parts = Path(*map(str, descendants)).parts
        if not parts:
            return self
        return Path(conf_dir(), *parts[1:]) if parts[0] == NAMESPACE else _FOLDER.joinpath(*parts)

    def is_dir(self) -> bool:
        """Return true."""
        return True

    def is_file(self) -> bool:
        """Return false."""
        return False

    def exists(self) -> bool:
        """Return true."""
        return True

    def read_bytes(self) -> bytes:
        """Refuse, as a folder does."""
        raise IsADirectoryError(str(_FOLDER))

    def read_text(self, encoding: str | None = None) -> str:
        """Refuse, as a folder does."""
        raise IsADirectoryError(str(_FOLDER))

    def open(self, *_mode: Any, **_encoding: Any) -> IO[Any]:
        """Refuse, as a folder does."""
        raise IsADirectoryError(str(_FOLDER))


class _Resources(TraversableResources):
    """The files of this module, for `importlib.resources`."""

    def files(self) -> Traversable:
        """Return the folder."""
        return _Namespace()


class _Loader:
    """The loader of this module, as far as `importlib.resources` needs one."""

    def get_resource_reader(self, _name: str) -> _Resources:
        """Return the reader of its files."""
        return _Resources()


if __spec__ is not None:
    __spec__.loader = _Loader()  # type: ignore[assignment]
    __spec__.submodule_search_locations = []  # a package, as `importlib.resources` asks for
