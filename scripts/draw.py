"""The draw command from a checkout: python scripts/draw.py model=resnet50 file=resnet50.svg."""

import sys

from resnet_factory.cli.main import main

raise SystemExit(main(["draw", *sys.argv[1:]]))
