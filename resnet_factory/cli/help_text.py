"""Texts of `--help`: of all commands, and of each one."""

from __future__ import annotations

import re
from pathlib import Path

from resnet_factory.cli.verbs import VERBS
from resnet_factory.config.library import conf_dir
from resnet_factory.config.model_index import index_models
from resnet_factory.config.model_keys import ROLES, SLOTS

EXAMPLES = """\
  resnet-factory model=resnet50
  resnet-factory model=resnet50 'model.depths=[3,4,23,3]'
  resnet-factory describe model=resnet50 model/stem=deep model/shortcut=avg_down
  resnet-factory describe model=resnet50 depth=layer sort=-params format=csv
  resnet-factory explain model=resnet18
  resnet-factory model=mine --config-dir my_conf       # my_conf/model/mine.yaml
  resnet-factory -m model=resnet18,resnet34,resnet50"""


def verb_help(verb: str) -> str:
    """Return the help of one command, with its own keys."""
    file = Path(conf_dir(), f"{verb}.yaml")
    lines = [f"resnet-factory {verb}: {VERBS[verb].help}", ""]
    if file.is_file():
        text = re.sub(r"(?m)^defaults:.*\n(?: .*\n)*", "", file.read_text(encoding="utf-8"))
        keys = [f"  {line}" for line in text.splitlines()[1:]]
        lines += ["keys, given as KEY=VALUE, with their defaults", *keys, ""]
        lines += ["keys of every command: model=NAME, model.KEY=…, model/GROUP=NAME, input.size=…", ""]
    return "\n".join([*lines, "resnet-factory --help: all commands, models and options"])


def general_help(config_dir: str | None) -> str:
    """Return the general help: commands, models, recipes, options."""
    models = index_models(config_dir)
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

one value, or a list of one per stage: model.depths, widths, strides, dilations, groups, base_width, block
one value: model.in_channels, num_classes, zero_init_residual; input.size; layers=true; save=FILE

examples
{EXAMPLES}

options
  --config-dir DIR   add a folder of your own YAML, laid out like the shipped one
  -m, --multirun     one run for each combination of comma-separated values
  --cfg job          print the composed configuration
  --info             print information from Hydra: searchpath, defaults, …
  -sc install=bash   shell completion (bash, zsh or fish)
  --help, --version"""
