"""resnet-factory: your own ResNet from YAML. Importing this imports no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnet_factory.builder import Backbone, Network, build, create_model
    from resnet_factory.composer import conf_dir, read
    from resnet_factory.costing import Cost, cost
    from resnet_factory.difference import Difference, diff
    from resnet_factory.drawing import draw
    from resnet_factory.explanation import Explanation, explain
    from resnet_factory.fault import ConfigError, Fault
    from resnet_factory.models import compose
    from resnet_factory.nodes import Plan
    from resnet_factory.planner import plan
    from resnet_factory.schema import ModelConfig
    from resnet_factory.weights import Report, export, load, load_weights, save

_HOME = {
    "Backbone": "builder",
    "build": "builder",
    "compose": "models",
    "conf_dir": "composer",
    "ConfigError": "fault",
    "Cost": "costing",
    "cost": "costing",
    "create_model": "builder",
    "diff": "difference",
    "Difference": "difference",
    "draw": "drawing",
    "export": "weights",
    "explain": "explanation",
    "Explanation": "explanation",
    "Fault": "fault",
    "load": "weights",
    "load_weights": "weights",
    "ModelConfig": "schema",
    "Network": "builder",
    "Plan": "nodes",
    "plan": "planner",
    "read": "composer",
    "Report": "weights",
    "save": "weights",
}
"""Public name -> the file it lives in, imported when the name is first used."""

__all__ = [
    "Backbone", "ConfigError", "Cost", "Difference", "Explanation", "Fault", "ModelConfig", "Network", "Plan",
    "Report", "build", "compose", "conf_dir", "cost", "create_model", "diff", "draw", "explain", "export",
    "load", "load_weights", "plan", "read", "save",
]  # fmt: skip
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
