"""The cost of a tile on one core: counts, and what its latency is made of.

A tile is an ordinary group on one core. Tiles that differ only in how many passes their inner loop
makes, as those under a mask do, cost as much more as one more pass does, from the third pass on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from flat_mapper.cost_model.einsum import einsum_costs
from flat_mapper.cost_model.group import GroupTerms, group_terms
from flat_mapper.cost_model.latency import Words
from flat_mapper.cost_model.residence import private_overflow
from flat_mapper.cost_model.result import EinsumStats, Infeasible, LevelStats, TensorStats
from flat_mapper.cost_model.turn_taking import KindParts
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.cores.handover import handed_inside
from flat_mapper.mapping.cores.view import CoreQuestion
from flat_mapper.mapping.sharing import shared_level, visited_tiles, whole_group
from flat_mapper.mapping.values import Policy

LEVEL = 4  # passes from which on each further one costs the same


@dataclass(frozen=True, slots=True, kw_only=True)
class TileCost:
    """A tile on one core: the counts of its Einsums, and the terms of its latency."""

    stats: tuple[EinsumStats, ...]
    terms: GroupTerms
    steps: int  # passes of the shared loops in time


def tile_cost(core: CoreQuestion, policy: Policy, ert: Ert) -> TileCost | Infeasible:
    """Counts and terms of one core's problem, or why it does not fit."""
    workload, platform, group = core.workload, core.platform, core.group
    visited = visited_tiles(workload, group)
    names = whole_group(workload, group.names, policy)
    # What these levels hold is the group's affair: copies, and buffers in common.
    apart = {shared_level(platform).name, *handed_inside(workload, platform, group).values()}
    stats: dict[str, EinsumStats] = {}
    for nest in group.einsums:
        arch = platform.path(workload.einsum(nest.einsum).unit)
        costs = einsum_costs(workload, arch, [nest], ert, visited, names)
        refused = costs.infeasible(0, apart)
        if refused is not None:
            return refused
        stats[nest.einsum] = costs.stats(0)
    overflow = private_overflow(workload, platform, group, names, policy)
    if overflow is not None:
        return overflow
    terms = group_terms(workload, platform, group, policy, stats)
    return TileCost(stats=tuple(stats.values()), terms=terms, steps=terms.passes)


def extended(short: TileCost, longer: TileCost, passes: int) -> TileCost:
    """A tile of more passes of the inner loop than two that differ by one.

    passes: by how many more than `longer`.
    """

    def on[T: (int, float)](a: T, b: T) -> T:
        return b + (b - a) * passes

    def by_name(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, float]:
        return {name: on(a[name], b[name]) for name in a}

    def words(a: Words, b: Words) -> dict[str, tuple[float, float]]:
        return {t: (on(a[t][0], b[t][0]), on(a[t][1], b[t][1])) for t in a}

    one, two = short.terms, longer.terms
    terms = replace(
        two,
        compute=by_name(one.compute, two.compute),
        ideal=by_name(one.ideal, two.ideal),
        inside=by_name(one.inside, two.inside),
        moved=words(one.moved, two.moved),
        staged=words(one.staged, two.staged),
        turns=tuple(
            replace(b, sizes=_kinds(a.sizes, b.sizes, passes))
            for a, b in zip(one.turns, two.turns, strict=True)
        ),
    )
    pairs = zip(short.stats, longer.stats, strict=True)
    return TileCost(
        stats=tuple(_stats(a, b, passes) for a, b in pairs),
        terms=terms,
        steps=on(short.steps, longer.steps),
    )


def _kinds(
    short: Sequence[Sequence[KindParts]], longer: Sequence[Sequence[KindParts]], passes: int
) -> tuple[tuple[KindParts, ...], ...]:
    return tuple(
        tuple(
            replace(b, count=b.count + (b.count - a.count) * passes)
            for a, b in zip(one, two, strict=True)
        )
        for one, two in zip(short, longer, strict=True)
    )


def _stats(short: EinsumStats, longer: EinsumStats, passes: int) -> EinsumStats:
    levels = []
    for one, two in zip(short.levels, longer.levels, strict=True):
        tensors = tuple(
            _tensor(a, b, passes) for a, b in zip(one.tensors, two.tensors, strict=True)
        )
        levels.append(LevelStats(level=two.level, cycles=0, throttling=1.0, tensors=tensors))
    more = (longer.computes - short.computes) * passes
    cycles = (longer.compute_cycles - short.compute_cycles) * passes
    energy = (longer.compute_energy_pj - short.compute_energy_pj) * passes
    return replace(
        longer,
        computes=longer.computes + more,
        compute_cycles=longer.compute_cycles + cycles,
        compute_energy_pj=longer.compute_energy_pj + energy,
        levels=tuple(levels),
    )


def _tensor(a: TensorStats, b: TensorStats, passes: int) -> TensorStats:
    return replace(
        b,
        scalar_reads=b.scalar_reads + (b.scalar_reads - a.scalar_reads) * passes,
        scalar_fills=b.scalar_fills + (b.scalar_fills - a.scalar_fills) * passes,
        scalar_updates=b.scalar_updates + (b.scalar_updates - a.scalar_updates) * passes,
        temporal_reductions=b.temporal_reductions
        + (b.temporal_reductions - a.temporal_reductions) * passes,
    )
