"""The study command from a checkout: python scripts/study.py study=degradation."""

import sys

from resnet_factory.cli.main import main

if __name__ == "__main__":  # the processes that train import this file too
    raise SystemExit(main(["study", *sys.argv[1:]]))
