"""Tolerance of float64 arithmetic: within which two costs that should be equal may differ.

Sums of the same terms in another order differ in their last bits. Whoever decides by comparing
costs or bounds does it within `EQUAL`; a bound that is a sum gives up `LOST`, a hundredth of it, so
that it never lies above what it bounds and still equals what it meets; and cycles become whole by
`whole_cycles`. The interpreter, which referees all this, has a tolerance of its own.
"""

from math import ceil

EQUAL = 1e-12  # relative
LOST = EQUAL / 100  # relative; of sums of up to some tens of terms
ABOVE = 1000 * EQUAL  # relative: so little above known costs that what has them is found again
CYCLE_ERROR = 1e-9  # absolute: of cycles and rows, before they are rounded up


def whole_cycles(cycles: float) -> int:
    """The least whole number of cycles that is no less, but for rounding."""
    return ceil(cycles - CYCLE_ERROR)
