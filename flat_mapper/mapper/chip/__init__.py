"""Tiles that may be given out to the cores of a chip, and their bounds."""
