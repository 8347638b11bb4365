"""Sweeps: many points into one database."""
