"""The command line: `resnet-factory [VERB] [overrides…]`; VERB `build` if left out."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from resnet_factory.cli import encoding
from resnet_factory.errors import ConfigError, Fault, nearest, unknown

_HYDRA_FLAGS = ("multirun", "cfg", "info", "hydra_help", "shell_completion")
"""Options that Hydra itself answers."""
_CFG = ("job", "hydra", "all")
_INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")


@dataclass(frozen=True)
class Verb:
    """One command: where its function is, and what it does in a line."""

    place: str
    help: str
    composes: bool = True
    """Whether its arguments are overrides of a composed configuration."""
    verbatim: tuple[str, ...] = ()
    """Keys whose value holds overrides itself and is taken as it stands, though Hydra would want quotes."""
    sweeps: bool = False
    """Whether it goes through several values itself; what Hydra is asked is about the others."""
    check: str = ""
    """What finds the faults in its own keys, where that can be said before it runs."""
    writes: str = ""
    """The key of the file that it writes, where it writes one."""
    figures: str = ""
    """What gives a job's row of a multirun its further columns, where it has any."""

    def load(self) -> Callable[..., int]:
        """Import the function; only now, so that help and completion stay quick."""
        return _imported(self.place)

    def load_check(self) -> Callable[[Mapping[str, Any]], list[Fault]] | None:
        """Import what checks its keys."""
        return _imported(self.check) if self.check else None

    def load_figures(self) -> Callable[..., Mapping[str, float]] | None:
        """Import what tells a job's figures."""
        return _imported(self.figures) if self.figures else None


def _imported(place: str) -> Callable[..., Any]:
    module, function = place.split(":")
    loaded = getattr(import_module(f"resnet_factory.{module}"), function)
    assert callable(loaded)
    return loaded  # type: ignore[no-any-return]


VERBS = {
    "build": Verb(
        "cli.commands:build",
        "compose, plan and build a network, check it and summarise it (the default)",
        check="cli.commands:build_faults",
        writes="save",
    ),
    "describe": Verb(
        "cli.commands:describe",
        "what a network costs: by stage, block or layer, as text or data",
        check="cli.commands:describe_faults",
    ),
    "diff": Verb(
        "cli.comparison:diff", "what differs between two networks: diff model=A with=B", verbatim=("with",)
    ),
    "draw": Verb(
        "cli.comparison:draw",
        "a picture as SVG or Mermaid: draw [file=NAME.svg]",
        check="cli.comparison:draw_faults",
        writes="file",
    ),
    "explain": Verb(
        "cli.commands:explain",
        "the arithmetic of a network spelled out, and what to mind about it",
        check="cli.commands:explain_faults",
    ),
    "export": Verb(
        "cli.commands:export",
        "write weights under timm's, torchvision's or pycls's names",
        check="cli.commands:export_faults",
        writes="file",
    ),
    "study": Verb(
        "study.command:study",
        "train networks side by side and report: why shortcuts",
        verbatim=("overrides",),
        figures="study.command:figures",
    ),
    "list": Verb("cli.commands:list_models", "the named models: list [PATTERN]", composes=False),
    "sweep": Verb(
        "sweep.commands:sweep",
        "many architectures of a design space: sweep space=…",
        composes=False,
        sweeps=True,
    ),
    "report": Verb("sweep.commands:report", "a sweep's results as one HTML page: report DIR", composes=False),
}

