"""Groups on the cores of a chip: what one core has of the chip, and which tiles it is given."""
