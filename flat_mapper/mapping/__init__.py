"""Mappings: loop nests, fused groups, the rules of legality, and mapspaces."""
