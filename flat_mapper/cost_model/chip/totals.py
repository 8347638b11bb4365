"""Words that all tiles of a group move together, as statistics of each Einsum on the whole chip."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel
from flat_mapper.base.tolerance import whole_cycles
from flat_mapper.cost_model.chip.cores import GroupOnCores
from flat_mapper.cost_model.chip.tile import TileCost
from flat_mapper.cost_model.network import NetworkStats, network_stats, priced
from flat_mapper.cost_model.ports import transfer_cycles
from flat_mapper.cost_model.result import EinsumStats, GroupStats, LevelStats, TensorStats
from flat_mapper.cost_model.transfers import NONE, Traffic, level_pj
from flat_mapper.energy.tables import Ert

Found = Callable[[TileCost], TensorStats]
_COUNTS = ("scalar_reads", "scalar_fills", "scalar_updates", "temporal_reductions")


def chip_stats(on: GroupOnCores, ert: Ert) -> tuple[EinsumStats, ...]:
    """The Einsums of a group, all tiles and all cores together.

    Counts are of one instance, where every core has as much; else of all instances together, as if
    they were one.
    """
    return tuple(_einsum(on, ert, position) for position in range(len(on.group.einsums)))


def chip_group(on: GroupOnCores, stats: Sequence[EinsumStats]) -> GroupStats:
    """A group's latency, with what its units and the levels outside the cores take in all."""
    compute: dict[str, float] = {}
    ideal: dict[str, float] = {}
    for one in stats:
        compute[one.unit] = compute.get(one.unit, 0) + one.compute_cycles
        ideal[one.unit] = ideal.get(one.unit, 0.0) + one.ideal_cycles
    transfers = {}
    for level in _outside(on):
        found = [lv for one in stats if (lv := one.level(level.name)) is not None]
        reads, writes = sum(lv.reads for lv in found), sum(lv.writes for lv in found)
        transfers[level.name] = float(transfer_cycles(level, reads, writes))
    transfers |= on.boundary_cycles()
    for name in on.priced.direct[0].terms.inside:
        transfers[name] = on.priced.total(partial(_inside, name)) / on.at_work
    group = on.stats()
    busiest = max(transfers, key=lambda name: transfers[name])
    least = whole_cycles(transfers[busiest])
    # Tiles take no less than their words do; a kernel's factor below 1 makes no port faster.
    if on.facts.factor < 1 and least > group.cycles:
        group = replace(group, cycles=least, bottleneck=busiest)
    return replace(group, compute_cycles=compute, ideal_cycles=ideal, transfer_cycles=transfers)


def _inside(level: str, cost: TileCost) -> float:
    return cost.terms.inside[level]


def _named(found: Found, name: str, cost: TileCost) -> int:
    return int(getattr(found(cost), name))


def _of_all(found: Found, name: str, cost: TileCost) -> int:
    return _named(found, name, cost) * found(cost).utilized_instances


def _einsum(on: GroupOnCores, ert: Ert, position: int) -> EinsumStats:
    first, total = on.priced.cost(0).stats[position], on.tiles.count
    arch = on.platform.path(on.workload.einsum(first.einsum).unit)
    cycles = on.priced.total(lambda cost: cost.stats[position].compute_cycles)
    compute = whole_cycles(cycles / on.at_work)
    stats = replace(
        first,
        computes=on.priced.total(lambda cost: cost.stats[position].computes),
        compute_cycles=compute,
        lanes=first.lanes * on.at_work,
        lanes_total=arch.compute.instances,
        compute_energy_pj=on.priced.total(lambda cost: cost.stats[position].compute_energy_pj),
        levels=(),
        network=(),
    )
    levels = []
    for level in arch.levels:
        if level.name in {source.name for source in _outside(on)}:
            tensors = tuple(_outside_tensors(on, ert, level, position))
        else:
            tensors = tuple(_tensors(on, ert, on.core_level(arch, level), position))
        levels.append(_level(level, tensors, compute, first, total))
    return replace(stats, levels=tuple(levels), network=tuple(_network(on, arch, position)))


def _outside(on: GroupOnCores) -> tuple[MemoryLevel, ...]:
    return (on.platform.dram, *on.levels_between)


def _level(
    level: MemoryLevel,
    tensors: tuple[TensorStats, ...],
    compute: int,
    first: EinsumStats,
    total: int,
) -> LevelStats:
    """A level's ports: as of one tile where there is one, else the mean of those in use."""
    alone = first.level(level.name)
    if total == 1 and alone is not None and alone.cycles:
        return LevelStats(
            level=level.name, cycles=alone.cycles, throttling=alone.throttling, tensors=tensors
        )
    most = max((t.utilized_instances for t in tensors), default=1)
    reads = sum(t.words_read * t.utilized_instances for t in tensors) / most
    writes = sum(t.words_written * t.utilized_instances for t in tensors) / most
    cycles = max(compute, whole_cycles(float(transfer_cycles(level, reads, writes))))
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
    even = len(on.tiles.classes) == 1 and on.tiles.count % on.at_work == 0
    at = on.priced.cost(0).stats[position].level(level.name)
    for i, first in enumerate(at.tensors if at is not None else ()):

        def found(cost: TileCost, number: int = i) -> TensorStats:
            own = cost.stats[position].level(level.name)
            assert own is not None
            return own.tensors[number]

        energy = _all_energy(on, ert, level, found)
        if even:
            rounds = on.tiles.count // on.at_work
            times = {name: getattr(first, name) * rounds for name in _COUNTS}
            instances = first.utilized_instances * on.at_work
        else:
            times = {n: on.priced.total(partial(_of_all, found, n)) for n in _COUNTS}
            instances = 1
        yield replace(first, **times, utilized_instances=instances, energy_pj=energy)


