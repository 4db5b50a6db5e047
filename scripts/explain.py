"""The explain command from a checkout: python scripts/explain.py model=resnet50."""

import sys

from resnet_factory.cli.main import main

raise SystemExit(main(["explain", *sys.argv[1:]]))
