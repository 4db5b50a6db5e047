"""A model config's recipes expanded into the frozen plan."""
