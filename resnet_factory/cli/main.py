"""The command line: `resnet-factory [VERB] [overrides…]`; the default VERB is `build`."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

from resnet_factory.cli import encoding
from resnet_factory.cli.options import HYDRA_FLAGS, read_command_line_options
from resnet_factory.cli.verbs import VERBS
from resnet_factory.errors import ConfigError, Fault, unknown


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (2 for an error in the user's input)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    encoding.forgive_encoding(sys.stdout)
    encoding.forgive_encoding(sys.stderr)
    try:
        status = _run_main(arguments)
        sys.stdout.flush()
        return status
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:
        _discard_main_output()
        return 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO) or error.filename is not None:
            raise
        _discard_main_output()
        print(f"standard output cannot be written: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _discard_main_output() -> None:
    """Redirect buffered output to the null device, so that flushing it cannot fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run_main(arguments: list[str]) -> int:
    options, words = read_command_line_options(arguments)
    if options.help:
        from resnet_factory.cli import help_text

        print(
            help_text.verb_help(words[0])
            if words and words[0] in VERBS
            else help_text.general_help(options.config_dir)
        )
        return 0
    if options.version:
        from resnet_factory import __version__

        print(__version__)
        return 0
    if words and words[0] == "help":
        return _run_main([*words[1:2], "--help"])
    verb = "build"
    if words and re.fullmatch(r"[\w-]+", words[0]):
        verb = words.pop(0)
        if verb not in VERBS:
            raise ConfigError([_no_command(verb, words, options.config_dir)])
    words = [_quoted_main_argument(word, VERBS[verb].verbatim) for word in words]
    asked = [flag for flag in HYDRA_FLAGS if getattr(options, flag)]
    late = [word for word in words if word in VERBS and VERBS[verb].composes]
    if late:
        message = f"a command comes first: resnet-factory {late[0]} …"
        raise ConfigError([Fault("", message, f"command line '{late[0]}'")])
    if not VERBS[verb].composes:
        if asked == ["multirun"] and VERBS[verb].sweeps:
            asked = []  # it goes through several values itself, in one run
        if asked and VERBS[verb].sweeps and not options.multirun:
            from resnet_factory.config.composition import take_sweeps_to_compose

            return _hand_main_to_hydra(verb, take_sweeps_to_compose(words, options.config_dir)[0], options)
        if asked:
            if VERBS[verb].sweeps:
                message = f"'{verb}' accepts several values without it; leave it out"
                raise ConfigError([Fault("", message, "command line '--multirun'")])
            where = f"command line '--{asked[0].replace('_', '-')}'"
            raise ConfigError(
                [Fault("", f"'{verb}' composes no configuration and has no such option", where)]
            )
        return VERBS[verb].load()(words, options.config_dir)
    if asked:
        return _hand_main_to_hydra(verb, words, options)
    from resnet_factory.config.composition import compose_all
    from resnet_factory.planning.planner import run_planner

    check = VERBS[verb].load_check()
    return VERBS[verb].load()(compose_all(verb, words, options.config_dir, check=check, verify=run_planner))


def _no_command(word: str, after: Sequence[str], config_dir: str | None) -> Fault:
    from resnet_factory.config.composition import group_choices

    models = group_choices("model", config_dir)
    message = unknown("command", word, VERBS)
    if word in models:
        message += f"; did you mean 'model={word}'?"
    elif after and after[0] in models:
        message += f"; did you mean 'model={after[0]}'?"
    return Fault("", message, f"command line '{word}'")


def _quoted_main_argument(word: str, keys: Sequence[str]) -> str:
    """Return an override whose value, if its key is one of `keys`, is quoted for Hydra's grammar."""
    key, _, value = word.partition("=")
    if key not in keys or "=" not in value or "'" in value or '"' in value:
        return word
    return f"{key}='{value}'"


def _hand_main_to_hydra(verb: str, words: list[str], options: argparse.Namespace) -> int:
    """Run Hydra for its own flags, after checking the arguments and reporting faults in our format."""
    import hydra

    from resnet_factory.cli import hydra_runner
    from resnet_factory.cli.completion import check_completion, forget_completed_verb
    from resnet_factory.cli.request import compose_request
    from resnet_factory.config.library import conf_dir
    from resnet_factory.planning.planner import run_planner

    flags = [f"--{name.replace('_', '-')}" for name in HYDRA_FLAGS if getattr(options, name) is True]
    for name in ("cfg", "info", "package", "config_dir"):
        if isinstance(value := getattr(options, name), str):
            flags += [f"--{name.replace('_', '-')}", value]
    if options.resolve:
        flags.append("--resolve")
    if options.shell_completion:
        check_completion(words)
        if "COMP_LINE" in os.environ:
            forget_completed_verb()
    elif options.hydra_help:
        if words:
            message = "prints help about Hydra itself and takes no overrides"
            raise ConfigError([Fault("", message, "command line '--hydra-help'")])
    else:
        wanted = compose_request(
            verb, words, options.config_dir, multirun=options.multirun, check=VERBS[verb].load_check()
        )
        if options.multirun and options.info:
            message = "prints information about one configuration; leave out -m"
            raise ConfigError([Fault("", message, "command line '--info'")])
        if options.multirun and options.cfg:
            package, resolve = options.package, options.resolve
            hydra_runner.print_hydra_jobs(verb, wanted, options.config_dir, options.cfg, package, resolve)
            return 0
        if options.multirun:
            from resnet_factory.cli import multirun

            multirun.refuse_output_shared_by_jobs(VERBS[verb].writes, wanted.jobs or ())
            return multirun.run_multirun(verb, wanted, options.config_dir)
        hydra_runner.check_hydra_settings(verb, wanted, options.config_dir)
        words = wanted.words
    status = 0

    def job(config: Any) -> None:
        nonlocal status
        try:
            status = max(
                status,
                VERBS[verb].load()(hydra_runner.request_from_hydra(options.config_dir, verify=run_planner)),
            )
        except ConfigError as error:
            print(error, file=sys.stderr)
            status = 2

    # Hydra prints through loggers: a closed pipe (`| head`) would give a traceback for every line.
    logging.raiseExceptions = False
    sys.argv = ["resnet-factory", *flags, *words]
    hydra.main(config_path=conf_dir(), config_name=verb, version_base="1.3")(job)()
    return status


if __name__ == "__main__":
    raise SystemExit(main())
