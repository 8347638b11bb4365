"""Bounds of all ways to give tiles out to the cores of a chip.

Of all cores: their units at peak, and the words of DRAM and of what else serves them. Of one core:
the chip as it sees it, by one after another of what serves it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from flat_mapper.arch.cores import boundary, core_facts, multicasts, stream_weights
from flat_mapper.arch.values import Architecture, MemoryLevel, MovedRows, Platform, SidePort
from flat_mapper.base.tolerance import LOST, whole_cycles
from flat_mapper.cost_model.ports import port_loads, transfer_cycles
from flat_mapper.energy.tables import Ert, operation_cycles, operation_energy
from flat_mapper.mapper.bounds.energy import seen_words
from flat_mapper.mapper.chip.assignments import Assignment, key_rank
from flat_mapper.mapper.chip.ways import Way, read_rate, ways_apart
from flat_mapper.mapping.cores import (
    core_platform,
    given_orders,
    levels_between,
    times_brought,
    words_held,
)
from flat_mapper.mapping.order import overlaps
from flat_mapper.mapping.sharing import crosses_dram
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.notation import UNITS


def least_moved(
    platform: Platform, one: Assignment, buffering: float
) -> tuple[dict[str, float], dict[str, float]]:
    """The least that DRAM moves for one core, in whatever way tiles are given out: weights, totals.

    An input that a level between keeps comes from DRAM as often as loops outside that level bring
    it; of the ways for which there is room, the least. Or one read serves all cores that need the
    same.
    """
    if one.cores == 1 and not levels_between(platform.matrix, one.level):
        return {}, {}
    arch, workload = platform.matrix, one.workload
    inputs = inputs_of(one)
    shared = [t for t in inputs if multicasts(arch, arch.level(one.level), t)]
    between = levels_between(arch, one.level)
    totals: dict[str, float] = {}
    for order in given_orders(workload, one.group.names, dict(one.tile)) if between else ():
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
        return {t: least_reads(platform, one, t) for t in shared}, {}
    for t in inputs:
        unknown = one.keys and t in shared
        reads = 0.0 if unknown else least_reads(platform, one, t)
        totals[t] = min(totals[t], reads * tile_words(one, t))
    return {}, totals


def least_reads(platform: Platform, one: Assignment, tensor: str) -> float:
    """Reads outside the cores for a word that each brings in, at least.

    One may serve all cores that need the same word: of equal tiles no more than there are of it.
    """
    if not multicasts(platform.matrix, platform.matrix.level(one.level), tensor):
        return 1.0
    if one.keys:
        return 1.0 / one.at_work
    ranks, sizes = one.workload.tensor_ranks[tensor], one.workload.rank_sizes
    alike = prod(sizes[r] // n for r, n in one.tile if r not in ranks)
    return 1.0 / min(one.at_work, alike)


def inputs_of(one: Assignment) -> dict[str, float]:
    """Words of the tensors that a group reads from outside."""
    workload, names = one.workload, one.group.names
    made = {workload.einsum(n).output.tensor for n in names}
    moved = {a.tensor for n in names for a in workload.einsum(n).accesses} - made
    return {
        t: workload.tensor_words(t) * workload.share(t, one.dram)
        for t in sorted(moved)
        if crosses_dram(workload, names, t)
    }


def tile_words(one: Assignment, tensor: str) -> float:
    """Words of a tensor in a tile."""
    core = one.core_workload
    return core.tensor_words(tensor) * core.share(tensor, one.dram)


def _streams(platform: Platform, one: Assignment, way: Way | None = None) -> Iterator[SidePort]:
    """Ports that serve a core beside DRAM's share.

    Inputs come from the level between that may keep them, or from DRAM, each core's for itself:
    from the faster of them at best. What is kept there has come there: where a port is twice as
    fast as DRAM's, it takes no longer for a word that comes and goes than DRAM for one that is not
    kept, of tiles that see all keys. All that a core moves passes the ports of its boundary.

    way: in which tiles are given out; None: any.
    """
    arch, workload = platform.matrix, one.workload
    between = levels_between(arch, one.level)
    dram, *rates = (read_rate(level) for level in (platform.dram, *between[-1:]))
    inputs, made = inputs_of(one), {workload.einsum(n).output.tensor for n in one.group.names}
    if way is not None:
        yield from way.ports(platform, one.served, one.at_work)
    elif dram and all(rates) and rates and not ways_apart(platform, one.level):
        weights = {t: one.at_work * least_reads(platform, one, t) for t in inputs}
        yield SidePort(comes={t: n / max(dram, *filter(None, rates)) for t, n in weights.items()})
        shared = between[-1].shared_words_per_cycle
        if shared is not None and shared >= 2 * dram and not one.keys:
            slow = {t: n / shared for t, n in weights.items()}
            yield SidePort(comes=slow, sent=dict.fromkeys(inputs, one.at_work / shared))
    facts, tensors = core_facts(arch), dict.fromkeys([*inputs, *sorted(made)])
    weights = stream_weights(facts, workload.word_bits, workload.widths.at(one.dram), tensors)
    own = boundary(arch, one.level, workload.word_bits)
    for port, rate, _ in () if own is None else port_loads(own, 0.0, 0.0):
        slow = {t: weights.get(t, 1.0) / rate for t in tensors}
        yield SidePort(comes=slow if port != "write" else {}, leaves=slow if port != "read" else {})


def core_view(
    platform: Platform,
    one: Assignment,
    buffering: float,
    way: Way | None = None,
    rows: Mapping[str, MovedRows] | None = None,
) -> Platform:
    """One core with the largest tile, whose cycles are a lower bound on all ways to give tiles out.

    All sources at once: DRAM with the least that it may have to move, and what stands beside it.
    What a tile takes at its ends counts as often as it does in a mean tile; see `Fullest`.

    way: the one whose cycles and pJ are bounded; None: all. rows: then those of `core_rows`.
    """
    waits = one.count / largest_tiles(one)
    dram = replace(outside_of(platform, one, buffering, way), waits=waits)
    dram = replace(dram, rows=rows) if rows else dram
    core = core_platform(platform, one.level)

    def seen(arch: Architecture) -> Architecture:
        inside = arch.nodes[1:]
        if one.keys:  # what a tile rounds up does not grow with its passes
            inside = tuple(
                replace(n, row_words=1, whole_rows=False) if isinstance(n, MemoryLevel) else n
                for n in inside
            )
        return replace(arch, nodes=(dram, *inside))

    vector = core.vector
    return replace(core, matrix=seen(core.matrix), vector=None if vector is None else seen(vector))


def _rounds(
    platform: Platform, one: Assignment, buffering: float, way: Way | None
) -> Iterator[tuple[float, MemoryLevel]]:
    """Rounds of all cores and of those that are left: their share, and what serves a core then."""
    last = 1 / one.rounds if one.counts_mean else 0.0
    for share, cores in ((1 - last, one.cores), (last, one.remainder)):
        if share and one.remainder and not one.served:
            yield share, outside_of(platform, replace(one, served=cores), buffering, way)


def outside_of(
    platform: Platform, one: Assignment, buffering: float, way: Way | None = None
) -> MemoryLevel:
    """All that serves a core, as it sees it; way: see `core_view`."""
    if way is not None:
        weights, totals = way.weights.get(one.served, way.weights[0]), way.totals
    else:
        weights, totals = least_moved(platform, one, buffering)
    return replace(
        platform.dram.slowed(one.at_work),
        weights=weights,
        totals=totals,
        row_words=1,
        whole_rows=False,
        rows=way.rows if way is not None else {},
        beside=tuple(_streams(platform, one, way)),
        unequal=unequal_inputs(one),
        step_cycles=core_facts(platform.matrix).step_cycles,
        whole_cycles=False,
        rounds=tuple(_rounds(platform, one, buffering, way)),
    )


def unequal_inputs(one: Assignment) -> tuple[str, ...]:
    """Inputs of which tiles that see fewer keys have fewer words."""
    if not one.keys:
        return ()
    ranks, keys = one.workload.tensor_ranks, key_rank(one.workload)
    return tuple(t for t in inputs_of(one) if keys in ranks[t])


def largest_tiles(one: Assignment) -> float:
    """All tiles but for a first pass as so many of those that see all keys, but for their ends."""
    most = one.most_passes
    if most == 1:
        return one.count
    return (one.passed.every - one.count) / (most - 1) or one.count / most


def keeps_inputs(platform: Platform, one: Assignment, buffering: float) -> bool:
    """True if a level between may keep the inputs of a group, in some way to give tiles out."""
    between = levels_between(platform.matrix, one.level)
    return bool(between) and bool(least_moved(platform, one, buffering)[1])


def core_energies(
    ert: Ert, platform: Platform, one: Assignment, way: Way | None = None, *, kept: bool = True
) -> Ert:
    """Prices of actions, as a core sees them: no word from outside more than on any way in.

    A word from DRAM, or from the level between that may keep it, see `_read_pj`. Rows are not
    rounded up, as those of all tiles are together; nor are those inside where tiles differ.

    way: whose rows have prices of their own. kept: see `keeps_inputs`.
    """
    read = _read_pj(ert, platform, one, kept=kept and not (way is not None and way.rows))
    _, write, update = (pj / platform.dram.row_words for pj in ert.actions(platform.dram.name))
    own = {"read": read, "write": write, "update": update}
    leak = {a: pj for a, pj in ert.levels[platform.dram.name].items() if a == "leak"}
    prices = {**ert.levels, platform.dram.name: {**own, **leak}}
    return replace(ert, levels=_by_word(platform, prices) if one.keys else prices)


def core_rows(
    ert: Ert, platform: Platform, one: Assignment, *, kept: bool = True
) -> dict[str, MovedRows]:
    """Inputs of which one read may serve several cores, with what each core pays of a word."""
    read = _read_pj(ert, platform, one, kept=kept)
    paid = {t: _paid(platform, one, t) for t in inputs_of(one)}
    return {
        t: MovedRows(row_words=1, read_pj=share * read, update_pj=0.0, whole=False)
        for t, share in paid.items()
        if share < 1
    }


def _paid(platform: Platform, one: Assignment, tensor: str) -> float:
    """The share of a read outside the cores that each word costs at least which a core takes in.

    Of tiles that differ nothing is known: there every word is paid for once, see `shared_pj`.
    """
    share = least_reads(platform, one, tensor)
    return 0.0 if one.keys and share < 1 else share


def _read_pj(ert: Ert, platform: Platform, one: Assignment, *, kept: bool) -> float:
    """pJ of a word that a core reads, from the cheapest of what may keep it."""
    between = levels_between(platform.matrix, one.level)[-1:] if kept else ()
    levels = [platform.dram, *between]
    return min(ert.actions(level.name)[0] / level.row_words for level in levels)


def _by_word(
    platform: Platform, prices: Mapping[str, Mapping[str, float]]
) -> dict[str, Mapping[str, float]]:
    """Prices of a word for those of a row, of all levels but DRAM."""
    rows = {lv.name: lv.row_words for path in platform.paths for lv in path.levels[1:]}
    return {
        name: {a: pj if a == "leak" else pj / rows.get(name, 1) for a, pj in own.items()}
        for name, own in prices.items()
    }


def shared_pj(platform: Platform, ert: Ert, one: Assignment, *, kept: bool = True) -> float:
    """pJ of inputs that no core sees: of those that it does not pay for, every word leaves DRAM.

    Where a level between may keep the others they are written as well, or DRAM sends all that cores
    draw.

    kept: see `keeps_inputs`.
    """
    each = ert.actions(platform.dram.name)[0] / platform.dram.row_words
    words, drawn, unpaid = 0.0, 0.0, 0.0
    for tensor, moved, made in _border(one.workload, one.group.names, one.dram):
        share = 1.0 if made else _paid(platform, one, tensor)
        unpaid += moved * (not share)
        if share and not made:
            words, drawn = words + moved, drawn + share * _words_of_all(one, tensor)
    between = levels_between(platform.matrix, one.level)[-1:] if kept else ()
    own = each - _read_pj(ert, platform, one, kept=kept)
    if not (between and own):
        return unpaid * each
    written = ert.actions(between[0].name)[1] / between[0].row_words
    return unpaid * each + min(words * (each + written), drawn * own)


def at_streams(platform: Platform, one: Assignment, totals: Mapping[str, float]) -> float:
    """Cycles that no mapping beats: each tile's inputs, once, and its outputs.

    totals: words that DRAM sends for a tile, of inputs that are kept between.
    """
    workload, names = one.workload, one.group.names
    made = {workload.einsum(n).output.tensor for n in names}
    tensors = [*inputs_of(one), *(t for t in made if crosses_dram(workload, names, t))]
    words = {t: _words_of_all(one, t) for t in tensors}
    found = 0.0
    for port in _streams(platform, one):
        cycles = 0.0
        for tensor, moved in words.items():
            comes, leaves, sent = port.each(tensor)
            each = leaves if tensor in made else comes
            cycles += each * moved + sent * totals.get(tensor, 0.0) * one.count
        found = max(found, cycles / one.at_work)
    return found


def _words_of_all(one: Assignment, tensor: str) -> float:
    """Words of a tensor in all tiles; under a mask, of the keys that their passes visit."""
    words = tile_words(one, tensor)
    if not one.keys:
        return words * one.count
    ranks, keys = one.workload.tensor_ranks[tensor], key_rank(one.workload)
    if keys not in ranks:
        return words * one.count
    return words * one.keys / one.workload.rank_sizes[keys] * one.passed.every


def at_least(platform: Platform, one: Assignment, buffering: float) -> float:
    """Cycles that no mapping beats: of the units of all cores, DRAM, and what else serves them."""
    weights, totals = least_moved(platform, one, buffering)
    dram, streams = at_dram(platform, one, weights, totals), at_streams(platform, one, totals)
    return max(at_peak(platform, one), dram, streams)


def at_dram(
    platform: Platform, one: Assignment, weights: Mapping[str, float], totals: Mapping[str, float]
) -> float:
    """Cycles of DRAM that no mapping beats; weights, totals: see `least_moved`."""
    workload, names = one.workload, one.group.names
    reads = sum(
        totals.get(t, weights.get(t, 1.0) * (0.0 if one.keys else tile_words(one, t)))
        for t in inputs_of(one)
    )
    made = (workload.einsum(n).output.tensor for n in names)
    writes = sum(tile_words(one, t) for t in set(made) if crosses_dram(workload, names, t))
    return float(transfer_cycles(platform.dram, reads * one.count, writes * one.count))


def at_border(platform: Platform, workload: Workload, names: tuple[str, ...]) -> float:
    """Cycles that no mapping of a group beats: every word over its border once."""
    return whole(
        float(transfer_cycles(platform.dram, *border_words(workload, names, platform.dram.name)))
    )


def whole(cycles: float) -> float:
    """Cycles of a group in all, which are whole; their sums are off in the last bits."""
    return float(whole_cycles(cycles * (1 - LOST)))


def _border(
    workload: Workload, names: tuple[str, ...], dram: str
) -> Iterator[tuple[str, float, bool]]:
    """Tensors over a group's border: the words of each once, and whether the group makes it."""
    part = workload.subset(names)
    made = {part.einsum(n).output.tensor for n in names}
    for tensor in part.tensor_ranks:
        if crosses_dram(workload, names, tensor):
            words = part.tensor_words(tensor) * part.share(tensor, dram) * seen_words(part, tensor)
            yield tensor, words, tensor in made


