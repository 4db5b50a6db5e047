"""Shell completion by Hydra: check its arguments, and hide our commands from it."""

from __future__ import annotations

import os
from collections.abc import Sequence

from resnet_factory.cli.verbs import VERBS
from resnet_factory.errors import ConfigError, Fault, unknown


def check_completion(words: Sequence[str]) -> None:
    """Refuse arguments that are not those of a completion.

    Raises:
        ConfigError: with every fault found.
    """
    actions, shells = ("install", "uninstall", "query"), ("bash", "fish", "zsh")
    for word in words or [""]:
        action, _, shell = word.partition("=")
        message = ""
        if action not in actions:
            message = unknown("action", action, actions)
        elif shell not in shells:
            message = unknown("shell", shell, shells)
        if message:
            raise ConfigError([Fault("", f"{message}; for example '-sc install=bash'", "command line '-sc'")])


def forget_completed_verb() -> None:
    """Remove the command from the typed line, because Hydra does not know our commands."""
    line = os.environ["COMP_LINE"]
    words = line.split(" ", 2)
    if len(words) == 3 and words[1] in VERBS:
        shorter = f"{words[0]} {words[2]}"
        os.environ["COMP_LINE"] = shorter
        if "COMP_POINT" in os.environ:
            os.environ["COMP_POINT"] = str(int(os.environ["COMP_POINT"]) - len(line) + len(shorter))
