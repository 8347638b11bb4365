"""Mappings of one Einsum, and outer choices of a group."""
