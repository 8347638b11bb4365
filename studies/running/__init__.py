"""Mappings run on the machine at hand: misses beside words, seconds beside seconds."""
