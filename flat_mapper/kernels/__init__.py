"""Tile sizes of attention kernels in their own words: lattices, what fits, and the best."""
