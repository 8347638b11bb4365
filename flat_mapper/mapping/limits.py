"""The largest numbers that a workload can give on a platform: counts are 64-bit."""

from __future__ import annotations

from flat_mapper.arch.values import Architecture, Platform
from flat_mapper.arch.variables import CORE, FITTED
from flat_mapper.base.errors import SpecError
from flat_mapper.workload.graph import Workload

MOST = 2.0**62  # of words and cycles; int64 ends at 2**63


def check_counts(workload: Workload, platform: Platform) -> None:
    """Raise SpecError where words or cycles of the worst mapping do not fit 64 bits.

    The worst mapping reads every operand anew at every point, from the slowest level, by itself.
    """
    paths = platform.paths
    points = max((float(workload.iterations(e)) for e in workload.einsums), default=1.0)
    names = {level.name for path in paths for level in path.levels}
    share = max((workload.share(t, at) for t in workload.tensor_ranks for at in names), default=1.0)
    words = 2 * points * max(1.0, share)  # an update reads and writes
    slowest = max(_cycles_per_word(arch) for arch in paths)
    cycles = words * slowest * len(workload.einsums) * workload.repeat
    for what, most in (("words", words), ("cycles", cycles)):
        if most >= MOST:
            raise SpecError(
                f"{workload.name} on {platform.name}: expected at most 2^62 {what} in the worst "
                f"mapping (counts are 64-bit), got {most:.3g}; make ranks smaller or levels faster"
            )


def _cycles_per_word(arch: Architecture) -> float:
    """Cycles of the slowest level for one word, and of the compute unit for one operation."""
    rates = (rate for level in arch.levels for rate in level.rates if rate is not None)
    costs = (
        float(value)
        for name, value in arch.variables.items()
        if name.endswith("_cycles") and isinstance(value, int | float)
        if name not in CORE and not name.endswith(FITTED)  # once a tile, not an operation
    )
    return max((1.0, *(1 / rate for rate in rates), *costs))
