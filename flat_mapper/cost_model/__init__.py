"""The native model: what one mapping, or a batch of them, costs."""
