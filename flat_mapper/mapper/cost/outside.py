"""Sources of the shared level, as one core sees them: DRAM, and what is beside it."""

from __future__ import annotations

from functools import reduce

import numpy as np

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.base.tolerance import CYCLES
from flat_mapper.cost_model.latency import Amount, transfer_cycles
from flat_mapper.mapper.space.candidates import Floats


def rounded(dram: MemoryLevel, cycles: Floats) -> Floats:
    """Cycles rounded up, where what a group takes is; sums may be off in their last bits."""
    return np.ceil(cycles - CYCLES) if dram.whole_cycles else cycles


def weight_of(dram: MemoryLevel, tensor: str, words: Floats | float) -> Floats | float:
    """Words that DRAM moves for one of a tensor's; words: of it that a core moves in all."""
    if tensor not in dram.totals:
        return dram.weights.get(tensor, 1.0)
    return np.asarray(dram.totals[tensor] / np.maximum(words, 1e-300))


def least_weight(dram: MemoryLevel, tensor: str) -> float:
    """The same where it is not told how many a core moves."""
    return 0.0 if tensor in dram.totals else dram.weights.get(tensor, 1.0)


def beside(dram: MemoryLevel) -> list[tuple[str, str]]:
    """The ports of what stands beside DRAM."""
    return [(dram.name, f"beside {i}") for i in range(len(dram.beside))]


def own_ports(dram: MemoryLevel, *, turns: bool) -> list[tuple[str, str]]:
    """Ports of cycles that are counted beside the limits of DRAM, where Einsums take turns.

    Of all tensors one after another, and of them those of which other tiles have fewer words.
    """
    one, some = (dram.name, "beside"), (dram.name, "unequal")
    return [one] * (turns and bool(dram.beside)) + [some] * (turns and bool(dram.unequal))


def beside_cycles(
    dram: MemoryLevel, tensor: str, reads: Amount, writes: Amount, weight: Floats | float
) -> list[Floats]:
    """By port beside DRAM, cycles of words of a tensor that come and that go.

    weight: words that DRAM moves for one.
    """
    read, written = np.asarray(reads, np.float64), np.asarray(writes, np.float64)
    each = (own.each(tensor) for own in dram.beside)
    return [(comes + sent * weight) * read + leaves * written for comes, leaves, sent in each]


def in_turn_cycles(
    dram: MemoryLevel,
    tensor: str,
    reads: Amount,
    writes: Amount,
    weight: Floats | float,
) -> Floats:
    """Cycles of the slowest source for words of one tensor, where others come before and after."""
    own = transfer_cycles(dram, weight * np.asarray(reads), weight * np.asarray(writes))
    found: Floats = reduce(np.maximum, beside_cycles(dram, tensor, reads, writes, weight), own)
    return found


def each_way_cycles(
    dram: MemoryLevel, tensor: str, reads: Amount, writes: Amount, weight: Floats | float
) -> Floats:
    """The same of what comes, and then of what goes."""
    comes = in_turn_cycles(dram, tensor, reads, 0.0, weight)
    return comes + in_turn_cycles(dram, tensor, 0.0, writes, weight)
