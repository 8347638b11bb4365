"""Costs of one operation of a compute unit: cycles of a lane, and energy.

An architecture says it in its variables, for operations that its unit does not do at one a cycle:

    variables:
      exp_cycles: 4     # cycles of a lane for an exponential; by default 1
      div_energy: 3     # a division costs three times the unit's `compute`; by default once

An energy table may price an operation in pJ instead: `VALU: {compute: 0.6, exp: 2.4}`. What counts
as which: max and min are `max`; sums, additions and subtractions are `add`; `exp`, `div` and `mul`
are themselves; any other function is called by its name. An exponential of a difference is one
`exp`.
"""

from __future__ import annotations

from collections.abc import Mapping

from flat_mapper.arch.values import Architecture
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.energy.tables import Ert

_KINDS: Mapping[str, str] = {"min": "max", "sum": "add", "sub": "add"}


def energy_kind(operation: str) -> str:
    """The name of an operation in variables and energy tables."""
    return _KINDS.get(operation, operation)


def operation_cycles(arch: Architecture, operation: str) -> int:
    """Cycles of one lane for one operation."""
    key = f"{energy_kind(operation)}_cycles"
    cycles = arch.variables.get(key, 1)
    if isinstance(cycles, float) and cycles == int(cycles):
        cycles = int(cycles)
    if not isinstance(cycles, int) or isinstance(cycles, bool) or cycles < 1:
        condition = "cycles of a lane, an integer > 0"
        change = "for a faster unit, add lanes"
        where = f"{arch.path or arch.name}: variables.{key}"
        raise SpecError(expected(where, condition, cycles, change))
    return cycles


def operation_energy(arch: Architecture, ert: Ert, operation: str) -> float:
    """pJ of one operation: the table's own price, or a multiple of the unit's `compute`."""
    name, kind = arch.compute.name, energy_kind(operation)
    compute = ert.energy(name, "compute")
    if kind in ert.levels[name]:
        return ert.levels[name][kind]
    factor = arch.variables.get(f"{kind}_energy", 1)
    if isinstance(factor, bool) or not isinstance(factor, int | float) or factor < 0:
        where = f"{arch.path or arch.name}: variables.{kind}_energy"
        raise SpecError(expected(where, "a multiple >= 0 of the unit's compute", factor))
    return compute * factor
