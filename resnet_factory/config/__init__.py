"""Read YAML files and overrides into a checked, typed model config."""