def _all_energy(on: GroupOnCores, ert: Ert, level: MemoryLevel, found: Found) -> float:
    """Energy of all tiles, of which each rounds its words up to rows."""
    actions = ert.actions(level.name)
    if not any(actions):
        return 0.0
    reads, fills, updates = (on.priced.each(partial(_named, found, n)) for n in _COUNTS[:3])
    instances = on.priced.each(lambda cost: found(cost).utilized_instances)
    share = found(on.priced.direct[0]).share
    traffic = Traffic(reads, fills, updates, NONE, instances)
    each = level_pj(level, found(on.priced.direct[0]).tensor, traffic, actions, share)
    return float(each @ np.array(on.priced.counts, np.float64))


def _energy(ert: Ert, level: MemoryLevel, t: TensorStats) -> float:
    counts = (t.scalar_reads, t.scalar_fills, t.scalar_updates)
    reads, fills, updates = (np.array(n) for n in counts)
    traffic = Traffic(reads, fills, updates, NONE, t.utilized_instances)
    return float(level_pj(level, t.tensor, traffic, ert.actions(level.name), t.share))


def _outside_tensors(
    on: GroupOnCores, ert: Ert, level: MemoryLevel, position: int
) -> Iterator[TensorStats]:
    """Tensors that a level outside the cores keeps."""
    known = on.priced.cost(0).stats[position].levels[0].tensors
    for i, first in enumerate(known):
        tensor = first.tensor
        keeper = on.between.get(tensor, on.platform.dram)
        capacity = on.workload.tensor_words(tensor)
        brought = on.brought(tensor, on.group.names[position])
        if level.name == keeper.name:

            def found(cost: TileCost, number: int = i) -> TensorStats:
                return cost.stats[position].levels[0].tensors[number]

            totals: dict[str, Any] = {
                n: on.priced.total(partial(_named, found, n)) for n in _COUNTS
            }
            one = found(on.priced.cost(int(on.tiles.order[0])))
            totals["scalar_reads"] -= on.saved_reads(tensor) * one.scalar_reads
            if keeper is not on.platform.dram:
                totals["scalar_fills"] = round(brought / first.share)
        elif level.name == on.platform.dram.name:
            reads = round(brought / first.share)
            totals = {**dict.fromkeys(_COUNTS, 0), "scalar_reads": reads}
        else:
            continue
        stats = replace(first, **totals, utilized_capacity=capacity, utilized_instances=1)
        yield replace(stats, energy_pj=_energy(ert, level, stats))


def _network(on: GroupOnCores, arch: Architecture, position: int) -> Iterator[NetworkStats]:
    """Words over the networks that have a price: outside the cores, then inside all of them."""
    fanouts = {fanout.name: fanout for fanout in arch.fanouts}
    if priced(arch):
        yield from _outside_network(on, arch, position)
    for i, first in enumerate(on.priced.cost(0).stats[position].network):

        def words(name: str, cost: TileCost, number: int = i) -> float:
            return float(getattr(cost.stats[position].network[number], name))

        entered, delivered = (
            on.priced.total(partial(words, name)) for name in ("words_entered", "words_delivered")
        )
        yield network_stats(fanouts[first.fanout], first.tensor, entered, delivered)


def _outside_network(on: GroupOnCores, arch: Architecture, position: int) -> Iterator[NetworkStats]:
    """Words between the cores and what is outside them.

    What serves several cores at a time is one word as far as the last fanout before them.
    """
    outside = arch.nodes[: arch.nodes.index(arch.level(on.level.name))]
    for i, first in enumerate(on.priced.cost(0).stats[position].levels[0].tensors):

        def moved(cost: TileCost, number: int = i) -> int:
            own = cost.stats[position].levels[0].tensors[number]
            return own.scalar_reads + own.scalar_updates

        delivered = first.share * on.priced.total(moved)
        one = on.priced.cost(int(on.tiles.order[0])).stats[position].levels[0].tensors[i]
        saved = on.saved_reads(first.tensor) * one.scalar_reads * first.share
        keeper = arch.level(on.between.get(first.tensor, on.platform.dram).name)
        brought = on.brought(first.tensor, on.group.names[position])
        last = [node for node in outside if isinstance(node, Fanout)][-1:]
        for node in outside:
            if isinstance(node, MemoryLevel) or not any(node.word_pj):
                continue
            if outside.index(node) < outside.index(keeper):
                yield network_stats(node, first.tensor, brought, brought)
                continue
            words = delivered if node in last else delivered - saved
            yield network_stats(node, first.tensor, delivered - saved, words)
