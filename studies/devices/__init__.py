"""Measured collectives and sharded attention beside what the package says of them."""
