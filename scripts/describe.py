"""The describe command from a checkout: python scripts/describe.py model=resnet50."""

import sys

from resnet_factory.cli.main import main

raise SystemExit(main(["describe", *sys.argv[1:]]))