EXAMPLES = """\
  resnet-factory model=resnet50
  resnet-factory model=resnet50 'model.depths=[3,4,23,3]'
  resnet-factory describe model=resnet50 model/stem=deep model/shortcut=avg_down
  resnet-factory describe model=resnet50 depth=layer sort=-params format=csv
  resnet-factory explain model=resnet18
  resnet-factory model=mine --config-dir my_conf       # my_conf/model/mine.yaml
  resnet-factory -m model=resnet18,resnet34,resnet50"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code (2 for a mistake in what the user wrote)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    encoding.forgive(sys.stdout)
    encoding.forgive(sys.stderr)
    try:
        status = _main(arguments)
        sys.stdout.flush()
        return status
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:
        _discard_output()
        return 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO) or error.filename is not None:
            raise
        _discard_output()
        print(f"standard output cannot be written: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _discard_output() -> None:
    """Give what is still waiting to be written nowhere to fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _main(arguments: list[str]) -> int:
    options, words = _options(arguments)
    if options.help:
        print(_help_of(words[0]) if words and words[0] in VERBS else _help(options.config_dir))
        return 0
    if options.version:
        from resnet_factory import __version__

        print(__version__)
        return 0
    if words and words[0] == "help":
        return _main([*words[1:2], "--help"])
    verb = "build"
    if words and re.fullmatch(r"[\w-]+", words[0]):
        verb = words.pop(0)
        if verb not in VERBS:
            raise ConfigError([_no_command(verb, words, options.config_dir)])
    words = [_quoted(word, VERBS[verb].verbatim) for word in words]
    asked = [flag for flag in _HYDRA_FLAGS if getattr(options, flag)]
    late = [word for word in words if word in VERBS and VERBS[verb].composes]
    if late:
        message = f"a command comes first: resnet-factory {late[0]} …"
        raise ConfigError([Fault("", message, f"command line '{late[0]}'")])
    if not VERBS[verb].composes:
        if asked and VERBS[verb].sweeps and not options.multirun:
            from resnet_factory.config.composition import take_sweeps

            return _hand_to_hydra(verb, take_sweeps(words, options.config_dir)[0], options)
        if asked:
            if VERBS[verb].sweeps:
                message = f"'{verb}' goes through several values itself; leave it out"
                raise ConfigError([Fault("", message, "command line '--multirun'")])
            where = f"command line '--{asked[0].replace('_', '-')}'"
            raise ConfigError(
                [Fault("", f"'{verb}' composes no configuration and has no such option", where)]
            )
        return VERBS[verb].load()(words, options.config_dir)
    if asked:
        return _hand_to_hydra(verb, words, options)
    from resnet_factory.config.composition import compose_all
    from resnet_factory.planning.planner import plan

    check = VERBS[verb].load_check()
    return VERBS[verb].load()(compose_all(verb, words, options.config_dir, check=check, verify=plan))


def _no_command(word: str, after: Sequence[str], config_dir: str | None) -> Fault:
    from resnet_factory.config.composition import choices

    models = choices("model", config_dir)
    message = unknown("command", word, VERBS)
    if word in models:
        message += f"; did you mean 'model={word}'?"
    elif after and after[0] in models:
        message += f"; did you mean 'model={after[0]}'?"
    return Fault("", message, f"command line '{word}'")


def _quoted(word: str, keys: Sequence[str]) -> str:
    """An override, in the quotes that Hydra wants around an equals sign where its key is one of `keys`."""
    key, _, value = word.partition("=")
    if key not in keys or "=" not in value or "'" in value or '"' in value:
        return word
    return f"{key}='{value}'"


