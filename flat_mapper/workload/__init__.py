"""Workloads: cascades of Einsums, and the files that describe them."""
