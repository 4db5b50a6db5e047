"""The arithmetic of a network explained in words and equations."""
