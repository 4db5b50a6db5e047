"""The benchmark command from a checkout: python scripts/benchmark.py model=resnet50 batch=1,8."""

import sys

from resnet_factory.cli.main import main

raise SystemExit(main(["benchmark", *sys.argv[1:]]))
