"""A group on the cores of a chip: what all of its tiles move, and when the fullest core is done.

Every tile is an ordinary group on one core (`cost_model.chip.tile`). Each core that is at work has
an equal share of the bandwidth of every level outside it, fixed when it takes a tile. As long as
all tiles are equal, cores take them in rounds and do the same at the same time: what several of
them need is read once where the chip can multicast. Else each core reads for itself.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from math import ceil, prod

import numpy as np

from flat_mapper.arch.cores import (
    CoreFacts,
    boundary,
    core_drift,
    core_facts,
    multicasts,
    stream_weights,
    sums_at,
)
from flat_mapper.arch.values import MemoryLevel, Platform
from flat_mapper.base.errors import MappingError, expected
from flat_mapper.base.grouping import distinct_columns
from flat_mapper.cost_model.candidates import Floats
from flat_mapper.cost_model.chip.tile import KnownTiles, PricedTiles, priced_tiles
from flat_mapper.cost_model.chip.walks import Walks, begun
from flat_mapper.cost_model.group import Latency
from flat_mapper.cost_model.outside import Outside, SourcePort, Words, source_ports
from flat_mapper.cost_model.ports import added_up
from flat_mapper.cost_model.result import BufferUse, Infeasible
from flat_mapper.cost_model.widths import check_between
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.cores import (
    CoreView,
    GivenTiles,
    IntArray,
    core_count,
    fusion_level,
    given_tiles,
    levels_between,
    merged,
    names_outside,
    times_brought,
    words_held,
)
from flat_mapper.mapping.values import GroupMapping, Loop, Policy
from flat_mapper.workload.graph import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Tiles that cores take at one time."""

    cores: int  # at work
    distinct: tuple[tuple[str, int], ...] = ()  # different tiles, of the tensors that are multicast

    def reads(self, tensor: str) -> int:
        """Tiles of a tensor that are read: each different one, or one by each core."""
        return dict(self.distinct).get(tensor, self.cores)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedTiles:
    """Cycles of all tiles, before the factor of a kernel."""

    longest: float  # of the fullest core
    busy: float  # of all cores
    cold: float  # of all cores, that nothing overlaps
    slack: float
    rounds: int
    share: Mapping[str, float]  # of all cores, by bottleneck


