"""Fused pairs of products, simulated in RTL, beside the model's of the same loops."""
