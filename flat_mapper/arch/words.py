"""A chip in the words of a problem: what its levels hold and move when a value has other bits.

An architecture counts in words of `datawidth` bits, a problem in values of `word_bits`. Bytes do
not change with the width of a value: a level keeps its rows and its bytes per second, and holds
and moves fewer values where they are wider. So its capacity in words, the words of a row and the
words per cycle change by the ratio of the two widths. What stays as it is, and is said:

- a level of wider words than the rest of its chip (an accumulator) keeps one value in each;
- a problem that states no width, such as Timeloop's own, is counted in the words of each level.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from flat_mapper.arch.attributes import ALIASES, BANDWIDTHS
from flat_mapper.arch.values import Architecture, ComputeUnit, MemoryLevel, Platform
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.formats import DEFAULT, NUMBER_FORMATS, SUMS, TensorWidth, Widths, value_bits
from flat_mapper.spec.document import BITS, Section, checked
from flat_mapper.workload.graph import Workload

_OPERANDS = ("multiplier_width", "width", "datawidth")  # of a compute unit; the first one wins
_WORDS = (*BANDWIDTHS, "entries")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A chip in the words of a problem, and what had to be converted."""

    platform: Platform
    notes: tuple[str, ...]
    workload: Workload  # with the chip's width of what is added up


def fitted(platform: Platform, workload: Workload) -> Fitted:
    """The chip in words of a problem's `word_bits`.

    raises: SpecError where a row holds no whole value, a unit multiplies narrower operands, or the
            problem's layers are of several kinds.
    """
    workload.one_kind(workload.name)
    sums, workload = _unsaid_sums(platform, workload), with_sums(workload, platform)
    if not workload.states_bits:
        unsaid = (*_rate_notes(platform.matrix, workload), *sums)
        return Fitted(platform=platform, notes=unsaid, workload=workload)
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
    notes = (*_notes(changed, workload), *kept, *_rate_notes(own.matrix, workload), *sums)
    return Fitted(platform=own, notes=notes, workload=workload)


SUM_BITS = "sum_bits"  # a variable of a chip: bits of a value as long as it is added up


def with_sums(workload: Workload, platform: Platform) -> Workload:
    """The workload with the width that a chip gives what is added up, unless it says its own.

    Where words are no power of two a sum takes whole ones; a level of wider words than the
    problem's keeps it in as few as hold it.
    raises: SpecError where the two paths do not agree.
    """
    each = tuple(with_sums(one, platform) for one in workload.sequences)
    bits, given = workload.word_bits, _sum_bits(platform)
    if given is None or not workload.states_bits or SUMS in workload.tensor_bits:
        return workload
    if bits & (bits - 1):
        given = -(-given // bits) * bits
    wider = {lv.name: lv.word_bits for arch in platform.paths for lv in arch.levels}
    narrowest = min(wider.values())
    kept = {name: own for name, own in wider.items() if own > max(bits, narrowest)}
    levels = {name: -(-given // own) * bits for name, own in kept.items()}
    width: TensorWidth = {DEFAULT: given, **levels} if levels else given
    return replace(workload, tensor_bits={**workload.tensor_bits, SUMS: width}, sequences=each)


def _sum_bits(platform: Platform) -> int | None:
    """The width of a sum as the paths of a chip say it; None where they do not."""
    said = [
        (
            place := arch.place_of(SUM_BITS),
            checked(arch.variables[SUM_BITS], int, place, within=BITS),
        )
        for arch in platform.paths
        if SUM_BITS in arch.variables
    ]
    for place, given in said[1:]:
        if given != said[0][1]:
            condition = f"{said[0][1]}, as {said[0][0]} has it: one width of what is added up"
            raise SpecError(expected(place, condition, given))
    return said[0][1] if said else None


def _unsaid_sums(platform: Platform, workload: Workload) -> tuple[str, ...]:
    """A line where nothing says how wide a sum is, and a problem has one."""
    known = SUMS in workload.tensor_bits or _sum_bits(platform) is not None
    if known or not workload.states_bits or not workload.sums:
        return ()
    bits = f"as wide as words ({workload.word_bits} bits)"
    return (f"partial sums are taken to be {bits}: {platform.name} gives no {SUM_BITS}",)


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


def _rate_notes(arch: Architecture, workload: Workload) -> Iterator[str]:
    """Notes on the rate that is taken for values narrower than the unit's operands.

    arch: the matrix path, in words of the problem.
    """
    products = [e for e in workload.einsums if e.unit == "matrix" and e.states_operation]
    tensors = dict.fromkeys(a.tensor for e in products for a in e.inputs)
    widths, name, unit = workload.widths, "mul_cycles", arch.compute.name
    unsaid = dict.fromkeys(
        form
        for t in tensors
        if (form := widths.format(t))
        and value_bits(form) != workload.word_bits
        and f"{form}_{name}" not in arch.variables
    )
    if unsaid:
        yield (
            f"{', '.join(unsaid)}: {unit} takes as long for a product as for other values; the "
            "architecture says nothing else (FORMAT_mul_cycles)"
        )
    each = {bits: t for t in tensors if (bits := narrow_bits(arch, widths, t))}
    for bits, tensor in each.items():
        if given := rates_of(arch, widths, tensor, name):
            yield (
                f"values of {bits} bits: {unit} takes {next(iter(given.values())):g} cycles of a "
                f"lane for a product, as of {', '.join(given)}"
            )
            continue
        _, operand = _operand(arch.compute)
        yield (
            f"values of {bits} bits: the rate of {unit} is unknown, and that at {operand} bits is "
            "taken; name a format, such as int8, of which the architecture says FORMAT_mul_cycles"
        )


def rates_of(arch: Architecture, widths: Widths, tensor: str, name: str) -> dict[str, float]:
    """Figures of an operation in a chip's variables, by format, for values of a width without one.

    Those of all formats that are as wide, where the unit's operands are wider; nothing where they
    do not agree.
    """
    if not (bits := narrow_bits(arch, widths, tensor)):
        return {}
    same = (form for form, own in NUMBER_FORMATS.items() if own.stored_bits == bits)
    keys = {form: f"{form}_{name}" for form in same}
    given = {form: arch.variables[key] for form, key in keys.items() if key in arch.variables}
    agree = len({*map(str, given.values())}) == 1
    return {f: checked(n, float, arch.place_of(keys[f])) for f, n in given.items() if agree}


def narrow_bits(arch: Architecture, widths: Widths, tensor: str) -> int:
    """Bits of an operand's values if it has no format and is narrower than the unit's; else 0."""
    width = widths.widths.get(tensor, arch.levels[0].word_bits)
    _, operand = _operand(arch.compute)
    narrow = isinstance(width, int) and isinstance(operand, int) and width < operand
    return int(width) if narrow else 0


def _operand(unit: ComputeUnit) -> tuple[str, object]:
    """The attribute that says how wide a unit's operands are, and what it says."""
    key = next((k for k in _OPERANDS if unit.attributes.get(k) is not None), "")
    return key, unit.attributes.get(key)


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
    key, wide = _operand(unit)
    if key and isinstance(wide, int) and wide < bits:
        where = f"{arch.where}: {unit.name}.attributes.{key}"
        condition = f"operands of at least {bits} bits, the problem's word_bits"
        change = f"take --word-bits {wide}, or widen the unit"
        raise SpecError(expected(where, condition, wide, change))
