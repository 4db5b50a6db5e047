"""The shipped YAML as a package, so that Hydra finds it at `pkg://resnet_factory.conf`."""
