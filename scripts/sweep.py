"""The sweep command from a checkout: python scripts/sweep.py space=anynet."""

import sys

from resnet_factory.cli.main import main

raise SystemExit(main(["sweep", *sys.argv[1:]]))
