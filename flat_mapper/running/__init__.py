"""Mappings that run: a record as a program, compiled, compared, timed and counted."""
