"""The commands that build, describe, explain, export and list networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from resnet_factory.cli.costs import cost_of_composed
from resnet_factory.config.composition import Composed
from resnet_factory.config.file_access import WEIGHTS, output_file_faults, weights_file_faults
from resnet_factory.config.model_index import index_models
from resnet_factory.costing.complexity import compute_complexity
from resnet_factory.errors import ConfigError, Fault, unknown
from resnet_factory.network.capacity import check_capacity
from resnet_factory.network.weights import key_map
from resnet_factory.network.weights.download import hub_faults
from resnet_factory.planning.planner import run_planner
from resnet_factory.reporting import tables
from resnet_factory.reporting.columns import ColumnSelection
from resnet_factory.reporting.explanation import document


def describe_command(composed: Composed) -> int:
    """Print the cost of the network, at the chosen depth and in the chosen format."""
    check_command_keys(composed, describe_command_faults)
    selection = _describe_command_selection(composed.data).checked()
    tables.print_cost_table(
        cost_of_composed(composed), tables.table_console(), selection, composed.data["format"]
    )
    return 0


def describe_command_faults(data: Mapping[str, Any]) -> list[Fault]:
    """Return the faults of the keys of `describe`."""
    faults = _command_format_faults(data, tables.FORMATS)
    try:
        _describe_command_selection(data).checked()
    except ConfigError as error:
        faults += error.faults
    return faults


def _describe_command_selection(data: Mapping[str, Any]) -> ColumnSelection:
    columns = data["columns"]
    columns = [] if columns is None else columns if isinstance(columns, list) else [columns]
    return ColumnSelection(data["depth"], tuple(columns), data["sort"], data["batch"], data["dtype"])


def explain_command(composed: Composed) -> int:
    """Print the network's arithmetic and warnings."""
    check_command_keys(composed, explain_command_faults)
    costed = cost_of_composed(composed)
    told = document.explain(costed.plan, costed.image)
    document.print_explanation(told, tables.table_console(), composed.data["format"])
    return 0


def explain_command_faults(data: Mapping[str, Any]) -> list[Fault]:
    """Return the faults of the keys of `explain`."""
    return _command_format_faults(data, document.FORMATS)


def _command_format_faults(data: Mapping[str, Any], formats: Sequence[str]) -> list[Fault]:
    form = data["format"]
    return [] if form in formats else [Fault("format", unknown("format", form, formats))]


def build_command(composed: Composed) -> int:
    """Build the network, check it against its plan and print the tables; optionally load and save weights."""
    check_command_keys(composed, build_command_faults)
    options = composed.data
    composed = _with_model_of_weights_file(composed)
    costed = cost_of_composed(composed)
    with one_command_fault_per_file(composed):
        check_capacity(costed.plan)
    from resnet_factory.network.summary import build_for_summary, torchinfo_summary

    network = build_for_summary(costed)
    loaded = None
    if options["weights"] is not None:
        from resnet_factory.network.weights.transfer import load_weights

        with one_command_fault_per_file(composed):
            loaded = load_weights(network, options["weights"], keys=options["keys"])
    out = tables.table_console()
    tables.print_cost_table(costed, out)
    out.print(f"built: {costed.params:,} parameters in {len(network.state_dict())} tensors, as planned")
    if loaded is not None:
        out.print(f"loaded: {loaded}", markup=False)
    if options["layers"]:
        out.print(torchinfo_summary(network, costed.image), markup=False)
    if options["save"] is not None:
        from resnet_factory.network.weights.transfer import save

        out.print(f"saved: {save(network, composed.model, options['save'])}", markup=False)
    return 0


def _with_model_of_weights_file(composed: Composed) -> Composed:
    """Return the configuration with the model saved in a file of weights, unless another is given."""
    weights, given = composed.data["weights"], composed.given & {"model", "experiment"}
    if weights is None or given:
        return composed
    from resnet_factory.network.weights.transfer import config_in_weights

    with one_command_fault_per_file(composed):
        config = config_in_weights(weights)
    if config is None:
        return composed
    size = composed.data["input"] if "input" in composed.given else {"size": config.image_size}
    return replace(composed, model=config, data={**composed.data, "input": size})


def build_command_faults(data: Mapping[str, Any]) -> list[Fault]:
    """Return the faults of the keys of `build`."""
    texts = dict.fromkeys(("weights", "keys", "save"), str | None)
    if faults := key_type_faults(data, {"layers": bool, **texts}):
        return faults
    weights, keys, save = data["weights"], data["keys"], data["save"]
    if weights is None and keys is not None:
        faults.append(Fault("keys", "a key map names the tensors of a weights file; give weights=… as well"))
    faults += command_weights_faults(weights, keys)
    if save is not None:
        faults += output_file_faults(save, "save", WEIGHTS, [] if weights is None else [weights])
    return faults


def command_weights_faults(weights: str | None, keys: str | None) -> list[Fault]:
    """Return the faults of the files of weights and of their key map."""
    faults = (
        [] if weights is None else weights_file_faults(weights, "weights") + hub_faults(weights, "weights")
    )
    if keys is not None and keys != key_map.OURS:
        try:
            key_map.find_named_key_map(keys)
        except ConfigError as error:
            faults += error.faults
    return faults


def list_command(patterns: Sequence[str], config_dir: str | None) -> int:
    """Print the named models that match a glob pattern; then the faults of those that cannot be listed."""
    models = index_models(config_dir)
    names = dict.fromkeys(name for pattern in patterns or ["*"] for name in models.names(pattern))
    rows = []
    faults: list[Fault] = []
    for name in names:
        try:
            planned = run_planner(models.config(name))
            rows.append((planned, compute_complexity(planned)))
        except ConfigError as error:
            faults.extend(error.faults)
    if rows:
        tables.table_console().print(tables.model_table(rows))
    if faults:
        raise ConfigError(faults)
    return 0


def check_command_keys(composed: Composed, find: Callable[[Mapping[str, Any]], list[Fault]]) -> None:
    """Refuse invalid keys, also in configurations composed by Hydra's runner, which are not checked yet."""
    if faults := find(composed.data):
        raise ConfigError(map(composed.locate, faults))


def key_type_faults(data: Mapping[str, Any], types: Mapping[str, Any]) -> list[Fault]:
    """Return the faults of keys of the wrong type."""
    return [
        Fault(key, f"expected {'true or false' if wanted is bool else 'a file name'}, found {data[key]!r}")
        for key, wanted in types.items()
        if not isinstance(data[key], wanted)
    ]


@contextmanager
def one_command_fault_per_file(composed: Composed) -> Iterator[None]:
    """Locate the faults of a file where it was named; once, if there are many."""
    try:
        yield
    except ConfigError as error:
        first, *rest = error.faults
        raise ConfigError([composed.locate(first), *rest]) from None
