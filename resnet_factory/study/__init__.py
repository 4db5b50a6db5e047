"""Train and compare networks with the same data, seeds and recipe."""
