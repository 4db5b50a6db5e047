"""The diff command from a checkout: python scripts/diff.py model=resnet50 with=resnet50d."""

import sys

from resnet_factory.cli.main import main

raise SystemExit(main(["diff", *sys.argv[1:]]))
