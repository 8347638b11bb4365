"""Costs of candidates: exact once the outer loops are known."""
