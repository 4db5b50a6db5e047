"""Parameters, MACs, memory and receptive field of a plan."""
