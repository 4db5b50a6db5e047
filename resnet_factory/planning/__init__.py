"""Expand a model config's recipes into a frozen plan."""
