"""YAML files and overrides to a checked, typed model config."""
