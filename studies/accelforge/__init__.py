"""AccelForge's own optima, beside the search's on the same chips and workloads."""
