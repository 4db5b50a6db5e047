"""What each command does, once its configuration is composed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet_factory import report
from resnet_factory.catalogue import catalogue
from resnet_factory.composer import Composed, image_size
from resnet_factory.costing import Cost, cost
from resnet_factory.fault import ConfigError, Fault
from resnet_factory.planner import plan


def describe(composed: Composed) -> int:
    """Print the network's tables from its plan."""
    report.show(_cost(composed), report.console())
    return 0


def build(composed: Composed) -> int:
    """Build the network, hold it against its plan, print the tables; save it where asked."""
    costed = _cost(composed)
    options = _options(composed, {"layers": bool, "save": str | None})
    from resnet_factory.summary import built, layer_table

    if options["save"] is not None:
        _refuse_folder(Path(options["save"]), composed)
    network = built(costed)
    out = report.console()
    report.show(costed, out)
    out.print(f"built: {costed.params:,} parameters in {len(network.state_dict())} tensors, as planned")
    if options["layers"]:
        out.print(layer_table(network, costed.image), markup=False)
    if options["save"] is not None:
        from resnet_factory.weights import save

        out.print(f"saved: {save(network, composed.model, options['save'])}", markup=False)
    return 0


def list_models(patterns: Sequence[str], config_dir: str | None) -> int:
    """Print the named models that match a glob pattern."""
    models = catalogue(config_dir)
    names = dict.fromkeys(name for pattern in patterns or ["*"] for name in models.names(pattern))
    plans = [plan(models.config(name)) for name in names]
    costs = [cost(p, (p.in_channels, p.image_size, p.image_size)) for p in plans]
    out = report.console()
    out.print(report.model_table(zip(plans, costs, strict=True)))
    return 0


def _cost(composed: Composed) -> Cost:
    planned = plan(composed.model)
    try:
        return cost(planned, (planned.in_channels, *image_size(composed.data)))
    except ConfigError as error:
        raise ConfigError(map(composed.locate, error.faults)) from None


def _options(composed: Composed, types: Mapping[str, Any]) -> dict[str, Any]:
    """The command's own keys, each of the type it must have."""
    faults = []
    for key, wanted in types.items():
        value = composed.data[key]
        if not isinstance(value, wanted):
            name = "true or false" if wanted is bool else "a file name"
            faults.append(composed.locate(Fault(key, f"expected {name}, found {value!r}")))
    if faults:
        raise ConfigError(faults)
    return {key: composed.data[key] for key in types}


def _refuse_folder(file: Path, composed: Composed) -> None:
    if file.is_dir() or not file.parent.is_dir():
        what = "is a folder" if file.is_dir() else f"lies in a folder that does not exist: {file.parent}"
        raise ConfigError([composed.locate(Fault("save", f"'{file}' {what}"))])
