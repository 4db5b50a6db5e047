"""Explain the arithmetic of a network in words and equations."""
