"""Platforms that compute, and the Timeloop files that describe them."""
