"""The study command from a checkout: python scripts/study.py."""

import sys

from resnet_factory.cli import main

raise SystemExit(main(["study", *sys.argv[1:]]))
