"""The key `objective`: the numbers that a job of a multirun returns to a sweeper that optimises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from resnet_factory.errors import Fault, found, unknown

OBJECTIVES = ("params", "macs", "activations")
TRAINED = ("train_error", "test_error", "test_loss")
"""Those of `study`, for a study of one network."""


def objective_names(value: Any) -> Sequence[Any]:
    """Return the names in a value of the key: none, one, or several in a list."""
    if value is None:
        return []
    return value if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def objective_faults(value: Any, config: str) -> list[Fault]:
    """Return the faults of the key's value; `config` is the command."""
    known = (*OBJECTIVES, *TRAINED) if config == "study" else OBJECTIVES
    faults = []
    for name in objective_names(value):
        if type(name) is not str:
            faults.append(Fault("objective", f"expected one of {', '.join(known)}, found {found(name)}"))
        elif config != "study" and name in TRAINED:
            message = f"only 'study' has {name}; known here are {', '.join(known)}"
            faults.append(Fault("objective", message))
        elif name not in known:
            faults.append(Fault("objective", unknown("objective", name, known)))
    return faults