def border_words(workload: Workload, names: tuple[str, ...], dram: str) -> tuple[float, float]:
    """Words that a group reads from outside and writes, each once."""
    every = [*_border(workload, names, dram)]
    reads, writes = (sum(n for _, n, made in every if made is way) for way in (False, True))
    return reads, writes


def least_pj(platform: Platform, ert: Ert, workload: Workload, names: tuple[str, ...]) -> float:
    """pJ that no mapping of a group is below: computes, and every word over its border once."""
    dram, (reads, writes) = platform.dram, border_words(workload, names, platform.dram.name)
    read, *write = (pj / dram.row_words for pj in ert.actions(dram.name))
    return reads * read + writes * min(write) + computes_pj(platform, ert, workload, names)


def computes_pj(platform: Platform, ert: Ert, workload: Workload, names: tuple[str, ...]) -> float:
    """pJ of the computes of a group, which no mapping is below."""
    return sum(
        workload.unmasked_iterations(e)
        * operation_energy(platform.path(e.unit), ert, e, workload.widths)
        for e in map(workload.einsum, names)
        if not e.each
    )


def at_peak(platform: Platform, one: Assignment, lanes: Mapping[str, float] | None = None) -> float:
    """Cycles that no mapping beats: units at peak, all cores alike or the largest tiles of one.

    lanes: see `lane_cycles`, of the Einsums of all tiles of a group.
    """
    tile, (most, every, _) = Peak.of(platform, one, lanes), one.passed
    longest = tile.cycles(most) * (-(-one.count // one.cores) if every == most * one.count else 1)
    return max((tile.fixed * one.count + tile.each * every) / one.cores, longest)


def lane_cycles(platform: Platform, workload: Workload, names: Sequence[str]) -> dict[str, float]:
    """Cycles of a lane for one operation of each of some Einsums."""
    every = map(workload.einsum, names)
    return {e.name: operation_cycles(platform.path(e.unit), e, workload.widths) for e in every}


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """Cycles of a tile at peak: those that do not depend on its passes over keys, and of each."""

    fixed: float
    each: float

    @classmethod
    def of(
        cls, platform: Platform, one: Assignment, lanes: Mapping[str, float] | None = None
    ) -> Peak:
        """The peak of a core's units for the Einsums of a group; lanes: see `at_peak`."""
        core = one.core_workload
        lanes = lanes or lane_cycles(platform, core, one.group.names)
        keys = key_rank(core) if one.keys else ""
        sizes = {**core.rank_sizes, **({keys: one.keys} if keys else {})}
        found: dict[tuple[str, bool], float] = {}
        for einsum in map(core.einsum, one.group.names):
            arch = platform.path(einsum.unit)
            points = prod(sizes[r] for r in einsum.ranks if r not in einsum.each)
            if not keys:
                points = 0 if einsum.each else core.unmasked_iterations(einsum)
            cycles = points * lanes[einsum.name]
            key = einsum.unit, bool(keys) and keys in (*einsum.ranks, *einsum.each)
            found[key] = found.get(key, 0.0) + cycles * one.cores / arch.compute.instances
        total = max if overlaps(one.group.schedule) else sum
        fixed, each = (
            float(total([found.get((unit, per), 0.0) for unit in UNITS])) for per in (False, True)
        )
        if overlaps(one.group.schedule):
            fixed = 0.0  # of another unit than what passes wait for, perhaps
            each = each if keys else float(max(found.values()))
        return cls(fixed=fixed, each=each)

    def cycles(self, passes: int) -> float:
        """Cycles of a tile."""
        return self.fixed + passes * self.each
