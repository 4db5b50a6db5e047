"""The export command from a checkout: python scripts/export.py weights=FILE to=timm file=OUT."""

import sys

from resnet_factory.cli.main import main

raise SystemExit(main(["export", *sys.argv[1:]]))
