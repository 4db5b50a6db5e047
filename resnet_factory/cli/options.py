"""The options of the command line, and its other arguments."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

from resnet_factory.errors import ConfigError, Fault, nearest_word, unknown

HYDRA_FLAGS = ("multirun", "cfg", "info", "hydra_help", "shell_completion")
"""Options that Hydra itself handles."""
_CFG = ("job", "hydra", "all")
_INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")


def read_command_line_options(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the options and the other arguments.

    Raises:
        ConfigError: an option does not exist, or lacks its value.
    """
    parser = _OptionParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument("--version", "-V", action="store_true")
    parser.add_argument("--config-dir", "-cd")
    parser.add_argument("--multirun", "-m", action="store_true")
    parser.add_argument("--cfg", "-c")
    parser.add_argument("--resolve", action="store_true")
    parser.add_argument("--package", "-p")
    parser.add_argument("--info", "-i", nargs="?", const="all")
    parser.add_argument("--hydra-help", action="store_true")
    parser.add_argument("--shell-completion", "-sc", action="store_true")
    parser.add_argument("words", nargs="*")
    options, strange = parser.parse_known_intermixed_args(list(arguments))
    known = [flag for action in parser._actions for flag in action.option_strings]
    faults = [_unknown_option(word, known) for word in strange if word.startswith("-")]
    if options.cfg not in (None, *_CFG):
        faults.append(
            Fault("", unknown("part of the configuration", options.cfg, _CFG), "command line '--cfg'")
        )
    if options.info not in (None, *_INFO):
        faults.append(Fault("", unknown("part", options.info, _INFO), "command line '--info'"))
    if faults:
        raise ConfigError(faults)
    return options, options.words


def _unknown_option(word: str, known: Sequence[str]) -> Fault:
    key, equals, _ = word.lstrip("-").partition("=")
    options = [name for name in known if name.startswith("--")]
    message = f"unknown option '{word.partition('=')[0]}'; known are {', '.join(options)}"
    if near := nearest_word(key, [name[2:] for name in options]):
        message += f"; did you mean '--{near[0]}'?"
    elif equals:
        message += f"; did you mean '{word.lstrip('-')}'?"
    return Fault("", message, f"command line '{word}'")


class _OptionParser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        flag = re.match(r"argument (--[\w-]+)\S*: ", message)
        where = f"command line '{flag[1]}'" if flag else "command line"
        raise ConfigError([Fault("", message[flag.end() :] if flag else message, where)])
