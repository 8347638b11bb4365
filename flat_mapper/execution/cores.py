"""A group on many cores, run core by core: every tile on real numbers, on a core of its own.

Tiles go to cores in their order, each to the core that is free first. Which words come from where
is told tile by tile, from the words that the tiles touch.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod

import numpy as np

from flat_mapper.arch.cores import core_facts, multicasts
from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
from flat_mapper.execution.clock import port_cycles, timeline
from flat_mapper.execution.group import (
    GroupRun,
    Passed,
    Port,
    Words,
    chained,
    levels_of,
    more,
    tensor_of,
)
from flat_mapper.execution.link import FlatNest, Place, flat_nest, new_place
from flat_mapper.execution.real_numbers import Values
from flat_mapper.execution.result import Alive, ExecutedGroup, Moved, TurnTime
from flat_mapper.execution.shared import GroupFacts
from flat_mapper.execution.turn import DRAM, may_see
from flat_mapper.mapping.resize import resized_group
from flat_mapper.mapping.values import (
    EinsumMapping,
    GroupMapping,
    Loop,
    Policy,
    Slot,
    rank_extent,
)
from flat_mapper.workload.graph import Workload

Region = tuple[tuple[int, int], ...]  # of a tensor: (first, extent) along each of its ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """Piece that one core does at a time: (first, extent) along each rank."""

    parts: Mapping[str, tuple[int, int]]

    @property
    def sizes(self) -> dict[str, int]:
        """The extents."""
        return {rank: extent for rank, (_, extent) in self.parts.items()}

    def region(self, ranks: tuple[str, ...]) -> Region:
        """The part of a tensor with these ranks."""
        return tuple(self.parts[r] for r in ranks)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreTiles:
    """The tiles of a group. outside: levels outside the cores."""

    workload: Workload
    group: GroupMapping
    outside: frozenset[str]

    @property
    def _loops(self) -> list[Loop]:
        return [p for _, at in self.group.cores for p in at]

    def tiles(self) -> Iterator[Tile]:
        """The tiles in the order in which they are given out."""
        sizes, loops = self.workload.rank_sizes, self._loops
        axes = []
        for loop in loops:
            tile = self.extent(loop.rank)
            along = [
                (i, self._parts(loop.rank, i * tile, min(tile, sizes[loop.rank] - i * tile)))
                for i in range(loop.factor)
            ]
            if self.group.order == "largest":
                along.sort(key=lambda one: -prod(n for _, n in one[1].values()))
            axes.append(along)
        if self._pairs():
            last = axes[-1]
            axes[-1] = [last[i // 2 if i % 2 == 0 else -1 - i // 2] for i in range(len(last))]
        for chosen in product(*axes):
            parts = {rank: (0, size) for rank, size in sizes.items()}
            for _, own in chosen:
                parts |= own
            yield Tile(parts=parts)

    def _pairs(self) -> bool:
        """True if tiles of queries go to cores by twos, from the front and from the back."""
        loops, pair = self._loops, self.workload.roles.masked
        if self.group.order != "lists" or self.workload.mask is None or pair is None:
            return False
        cut = {p.rank for p in self.group.shared if p.factor > 1}
        queries, keys = pair
        return loops[-1].rank == queries and keys in cut and loops[-1].factor % 2 == 0

    def lists(self, cores: int) -> list[range]:
        """The numbers of the tiles of every core at work, where each has its own from the start."""
        twos = 1 + self._pairs()
        units = prod(p.factor for p in self._loops) // twos
        lists = min(cores, units)
        found, first = [], 0
        for core in range(lists):
            many = twos * (units // lists + (core < units % lists))
            found.append(range(first, first + many))
            first += many
        return found

    def extent(self, rank: str) -> int:
        """The extent of a rank in the nests."""
        return max(rank_extent(nest, rank) for nest in self.group.einsums)

    def _parts(self, rank: str, first: int, extent: int) -> dict[str, tuple[int, int]]:
        """A tile's part of a rank, and of the keys that it sees where these are cut."""
        found = {rank: (first, extent)}
        mask, pair = self.workload.mask, self.workload.roles.masked
        cut = {p.rank for p in self.group.shared if p.factor > 1}
        if mask is None or pair is None or rank != pair[0] or pair[1] not in cut:
            return found
        keys, tile = self.workload.rank_sizes[pair[1]], self.passed(pair[1])
        position = keys * mask.parts - self.workload.rank_sizes[rank] + first
        queries = np.arange(position, position + extent)[:, None]
        visible = may_see(mask, queries, np.arange(keys)).any(axis=0)
        seen = [start for start in range(0, keys, tile) if visible[start : start + tile].any()]
        last = min(seen[-1] + tile, keys)
        return found | {pair[1]: (seen[0], last - seen[0])}

    def passed(self, rank: str) -> int:
        """The extent of a rank in one pass of the shared loops in time."""
        return max(
            prod(
                p.factor
                for s, at in nest.loops
                if s.node not in self.outside
                for p in at
                if p.rank == rank
            )
            for nest in self.group.einsums
            if rank not in self.workload.einsum(nest.einsum).each
        )


