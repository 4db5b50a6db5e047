"""The package `resnet_factory.conf` in a checkout, whose `conf/` is next to this package.

A wheel has the folder inside, and Python prefers a folder to a file of the same name. Here the import of
this file gives the folder in its place, so that `pkg://resnet_factory.conf` is the same in both.
"""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_folder = Path(__file__).resolve().parent.parent / "conf"
_spec = spec_from_file_location(__name__, _folder / "__init__.py", submodule_search_locations=[str(_folder)])
assert _spec is not None
sys.modules[__name__] = module_from_spec(_spec)
