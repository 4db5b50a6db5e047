"""Read, match, adapt and write weights."""
