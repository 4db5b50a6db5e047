"""`python -m resnet_factory.cli`: the command line."""

from resnet_factory.cli.main import main

raise SystemExit(main())
