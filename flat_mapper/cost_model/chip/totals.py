"""What all tiles of a group move together, as statistics of each Einsum on the whole chip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import ceil

import numpy as np

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.cost_model.chip.cores import GroupOnCores
from flat_mapper.cost_model.einsum import tensor_energy
from flat_mapper.cost_model.latency import transfer_cycles
from flat_mapper.cost_model.result import EinsumStats, GroupStats, LevelStats, TensorStats
from flat_mapper.cost_model.reuse import Traffic
from flat_mapper.energy.tables import Ert

_COUNTS = ("scalar_reads", "scalar_fills", "scalar_updates", "temporal_reductions")


def chip_stats(on: GroupOnCores, ert: Ert) -> tuple[EinsumStats, ...]:
    """The Einsums of a group, all tiles and all cores together.

    Counts are of one instance, where every core has as much; else of all instances together, as if
    they were one.
    """
    return tuple(_einsum(on, ert, position) for position in range(len(on.group.einsums)))


def chip_group(on: GroupOnCores, stats: Sequence[EinsumStats]) -> GroupStats:
    """A group's latency, with what its units and the levels outside the cores take in all."""
    compute: dict[str, int] = {}
    ideal: dict[str, float] = {}
    for one in stats:
        compute[one.unit] = compute.get(one.unit, 0) + one.compute_cycles
        ideal[one.unit] = ideal.get(one.unit, 0.0) + one.ideal_cycles
    transfers = {}
    for level in _outside(on):
        found = [lv for one in stats if (lv := one.level(level.name)) is not None]
        reads, writes = sum(lv.reads for lv in found), sum(lv.writes for lv in found)
        transfers[level.name] = float(transfer_cycles(level, reads, writes))
    inside = [cost.terms.inside for cost in on.costs]
    counts = [kind.count for kind in on.tiles.classes]
    for name in inside[0]:
        transfers[name] = _sum(counts, [cycles[name] for cycles in inside]) / on.at_work
    return replace(
        on.stats(), compute_cycles=compute, ideal_cycles=ideal, transfer_cycles=transfers
    )


def _einsum(on: GroupOnCores, ert: Ert, position: int) -> EinsumStats:
    counts = [kind.count for kind in on.tiles.classes]
    parts = [cost.stats[position] for cost in on.costs]
    first, total = parts[0], sum(counts)
    arch = on.platform.path(on.workload.einsum(first.einsum).unit)
    compute = _even([n * p.compute_cycles for n, p in zip(counts, parts, strict=True)], on.at_work)
    stats = replace(
        first,
        computes=sum(n * p.computes for n, p in zip(counts, parts, strict=True)),
        compute_cycles=compute,
        lanes=first.lanes * on.at_work,
        lanes_total=arch.compute.instances,
        compute_energy_pj=_sum(counts, [p.compute_energy_pj for p in parts]),
        levels=(),
    )
    levels = []
    for level in arch.levels:
        if level.name in {source.name for source in _outside(on)}:
            tensors = tuple(_outside_tensors(on, ert, level, position))
        else:
            tensors = tuple(_tensors(on, ert, on.core_level(arch, level), position))
        levels.append(_level(on, level, tensors, compute, parts, total))
    return replace(stats, levels=tuple(levels))


def _outside(on: GroupOnCores) -> tuple[MemoryLevel, ...]:
    return (on.platform.dram, *on.levels_between)


def _even(parts: list[int], cores: int) -> int:
    """A share of the sum, rounded up."""
    return -(-sum(parts) // cores)


def _sum(counts: list[int], values: list[float]) -> float:
    return sum(n * v for n, v in zip(counts, values, strict=True))


def _level(
    on: GroupOnCores,
    level: MemoryLevel,
    tensors: tuple[TensorStats, ...],
    compute: int,
    parts: list[EinsumStats],
    total: int,
) -> LevelStats:
    """A level's ports: as of one tile where there is one, else the mean of those in use."""
    alone = parts[0].level(level.name)
    if total == 1 and alone is not None and alone.cycles:
        return LevelStats(
            level=level.name, cycles=alone.cycles, throttling=alone.throttling, tensors=tensors
        )
    most = max((t.utilized_instances for t in tensors), default=1)
    reads = sum(t.words_read * t.utilized_instances for t in tensors) / most
    writes = sum(t.words_written * t.utilized_instances for t in tensors) / most
    cycles = max(compute, ceil(float(transfer_cycles(level, reads, writes)) - 1e-9))
    return LevelStats(
        level=level.name,
        cycles=cycles,
        throttling=compute / cycles if cycles else 1.0,
        tensors=tensors,
    )


def _tensors(
    on: GroupOnCores, ert: Ert, level: MemoryLevel, position: int
) -> Iterator[TensorStats]:
    """Tensors at the fusion level or inside it."""
    counts = [kind.count for kind in on.tiles.classes]
    even = len(counts) == 1 and on.tiles.count % on.at_work == 0
    found = [cost.stats[position].level(level.name) for cost in on.costs]
    for i, first in enumerate(found[0].tensors if found[0] is not None else ()):
        each = [lv.tensors[i] for lv in found if lv is not None]
        energy = _sum(counts, [_energy(ert, level, t) for t in each])
        if even:
            rounds = on.tiles.count // on.at_work
            times = {name: getattr(first, name) * rounds for name in _COUNTS}
            instances = first.utilized_instances * on.at_work
        else:
            times = {
                name: sum(
                    n * getattr(t, name) * t.utilized_instances
                    for n, t in zip(counts, each, strict=True)
                )
                for name in _COUNTS
            }
            instances = 1
        yield replace(first, **times, utilized_instances=instances, energy_pj=energy)


def _energy(ert: Ert, level: MemoryLevel, t: TensorStats) -> float:
    zero = np.zeros(1, np.int64)
    reads, fills, updates = (
        np.array([n], np.int64) for n in (t.scalar_reads, t.scalar_fills, t.scalar_updates)
    )
    traffic = Traffic(
        reads=reads, fills=fills, updates=updates, temporal_reductions=zero, partition=zero
    )
    instances = np.array([t.utilized_instances], np.int64)
    return float(tensor_energy(level, traffic, instances, ert.actions(level.name), t.share)[0])


def _outside_tensors(
    on: GroupOnCores, ert: Ert, level: MemoryLevel, position: int
) -> Iterator[TensorStats]:
    """Tensors that a level outside the cores keeps."""
    counts = [kind.count for kind in on.tiles.classes]
    for i, first in enumerate(on.costs[0].stats[position].levels[0].tensors):
        tensor = first.tensor
        keeper = on.between.get(tensor, on.platform.dram)
        each = [cost.stats[position].levels[0].tensors[i] for cost in on.costs]
        capacity = on.workload.tensor_words(tensor)
        if level.name == keeper.name:
            totals = {
                name: sum(n * getattr(t, name) for n, t in zip(counts, each, strict=True))
                for name in _COUNTS
            }
            saved = on.saved_reads(tensor)
            totals["scalar_reads"] -= saved * each[int(on.tiles.order[0])].scalar_reads
            if keeper is not on.platform.dram:
                totals["scalar_fills"] = round(on.outer_words[tensor] / first.share)
        elif level.name == on.platform.dram.name:
            reads = round(on.outer_words[tensor] / first.share)
            totals = {**dict.fromkeys(_COUNTS, 0), "scalar_reads": reads}
        else:
            continue
        stats = replace(first, **totals, utilized_capacity=capacity, utilized_instances=1)
        yield replace(stats, energy_pj=_energy(ert, level, stats))
