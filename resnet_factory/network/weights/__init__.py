"""Weights read, matched, adapted and written."""
