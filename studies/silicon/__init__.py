"""Measured kernels on real chips, beside the model's time of the mapping that they use."""
