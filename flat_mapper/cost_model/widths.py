"""Tensors whose values have a width of their own, in the words of an architecture."""

from __future__ import annotations

from dataclasses import replace

from flat_mapper.arch.values import CORE_COSTS, FITTED, Architecture, Platform
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.formats import DEFAULT, SUMS, words
from flat_mapper.mapping.cores import levels_between
from flat_mapper.spec.document import did_you_mean
from flat_mapper.workload.graph import Workload


def check_widths(workload: Workload, platform: Platform) -> None:
    """Raise SpecError where the widths of a workload mean nothing on a platform.

    So it does where counts may not fit 64 bits.
    A level counts in its own words. A tensor without a width of its own takes one for each value,
    whatever their bits. Where widths differ, `word_bits` has to be the width of every level's word:
    then a value of b bits takes b / word_bits of a word, and values are packed. Powers of two keep
    these shares exact in floating point, those of block formats too.
    """
    check_counts(workload, platform)
    _check_levels(workload, platform)
    own = [tensor for tensor in workload.widths.tensors if tensor != SUMS]
    if not own and whole_sums(workload):
        return
    bits = workload.word_bits
    if bits & (bits - 1):
        condition = "a power of two, where tensors have widths of their own"
        raise SpecError(expected(f"{workload.name}: word_bits", condition, bits))
    for arch in platform.paths:
        for level in arch.levels:
            if level.word_bits != bits:
                condition = f"words of word_bits {bits}, where tensors have widths of their own"
                change = f"set word_bits to {level.word_bits}"
                where = f"{arch.path or arch.name}: {level.name}"
                raise SpecError(expected(where, condition, level.word_bits, change))


def whole_sums(workload: Workload) -> bool:
    """True where a value that is added up takes whole words."""
    widths, levels = workload.widths, workload.widths.levels.get(SUMS, {})
    return all(float(n).is_integer() for n in (widths.share(SUMS, ""), *levels.values()))


def _check_levels(workload: Workload, platform: Platform) -> None:
    """Raise SpecError where a width is said of a level that a platform does not have."""
    known = dict.fromkeys([lv.name for arch in platform.paths for lv in arch.levels] + [DEFAULT])
    for tensor, levels in workload.widths.levels.items():
        for level in levels:
            if level not in known:
                where = f"{workload.name}: tensor_bits.{tensor}"
                condition = f"levels of {platform.name} among {', '.join(known)}"
                raise SpecError(expected(where, condition, level, did_you_mean(level, known)))


def check_between(workload: Workload, platform: Platform, level: str) -> None:
    """Raise SpecError where a level between DRAM and the cores is given a width of its own.

    It hands words on as DRAM has them. level: the fusion level.
    """
    dram = platform.dram.name
    for tensor, own in workload.widths.levels.items():
        for outer in levels_between(platform.matrix, level):
            bits = workload.bits(tensor, dram)
            if outer.name in own and workload.bits(tensor, outer.name) != bits:
                where = f"{workload.name}: tensor_bits.{tensor}.{outer.name}"
                condition = f"{bits:g}, the width at {dram}: {outer.name} keeps words as they come"
                got = words(workload.width(tensor, outer.name))
                raise SpecError(expected(where, condition, got, "leave it out"))


def of_one_width(workload: Workload) -> Workload:
    """The workload with sums as wide as what is done, as in Timeloop and AccelForge."""
    kept = {t: width for t, width in workload.tensor_bits.items() if t != SUMS}
    return replace(workload, tensor_bits=kept)


def refuse_widths(workload: Workload, who: str) -> tuple[Workload, tuple[str, ...]]:
    """The workload for somebody who counts words of one width only, and what that leaves out.

    raises: SpecError where tensors have widths of their own.
    """
    if tensors := [tensor for tensor in workload.widths.tensors if tensor != SUMS]:
        widths = ", ".join(f"{t} {words(workload.tensor_bits[t])}" for t in tensors)
        condition = f"{workload.word_bits} bits for every tensor"
        change = "use the native backend, or remove tensor_bits"
        raise SpecError(expected(who, condition, widths, change))
    note = f"sums are as wide as words, of which {who} has one width"
    return of_one_width(workload), (note,) if SUMS in workload.tensor_bits else ()


_MOST = 2.0**62  # of words and cycles; int64 ends at 2**63


def check_counts(workload: Workload, platform: Platform) -> None:
    """Raise SpecError where words or cycles of the worst mapping do not fit 64 bits.

    The worst mapping reads every operand anew at every point, from the slowest level, by itself.
    """
    paths = platform.paths
    points = max((float(workload.iterations(e)) for e in workload.einsums), default=1.0)
    names = {level.name for path in paths for level in path.levels}
    every = (*workload.tensor_ranks, SUMS)
    share = max((workload.share(t, at) for t in every for at in names), default=1.0)
    words = 2 * points * max(1.0, share)  # an update reads and writes
    slowest = max(_cycles_per_word(arch) for arch in paths)
    cycles = words * slowest * len(workload.einsums) * workload.repeat
    for what, most in (("words", words), ("cycles", cycles)):
        if most >= _MOST:
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
        if name not in CORE_COSTS and not name.endswith(FITTED)  # once a tile, not an operation
    )
    return max((1.0, *(1 / rate for rate in rates), *costs))
