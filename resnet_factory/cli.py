"""The command line: `resnet-factory [VERB] [overrides…]`; VERB `build` if left out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from resnet_factory.fault import ConfigError, Fault, suggest, unknown

HYDRA_FLAGS = ("--cfg", "-c", "--info", "-i", "--shell-completion", "-sc", "--hydra-help", "--multirun", "-m")
"""Flags that Hydra itself answers."""


@dataclass(frozen=True)
class Verb:
    """One command: where its function is, and what it does in a line."""

    place: str
    help: str
    composes: bool = True
    """Whether its arguments are overrides of a composed configuration."""

    def load(self) -> Callable[..., int]:
        """Import the function; only now, so that help and completion stay quick."""
        module, function = self.place.split(":")
        loaded = getattr(import_module(f"resnet_factory.{module}"), function)
        assert callable(loaded)
        return loaded  # type: ignore[no-any-return]


VERBS = {
    "build": Verb(
        "verbs:build", "compose, plan and build a network, check it and summarise it (the default)"
    ),
    "describe": Verb("verbs:describe", "the same summary from the plan alone, without torch"),
    "export": Verb("verbs:export", "write weights under timm's, torchvision's or pycls's names"),
    "list": Verb("verbs:list_models", "the named models: list [PATTERN]", composes=False),
}

EXAMPLES = """\
  resnet-factory model=resnet50
  resnet-factory model=resnet50 'model.depths=[3,4,23,3]'
  resnet-factory describe model=resnet50 model/stem=deep model/shortcut=avg_down
  resnet-factory model=mine --config-dir my_conf       # my_conf/model/mine.yaml
  resnet-factory -m model=resnet18,resnet34,resnet50"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code (2 for a mistake in what the user wrote)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _main(arguments)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _main(arguments: list[str]) -> int:
    verb = "build"
    if arguments and not arguments[0].startswith("-") and arguments[0].isidentifier():
        verb = arguments.pop(0)
        if verb not in VERBS:
            raise ConfigError([Fault("", unknown("command", verb, VERBS), "command line")])
    options, overrides = _options(arguments)
    if options.help:
        print(_help(options.config_dir))
        return 0
    if options.version:
        from resnet_factory import __version__

        print(__version__)
        return 0
    if not VERBS[verb].composes:
        return VERBS[verb].load()(overrides, options.config_dir)
    flags = [flag for flag in arguments if flag.split("=")[0] in HYDRA_FLAGS]
    if flags:
        return _hand_to_hydra(verb, arguments, overrides, options)
    from resnet_factory.composer import compose_all

    return VERBS[verb].load()(compose_all(verb, overrides, options.config_dir))


def _options(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--config-dir", "-cd")
    parser.add_argument("--multirun", "-m", action="store_true")
    parser.add_argument("--cfg", "-c", choices=("job", "hydra", "all"))
    parser.add_argument("--resolve", action="store_true")
    parser.add_argument("--package", "-p")
    parser.add_argument("--info", "-i", nargs="?", const="all")
    parser.add_argument("--hydra-help", action="store_true")
    parser.add_argument("--shell-completion", "-sc", action="store_true")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_intermixed_args(list(arguments))
    return options, options.overrides


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        word = message.removeprefix("unrecognized arguments: ")
        known = [flag for action in self._actions for flag in action.option_strings]
        if word != message:
            message = f"unknown option{suggest(word.split()[0], known)}"
        raise ConfigError(
            [Fault("", message, f"command line {word!r}" if word in message else "command line")]
        )


def _hand_to_hydra(verb: str, arguments: list[str], overrides: list[str], options: argparse.Namespace) -> int:
    """Let Hydra answer its own flags; mistakes are reported our way before it starts."""
    import hydra

    from resnet_factory.composer import compose_all, conf_dir, from_hydra

    if options.cfg and not options.multirun:
        compose_all(verb, overrides, options.config_dir)
    if options.shell_completion and "COMP_LINE" in os.environ:
        _forget_verb()
    status = 0

    def job(config: Any) -> None:
        nonlocal status
        try:
            status = max(status, VERBS[verb].load()(from_hydra(config)))
        except ConfigError as error:
            print(error, file=sys.stderr)
            status = 2

    sys.argv = ["resnet-factory", *arguments]
    hydra.main(config_path=conf_dir(), config_name=verb, version_base="1.3")(job)()
    return status


def _forget_verb() -> None:
    """Completion sees the whole typed line; Hydra knows nothing of our verbs."""
    line = os.environ["COMP_LINE"]
    words = line.split(" ", 2)
    if len(words) == 3 and words[1] in VERBS:
        shorter = f"{words[0]} {words[2]}"
        os.environ["COMP_LINE"] = shorter
        if "COMP_POINT" in os.environ:
            os.environ["COMP_POINT"] = str(int(os.environ["COMP_POINT"]) - len(line) + len(shorter))


def _help(config_dir: str | None) -> str:
    from resnet_factory.catalogue import catalogue
    from resnet_factory.schema import ROLES, SLOTS

    models = catalogue(config_dir)
    verbs = "\n".join(f"  {name:<10} {verb.help}" for name, verb in VERBS.items())
    groups = "\n".join(
        f"  model/{group:<12} {', '.join(found)}"
        for group in (*ROLES, *SLOTS)
        if (found := models.group(group))
    )
    names = models.names()
    return f"""\
resnet-factory: your own ResNet from YAML

usage: resnet-factory [VERB] [overrides…] [--config-dir DIR] [-m]

commands
{verbs}

models (resnet-factory list shows all {len(names)} with their cost)
  model             {", ".join(names[:12])}, …

recipes
{groups}
  model.act         relu, silu, gelu, …

per stage, one value or one for each: model.depths, widths, strides, dilations, groups, base_width, block
whole: model.in_channels, num_classes, zero_init_residual; input.size; layers=true; save=FILE

examples
{EXAMPLES}

options
  --config-dir DIR   add a folder of your own YAML, laid out like the shipped one
  -m, --multirun     one run for each combination of comma-separated values
  --cfg job          print the composed configuration
  --info             what Hydra sees: searchpath, defaults, …
  -sc install=bash   shell completion (bash, zsh or fish)
  --help, --version"""


if __name__ == "__main__":
    raise SystemExit(main())
