"""The build command from a checkout: python scripts/build.py model=resnet50."""

import sys

from resnet_factory.cli.main import main

raise SystemExit(main(["build", *sys.argv[1:]]))
