"""Plans as torch modules, and their weights."""
