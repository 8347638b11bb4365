"""FLAT's published numbers, made again by the ordinary model."""
