"""What the mappings of one Einsum, and the outer choices of a group, are."""