@dataclass(frozen=True, kw_only=True)
class GroupOnCores:
    """One group, its tiles and what each costs."""

    view: CoreView
    policy: Policy
    tiles: GivenTiles
    priced: PricedTiles

    @property
    def workload(self) -> Workload:
        """The whole problem."""
        return self.view.workload

    @property
    def platform(self) -> Platform:
        """The chip."""
        return self.view.platform

    @property
    def group(self) -> GroupMapping:
        """The group's mapping."""
        return self.view.group

    @property
    def core(self) -> Platform:
        """The chip as one core sees it."""
        return self.view.alone[0]

    @cached_property
    def level(self) -> MemoryLevel:
        """The fusion level."""
        return fusion_level(self.platform, self.group)

    @cached_property
    def cores(self) -> int:
        """Cores of the chip."""
        return core_count(self.platform.matrix, self.level.name)

    @cached_property
    def facts(self) -> CoreFacts:
        """Fixed costs of a core."""
        return core_facts(self.platform.matrix, self.group.kernel)

    @property
    def levels_between(self) -> tuple[MemoryLevel, ...]:
        """The levels between DRAM and the fusion level."""
        return levels_between(self.platform.matrix, self.level.name)

    @property
    def at_work(self) -> int:
        """Cores that are given a tile."""
        return min(self.cores, self.tiles.count)

    @cached_property
    def moved(self) -> Words:
        """Words that all tiles read and send, each for itself, by tensor."""
        own = [cost.terms.moved for cost in self.priced.tiles]
        return {t: tuple(self.priced.total([words[t] for words in own])) for t in own[0]}

    @cached_property
    def tensors(self) -> dict[str, tuple[str, ...]]:
        """Tensors that cores exchange with the outside, with their ranks."""
        return {t: self.workload.tensor_ranks[t] for t in self.priced.tiles[0].terms.moved}

    @cached_property
    def shared_reads(self) -> tuple[str, ...]:
        """Tensors of which one read may serve several cores, or one word be the sum of theirs."""
        made = {*self.results} - {*merged(self.workload, self.group)}
        arch, level = self.platform.matrix, self.platform.matrix.level(self.level.name)
        return tuple(t for t in self.tensors if t not in made and multicasts(arch, level, t))

    def saved_reads(self, tensor: str) -> int:
        """Tiles of a tensor that need no read of their own, as another core's serves them."""
        return sum(n * (one.cores - one.reads(tensor)) for one, n in self.rounds.items())

    @cached_property
    def between(self) -> dict[str, MemoryLevel]:
        """Of tensors that a level between DRAM and the cores keeps, that level."""
        found: dict[str, MemoryLevel] = {}
        for level in self.levels_between:
            for nest in self.group.einsums:
                found |= {t: level for t in nest.kept_at(level.name) if t in self.tensors}
        return found

    @cached_property
    def outer_words(self) -> dict[str, float]:
        """Words that DRAM sends to a level between, of the tensors kept there."""
        found = {}
        for tensor, level in self.between.items():
            if tensor in self.walks:
                found[tensor] = self._through(tensor)
                continue
            passes = times_brought(self.tensors[tensor], self.outer_loops(level.name))
            resident = tensor in self.group.resident
            found[tensor] = 0.0 if resident else self.words(tensor) * passes
        return found

    def _reader(self, tensor: str) -> str:
        """The first Einsum that reads a tensor: it comes once for all."""
        return next(n for n in self.group.names if self.workload.einsum(n).touches(tensor))

    def brought(self, tensor: str, einsum: str) -> float:
        """Those words, with the first Einsum that reads the tensor."""
        return self.outer_words.get(tensor, 0.0) if einsum == self._reader(tensor) else 0.0

    def _through(self, tensor: str) -> float:
        """Words of a tensor that pass a window: what each tile reads of what is not there yet."""
        own = (
            cost.stats[self.group.names.index(self._reader(tensor))] for cost in self.priced.tiles
        )
        tensors = (next(t for t in one.levels[0].tensors if t.tensor == tensor) for one in own)
        reads = self.priced.each([t.scalar_reads * t.share for t in tensors])[self.tiles.order]
        sizes, step, inner = self._walked
        walks, total = self.walks[tensor], 0.0
        for tile, spans in enumerate(walks.brought):
            size, passes = int(sizes[tile]), int(inner[tile])
            new = sum(
                min(b // passes * step, size) - min(a // passes * step, size) for a, b in spans
            )
            total += float(reads[tile]) * new / size
        return total

    @cached_property
    def _walked(self) -> tuple[IntArray, int, IntArray]:
        """The outermost loop in time: of each tile the extent of its rank, the extent in a pass of
        it, and of each tile the passes of the loops inside.
        """
        ranks = self.view.walked
        if not ranks:
            return np.ones(self.tiles.count, np.int64), 1, self._passes[self.tiles.order]
        first, sizes = ranks[0], self._sizes
        step = self.view.steps[first]
        inner = self._passes // -(-sizes[first] // step)
        return sizes[first][self.tiles.order], step, inner[self.tiles.order]

    @cached_property
    def _sizes(self) -> dict[str, IntArray]:
        """Extents of every rank in each class of tiles; int64[classes]."""
        full = {**self.workload.rank_sizes, **self.view.full}
        each = [{**full, **dict(kind.sizes)} for kind in self.tiles.classes]
        return {rank: np.array([own[rank] for own in each], np.int64) for rank in full}

    @cached_property
    def _passes(self) -> IntArray:
        """Passes in time of a tile of each class; int64[classes]."""
        if len(self.group.einsums) > 1:
            found: IntArray = self.priced.each([c.terms.passes for c in self.priced.tiles])
            return found
        steps = self.view.steps
        each = [-(-self._sizes[rank] // steps[rank]) for rank in {*self.view.walked}]
        return np.prod([np.ones_like(self.priced.counts), *each], axis=0)

    @cached_property
    def walks(self) -> dict[str, Walks]:
        """The cores' walks through each tensor that has a window."""
        if not self.group.windows:
            return {}
        drift, order = core_drift(self.platform.matrix), self.tiles.order
        assert drift is not None
        lists = self.starts if self.group.order == "lists" else None
        passes = self._passes[order]
        starts = begun(passes, self.at_work, lists)
        apart = [
            own[order] for rank, own in self._sizes.items() if rank not in self.view.walked[:1]
        ]
        found, known = {}, dict[tuple[tuple[str, ...], int], Walks]()
        for tensor, window in self.group.windows:
            ranks = tuple(rank for rank in self.tiles.at if rank in self.tensors[tensor])
            if (ranks, window) not in known:
                own = [self.tiles.at[rank] for rank in ranks]
                parts = distinct_columns(np.stack([np.zeros_like(order), *own, *apart]))[2]
                known[ranks, window] = Walks(
                    starts=starts, passes=passes, parts=parts, window=window, drift=drift
                )
            found[tensor] = known[ranks, window]
        return found

    def window_words(self, tensor: str) -> int:
        """Words of a tensor in its window at one time, with those that come ahead."""
        view = self.view
        sizes = {
            r: min(n, view.steps[r]) for r, n in {**self.workload.rank_sizes, **view.full}.items()
        }
        one = prod(sizes[rank] for rank in self.tensors[tensor])
        share = self.workload.share(tensor, self.platform.dram.name)
        return ceil(one * share * self.walks[tensor].held(self.policy.buffering - 1))

    def words(self, tensor: str) -> float:
        """Words of a tensor, as DRAM and the levels between have it."""
        share = self.workload.share(tensor, self.platform.dram.name)
        return self.workload.tensor_words(tensor) * share

    def outer_loops(self, level: str) -> tuple[Loop, ...]:
        """The loops given out that stand outside a level between."""
        names = [lv.name for lv in self.platform.matrix.levels]
        at = names.index(level)
        return tuple(p for n, loops in self.group.cores if names.index(n) < at for p in loops)

    @cached_property
    def rounds(self) -> Mapping[Round, int]:
        """Rounds of equal tiles, by what they share."""
        every, shared = [*self._at_once()], self.shared_reads
        if not every:
            return {}
        cores = [len(now) for now in every]
        where = np.concatenate(every), np.repeat(np.arange(len(every)), cores)
        each = [self.tiles.distinct(self.tensors[t], *where).tolist() for t in shared]
        distinct = zip(*each, strict=True) if each else repeat((), len(every))
        return Counter(
            Round(cores=n, distinct=tuple(zip(shared, own, strict=True)))
            for n, own in zip(cores, distinct, strict=True)
        )

    def _at_once(self) -> Iterator[IntArray]:
        """Places in the order of the equal tiles that are taken at one time, as long as all are.

        In lists these are the first tiles of all, the second ones, and so on; none where any
        differ.
        """
        total, others = self.tiles.count, np.flatnonzero(self.tiles.order != self.tiles.order[0])
        if self.group.order != "lists":
            whole = int(others[0]) // self.cores * self.cores if len(others) else total
            for first in range(0, whole, self.cores):
                yield np.arange(first, min(first + self.cores, whole))
        elif not len(others):
            lengths = np.diff(self.starts)
            for place in range(int(lengths.max())):
                yield self.starts[:-1][lengths > place] + place

    @cached_property
    def starts(self) -> IntArray:
        """Places in the order where the cores' lists of tiles begin, and the end of the last."""
        units = self.tiles.count // self.tiles.together
        lists = min(self.cores, units)
        numbers = np.arange(lists + 1, dtype=np.int64)
        first = numbers * (units // lists) + np.minimum(numbers, units % lists)
        return self.tiles.together * first

    @cached_property
    def rest(self) -> IntArray:
        """The classes of the tiles after those rounds, in their order."""
        return self.tiles.order[sum(r.cores * n for r, n in self.rounds.items()) :]

    @cached_property
    def results(self) -> tuple[str, ...]:
        """What the group makes."""
        return tuple(self.workload.einsum(n).output.tensor for n in self.group.names)

    @cached_property
    def added(self) -> dict[str, int]:
        """Values that a level outside reads to add what a core sends, by result."""
        found, order = {}, self.tiles.order
        for tensor in merged(self.workload, self.group):
            ranks = self.tensors[tensor]
            sizes = np.prod([np.ones_like(order), *(self._sizes[r][order] for r in ranks)], axis=0)
            own = [at for rank, at in self.tiles.at.items() if rank in ranks]
            first = distinct_columns(np.stack([np.zeros_like(order), *own]))[1]
            joined = self._joined(tensor) * sizes[0]
            found[tensor] = int(sizes.sum() - sizes[first].sum() - joined)
        return found

    @cached_property
    def _arrived(self) -> dict[str, float]:
        """Words of the results of which cores have parts that leave the network outside them."""
        found, order = {}, self.tiles.order
        for tensor in self.added:
            each = self.priced.each([cost.terms.moved[tensor][1] for cost in self.priced.tiles])
            found[tensor] = float(each[order].sum() - self._joined(tensor) * each[order[0]])
        return found

    def _joined(self, tensor: str) -> int:
        """Tiles whose part of a result the network adds to another core's."""
        return self.saved_reads(tensor) if tensor in self.shared_reads else 0

    def _merging(self, level: MemoryLevel, at: Round) -> dict[str, tuple[float, float]]:
        """Words that a level reads, and writes, for one of a result that leaves a core."""
        found, dram = {}, self.platform.dram
        for tensor, values in self.added.items():
            keeper, sent = self.between.get(tensor, dram), self._arrived[tensor]
            cores, once = at.reads(tensor), self.outer_words.get(tensor, 0.0)
            read = values * self.workload.share(tensor, dram.name)
            if level.name == keeper.name:
                found[tensor] = cores * (read + once) / sent, float(cores)
            elif level.name == dram.name:
                found[tensor] = 0.0, cores * once / sent
        return found

    def outside(self, at: Round) -> Outside:
        """Levels outside that serve one of the cores at work."""
        sent = {t: float(at.reads(t)) for t in self.tensors}
        own, dram = self.platform.dram, dict(sent)
        for tensor, words in self.outer_words.items():
            come = self.moved[tensor][0]
            dram[tensor] = 0.0 if tensor in self.results else at.cores * words / come
        sources = [(own, tuple(source_ports(own, dram, merged=self._merging(own, at))))]
        for name, level in {lv.name: lv for lv in self.between.values()}.items():
            here = {t: sent[t] for t, keeper in self.between.items() if keeper.name == name}
            filled = {t: dram[t] for t in here}  # what DRAM sends comes in by the same ports
            more = self._merging(level, at)
            sources.append((level, tuple(source_ports(level, here, filled, more))))
        return Outside.of(*sources, *self.boundary, merges=bool(self.added))

    @cached_property
    def boundary(self) -> tuple[tuple[MemoryLevel, tuple[SourcePort, ...]], ...]:
        """The ports of a core, past which all goes that comes or leaves; none without a limit."""
        level = boundary(self.platform.matrix, self.level.name, self.workload.word_bits)
        if level is None:
            return ()
        shares = self.workload.widths.at(self.platform.dram.name)
        weights = dict.fromkeys(self.tensors, 1.0)
        weights |= stream_weights(self.facts, self.workload.word_bits, shares, self.tensors)
        return ((level, tuple(source_ports(level, weights))),)

    @cached_property
    def _fixed(self) -> Floats:
        """Fixed costs of a tile of each class; float64[classes]."""
        steps = self.priced.each([cost.terms.passes for cost in self.priced.tiles])
        found: Floats = self.facts.tile_cycles + self.facts.step_cycles * steps
        return found

    def latency(self, at: Round, kinds: IntArray) -> Latency:
        """Latency of a tile of each of n classes; float64[n].

        Fixed costs are among what nothing overlaps.
        """
        found = self.priced.latency(self.outside(at), kinds)
        return found._replace(exposed=found.exposed + self._fixed[kinds])

    def timed(self) -> TimedTiles:
        """All tiles, in the group's order."""
        return self._listed() if self.group.order == "lists" else self._as_free()

    def _listed(self) -> TimedTiles:
        """Each core with a list of tiles of its own.

        First inputs and last outputs of a tile stand beside its neighbours in the list, but for the
        first of a list, and for one that waits for its units where the one before waited for words.
        Where tiles are equal all places of the lists share as little as the one that shares least.
        """
        order, starts, shared = self.tiles.order, self.starts[:-1], self.shared_reads
        least = [(t, max(one.reads(t) for one in self.rounds)) for t in shared if self.rounds]
        outside = self.outside(Round(cores=len(starts), distinct=tuple(least)))
        found = self.priced.latency(outside, np.arange(len(self.tiles.classes)))
        waits = np.isin(found.bottleneck, outside.levels)[order]
        alone = np.append(True, waits[:-1] & ~waits[1:])
        alone[starts] = True
        ends = np.where(alone, found.exposed[order], 0.0)
        cycles = (found.cycles + self._fixed)[order] + ends
        return TimedTiles(
            longest=float(np.add.reduceat(cycles, starts).max()),
            busy=float(cycles.sum()),
            cold=float(ends.sum()),
            slack=float(np.add.reduceat(found.slack[order], starts).max()),
            rounds=int(np.diff(self.starts).max()),
            share=added_up(zip(found.bottleneck, self.priced.counts * found.cycles, strict=True)),
        )

    def _as_free(self) -> TimedTiles:
        """Each tile on the core that is free first: rounds of equal ones, then one by one."""
        begin = cold = slack = 0.0
        share: list[tuple[str, float]] = []
        for one, times in self.rounds.items():
            (cycles,), (exposed,), (name,), (wait,) = self.latency(one, self.tiles.order[:1])
            begin += times * (cycles + exposed)
            cold += times * one.cores * exposed
            slack += times * wait
            share.append((name, times * one.cores * (cycles + exposed)))
        kinds, back, counts = np.unique(self.rest, return_inverse=True, return_counts=True)
        found = self.latency(Round(cores=self.at_work), kinds)
        cycles = found.cycles + found.exposed
        share += zip(found.bottleneck, counts * cycles, strict=True)
        loads, taken = given([begin] * self.cores, _runs(cycles[back]))
        return TimedTiles(
            longest=max(loads),
            busy=float(sum(own for _, own in share)),
            cold=float(cold + counts @ found.exposed),
            slack=float(slack + taken * found.slack.max(initial=0.0)),
            rounds=sum(self.rounds.values()) + taken,
            share=added_up(share),
        )


def _runs(cycles: Floats) -> Iterable[tuple[float, int]]:
    """Runs of tiles that take as long as each other: (cycles, how many)."""
    first = np.flatnonzero(np.diff(cycles, prepend=np.nan))
    many = np.diff(first, append=len(cycles))
    return zip(cycles[first].tolist(), many.tolist(), strict=True)


def given(loads: list[float], tiles: Iterable[tuple[float, int]]) -> tuple[list[float], int]:
    """Loads of the cores after some more tiles, and the most tiles that a core was given.

    loads: cycles at which each core is free.
    tiles: (cycles of a tile, how many of them follow each other), in the order given out.
    Of many equal tiles every core takes a number that needs no counting one by one.
    """
    heap, taken = [(float(load), core) for core, load in enumerate(loads)], [0] * len(loads)
    heapq.heapify(heap)
    for cycles, count in tiles:
        left = count
        if cycles > 0 and left > 4 * len(heap):
            spread = max(heap)[0] - heap[0][0]
            sure = left // len(heap) - ceil(spread / cycles) - 1
            if sure > 0:
                heap = [(load + sure * cycles, core) for load, core in heap]
                heapq.heapify(heap)
                taken = [n + sure for n in taken]
                left -= sure * len(heap)
        for _ in range(left):
            load, core = heap[0]
            heapq.heapreplace(heap, (load + cycles, core))
            taken[core] += 1
    return [load for load, _ in sorted(heap, key=lambda one: one[1])], max(taken)


def group_on_cores(
    workload: Workload,
    platform: Platform,
    group: GroupMapping,
    policy: Policy,
    ert: Ert,
    known: KnownTiles | None = None,
) -> GroupOnCores | Infeasible:
    """A group with its tiles and their costs, or why a tile does not fit a core.

    known: costs of tiles that a search of such groups has asked for.

    raises: MappingError where a level between cannot keep what the mapping lets it keep.
    """
    check_between(workload, platform, fusion_level(platform, group).name)
    tiles = given_tiles(workload, platform, group)
    view = CoreView(workload=workload, platform=platform, group=group)
    priced = priced_tiles(view, policy, ert, tiles, [] if known is None else known)
    if isinstance(priced, Infeasible):
        return priced
    found = GroupOnCores(
        view=view,
        policy=policy,
        tiles=tiles,
        priced=priced,
    )
    _check_sums(found)
    over = _between_overflow(found)
    return over if over is not None else found


def _between_overflow(on: GroupOnCores) -> Infeasible | None:
    """The level between DRAM and the cores that cannot hold what it keeps."""
    for tensor, level in on.between.items():
        _check_between(on, tensor, level)
    for level in on.levels_between:
        flying = on.outer_loops(level.name), on.tiles.count, on.at_work, on.policy.buffering
        here = {t for t, keeper in on.between.items() if keeper.name == level.name}
        held = {t: words_held(on.words(t), on.tensors[t], *flying) for t in here - on.walks.keys()}
        held |= {t: on.window_words(t) for t in here & on.walks.keys()}
        terms = tuple((t, held[t]) for t in on.between if t in here)
        use = BufferUse(level=level.name, capacity_words=level.usable_words, terms=terms)
        hint = f"let a tensor bypass {level.name}, through a window, or more loops stand outside it"
        overflow = use.overflow(" + ".join(on.group.names), hint)
        if overflow is not None:
            return overflow
    return None


def _check_sums(on: GroupOnCores) -> None:
    """Raise where nothing is known to add up what cores send of one result."""
    for tensor, values in on.added.items():
        if values and not sums_at(on.platform.matrix):
            where = f"{' + '.join(on.group.names)}: {tensor}"
            change = f"{on.platform.matrix.where}: give core_sums_at, with its source"
            condition = "a level, or a network and whole rounds, to add up what cores send"
            raise MappingError(expected(where, condition, "none", change))


def _check_between(on: GroupOnCores, tensor: str, level: MemoryLevel) -> None:
    where = f"{' + '.join(on.group.names)}: {tensor} at {level.name}"
    lacks = [p.rank for p in on.outer_loops(level.name) if p.rank not in on.tensors[tensor]]
    if tensor in on.results and (lacks or tensor not in on.added):
        condition = "an input of the group, or a result of which cores have parts, all inside it"
        raise MappingError(expected(where, condition, "another output", "let it bypass"))
    if tensor in dict(on.group.windows):
        _check_window(on, tensor, where)
        return
    outside = names_outside(on.platform.matrix, level.name)
    for nest in on.group.einsums:
        for slot, loops in nest.loops:
            ranks = {p.rank for p in loops if slot.node in outside}
            if tensor in nest.kept_at(level.name) and ranks & set(on.tensors[tensor]):
                condition = f"loops in time over its ranks at {level.name} or further in"
                raise MappingError(expected(where, condition, f"one at {slot.node}"))
    loops = on.outer_loops(level.name) if tensor in on.group.resident else ()
    if any(p.rank in on.tensors[tensor] for p in loops):
        condition = "all of it there at once, as it is resident"
        raise MappingError(expected(where, condition, f"parts, by {loops}"))


def _check_window(on: GroupOnCores, tensor: str, where: str) -> None:
    """Raise where cores cannot share a window of a tensor."""
    matrix = on.platform.matrix
    if core_drift(matrix) is None:
        change = f"{matrix.where}: give it, with its source, or let the tensor bypass the level"
        raise MappingError(expected(f"{where}: window", "core_drift_passes", "none", change))
    if tensor in on.group.resident:
        raise MappingError(expected(where, "a window or all of it, resident", "both"))
    rank = next(iter(on.view.walked), "")
    if rank not in on.tensors[tensor] and len(np.unique(on._passes)) > 1:
        condition = f"{rank} among its ranks, in which tiles are of unlike length"
        raise MappingError(expected(f"{where}: window", condition, on.tensors[tensor]))
