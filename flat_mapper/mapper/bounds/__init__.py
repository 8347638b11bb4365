"""Lower bounds and dominance: what may be left out unseen."""
