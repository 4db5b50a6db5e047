"""Sweeps over many architectures: spaces, samplers, costing by the million, measuring, storing, reporting."""
