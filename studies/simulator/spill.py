"""Cost of a mapping by FLAT's simulator: this model's, and three rules that only the simulator has.

The mapping is evaluated on the chip with a buffer that has no end. Then

- an output that is not staged frees its part of the buffer as soon as it is complete;
- the share of the live words that the buffer does not hold goes to DRAM and back, of every access
  to what the buffer keeps, and to Q, QK and A where they are streamed;
- every FLAT-tile loses some cycles at its start.

source: flat_validation.csv of the FuseMax artifact (MICRO'24).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import dropwhile
from math import ceil, fsum, prod

import flat_mapper as fm
import flat_mapper.values as v
from studies.common import evaluated, with_level
from studies.simulator.mapping import SimulatorMapping, Stationarity, simulator_mapping

SPILL_STREAMED = ("Q", "QK", "A")  # an overflow hits them wherever they are
# Cycles that the simulator loses per Einsum and FLAT-tile beyond what it counts of compute and
# transfers. source: actual_latency of its rows (FuseMax artifact, flat_validation.csv).
START_CYCLES: dict[Stationarity, int] = {"output": 3, "weight": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """A mapping of the simulator's, and its costs by the simulator's rules.

    spilled: fraction of the live words that the shared buffer does not hold.
    """

    mapping: SimulatorMapping
    cycles: int
    latency_s: float
    utilization: float
    offchip_bytes: float
    energy_pj: float
    spilled: float

    @property
    def cost(self) -> tuple[int, float]:
        """The costs to compare by: cycles, then DRAM bytes."""
        return self.cycles, self.offchip_bytes


def simulated(
    workload: v.Workload, platform: v.Platform, chosen: SimulatorMapping, ert: v.Ert
) -> Simulated:
    """The costs of a mapping of the simulator's.

    raises: NothingFeasible where it needs more registers than there are.
    """
    mapping = simulator_mapping(workload, platform, chosen)
    dram, buffer, _ = platform.matrix.levels
    roomy = with_level(platform, buffer.name, capacity_words=None)
    record = v.MappingRecord(workload=workload, platform=roomy, mapping=mapping)
    result = evaluated(record, ert)
    if isinstance(result, fm.Infeasible):
        raise fm.NothingFeasible(result)
    (group,), (stats,) = mapping.groups, result.groups
    live = _live_words(workload, group, dict(stats.buffer.terms), buffer.name)
    room = buffer.usable_words
    spilled = 0.0 if room is None or live <= room else 1.0 - room / live
    spill = round(spilled * sum(_touched(result, group, dram.name, buffer.name)))
    words, rate = result.offchip_words + spill, dram.shared_words_per_cycle
    transfers = {**stats.transfer_cycles, dram.name: words / rate if rate else 0.0}
    starts = START_CYCLES[chosen.qk_stationarity] + START_CYCLES[chosen.av_stationarity]
    cold = stats.cold_start_cycles + starts * prod(loop.factor for loop in group.shared)
    longest = max(sum(stats.compute_cycles.values()), *transfers.values())
    cycles = ceil(longest + cold - 1e-9)
    read, write, _ = ert.actions(dram.name)
    energy = result.dynamic_pj + (read + write) / 2 / dram.row_words * spill
    ideal = sum(e.ideal_cycles for e in result.einsums if e.einsum in result.products)
    moved = words * result.word_bytes
    return Simulated(
        mapping=chosen,
        cycles=cycles,
        latency_s=cycles * result.cycle_seconds,
        utilization=ideal / cycles,
        offchip_bytes=int(moved) if moved == int(moved) else moved,
        energy_pj=energy + fsum(cycles * pj for pj in result.leak_pj_per_cycle.values()),
        spilled=spilled,
    )


def _live_words(
    workload: v.Workload, group: v.GroupMapping, terms: dict[str, int], buffer: str
) -> int:
    """Words of the buffer, where unstaged outputs that it accumulates leave part by part."""
    for nest in group.einsums:
        output = workload.einsum(nest.einsum).output.tensor
        if output in nest.kept_at(buffer) and output not in group.staged:
            whole, part = (_tile(workload, nest, output, buffer, early) for early in (False, True))
            terms[output] = terms[output] * part // whole
    return sum(terms.values())


def _tile(
    workload: v.Workload, nest: v.EinsumMapping, tensor: str, buffer: str, early: bool
) -> int:
    """Words of a tensor's tile in the buffer, or of what is alive of it at once.

    That is its tile under the buffer's outermost loops, as far as these are over its own ranks.
    """
    ranks, extents = workload.tensor_ranks[tensor], dict[str, int]()
    outer = [loop for slot, loops in nest.loops if slot.node == buffer for loop in loops]
    outside = {v.Slot("DRAM", "temporal"), v.Slot(buffer, "temporal")}
    inner = [loop for slot, loops in nest.loops if slot not in outside for loop in loops]
    if early:
        outer = list(dropwhile(lambda loop: loop.rank in ranks, outer))
    for loop in (*outer, *inner):
        extents[loop.rank] = extents.get(loop.rank, 1) * loop.factor
    return prod(min(extents.get(rank, 1), workload.rank_sizes[rank]) for rank in ranks)


def _touched(result: v.Result, group: v.GroupMapping, dram: str, buffer: str) -> Iterator[float]:
    """Words of all accesses that an overflow hits.

    An output that the array accumulates in the buffer is read at every update, the first one
    included; one that arrives finished and leaves for DRAM anyway costs nothing more.
    """
    stats = {e.einsum: e for e in result.einsums}
    for nest in group.einsums:
        passing, held, *inner = (level.tensors for level in stats[nest.einsum].levels)
        inside = {t.tensor for tensors in inner for t in tensors}
        for t in held:
            if t.scalar_updates and t.tensor not in inside:
                yield 2 * t.scalar_updates
            elif not (t.scalar_updates and t.tensor in nest.kept_at(dram)):
                yield t.scalar_reads + t.scalar_updates
        for t in passing:
            if t.tensor in SPILL_STREAMED and t.tensor not in nest.kept_at(buffer):
                yield t.scalar_reads + t.scalar_updates
