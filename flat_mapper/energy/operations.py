"""Costs of one operation of a compute unit: cycles of a lane, and energy.

A lane takes one cycle for any operation, whatever the number format. Its energy is a multiple of
the unit's `compute`, which is a multiply-accumulate: the additions and multiplications that it is
composed of (OPERATIONS), by their published energies. An architecture says otherwise in its
variables, an energy table in pJ:

    variables:
      exp_cycles: 2.2   # cycles of a lane for an exponential, on average
      div_energy: 3     # a division costs three times the unit's `compute`
      fp8_e4m3_mul_cycles: 0.5    # two products a cycle where both operands have that format
      fp8_e4m3_mul_energy: 0.6    # and each costs 0.6 of the unit's `compute`

    VALU: {compute: 0.6, exp: 2.4}

What counts as which: max and min are `max`; sums, additions and subtractions are `add`; any other
function is called by its name. An exponential of a difference is one `exp`. A product that reduces
a rank is the unit's `compute` itself, and `mul_energy` multiplies it too.
"""

from __future__ import annotations

from collections.abc import Mapping

from flat_mapper.arch.values import Architecture
from flat_mapper.base.formats import PLAIN, Widths, value_bits
from flat_mapper.energy.tables import Ert
from flat_mapper.spec.document import CYCLES, Range, checked
from flat_mapper.workload.einsum import Einsum

MULTIPLE = Range(least=0, most=1e9, unit="times the unit's compute")

# pJ of one operation on 16-bit floating point at 45 nm and 0.9 V. Source: M. Horowitz, "Computing's
# energy problem", ISSCC 2014. Only their ratio is used, so the node of a chip does not matter.
ADD_PJ, MUL_PJ = 0.4, 1.1

# Additions and multiplications of each operation. Chosen, where the reader may choose otherwise:
# a maximum is a subtraction; exp is the difference before it, the reduction of its range by one
# multiply-accumulate, and a polynomial of degree 5 (an error of 3e-6 on +-ln(2)/2, below that of 16
# bits); a reciprocal is two Newton steps of two multiply-accumulates from a table's first guess, a
# reciprocal root two of three products and one sum; log is as exp without a difference.
OPERATIONS: Mapping[str, tuple[int, int]] = {
    "copy": (0, 0),
    "neg": (0, 0),
    "abs": (0, 0),
    "max": (1, 0),
    "relu": (1, 0),
    "add": (1, 0),
    "mul": (0, 1),
    "square": (0, 1),
    "rotary": (1, 2),  # a word of the product of two complex numbers
    "exp": (7, 6),
    "log": (6, 6),
    "reciprocal": (4, 4),
    "div": (4, 5),  # and a product
    "rsqrt": (2, 6),
    "sqrt": (2, 7),  # and a product
    "sigmoid": (11, 10),  # exp, add, reciprocal
    "tanh": (12, 10),  # of twice the argument's sigmoid
    "silu": (11, 11),  # a sigmoid and a product
    "gelu": (14, 15),  # by tanh: x (1 + tanh(c x (1 + d x x))) / 2
}

_KINDS: Mapping[str, str] = {"min": "max", "sum": "add", "sub": "add"}


def energy_kind(operation: str) -> str:
    """The name of an operation in variables and energy tables."""
    return _KINDS.get(operation, operation)


def operation_cycles(arch: Architecture, einsum: Einsum, widths: Widths = PLAIN) -> float:
    """Cycles of one lane for one operation of an Einsum; below 1 where a lane does several.

    Of operands in several formats the one that takes longest decides.
    """
    keys = _keys(arch, einsum, widths, f"{energy_kind(einsum.operation)}_cycles")
    given = ((arch.variables.get(k, 1), f"{_place(arch, k)}: cycles of a lane") for k in keys)
    cycles = max(checked(n, float, where, above=0, within=CYCLES) for n, where in given)
    return int(cycles) if cycles.is_integer() else cycles


def _keys(arch: Architecture, einsum: Einsum, widths: Widths, name: str) -> tuple[str, ...]:
    """The variables that say something of an operation, one for each format of its operands.

    That of the format (`fp8_e4m3_mul_cycles`) where the architecture has it, else that of all.
    """
    own = (f"{form}_{name}" for a in einsum.inputs if (form := widths.format(a.tensor)))
    plain = [name] if any(not widths.format(a.tensor) for a in einsum.inputs) else []
    return tuple(dict.fromkeys([*(k if k in arch.variables else name for k in own), *plain]))


def _place(arch: Architecture, key: str) -> str:
    return f"{arch.path or arch.name}: variables.{key}"


def multiple(kind: str) -> float:
    """The energy of an operation over that of a multiply-accumulate."""
    adds, muls = OPERATIONS[kind]
    return (adds * ADD_PJ + muls * MUL_PJ) / (ADD_PJ + MUL_PJ)


def operation_energy(arch: Architecture, ert: Ert, einsum: Einsum, widths: Widths = PLAIN) -> float:
    """pJ of one operation: the table's own price, or a multiple of the unit's `compute`.

    widths: of values. Unless a variable prices their format, the product of a multiply-accumulate
            costs as much as its operands have bits: see `Ert.multipliers`.
    """
    name, kind = arch.compute.name, energy_kind(einsum.operation)
    compute, reduces = ert.energy(name, "compute"), kind == "mul" and bool(einsum.reduced_ranks)
    if not einsum.states_operation:
        return compute
    if kind in ert.levels[name]:
        return ert.levels[name][kind]
    keys, other = _keys(arch, einsum, widths, f"{kind}_energy"), 1 if reduces else multiple(kind)
    factor = max(
        checked(arch.variables.get(key, other), float, _place(arch, key), within=MULTIPLE)
        for key in keys
    )
    priced = any(key != f"{kind}_energy" for key in keys)
    if reduces and name in ert.multipliers and len(einsum.inputs) == 2 and not priced:
        word = arch.levels[0].word_bits
        own = {t: value_bits(widths.widths[t]) for t in widths.shares}
        bits = [own.get(a.tensor, word) for a in einsum.inputs]
        compute -= ert.multipliers[name].spared_pj(bits)
    return compute * factor


def priced_for(arch: Architecture, ert: Ert, einsum: Einsum, widths: Widths = PLAIN) -> Ert:
    """The table for one Einsum alone: `compute` is what its operation costs."""
    return ert.with_compute(arch.compute.name, operation_energy(arch, ert, einsum, widths))
