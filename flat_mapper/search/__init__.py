"""Exact search for the best fused mapping in a declared mapspace."""