@dataclass
class CoresRun:
    """A group on the cores of a chip."""

    workload: Workload
    platform: Platform
    group: GroupMapping
    policy: Policy
    dram: Mapping[str, Place]
    runs: list[GroupRun] = field(default_factory=list)

    def __post_init__(self) -> None:
        arch = self.platform.matrix
        self.level = arch.level(self.group.level or arch.levels[1].name)
        outside = arch.nodes[: arch.nodes.index(self.level)]
        self.outside = [n for n in outside if isinstance(n, MemoryLevel)]
        self.cores = prod(n.fanout_x * n.fanout_y for n in outside if isinstance(n, Fanout))
        names = frozenset(level.name for level in self.outside)
        self.given = CoreTiles(workload=self.workload, group=self.group, outside=names)
        self.tiles = list(self.given.tiles())
        self.at_work = min(self.cores, len(self.tiles))

    def run(self) -> None:
        """Every tile."""
        for tile in self.tiles:
            self.runs.append(self._run(tile))

    def _run(self, tile: Tile) -> GroupRun:
        workload, core = self.workload, self._core_platform()
        group = replace(
            self.group, einsums=tuple(map(self._core_nest, self.group.einsums)), cores=(), level=""
        )
        whole = {r: max(n, self.given.extent(r)) for r, n in workload.rank_sizes.items()}
        full = replace(workload, rank_sizes=whole, mask=None)
        for rank, extent in tile.sizes.items():
            largest = self.given.extent(rank) if self._is_given(rank) else whole[rank]
            if extent < largest:
                group = resized_group(group, full, rank, extent, self.given.passed(rank))
        hidden = None
        pair = workload.roles.masked
        if workload.mask is not None and pair is not None:
            parts = workload.mask.parts
            before = workload.rank_sizes[pair[1]] * parts - workload.rank_sizes[pair[0]]
            if self._is_given(pair[0]):
                behind = before + tile.parts[pair[0]][0] - tile.parts[pair[1]][0] * parts
                hidden = workload.mask, behind
        kept = None if hidden else workload.mask
        small = replace(workload, rank_sizes=tile.sizes, mask=kept, repeat=1)
        nests: dict[str, FlatNest] = {}
        for nest in group.einsums:
            einsum = small.einsum(nest.einsum)
            nests[nest.einsum] = flat_nest(core.path(einsum.unit), einsum, nest, small.rank_sizes)
        facts = GroupFacts(workload=small, group=group, nests=nests, hidden=hidden)
        places = self._brought(facts, tile)
        run = GroupRun(facts=facts, platform=core, policy=self.policy, dram=places)
        run.run()
        self._sent(run, tile)
        return run

    def _is_given(self, rank: str) -> bool:
        return any(p.rank == rank for _, at in self.group.cores for p in at)

    def _core_platform(self) -> Platform:
        def core(arch: Architecture) -> Architecture:
            at = arch.nodes.index(arch.level(self.level.name))
            return replace(arch, nodes=(arch.levels[0], *arch.nodes[at:]))

        vector = self.platform.vector
        return replace(
            self.platform,
            matrix=core(self.platform.matrix),
            vector=core(vector) if vector is not None else None,
        )

    def _core_nest(self, nest: EinsumMapping) -> EinsumMapping:
        """The nest with all its loops outside the fusion level at DRAM."""
        names = [lv.name for lv in self.outside]
        time = [p for n in names for s, at in nest.loops if s.node == n for p in at]
        kept = dict.fromkeys(t for n, tensors in nest.keep if n in names for t in tensors)
        return replace(
            nest,
            loops=(
                (Slot(names[0], "temporal"), tuple(time)),
                *((s, at) for s, at in nest.loops if s.node not in names),
            ),
            keep=((names[0], tuple(kept)), *((n, at) for n, at in nest.keep if n not in names)),
        )

    def _part(self, place: Place, region: Region) -> Values:
        """A part of a tensor in its place."""
        shape, below = [], place.size
        for stride in (place.strides[r] for r in self.workload.tensor_ranks[place.tensors[0]]):
            shape.append(below // stride)
            below = stride
        return place.data.reshape(shape)[tuple(slice(a, a + n) for a, n in region)]

    def _brought(self, facts: GroupFacts, tile: Tile) -> dict[str, Place]:
        """The tile's part of every tensor, where the core finds it."""
        found = {}
        for tensor in dict.fromkeys(a.tensor for e in facts.einsums for a in e.accesses):
            ranks = self.workload.tensor_ranks[tensor]
            using = [n for n in facts.nests.values() if tensor in _tensors(n)]
            extents = {r: max(n.extent(r, 0) for n in using) for r in ranks}
            found[tensor] = place = new_place(tensor, extents, 1)
            if tensor not in self.dram:
                continue
            region = tile.region(ranks)
            own = tuple((0, n) for _, n in region)
            self._part(place, own)[...] = self._part(self.dram[tensor], region)
        return found

    def _sent(self, run: GroupRun, tile: Tile) -> None:
        """The tile's results put where they belong in the whole."""
        for one in run.runs.values():
            tensor = tensor_of(one)
            if DRAM not in one.nest.keepers(tensor):
                continue
            region = tile.region(self.workload.tensor_ranks[tensor])
            own = tuple((0, n) for _, n in region)
            self._part(self.dram[tensor], region)[...] = self._part(run.dram[tensor], own)

    @property
    def in_rounds(self) -> int:
        """Tiles at the head of the order that cores take in rounds: all equal."""
        first = self.tiles[0].sizes
        equal = next((n for n, t in enumerate(self.tiles) if t.sizes != first), len(self.tiles))
        if self.group.order == "lists":
            return equal if equal == len(self.tiles) else 0
        return equal if equal == len(self.tiles) else equal // self.cores * self.cores

    def _round(self, number: int) -> Sequence[int]:
        """The tiles that run at the same time as one, as far as it is known, in their order."""
        if self.group.order == "lists":
            lists = self.given.lists(self.cores)
            place = next(number - own[0] for own in lists if number in own)
            return [own[place] for own in lists if place < len(own)]
        first = number // self.cores * self.cores
        return range(first, min(first + self.cores, self.in_rounds))

    def _multicast(self, tensor: str) -> bool:
        arch = self.platform.matrix
        made = {self.workload.einsum(n).output.tensor for n in self.group.names}
        return tensor not in made and multicasts(arch, self.level, tensor)

    def served(self, tensor: str, number: int) -> bool:
        """True if another core's read of the same words in the same round serves a tile too."""
        if number >= self.in_rounds or not self._multicast(tensor):
            return False
        ranks, mine = self.workload.tensor_ranks[tensor], self.tiles[number]
        before = [n for n in self._round(number) if n < number]
        return any(self.tiles[n].region(ranks) == mine.region(ranks) for n in before)

    def keeper(self, tensor: str) -> MemoryLevel:
        """The level that the cores find a tensor at."""
        found = self.outside[0]
        for level in self.outside[1:]:
            if any(tensor in nest.kept_at(level.name) for nest in self.group.einsums):
                found = level
        return found

    def passed_on(self, tensor: str) -> int:
        """Values that DRAM sends to the level between that keeps a tensor.

        A loop that stands there or further in sees all of the tensor's part at once.
        """
        if tensor in self.group.resident:
            return 0
        names = [lv.name for lv in self.platform.matrix.levels]
        at = names.index(self.keeper(tensor).name)
        loops = [p for n, ls in self.group.cores if names.index(n) < at for p in ls]
        ranks, before, sent = self.workload.tensor_ranks[tensor], None, 0
        for index in product(*(range(p.factor) for p in loops)):
            here = {p.rank: i for p, i in zip(loops, index, strict=True) if p.rank in ranks}
            if here != before:
                words = 1
                for rank in ranks:
                    size = self.workload.rank_sizes[rank]
                    tile = self.given.extent(rank) if rank in here else size
                    words *= min(tile, size - here.get(rank, 0) * tile)
                sent += words
            before = here
        return sent

    def counts(self) -> list[Moved]:
        """Words that all cores moved."""
        found: dict[tuple[str, str, str], list[int]] = {}
        for number, run in enumerate(self.runs):
            for name, one in run.runs.items():
                arch = one.nest.arch
                for (level, tensor), c in one.counters.items():
                    outer = level == DRAM
                    where = self.keeper(tensor).name if outer else arch.levels[level].name
                    at = found.setdefault((name, where, tensor), [0, 0, 0])
                    at[0] += 0 if outer and self.served(tensor, number) else c.reads
                    at[1] += c.fills
                    at[2] += c.updates
        dram, sent_once = self.outside[0].name, set[str]()
        for name, where, tensor in list(found):
            if where in {lv.name for lv in self.outside[1:]}:
                first = tensor not in sent_once  # one copy there serves all Einsums
                sent_once.add(tensor)
                sent = self.passed_on(tensor) if first else 0
                found[name, where, tensor][1] += sent
                found[name, dram, tensor] = [sent, 0, 0]
        return [
            Moved(einsum=n, level=lv, tensor=t, instances=1, reads=r, fills=f, updates=u)
            for (n, lv, t), (r, f, u) in found.items()
        ]

    def _ports(self, number: int) -> tuple[Port, ...]:
        """Levels outside that serve a tile's core, in equal parts for all cores at work."""
        together = self._round(number) if number < self.in_rounds else range(self.at_work)
        cores = float(len(together))
        dram: dict[str, float] = {}
        sent: dict[str, float] = {}
        for tensor in {t for r in self.runs for one in r.runs.values() for t in _tensors(one.nest)}:
            ranks = self.workload.tensor_ranks[tensor]
            sent[tensor] = cores
            if number < self.in_rounds and self._multicast(tensor):
                sent[tensor] = float(len({self.tiles[n].region(ranks) for n in together}))
            dram[tensor] = sent[tensor]
            if self.keeper(tensor) is not self.outside[0]:
                dram[tensor] = cores * self.passed_on(tensor) / self._reads(tensor)
        ports = [Port(level=self.outside[0], weights=dram)]
        for level in self.outside[1:]:
            kept = {t: w for t, w in sent.items() if self.keeper(t) is level}
            if kept:
                come = {t: dram[t] for t in kept}
                ports.append(Port(level=level, weights=kept, other=0.0, fills=come))
        return (*ports, *self._own_ports(sent))

    def _own_ports(self, tensors: Iterable[str]) -> Iterator[Port]:
        """The ports at the boundary of the core, past which all goes that comes or leaves."""
        facts, bits = core_facts(self.platform.matrix), self.workload.word_bits
        arch = self.platform.matrix
        fused_at = arch.level(self.group.level or arch.levels[1].name)
        nodes = arch.nodes[: arch.nodes.index(fused_at)]
        if not any(isinstance(node, Fanout) for node in nodes):
            return  # fused outside the cores
        ways = facts.read_bytes_per_cycle, facts.write_bytes_per_cycle, facts.stream_bytes_per_cycle
        read, write, both = (None if rate is None else 8 * rate / bits for rate in ways)
        if any(rate is not None for rate in (read, write, both)):
            level = replace(
                self.outside[0],
                name="port of a core",
                read_words_per_cycle=read,
                write_words_per_cycle=write,
                shared_words_per_cycle=both,
            )
            yield Port(level=level, weights=self._stream_weights(tensors))

    def _stream_weights(self, tensors: Iterable[str]) -> dict[str, float]:
        """Words that take a core's stream as long as a word and its share of a value."""
        facts = core_facts(self.platform.matrix)
        if not facts.stream_bytes_per_cycle or not facts.stream_value_cycles:
            return {}
        bits = {t: self.workload.bits(t, self.outside[0].name) for t in tensors}
        bare = {t: n / 8 / facts.stream_bytes_per_cycle for t, n in bits.items()}
        return {t: (cycles + facts.stream_value_cycles) / cycles for t, cycles in bare.items()}

    def _reads(self, tensor: str) -> int:
        """Values that all tiles read from outside, each for itself."""
        return sum(
            c.reads
            for run in self.runs
            for one in run.runs.values()
            for (level, name), c in one.counters.items()
            if level == DRAM and name == tensor
        )

    def executed(self) -> ExecutedGroup:
        """When the last core is done.

        Where each core has a list, its tiles are one run, with one core's buffers, and all places
        of the lists share as little as the one that shares least.
        """
        facts = core_facts(self.platform.matrix, self.group.kernel)
        jobs = [(run, self._ports(n), 1) for n, run in enumerate(self.runs)]
        if self.group.order == "lists":
            lists = self.given.lists(self.cores)
            least = max(
                map(self._ports, lists[0]), key=lambda at: sum(sum(p.weights.values()) for p in at)
            )
            jobs = [(chained([self.runs[n] for n in own]), least, len(own)) for own in lists]
        free = [(0.0, core) for core in range(self.cores)]
        last, passes = 0.0, 0
        turns: tuple[TurnTime, ...] = ()
        for run, ports, tiles in jobs:
            run.outside = ports
            cycles, own_turns = timeline(run)
            steps = run.turns[-1].pass_number + 1
            passes += steps
            cycles += facts.tile_cycles * tiles + facts.step_cycles * steps
            start, core = heapq.heappop(free)
            heapq.heappush(free, (start + cycles, core))
            last = max(last, start + cycles)
            turns = turns or own_turns
        launch = facts.launch_seconds / self.platform.matrix.cycle_seconds
        cycles = last * facts.factor + launch
        if facts.factor < 1:  # which makes no port faster
            cycles = max(cycles, *self._port_cycles())
        return ExecutedGroup(
            names=self.group.names,
            schedule=self.group.schedule,
            passes=passes,
            cycles=cycles,
            turns=turns,
            alive=self._alive(),
        )

    def _port_cycles(self) -> Iterator[float]:
        """Cycles of every port: outside for all words, inside for an equal part for each core."""
        words: dict[str, Passed] = {}
        for one in self.counts():
            share = self.workload.share(one.tensor, one.level)
            at = words.get(one.level, (0.0, 0.0, 0.0))
            words[one.level] = more(at, (one.reads, one.updates, one.fills), share)
        for level in self.outside:
            yield port_cycles(level, words.get(level.name, (0.0, 0.0, 0.0)))
        inside: dict[str, float] = {}
        for run in self.runs:
            own: dict[str, Passed] = {}
            crossed: dict[str, Words] = {}
            for name, passed in (p for log in run.logs for p in log.ports.items()):
                own[name] = more(own.get(name, (0.0, 0.0, 0.0)), passed)
            counters = (p for one in run.runs.values() for p in one.counters.items())
            for (number, tensor), c in counters:
                if number == DRAM:
                    share = self.workload.share(tensor, self.outside[0].name)
                    read, written = crossed.get(tensor, (0.0, 0.0))
                    crossed[tensor] = read + share * c.reads, written + share * c.updates
            levels = levels_of(run.platform)
            found = {name: port_cycles(levels[name], passed) for name, passed in own.items()}
            for port in self._own_ports(crossed):
                found[port.level.name] = port_cycles(port.level, port.moved(crossed))
            for name, cycles in found.items():
                inside[name] = inside.get(name, 0.0) + cycles / self.at_work
        yield from inside.values()

    def _alive(self) -> tuple[Alive, ...]:
        """The most words alive at each level of a core."""
        worst: dict[str, Alive] = {}
        for run in self.runs:
            for alive in run.alive():
                if alive.level not in worst or alive.words > worst[alive.level].words:
                    worst[alive.level] = alive
        return tuple(worst.values())

    def steps(self, name: str, each: float = 1) -> float:
        """Steps of an Einsum's compute units, of `each`, as a whole share of each core at work."""
        return -(-sum(run.runs[name].steps for run in self.runs) * each // self.at_work)


def _tensors(nest: FlatNest) -> tuple[str, ...]:
    return tuple(a.tensor for a in nest.einsum.accesses)


def steps_of(workload: Workload, platform: Platform, group: GroupMapping) -> int:
    """Temporal steps of a group in all its tiles, at most."""
    tiles = prod(p.factor for _, at in group.cores for p in at)
    names = {n.name for n in platform.matrix.nodes if isinstance(n, Fanout)}
    names |= {
        n.name for n in (platform.vector.nodes if platform.vector else ()) if isinstance(n, Fanout)
    }
    return tiles * sum(
        prod(p.factor for s, at in nest.loops if s.node not in names for p in at)
        for nest in group.einsums
    )
