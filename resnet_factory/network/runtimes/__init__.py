"""Networks in the formats of other runtimes: written, read back and run."""
