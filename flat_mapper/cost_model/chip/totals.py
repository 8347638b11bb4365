"""Words that all tiles of a group move together, as statistics of each Einsum on the whole chip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel
from flat_mapper.base.tolerance import whole_cycles
from flat_mapper.cost_model.candidates import Floats
from flat_mapper.cost_model.chip.cores import GroupOnCores
from flat_mapper.cost_model.group import port_cycles
from flat_mapper.cost_model.network import NetworkStats, network_stats
from flat_mapper.cost_model.outside import Outside
from flat_mapper.cost_model.ports import Moved, added_up, name_of_largest, transfer_cycles
from flat_mapper.cost_model.result import EinsumStats, GroupStats, LevelStats, TensorStats
from flat_mapper.cost_model.transfers import NONE, Traffic, in_words, level_pj
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.cores import CoreUse, IntArray

_COUNTS = ("scalar_reads", "scalar_fills", "scalar_updates", "temporal_reductions")


def chip_stats(on: GroupOnCores, ert: Ert) -> tuple[EinsumStats, ...]:
    """The Einsums of a group, all tiles and all cores together.

    Counts are of one instance, where every core has as much; else of all instances together, as if
    they were one.
    """
    each = zip(*(cost.stats for cost in on.priced.tiles), strict=True)
    return tuple(_einsum(on, ert, tiles) for tiles in each)


def chip_group(on: GroupOnCores, stats: Sequence[EinsumStats]) -> GroupStats:
    """A group's latency, that of its fullest core, with what its units and levels take in all."""
    transfers = port_cycles((on.platform.dram, *on.levels_between), stats)
    if on.boundary:  # an equal part of all words
        words = {t: (read / on.at_work, sent / on.at_work) for t, (read, sent) in on.moved.items()}
        transfers |= Outside.of(*on.boundary).by_name(words)
    inside = [cost.terms.inside for cost in on.priced.tiles]
    for name in inside[0]:
        transfers[name] = on.priced.total([cycles[name] for cycles in inside]) / on.at_work
    timed, factor = on.timed(), on.facts.factor
    launch = on.facts.launch_seconds / on.platform.matrix.cycle_seconds
    cycles = factor * timed.longest + launch
    bottleneck, busiest = name_of_largest(timed.share), name_of_largest(transfers)
    # Tiles take no less than their words do; a kernel's factor below 1 makes no port faster.
    if factor < 1 and whole_cycles(transfers[busiest]) > whole_cycles(cycles):
        cycles, bottleneck = transfers[busiest], busiest
    return GroupStats(
        names=on.group.names,
        schedule=on.group.schedule,
        compute_cycles=added_up((one.unit, one.compute_cycles) for one in stats),
        ideal_cycles=added_up((one.unit, one.ideal_cycles) for one in stats),
        transfer_cycles=transfers,
        cold_start_cycles=factor * timed.cold / on.at_work + launch,
        cycles=whole_cycles(cycles),
        bottleneck=bottleneck,
        buffer=on.priced.tiles[on.priced.first].terms.buffer,
        slack_cycles=factor * timed.slack,
        cores=CoreUse(
            cores=on.cores,
            tiles=on.tiles.count,
            rounds=timed.rounds,
            busy_cycles=factor * timed.busy,
            longest_cycles=factor * timed.longest,
            launch_cycles=launch,
        ),
    )


def _einsum(on: GroupOnCores, ert: Ert, tiles: Sequence[EinsumStats]) -> EinsumStats:
    """An Einsum on the whole chip; tiles: the same in each tile that is priced."""
    first, total = tiles[on.priced.first], on.priced.total
    unit = on.workload.einsum(first.einsum).unit
    arch, core = on.platform.path(unit), on.core.path(unit)
    compute = whole_cycles(total([stats.compute_cycles for stats in tiles]) / on.at_work)
    moved: list[tuple[MemoryLevel, Iterator[TensorStats]]] = [
        (level, _outside_tensors(on, ert, level, tiles))
        for level in arch.outside(on.level.name)
        if isinstance(level, MemoryLevel)
    ]
    for level, *own in zip(core.levels, *(stats.levels for stats in tiles), strict=True):
        if level is not core.levels[0]:
            moved.append((level, _tensors(on, ert, level, own)))
    alone = first if on.tiles.count == len(tiles) == 1 else None
    return replace(
        first,
        computes=total([stats.computes for stats in tiles]),
        compute_cycles=compute,
        lanes=first.lanes * on.at_work,
        lanes_total=arch.compute.instances,
        compute_energy_pj=total([stats.compute_energy_pj for stats in tiles]),
        levels=tuple(_level(level, tuple(tensors), compute, alone) for level, tensors in moved),
        network=tuple(_network(on, arch, tiles)),
    )


def _level(
    level: MemoryLevel, tensors: tuple[TensorStats, ...], compute: int, alone: EinsumStats | None
) -> LevelStats:
    """A level's ports: as of one tile where there is one alone, else the mean of those in use."""
    own = alone.level(level.name) if alone else None
    if own is not None:
        return replace(own, tensors=tensors)
    most = max((t.utilized_instances for t in tensors), default=1)
    every = (Moved(*(n * t.utilized_instances for n in t.moved)) for t in tensors)
    moved = (words / most for words in Moved.total(every))
    cycles = max(compute, whole_cycles(float(transfer_cycles(level, *moved))))
    return LevelStats(
        level=level.name,
        cycles=cycles,
        throttling=compute / cycles if cycles else 1.0,
        tensors=tensors,
    )


