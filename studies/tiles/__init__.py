"""Tiles that kernels ship with, beside the best ones of their lattices."""
