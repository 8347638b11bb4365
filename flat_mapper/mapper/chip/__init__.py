"""What may be given out to the cores of a chip, and bounds of it."""
