"""Training, to see what an architecture is worth: the same data, seeds and recipe for every network."""
