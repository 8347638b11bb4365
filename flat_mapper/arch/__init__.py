"""What computes it: platforms, and the Timeloop files that describe them."""
