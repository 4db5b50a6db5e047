"""The list command from a checkout: python scripts/list.py."""

import sys

from resnet_factory.cli.main import main

raise SystemExit(main(["list", *sys.argv[1:]]))
