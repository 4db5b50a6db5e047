"""The report command from a checkout: python scripts/report.py DIR."""

import sys

from resnet_factory.cli.main import main

raise SystemExit(main(["report", *sys.argv[1:]]))
