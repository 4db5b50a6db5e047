"""resnet-factory: ResNets from YAML as PyTorch networks. Importing this package does not import torch."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnet_factory.config.composition import conf_dir, read
    from resnet_factory.config.own_layers import register_layer
    from resnet_factory.config.schema import ModelConfig
    from resnet_factory.costing.complexity import Cost
    from resnet_factory.errors import ConfigError, Fault
    from resnet_factory.network.builder import build, create_model
    from resnet_factory.network.classifier import reset_classifier
    from resnet_factory.network.folding import fold
    from resnet_factory.network.network import Backbone, Network
    from resnet_factory.network.steps import Block
    from resnet_factory.network.weights.hub_folder import push_to_hub
    from resnet_factory.network.weights.transfer import Report, export, load, load_weights, save
    from resnet_factory.planning.models import compose, list_models, plan
    from resnet_factory.planning.network_plan import Plan
    from resnet_factory.reporting.cost_report import CostReport, cost
    from resnet_factory.reporting.difference import Difference, diff
    from resnet_factory.reporting.drawing import draw
    from resnet_factory.reporting.explanation.document import Explanation, explain
    from resnet_factory.sweep.architecture import Architecture
    from resnet_factory.sweep.merging import merge_sweeps
    from resnet_factory.sweep.own_metrics import OwnMetric, register_metric
    from resnet_factory.sweep.search import RejectedProposal, Search, open_search
    from resnet_factory.sweep.stored_sweep import Sweep, open_sweep, run_sweep
    from resnet_factory.sweep.sweep_comparison import SweepComparison, compare_sweeps

_HOME = {
    "Architecture": "sweep.architecture",
    "Backbone": "network.network",
    "Block": "network.steps",
    "build": "network.builder",
    "compare_sweeps": "sweep.sweep_comparison",
    "compose": "planning.models",
    "conf_dir": "config.composition",
    "ConfigError": "errors",
    "Cost": "costing.complexity",
    "CostReport": "reporting.cost_report",
    "cost": "reporting.cost_report",
    "create_model": "network.builder",
    "diff": "reporting.difference",
    "Difference": "reporting.difference",
    "draw": "reporting.drawing",
    "export": "network.weights.transfer",
    "explain": "reporting.explanation.document",
    "Explanation": "reporting.explanation.document",
    "Fault": "errors",
    "fold": "network.folding",
    "list_models": "planning.models",
    "load": "network.weights.transfer",
    "load_weights": "network.weights.transfer",
    "merge_sweeps": "sweep.merging",
    "ModelConfig": "config.schema",
    "Network": "network.network",
    "open_search": "sweep.search",
    "open_sweep": "sweep.stored_sweep",
    "OwnMetric": "sweep.own_metrics",
    "Plan": "planning.network_plan",
    "plan": "planning.models",
    "push_to_hub": "network.weights.hub_folder",
    "read": "config.composition",
    "RejectedProposal": "sweep.search",
    "register_layer": "config.own_layers",
    "register_metric": "sweep.own_metrics",
    "reset_classifier": "network.classifier",
    "Report": "network.weights.transfer",
    "run_sweep": "sweep.stored_sweep",
    "save": "network.weights.transfer",
    "Search": "sweep.search",
    "Sweep": "sweep.stored_sweep",
    "SweepComparison": "sweep.sweep_comparison",
}
"""Public name -> the file it lives in, imported when the name is first used."""

__all__ = [
    "Architecture", "Backbone", "Block", "ConfigError", "Cost", "CostReport", "Difference",
    "Explanation", "Fault", "ModelConfig", "Network", "OwnMetric", "Plan", "RejectedProposal", "Report",
    "Search", "Sweep", "SweepComparison", "build", "compare_sweeps", "compose", "conf_dir", "cost",
    "create_model", "diff", "draw", "explain", "export", "fold", "list_models", "load", "load_weights",
    "merge_sweeps", "open_search", "open_sweep", "plan", "push_to_hub", "read", "register_layer",
    "register_metric", "reset_classifier", "run_sweep", "save",
]  # fmt: skip
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


if "IPython" in sys.modules:  # a notebook shows plans as tables
    import_module(f"{__name__}.reporting.html").register_html_formatter()
