"""What no way to give tiles out to the cores of a chip is faster than.

Of all cores: their units at peak, and the words of DRAM and of what else serves them. Of one core:
the chip as it sees it, by one after another of what serves it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod

from flat_mapper.arch.cores import core_facts, multicasts, stream_weights
from flat_mapper.arch.values import Architecture, MemoryLevel, Platform
from flat_mapper.cost_model.chip.rounds import given
from flat_mapper.cost_model.latency import transfer_cycles
from flat_mapper.energy.operations import operation_cycles
from flat_mapper.mapper.chip.assignments import Assignment, key_rank
from flat_mapper.mapping.cores.between import times_brought, words_held
from flat_mapper.mapping.cores.lift import loop_orders
from flat_mapper.mapping.cores.view import core_platform, levels_between, served
from flat_mapper.mapping.order import overlaps
from flat_mapper.mapping.sharing import crosses_dram


def least_moved(
    platform: Platform, one: Assignment, buffering: float
) -> tuple[dict[str, float], dict[str, float]]:
    """The least that DRAM moves for one core, in whatever way tiles are given out: weights, totals.

    An input that a level between keeps comes from DRAM as often as loops outside that level bring
    it; of the ways for which there is room, the least. Or one read serves all cores that need the
    same.
    """
    if one.cores == 1:
        return {}, {}
    arch, workload = platform.matrix, one.workload
    inputs = _inputs(one)
    shared = [t for t in inputs if multicasts(arch, arch.level(one.level), t)]
    between = levels_between(arch, one.level)
    totals: dict[str, float] = {}
    for order in loop_orders(workload, one.group.names, dict(one.tile)) if between else ():
        for outer in (order[:i] for i in range(len(order) + 1)):
            needs = sum(
                words_held(
                    *(words, workload.tensor_ranks[t], outer, one.count, one.at_work, buffering)
                )
                for t, words in inputs.items()
            )
            room = between[-1].usable_words
            if room is not None and needs > room:
                continue
            for t, words in inputs.items():
                moved = words * times_brought(workload.tensor_ranks[t], outer) / one.count
                totals[t] = min(totals.get(t, moved), moved)
    if not totals:
        return dict.fromkeys(shared, 1.0 / one.at_work), {}
    for t in inputs:
        totals[t] = 0.0 if t in shared else min(totals[t], _tile_words(one, t))
    return {}, totals


def _inputs(one: Assignment) -> dict[str, float]:
    """Words of the tensors that a group reads from outside."""
    workload, names = one.workload, one.group.names
    made = {workload.einsum(n).output.tensor for n in names}
    moved = {a.tensor for n in names for a in workload.einsum(n).accesses} - made
    return {
        t: workload.tensor_words(t) * workload.share(t)
        for t in sorted(moved)
        if crosses_dram(workload, names, t)
    }


def _tile_words(one: Assignment, tensor: str) -> float:
    """Words of a tensor in a tile."""
    core = one.core_workload
    return core.tensor_words(tensor) * core.share(tensor)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stream:
    """What serves a core, not faster than this: words per cycle, and its words for a tensor's."""

    rate: float
    weights: Mapping[str, float]

    def view(self, platform: Platform) -> Platform:
        """A core whose DRAM is this."""

        def served_by(arch: Architecture) -> Architecture:
            dram, *inside = arch.nodes
            assert isinstance(dram, MemoryLevel)
            own = replace(
                dram,
                read_words_per_cycle=None,
                write_words_per_cycle=None,
                shared_words_per_cycle=self.rate,
                weights=self.weights,
                totals={},
            )
            return replace(arch, nodes=(own, *inside))

        vector = platform.vector
        return replace(
            platform,
            matrix=served_by(platform.matrix),
            vector=None if vector is None else served_by(vector),
        )


def _streams(platform: Platform, one: Assignment) -> Iterator[_Stream]:
    """What serves a core beside DRAM's share.

    Inputs come from the level between that may keep them, or from DRAM, each core's for itself:
    from the faster of them at best. All that a core moves passes what it streams.
    """
    arch, workload = platform.matrix, one.workload
    between = levels_between(arch, one.level)
    rates = [_read_rate(level) for level in (platform.dram, *between[-1:])]
    made = {workload.einsum(n).output.tensor for n in one.group.names}
    if between and None not in rates:
        weights = dict.fromkeys(made, 0.0)
        for t in _inputs(one):
            weights[t] = 1 / one.at_work if multicasts(arch, arch.level(one.level), t) else 1.0
        yield _Stream(rate=max(filter(None, rates)) / one.at_work, weights=weights)
    facts = core_facts(arch)
    if facts.stream_bytes_per_cycle is not None:
        bits, tensors = workload.word_bits, {*_inputs(one), *made}
        weights = stream_weights(facts, bits, workload.widths.shares, tensors)
        yield _Stream(rate=facts.stream_bytes_per_cycle * 8 / bits, weights=weights)


def _read_rate(level: MemoryLevel) -> float | None:
    rates = (level.read_words_per_cycle, level.shared_words_per_cycle)
    return min((r for r in rates if r is not None), default=None)


def core_views(platform: Platform, one: Assignment, buffering: float) -> list[Platform]:
    """One core, by one after another of what serves it: none is slower than the chip lets it be.

    The first has DRAM alone, with the least that it may have to move.
    """
    core = core_platform(platform, one.level)
    dram = served(core, one.at_work, *least_moved(platform, one, buffering))
    return [dram, *(stream.view(core) for stream in _streams(platform, one))]