def _counts(own: Sequence[TensorStats]) -> IntArray:
    """Counts of a tensor in each tile that is priced; int64[priced, counts]."""
    return np.array([[getattr(t, name) for name in _COUNTS] for t in own], np.int64)


def _pj(
    ert: Ert, level: MemoryLevel, t: TensorStats, counts: IntArray, instances: IntArray | int
) -> Floats:
    """pJ of some counts of a tensor, which each round their words up to rows; float64[n].

    counts: int64[n, counts], of one of so many instances.
    """
    reads, fills, updates, _ = counts.T
    traffic = Traffic(reads, fills, updates, NONE, instances)
    words = in_words(traffic, t.share, t.so_far)
    return level_pj(level, t.tensor, words, ert.actions(level.name))


def _tensors(
    on: GroupOnCores, ert: Ert, level: MemoryLevel, tiles: Sequence[LevelStats]
) -> Iterator[TensorStats]:
    """Tensors at the fusion level or inside it; level: as one core has it."""
    rounds, left = divmod(on.tiles.count, on.at_work)
    even = len(on.tiles.classes) == 1 and not left
    for own in zip(*(stats.tensors for stats in tiles), strict=True):
        first, counts = own[on.priced.first], _counts(own)
        copies = np.array([t.utilized_instances for t in own])
        each = on.priced.each(counts)
        energy = _pj(ert, level, first, each, on.priced.each(copies)) @ on.priced.counts
        all_ = (each[0] * rounds).tolist() if even else on.priced.total(counts * copies[:, None])
        yield replace(
            first,
            **dict(zip(_COUNTS, all_, strict=True)),
            utilized_instances=first.utilized_instances * on.at_work if even else 1,
            energy_pj=float(energy),
        )


def _saved(on: GroupOnCores, own: Sequence[TensorStats]) -> list[int]:
    """Values of a tensor that no core moves for itself, by count.

    What another one reads serves it, or the network adds what it sends of a result.
    """
    each = on.priced.each(_counts(own))[on.tiles.order[0]] * on.saved_reads(own[0].tensor)
    if own[0].tensor not in on.results:
        each[1:] = 0
    found: list[int] = each.astype(int).tolist()
    return found


def _outside_tensors(
    on: GroupOnCores, ert: Ert, level: MemoryLevel, tiles: Sequence[EinsumStats]
) -> Iterator[TensorStats]:
    """Tensors that a level outside the cores keeps."""
    dram = on.platform.dram
    for own in zip(*(stats.levels[0].tensors for stats in tiles), strict=True):
        tensor, counts = own[0].tensor, _counts(own)
        keeper = on.between.get(tensor, dram)
        brought = round(on.brought(tensor, tiles[0].einsum) / own[0].share)
        if level.name == keeper.name:
            saved = _saved(on, own)
            reads, fills, updates, sums = (
                all_ - less for all_, less in zip(on.priced.total(counts), saved, strict=True)
            )
            fills, made = fills if keeper is dram else brought, tensor in on.results
            added = on.added.get(tensor, 0)
            reads += added + brought * made
            all_ = [reads, 0 if made and keeper is not dram else fills, updates, sums + added]
        elif level.name == dram.name:
            all_ = [0, 0, brought, 0] if tensor in on.results else [brought, 0, 0, 0]
        else:
            continue
        yield replace(
            own[0],
            **dict(zip(_COUNTS, all_, strict=True)),
            utilized_capacity=on.workload.tensor_words(tensor),
            utilized_instances=1,
            energy_pj=float(_pj(ert, level, own[0], np.array([all_]), 1)[0]),
        )


def _network(
    on: GroupOnCores, arch: Architecture, tiles: Sequence[EinsumStats]
) -> Iterator[NetworkStats]:
    """Words over the networks that have a price: outside the cores, then inside all of them."""
    if arch.priced:
        yield from _outside_network(on, arch, tiles)
    fanouts = {fanout.name: fanout for fanout in arch.fanouts}
    for own in zip(*(stats.network for stats in tiles), strict=True):
        words = on.priced.total([(n.words_entered, n.words_delivered) for n in own])
        yield network_stats(fanouts[own[0].fanout], own[0].tensor, *words)


def _outside_network(
    on: GroupOnCores, arch: Architecture, tiles: Sequence[EinsumStats]
) -> Iterator[NetworkStats]:
    """Words between the cores and what is outside them.

    What serves several cores at a time is one word as far as the last fanout before them.
    """
    outside = arch.outside(on.level.name)
    fanouts = [node for node in outside if isinstance(node, Fanout)]
    for own in zip(*(stats.levels[0].tensors for stats in tiles), strict=True):
        tensor, share = own[0].tensor, own[0].share
        delivered = on.priced.total([t.words.reads + t.words.updates for t in own])
        entered = delivered - share * sum(_saved(on, own)[::2])
        keeper = arch.level(on.between.get(tensor, on.platform.dram).name)
        brought = on.brought(tensor, tiles[0].einsum)
        for node in (node for node in fanouts if any(node.word_pj)):
            if outside.index(node) < outside.index(keeper):
                yield network_stats(node, tensor, brought, brought)
            else:
                last = node == fanouts[-1]
                yield network_stats(node, tensor, entered, delivered if last else entered)
