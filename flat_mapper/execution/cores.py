"""A group on the cores of a chip, run core by core: every tile on real numbers, on one core.

Where nothing is given out there is one core, and one tile: all of it. Tiles go to cores in their
order, each to the core that is free first. Which words come from where is told tile by tile, from
the words that the tiles touch.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, product
from math import prod

import numpy as np

from flat_mapper.arch.cores import CoreFacts, boundary, core_facts, multicasts
from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
from flat_mapper.execution.clock import cycles_at_levels, cycles_at_ports, group_timeline
from flat_mapper.execution.free import free_nest
from flat_mapper.execution.group import GroupRun, OutsidePort, Passed, chained, more
from flat_mapper.execution.link import DRAM, FlatNest, Place, flat_nest
from flat_mapper.execution.result import AliveWords, ExecutedGroup, MovedValues, TurnTime
from flat_mapper.execution.shared import GroupFacts
from flat_mapper.execution.turn import may_see
from flat_mapper.mapping.resize import resized_group
from flat_mapper.mapping.values import EinsumMapping, GroupMapping, Policy, Slot, largest_extent
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload

_Tile = Mapping[str, tuple[int, int]]  # what one core does at a time: by rank (first, extent)
_Moved = tuple[str, str, str]  # Einsum, level and tensor whose words move


@dataclass
class CoresRun:
    """A group on the cores of a chip.

    order: its Einsums in execution order, with those that a free softmax leaves out of it.
    """

    workload: Workload
    platform: Platform
    group: GroupMapping
    policy: Policy
    dram: Mapping[str, Place]
    order: Sequence[str]

    def __post_init__(self) -> None:
        group, arch = self.group, self.platform.matrix
        self.level = arch.level(group.level or arch.levels[1].name)
        outside = arch.outside(self.level.name)
        self.outside = [n for n in outside if isinstance(n, MemoryLevel)]
        self.core, self.nests, self.cores = self.platform, group.einsums, 1
        if group.on_cores:
            self.core = self.platform.changed(self._core)
            self.nests = tuple(map(self._core_nest, group.einsums))
            self.cores = prod(n.copies for n in outside if isinstance(n, Fanout))
        # The ranks of queries and keys under a mask, where the keys are cut: tiles see not all.
        pair = self.workload.roles.masked if self.workload.mask else None
        self.masked = pair if pair and pair[1] in group.cut else None
        self.parted = parted(self.workload, group)
        self.added, self.held = dict[str, int](), dict[str, np.ndarray]()  # values, and where
        self.tiles = list(self._in_order())
        self.at_work = min(self.cores, len(self.tiles))
        self.in_rounds = self._equal_tiles()

    def _equal_tiles(self) -> int:
        """Tiles at the head of the order that cores take in rounds: all equal."""
        sizes = [[extent for _, extent in tile.values()] for tile in self.tiles]
        equal = next((n for n, own in enumerate(sizes) if own != sizes[0]), len(sizes))
        if equal == len(sizes):
            return equal
        return 0 if self.group.order == "lists" else equal // self.cores * self.cores

    def _in_order(self) -> Iterator[_Tile]:
        """The tiles in the order in which they are given out."""
        sizes, loops = self.workload.rank_sizes, self.group.given_out
        axes = []
        for loop in loops:
            tile = largest_extent(self.group, loop.rank)
            along = [
                self._parts(loop.rank, i * tile, min(tile, sizes[loop.rank] - i * tile))
                for i in range(loop.factor)
            ]
            if self.group.order == "largest":
                along.sort(key=lambda parts: -prod(n for _, n in parts.values()))
            axes.append(along)
        if self._pairs():
            last = axes[-1]
            axes[-1] = [last[i // 2 if i % 2 == 0 else -1 - i // 2] for i in range(len(last))]
        for chosen in product(*axes):
            parts = {rank: (0, size) for rank, size in sizes.items()}
            for own in chosen:
                parts |= own
            yield parts

    def _pairs(self) -> bool:
        """True if tiles of queries go to cores by twos, from the front and from the back."""
        if self.group.order != "lists" or not self.masked:
            return False
        last = self.group.given_out[-1]
        return last.rank == self.masked[0] and last.factor % 2 == 0

    def lists(self) -> list[range]:
        """The numbers of the tiles of every core at work, where each has its own from the start."""
        twos = 1 + self._pairs()
        units = np.arange(prod(p.factor for p in self.group.given_out) // twos)
        every = np.array_split(units, min(self.cores, len(units)))
        return [range(twos * own[0], twos * (own[-1] + 1)) for own in every]

    def _parts(self, rank: str, first: int, extent: int) -> dict[str, tuple[int, int]]:
        """A tile's part of a rank, and of the keys that it sees where these are cut."""
        found, mask = {rank: (first, extent)}, self.workload.mask
        if mask is None or not self.masked or rank != self.masked[0]:
            return found
        name = self.masked[1]
        keys, tile = self.workload.rank_sizes[name], self.passed(name)
        position = keys * mask.parts - self.workload.rank_sizes[rank] + first
        queries = np.arange(position, position + extent)[:, None]
        visible = may_see(mask, queries, np.arange(keys)).any(axis=0)
        seen = [start for start in range(0, keys, tile) if visible[start : start + tile].any()]
        last = min(seen[-1] + tile, keys)
        return found | {name: (seen[0], last - seen[0])}

    def passed(self, rank: str) -> int:
        """The extent of a rank in one pass of the shared loops in time."""
        outside = [level.name for level in self.outside]
        nests = [m for m in self.group.einsums if rank not in self.workload.einsum(m.einsum).each]
        inside = ([p for s, p in m.placed if s.node not in outside] for m in nests)
        return max(prod(p.factor for p in loops if p.rank == rank) for loops in inside)

    @cached_property
    def runs(self) -> list[GroupRun]:
        """The tiles' runs, in the order of the tiles."""
        return [self._run(number, tile) for number, tile in enumerate(self.tiles)]

    def _run(self, number: int, tile: _Tile) -> GroupRun:
        # Of a result that several tiles have parts of, each has a part of its own, added up after.
        parts = {
            tensor: replace(place, data=np.full_like(place.data, np.nan))
            for tensor, place in self.dram.items()
            if tensor in self.parted
        }
        places = {t: place.beginning(tile) for t, place in {**self.dram, **parts}.items()}
        facts = self.facts(tile)
        run = GroupRun(facts=facts, platform=self.core, policy=self.policy, dram=places).run()
        for tensor, part in parts.items():
            whole = self.dram[tensor].data
            made, there = ~np.isnan(part.data), tensor in self.added
            before = made & (self.held[tensor] if there else np.zeros_like(made))
            whole[made & ~before] = part.data[made & ~before]
            whole[before] += part.data[before]
            self.held[tensor] = made | (self.held[tensor] if there else False)
            count = 0 if self.served(tensor, number) else int(before.sum())
            self.added[tensor] = self.added.get(tensor, 0) + count
        return run

    def facts(self, tile: _Tile) -> GroupFacts:
        """Facts of the group on the core that has a tile."""
        workload, given = self.workload, {p.rank for p in self.group.given_out}
        group = replace(self.group, einsums=self.nests, cores=(), level="")
        largest = {r: largest_extent(group, r) for r in given}
        full = replace(workload, rank_sizes={**workload.rank_sizes, **largest}, mask=None)
        sizes = {rank: extent for rank, (_, extent) in tile.items()}
        for rank, extent in sizes.items():
            if extent < full.rank_sizes[rank]:
                group = resized_group(group, full, rank, extent, self.passed(rank))
        mask, hidden, pair = workload.mask, None, workload.roles.masked
        if mask is not None and pair is not None:
            before = workload.rank_sizes[pair[1]] * mask.parts - workload.rank_sizes[pair[0]]
            hidden = mask, before + tile[pair[0]][0] - tile[pair[1]][0] * mask.parts
        if pair and pair[0] in given:
            mask = None  # no pass of such a tile is left out
        small = replace(workload, rank_sizes=sizes, mask=mask, repeat=1)
        nests = {e.name: self._flat(small, group, e) for e in small.named(self.order)}
        return GroupFacts(workload=small, group=group, nests=nests, hidden=hidden)

    def _flat(self, workload: Workload, group: GroupMapping, einsum: Einsum) -> FlatNest:
        """The nest of an Einsum on one core, mapped or left out as free."""
        nest = next((m for m in group.einsums if m.einsum == einsum.name), None)
        if nest is None:
            return free_nest(workload, self.core, einsum, group)
        return flat_nest(self.core.path(einsum.unit), einsum, nest, workload.rank_sizes)

    def _core(self, arch: Architecture) -> Architecture:
        at = arch.nodes.index(arch.level(self.level.name))
        return replace(arch, nodes=(arch.levels[0], *arch.nodes[at:]))

    def _core_nest(self, nest: EinsumMapping) -> EinsumMapping:
        """The nest with all its loops outside the fusion level at DRAM."""
        names = [lv.name for lv in self.outside]
        time = [p for s, p in nest.placed if s.node in names]
        kept = dict.fromkeys(chain.from_iterable(at for n, at in nest.keep if n in names))
        return replace(
            nest,
            loops=(
                (Slot(names[0], "temporal"), tuple(time)),
                *((s, at) for s, at in nest.loops if s.node not in names),
            ),
            keep=((names[0], tuple(kept)), *((n, at) for n, at in nest.keep if n not in names)),
        )

    def _round(self, number: int) -> Sequence[int]:
        """The tiles that run at the same time as one, as far as it is known, in their order."""
        if self.group.order == "lists":
            lists = self.lists()
            place = next(number - own[0] for own in lists if number in own)
            return [own[place] for own in lists if place < len(own)]
        first = number // self.cores * self.cores
        return range(first, min(first + self.cores, self.in_rounds))

    def _multicast(self, tensor: str) -> bool:
        arch = self.platform.matrix
        made = self.workload.made_by(self.group.names) - {*self.parted}
        return tensor not in made and multicasts(arch, self.level, tensor)

    def served(self, tensor: str, number: int) -> bool:
        """True if another core's read of the same words in the same round serves a tile too.

        Of a result that several have parts of: if the network adds its own to another one's.
        """
        if number >= self.in_rounds or not self._multicast(tensor):
            return False
        before = [n for n in self._round(number) if n < number]
        return any(self._region(tensor, n) == self._region(tensor, number) for n in before)

    def _region(self, tensor: str, number: int) -> tuple[tuple[int, int], ...]:
        """The part of a tensor that a tile has."""
        return tuple(self.tiles[number][r] for r in self.workload.tensor_ranks[tensor])

    def keeper(self, tensor: str) -> MemoryLevel:
        """The level that the cores find a tensor at."""
        kept = {name for m in self.group.einsums for name, some in m.keep if tensor in some}
        return [self.outside[0], *(level for level in self.outside if level.name in kept)][-1]

    def passed_on(self, tensor: str) -> int:
        """Values that DRAM sends to the level between that keeps a tensor.

        A loop that stands there or further in sees all of the tensor's part at once.
        """
        if tensor in self.group.resident:
            return 0
        if tensor in self._shared:
            return self._shared[tensor]
        names = [lv.name for lv in self.platform.matrix.levels]
        at = names.index(self.keeper(tensor).name)
        loops = [p for n, ls in self.group.cores if names.index(n) < at for p in ls]
        ranks, before, sent = self.workload.tensor_ranks[tensor], None, 0
        for index in product(*(range(p.factor) for p in loops)):
            here = {p.rank: i for p, i in zip(loops, index, strict=True) if p.rank in ranks}
            if here != before:
                sent += prod(self._part(rank, here.get(rank)) for rank in ranks)
            before = here
        return sent

    @cached_property
    def _shared(self) -> dict[str, int]:
        """Values that come to the level between, of the tensors that go through a window there."""
        return {tensor: self._through(tensor, window) for tensor, window in self.group.windows}

    def _through(self, tensor: str, window: int) -> int:
        """Values of a tensor that come to the level between, whose window it goes through.

        All cores run side by side, one pass at a time each. What is there has been brought by a
        core in the same pass, of a tile whose inner loops are alike.
        """
        drift = self.platform.matrix.variables["core_drift_passes"]
        assert isinstance(drift, int)
        outer = next(iter(self._time), None)
        name = next(n for n in self.group.names if self.workload.einsum(n).touches(tensor))
        lists = self.lists() if self.group.order == "lists" else None
        free = [0] * self.at_work
        asked: list[tuple[int, int, object, int]] = []
        for number, run in enumerate(self.runs):
            reads = run.asked(name, tensor)
            if lists is None:
                core = free.index(min(free))
            else:
                core = next(i for i, own in enumerate(lists) if number in own)
            alike = tuple(own for rank, own in self.tiles[number].items() if rank != outer)
            sizes = tuple(extent for _, extent in alike)
            for at, (words, values) in enumerate(reads):
                asked.append((free[core] + at, at, (at, sizes, words), values))
            free[core] += len(reads)
        there, sent = dict[object, int](), 0
        for when, _, what, values in sorted(asked, key=lambda one: one[:2]):
            if values and not when - there.get(what, when - window) < window - drift:
                there[what] = when
                sent += values
        return sent

    @cached_property
    def _time(self) -> list[str]:
        """Ranks of the loops in time outside the fusion level, outermost first."""
        nest = self.nests[0]
        own = self.group.shared or [p for s, p in nest.placed if s.node == self.outside[0].name]
        return [p.rank for p in own if p.factor > 1]

    def _part(self, rank: str, number: int | None) -> int:
        """The extent of one of the tiles along a rank; all of it where none is meant."""
        size = self.workload.rank_sizes[rank]
        if number is None:
            return size
        tile = largest_extent(self.group, rank)
        return min(tile, size - number * tile)

    def counts(self) -> list[MovedValues]:
        """Words that moved, of many cores as if they were one instance."""
        found, instances = self._of_cores()
        dram, sent_once = self.outside[0].name, set[str]()
        between = [lv.name for lv in self.outside[1:]]
        for name, where, tensor in list(found):
            if where in between and tensor in self.parted:
                values = self._values(tensor)
                found[name, where, tensor][0] += values
                found[name, dram, tensor] = [0, 0, values, 0]
            elif where in between:
                first = tensor not in sent_once  # one copy there serves all Einsums
                sent_once.add(tensor)
                sent = self.passed_on(tensor) if first else 0
                found[name, where, tensor][1] += sent
                found[name, dram, tensor] = [sent, 0, 0, 0]
        for (_, where, tensor), at in found.items():
            if tensor in self.parted and where == self.keeper(tensor).name:
                at[0] += self.added[tensor]
        return [
            MovedValues(*key, instances=instances.get(key, 1), reads=r, fills=f, updates=u, sums=s)
            for key, (r, f, u, s) in found.items()
        ]

    def _of_cores(self) -> tuple[dict[_Moved, list[int]], dict[_Moved, int]]:
        """Reads, fills, updates and sums of all cores, and of one array its instances."""
        found, instances = dict[_Moved, list[int]](), dict[_Moved, int]()
        for number, run in enumerate(self.runs):
            for name, one in run.charged.items():
                for (level, tensor), c in sorted(one.counters.items()):
                    outer = level == DRAM
                    own = one.nest.arch.levels[level].name
                    key = name, self.keeper(tensor).name if outer else own, tensor
                    if not self.group.on_cores:
                        instances[key] = one.nest.instances(one.nest.level_slots[level])
                    at = found.setdefault(key, [0, 0, 0, 0])
                    served = outer and self.served(tensor, number)
                    sent = not (served and tensor in self.parted)
                    at[0] += 0 if served else c.reads
                    at[1] += c.fills
                    at[2] += c.updates * sent
                    at[3] += c.sums * sent
        return found, instances

    def _ports(self, number: int) -> tuple[OutsidePort, ...]:
        """Levels outside that serve a tile's core, in equal parts for all cores at work."""
        together = self._round(number) if number < self.in_rounds else range(self.at_work)
        cores = float(len(together))
        dram: dict[str, float] = {}
        sent: dict[str, float] = {}
        for tensor in {*chain.from_iterable(e.tensors for e in self.runs[0].facts.einsums)}:
            sent[tensor] = cores
            if number < self.in_rounds and self._multicast(tensor):
                sent[tensor] = float(len({self._region(tensor, n) for n in together}))
            dram[tensor] = sent[tensor]
            if self.keeper(tensor) is not self.outside[0] and tensor in self.parted:
                dram[tensor] = 0.0
            elif self.keeper(tensor) is not self.outside[0]:
                dram[tensor] = cores * self.passed_on(tensor) / self._reads(tensor)
        adds = {t: self._adding(t, sent[t]) for t in self.parted}
        first = {t: found[0] for t, found in adds.items()}
        ports = [OutsidePort(level=self.outside[0], weights=dram, adds=first)]
        for level in self.outside[1:]:
            kept = {t: w for t, w in sent.items() if self.keeper(t) is level}
            come = {t: dram[t] for t in kept}
            here = {t: found[1] for t, found in adds.items() if self.keeper(t) is level}
            ports.append(OutsidePort(level=level, weights=kept, other=0.0, fills=come, adds=here))
        # At the boundary of the core, past which all goes that comes or leaves.
        arch, bits = self.platform.matrix, self.workload.word_bits
        if self.group.on_cores and (own := boundary(arch, self.level.name, bits)):
            ports.append(OutsidePort(level=own, weights=self._stream_weights(sent)))
        return tuple(ports)

    def _stream_weights(self, tensors: Iterable[str]) -> dict[str, float]:
        """Words that take a core's stream as long as a word and its share of a value."""
        facts = core_facts(self.platform.matrix)
        if not facts.stream_bytes_per_cycle or not facts.stream_value_cycles:
            return {}
        bits = {t: self.workload.bits(t, self.outside[0].name) for t in tensors}
        bare = {t: n / 8 / facts.stream_bytes_per_cycle for t, n in bits.items()}
        return {t: (cycles + facts.stream_value_cycles) / cycles for t, cycles in bare.items()}

    def _values(self, tensor: str) -> int:
        """Values of a tensor."""
        return prod(self._part(rank, None) for rank in self.workload.tensor_ranks[tensor])

    @cached_property
    def _arrived(self) -> dict[str, int]:
        """Values of the results that several tiles have parts of, as they come to where they are
        added up."""
        found = dict.fromkeys(self.parted, 0)
        for tensor in self.parted:
            for number, run in enumerate(self.runs):
                if not self.served(tensor, number):
                    counters = (one.counters.get((DRAM, tensor)) for one in run.charged.values())
                    found[tensor] += sum(own.updates for own in counters if own)
        return found

    def _adding(self, tensor: str, cores: float) -> tuple[tuple[float, float], tuple[float, float]]:
        """Words that DRAM, and the level between, read and write for one that a core sends."""
        added, sent, values = self.added[tensor], self._arrived[tensor], self._values(tensor)
        if self.keeper(tensor) is self.outside[0]:
            return (cores * added / sent, cores), (0.0, 0.0)
        return (0.0, cores * values / sent), (cores * (added + values) / sent, cores)

    def _reads(self, tensor: str) -> int:
        """Values that all tiles read from outside, each for itself."""
        counters = (one.counters for run in self.runs for one in run.runs.values())
        return sum(own[DRAM, tensor].reads for own in counters if (DRAM, tensor) in own)

    def executed(self) -> ExecutedGroup:
        """When the last core is done.

        Where each core has a list, its tiles are one run, with one core's buffers, and all places
        of the lists share as little as the one that shares least.
        """
        facts = CoreFacts()
        if self.group.on_cores:
            facts = core_facts(self.platform.matrix, self.group.kernel)
        for number, run in enumerate(self.runs):
            run.outside = self._ports(number)
        free, passes = [0.0] * self.cores, 0  # when each core is
        turns: tuple[TurnTime, ...] = ()
        for run, tiles in self._jobs():
            cycles, own_turns = group_timeline(run)
            steps = run.turns[-1].pass_number + 1
            passes += steps
            cycles += facts.tile_cycles * tiles + facts.step_cycles * steps
            heapq.heapreplace(free, free[0] + cycles)
            turns = turns or own_turns
        launch = facts.launch_seconds / self.platform.matrix.cycle_seconds
        cycles = max(free) * facts.factor + launch
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

    def _jobs(self) -> list[tuple[GroupRun, int]]:
        """Runs of a core from beginning to end, each with the number of its tiles."""
        if self.group.order != "lists":
            return [(run, 1) for run in self.runs]
        lists = self.lists()
        first = [self.runs[n].outside for n in lists[0]]
        least = max(first, key=lambda at: sum(sum(p.weights.values()) for p in at))
        return [(chained([self.runs[n] for n in own], least), len(own)) for own in lists]

    def _port_cycles(self) -> Iterator[float]:
        """Cycles of every port: outside for all words, inside for an equal part for each core."""
        words: dict[str, Passed] = {}
        for one in self.counts():
            own = self.runs[0].runs[one.einsum].nest.einsum.output.tensor == one.tensor
            share = self.workload.share(one.tensor, one.level)
            so_far = self.workload.widths.so_far(one.tensor, one.level) if own else share
            at = words.get(one.level, (0.0, 0.0, 0.0))
            words[one.level] = more(at, one.words(share, so_far))
        for level in self.outside:
            yield cycles_at_ports(level, words.get(level.name, (0.0, 0.0, 0.0)))
        inside: dict[str, float] = {}
        for run in self.runs:
            for name, cycles in cycles_at_levels(run).items():
                inside[name] = inside.get(name, 0.0) + cycles / self.at_work
        for level in self.outside:
            inside.pop(level.name, None)
        yield from inside.values()

    def _alive(self) -> tuple[AliveWords, ...]:
        """The most words alive at each level of a core."""
        every = [alive for run in self.runs for alive in run.alive()]
        levels = dict.fromkeys(alive.level for alive in every)
        own = ((alive for alive in every if alive.level == level) for level in levels)
        return tuple(max(some, key=lambda alive: alive.words) for some in own)

    def steps(self, name: str, each: float = 1) -> float:
        """Steps of an Einsum's compute units, of `each`, as a whole share of each core at work."""
        steps = sum(run.runs[name].steps for run in self.runs) * each
        return -(-steps // self.at_work) if self.group.on_cores else steps


def parted(workload: Workload, group: GroupMapping) -> list[str]:
    """Results of which several tiles have parts."""
    given = {p.rank for p in group.given_out if p.factor > 1}
    made = (einsum.output for einsum in workload.named(group.names))
    return [access.tensor for access in made if given - {*access.ranks}]


def steps_of(platform: Platform, group: GroupMapping) -> int:
    """Temporal steps of a group in all its tiles, at most."""
    tiles = prod(p.factor for p in group.given_out)
    names = {node.name for path in platform.paths for node in path.fanouts}
    return tiles * sum(
        prod(p.factor for s, p in nest.placed if s.node not in names) for nest in group.einsums
    )
