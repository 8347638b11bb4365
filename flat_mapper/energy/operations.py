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
from flat_mapper.base.errors import SpecError
from flat_mapper.energy.tables import Ert
from flat_mapper.spec.document import CYCLES, Range, checked

MULTIPLE = Range(least=0, most=1e9, unit="times the unit's compute")

_KINDS: Mapping[str, str] = {"min": "max", "sum": "add", "sub": "add"}


def energy_kind(operation: str) -> str:
    """The name of an operation in variables and energy tables."""
    return _KINDS.get(operation, operation)


def operation_cycles(arch: Architecture, operation: str) -> int:
    """Cycles of one lane for one operation."""
    key = f"{energy_kind(operation)}_cycles"
    cycles = arch.variables.get(key, 1)
    if isinstance(cycles, float) and cycles.is_integer():
        cycles = int(cycles)
    where = f"{arch.path or arch.name}: variables.{key}"
    try:
        return checked(cycles, int, f"{where}: cycles of a lane", above=0, within=CYCLES)
    except SpecError as error:
        raise SpecError(f"{error}; for a faster unit, add lanes") from error


def operation_energy(arch: Architecture, ert: Ert, operation: str) -> float:
    """pJ of one operation: the table's own price, or a multiple of the unit's `compute`."""
    name, kind = arch.compute.name, energy_kind(operation)
    compute = ert.energy(name, "compute")
    if kind in ert.levels[name]:
        return ert.levels[name][kind]
    where = f"{arch.path or arch.name}: variables.{kind}_energy"
    factor = arch.variables.get(f"{kind}_energy", 1)
    return compute * checked(factor, float, where, within=MULTIPLE)