def _options(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Options, and the words that are none.

    Raises:
        ConfigError: an option that does not exist, or without what it needs.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
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
    faults = [_no_option(word, known) for word in strange if word.startswith("-")]
    if options.cfg not in (None, *_CFG):
        faults.append(
            Fault("", unknown("part of the configuration", options.cfg, _CFG), "command line '--cfg'")
        )
    if options.info not in (None, *_INFO):
        faults.append(Fault("", unknown("part", options.info, _INFO), "command line '--info'"))
    if faults:
        raise ConfigError(faults)
    return options, options.words


def _no_option(word: str, known: Sequence[str]) -> Fault:
    key, equals, _ = word.lstrip("-").partition("=")
    options = [name for name in known if name.startswith("--")]
    message = f"unknown option '{word.partition('=')[0]}'; known are {', '.join(options)}"
    if near := nearest(key, [name[2:] for name in options]):
        message += f"; did you mean '--{near[0]}'?"
    elif equals:
        message += f"; did you mean '{word.lstrip('-')}'?"
    return Fault("", message, f"command line '{word}'")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        flag = re.match(r"argument (--[\w-]+)\S*: ", message)
        where = f"command line '{flag[1]}'" if flag else "command line"
        raise ConfigError([Fault("", message[flag.end() :] if flag else message, where)])


def _hand_to_hydra(verb: str, words: list[str], options: argparse.Namespace) -> int:
    """Let Hydra answer its own flags; mistakes are reported our way before it starts."""
    import hydra

    from resnet_factory.cli import hydra_runner
    from resnet_factory.cli.request import request
    from resnet_factory.config.repository import conf_dir
    from resnet_factory.planning.planner import plan

    flags = [f"--{name.replace('_', '-')}" for name in _HYDRA_FLAGS if getattr(options, name) is True]
    for name in ("cfg", "info", "package", "config_dir"):
        if isinstance(value := getattr(options, name), str):
            flags += [f"--{name.replace('_', '-')}", value]
    if options.resolve:
        flags.append("--resolve")
    if options.shell_completion:
        _check_completion(words)
        if "COMP_LINE" in os.environ:
            _forget_verb()
    elif options.hydra_help:
        if words:
            message = "it tells about Hydra itself; leave out the overrides"
            raise ConfigError([Fault("", message, "command line '--hydra-help'")])
    else:
        wanted = request(
            verb, words, options.config_dir, multirun=options.multirun, check=VERBS[verb].load_check()
        )
        if options.multirun and options.info:
            message = "it tells about one configuration; leave out -m"
            raise ConfigError([Fault("", message, "command line '--info'")])
        if options.multirun and options.cfg:
            package, resolve = options.package, options.resolve
            hydra_runner.print_jobs(verb, wanted, options.config_dir, options.cfg, package, resolve)
            return 0
        if options.multirun:
            from resnet_factory.cli import multirun

            multirun.refuse_shared_output(VERBS[verb].writes, wanted.jobs or ())
            return multirun.run(verb, wanted, options.config_dir)
        hydra_runner.check_settings(verb, wanted, options.config_dir)
        words = wanted.words
    status = 0

    def job(config: Any) -> None:
        nonlocal status
        try:
            status = max(status, VERBS[verb].load()(hydra_runner.from_hydra(options.config_dir, verify=plan)))
        except ConfigError as error:
            print(error, file=sys.stderr)
            status = 2

    # Hydra prints through loggers: a reader that goes away (`| head`) would be a traceback for every line.
    logging.raiseExceptions = False
    sys.argv = ["resnet-factory", *flags, *words]
    hydra.main(config_path=conf_dir(), config_name=verb, version_base="1.3")(job)()
    return status


def _check_completion(words: Sequence[str]) -> None:
    actions, shells = ("install", "uninstall", "query"), ("bash", "fish", "zsh")
    for word in words or [""]:
        action, _, shell = word.partition("=")
        message = ""
        if action not in actions:
            message = unknown("action", action, actions)
        elif shell not in shells:
            message = unknown("shell", shell, shells)
        if message:
            raise ConfigError([Fault("", f"{message}; as '-sc install=bash'", "command line '-sc'")])


def _forget_verb() -> None:
    """Completion sees the whole typed line; Hydra knows nothing of our verbs."""
    line = os.environ["COMP_LINE"]
    words = line.split(" ", 2)
    if len(words) == 3 and words[1] in VERBS:
        shorter = f"{words[0]} {words[2]}"
        os.environ["COMP_LINE"] = shorter
        if "COMP_POINT" in os.environ:
            os.environ["COMP_POINT"] = str(int(os.environ["COMP_POINT"]) - len(line) + len(shorter))


def _help_of(verb: str) -> str:
    """What one command does, and the keys it has besides the model's."""
    from resnet_factory.config.composition import conf_dir

    file = Path(conf_dir(), f"{verb}.yaml")
    lines = [f"resnet-factory {verb}: {VERBS[verb].help}", ""]
    if file.is_file():
        text = re.sub(r"(?m)^defaults:.*\n(?: .*\n)*", "", file.read_text(encoding="utf-8"))
        keys = [f"  {line}" for line in text.splitlines()[1:]]
        lines += ["keys, as KEY=VALUE, here with what they are unless given", *keys, ""]
        lines += ["and those of every command: model=NAME, model.KEY=…, model/GROUP=NAME, input.size=…", ""]
    return "\n".join([*lines, "resnet-factory --help: all commands, models and options"])


def _help(config_dir: str | None) -> str:
    from resnet_factory.config.model_index import catalogue
    from resnet_factory.config.schema import ROLES, SLOTS

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
