"""Evaluators of fused mappings beside the native model."""
