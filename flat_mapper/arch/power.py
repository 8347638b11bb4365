"""Power that a chip may draw on average, as its files say: `power_limit_w` among the variables."""

from __future__ import annotations

from flat_mapper.arch.values import Architecture
from flat_mapper.spec.document import Range, checked

WATTS = Range(least=0, most=1e9, unit="W")


def power_limit_w(arch: Architecture) -> float | None:
    """W of all components of a chip together, DRAM among them; None where it is not given.

    raises: SpecError where it is no number > 0.
    """
    given = arch.variables.get("power_limit_w")
    if given is None:
        return None
    where = f"{arch.path or arch.name}: variables.power_limit_w"
    return checked(given, float, where, above=0, within=WATTS)
