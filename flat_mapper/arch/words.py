"""A chip in the words of a problem: what its levels hold and move when a value has other bits.

An architecture counts in words of `datawidth` bits, a problem in values of `word_bits`. Bytes do
not change with the width of a value: a level keeps its rows and its bytes per second, and holds
and moves fewer values where they are wider. So its capacity in words, the words of a row and the
words per cycle change by the ratio of the two widths. What stays as it is, and is said:

- a level of wider words than the rest of its chip (an accumulator) keeps one value in each;
- a problem that states no width, such as Timeloop's own, is counted in the words of each level.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from flat_mapper.arch.attributes import ALIASES, BANDWIDTHS
from flat_mapper.arch.values import Architecture, ComputeUnit, MemoryLevel, Platform
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.formats import value_bits
from flat_mapper.spec.document import Section
from flat_mapper.workload.graph import Workload

_OPERANDS = ("multiplier_width", "width", "datawidth")  # of a compute unit; the first one wins
_WORDS = (*BANDWIDTHS, "entries")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A chip in the words of a problem, and what had to be converted."""

    platform: Platform
    notes: tuple[str, ...]


def fitted(platform: Platform, workload: Workload) -> Fitted:
    """The chip in words of a problem's `word_bits`.

    raises: SpecError where a row holds no whole value, a unit multiplies narrower operands, or the
            problem's layers are of several kinds.
    """
    workload.one_kind(workload.name)
    unsaid = _unsaid_notes(platform.matrix, workload)
    if not workload.states_bits:
        return Fitted(platform=platform, notes=unsaid)
    levels = [level for arch in platform.paths for level in arch.levels]
    narrowest, bits = min(level.word_bits for level in levels), workload.word_bits
    other = {level.name: level for level in levels if level.word_bits != bits}
    changed = {n: lv for n, lv in other.items() if lv.word_bits < bits or lv.word_bits == narrowest}
    kept = [
        f"{name}: words of {level.word_bits} bits hold one value each"
        for name, level in other.items()
        if name not in changed
    ]
    own = platform.changed(lambda arch: _converted(arch, changed, bits))
    return Fitted(platform=own, notes=(*_notes(changed, workload), *kept, *unsaid))


def _notes(changed: dict[str, MemoryLevel], workload: Workload) -> list[str]:
    """Conversions, a line for each width."""
    lines = []
    for bits in dict.fromkeys(level.word_bits for level in changed.values()):
        names = ", ".join(n for n, level in changed.items() if level.word_bits == bits)
        lines.append(
            f"{names}: words of {bits} bits taken as {workload.word_bits}, the problem's, at the "
            "same bytes: capacity, rows and bandwidth in words are "
            f"{bits / workload.word_bits:g} x those of the architecture"
        )
    return lines


def _unsaid_notes(arch: Architecture, workload: Workload) -> tuple[str, ...]:
    """Formats of operands of products of which the matrix path's file says no rate."""
    products = [e for e in workload.einsums if e.unit == "matrix"]
    formats = dict.fromkeys(workload.widths.format(a.tensor) for e in products for a in e.inputs)
    other = [f for f in formats if f and value_bits(f) != workload.word_bits]
    unsaid = [f for f in other if f"{f}_mul_cycles" not in arch.variables]
    names = ", ".join(unsaid)
    note = f"{names}: {arch.compute.name} takes as long for a product as for other values; the "
    return (note + "architecture says nothing else (FORMAT_mul_cycles)",) if unsaid else ()


def _converted(arch: Architecture, changed: dict[str, MemoryLevel], bits: int) -> Architecture:
    """One path with some of its levels in words of other bits."""
    own = [level for level in arch.levels if level.name in changed]
    _check_unit(arch, arch.compute, bits)
    if not own:
        return arch
    new = {level.name: _level(arch, level, bits) for level in own}
    document = Section(arch.document)
    for level in new.values():
        for key, value in level.attributes.items():
            if value != arch.level(level.name).attributes.get(key):
                from flat_mapper.arch.edits import set_path

                document = set_path(document, f"{level.name}.{key}", value)
    nodes = tuple(new.get(node.name, node) for node in arch.nodes)
    return replace(arch, nodes=nodes, document=document)


def _level(arch: Architecture, level: MemoryLevel, bits: int) -> MemoryLevel:
    """A level of the same bytes in words of other bits."""
    row, ratio = level.row_words * level.word_bits, level.word_bits / bits
    unsized = level.row_words == 1 and level.attributes.get("width") is None
    if row % bits and not unsized:
        where = f"{arch.where}: {level.name}"
        condition = f"rows of a multiple of {bits} bits, the problem's word_bits"
        change = f"take --word-bits {level.word_bits}, or widen the level"
        raise SpecError(expected(where, condition, f"rows of {row} bits", change))
    attributes = dict(level.attributes)
    own = (key for key in ALIASES["datawidth"] if attributes.get(key) is not None)
    attributes[next(own, "datawidth")] = bits
    for key in _WORDS:
        if isinstance(value := attributes.get(key), int | float):
            attributes[key] = int(value * ratio) if key == "entries" else value * ratio
    for key in ALIASES["block_size"]:
        if attributes.get(key) is not None:
            attributes[key] = row // bits
    capacity = level.capacity_words
    return replace(
        level.with_rates(lambda rate: rate * ratio),
        word_bits=bits,
        row_words=max(1, row // bits),
        capacity_words=None if capacity is None else int(capacity * level.word_bits // bits),
        attributes=attributes,
    )


def _check_unit(arch: Architecture, unit: ComputeUnit, bits: int) -> None:
    """Refuse a unit whose operands are narrower than the problem's values."""
    key = next((k for k in _OPERANDS if unit.attributes.get(k) is not None), "")
    wide = unit.attributes.get(key)
    if key and isinstance(wide, int) and wide < bits:
        where = f"{arch.where}: {unit.name}.attributes.{key}"
        condition = f"operands of at least {bits} bits, the problem's word_bits"
        change = f"take --word-bits {wide}, or widen the unit"
        raise SpecError(expected(where, condition, wide, change))