def at_streams(platform: Platform, one: Assignment) -> float:
    """Cycles that no mapping beats: each tile's inputs, once, and its outputs."""
    workload, names = one.workload, one.group.names
    made = {workload.einsum(n).output.tensor for n in names}
    tensors = [*_inputs(one), *(t for t in made if crosses_dram(workload, names, t))]
    words = {t: _words_of_all(one, t) for t in tensors}
    return max(
        (
            sum(stream.weights.get(t, 1.0) * n for t, n in words.items())
            / (stream.rate * one.at_work)
            for stream in _streams(platform, one)
        ),
        default=0.0,
    )


def _words_of_all(one: Assignment, tensor: str) -> float:
    """Words of a tensor in all tiles; under a mask, of the keys that their passes visit."""
    words = _tile_words(one, tensor)
    if not one.keys:
        return words * one.count
    ranks, keys = one.workload.tensor_ranks[tensor], key_rank(one.workload)
    if keys not in ranks:
        return words * sum(n for passes, n in one.passes() if passes)
    each = words * one.keys / one.workload.rank_sizes[keys]
    return each * sum(n * passes for passes, n in one.passes())


def at_least(platform: Platform, one: Assignment, buffering: float) -> float:
    """Cycles that no mapping beats: of the units of all cores, DRAM, and what else serves them."""
    dram, streams = at_dram(platform, one, buffering), at_streams(platform, one)
    return max(at_peak(platform, one), dram, streams)


def at_dram(platform: Platform, one: Assignment, buffering: float) -> float:
    """Cycles of DRAM that no mapping beats."""
    weights, totals = least_moved(platform, one, buffering)
    workload, names = one.workload, one.group.names
    reads = sum(
        totals.get(t, weights.get(t, 1.0) * (0.0 if one.keys else _tile_words(one, t)))
        for t in _inputs(one)
    )
    made = (workload.einsum(n).output.tensor for n in names)
    writes = sum(_tile_words(one, t) for t in set(made) if crosses_dram(workload, names, t))
    return float(transfer_cycles(platform.dram, reads * one.count, writes * one.count))


def at_peak(platform: Platform, one: Assignment) -> float:
    """Cycles that no mapping beats: units at peak, all cores alike or the largest tiles of one."""
    tile, own = _Peak.of(platform, one), one.passes()
    longest = tile.cycles(own[0][0]) * (-(-one.count // one.cores) if len(own) == 1 else 1)
    return max(sum(n * tile.cycles(passes) for passes, n in own) / one.cores, longest)


def on_fullest(platform: Platform, one: Assignment, least: float = 0.0) -> float:
    """Cycles of the fullest core, if every tile takes as long as units at peak do.

    least: cycles that no mapping of the largest tile beats. A tile of fewer passes takes as much
    of it, or more: what does not depend on the passes is in both.
    """
    tile = _Peak.of(platform, one)
    own = one.passes()
    most = own[0][0]
    facts = core_facts(platform.matrix)
    steps = {passes: passes if one.keys else 1 for passes, _ in own}
    timed = [
        (
            max(tile.cycles(passes), least * passes / most)
            + facts.tile_cycles
            + facts.step_cycles * steps[passes],
            n,
        )
        for passes, n in own
    ]
    launch = facts.launch_seconds / platform.matrix.cycle_seconds
    if len(timed) == 1:
        rounds, left = divmod(one.count, one.cores)
        if rounds and left:
            # Fewer cores have more of DRAM each; a tile takes no less than in proportion.
            last = max(tile.cycles(most), least * left / one.cores)
            launch += last + facts.tile_cycles + facts.step_cycles
        return launch + max(rounds, 1) * timed[0][0]
    if _longest_first(one):
        loads, _ = given([0.0] * one.cores, timed)
        return launch + max(loads)
    return launch + max(sum(cycles * n for cycles, n in timed) / one.cores, timed[0][0])


def _longest_first(one: Assignment) -> bool:
    """Whether tiles can only be given out by the queries first."""
    others = [r for r, n in one.tile if n < one.workload.rank_sizes[r]]
    return others == [one.workload.roles.queries]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Peak:
    """Cycles of a tile at peak: those that do not depend on its passes over keys, and of each."""

    fixed: float
    each: float

    @classmethod
    def of(cls, platform: Platform, one: Assignment) -> _Peak:
        """The peak of a core's units for the Einsums of a group."""
        core = one.core_workload
        keys = key_rank(core) if one.keys else ""
        sizes = {**core.rank_sizes, **({keys: one.keys} if keys else {})}
        found: dict[tuple[str, bool], float] = {}
        for einsum in map(core.einsum, one.group.names):
            arch = platform.path(einsum.unit)
            points = prod(sizes[r] for r in einsum.ranks if r not in einsum.each)
            if not keys:
                points = 0 if einsum.each else core.unmasked_iterations(einsum)
            cycles = points * operation_cycles(arch, einsum, core.widths)
            key = einsum.unit, bool(keys) and keys in (*einsum.ranks, *einsum.each)
            found[key] = found.get(key, 0.0) + cycles * one.cores / arch.compute.instances
        total = max if overlaps(one.group.schedule) else sum
        fixed, each = (
            float(total([found.get((unit, per), 0.0) for unit in ("matrix", "vector")]))
            for per in (False, True)
        )
        if overlaps(one.group.schedule):
            fixed = 0.0  # of another unit than what passes wait for, perhaps
            each = each if keys else float(max(found.values()))
        return cls(fixed=fixed, each=each)

    def cycles(self, passes: int) -> float:
        """Cycles of a tile."""
        return self.fixed + passes * self.each
