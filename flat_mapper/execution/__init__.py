"""A fused mapping run on real numbers: the referee of the cost model."""
