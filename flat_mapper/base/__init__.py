"""The floor of the package: errors, units, processes, progress."""
