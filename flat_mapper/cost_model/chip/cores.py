"""A group on the cores of a chip: what all of its tiles move, and when the fullest core is done.

Every tile is an ordinary group on one core (`cost_model.chip.tile`). Each core that is at work has
an equal share of the bandwidth of every level outside it, fixed when it takes a tile. As long as
all tiles are equal, cores take them in rounds and do the same at the same time: what several of
them need is read once where the chip can multicast. Else each core reads for itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from flat_mapper.arch.cores import CoreFacts, boundary, core_facts, multicasts, stream_weights
from flat_mapper.arch.values import Architecture, MemoryLevel, Platform
from flat_mapper.base.tolerance import whole_cycles
from flat_mapper.cost_model.chip.rounds import given, runs_of
from flat_mapper.cost_model.chip.tile import PricedTiles
from flat_mapper.cost_model.group import Latency
from flat_mapper.cost_model.outside import Outside, SourcePort, source_ports
from flat_mapper.cost_model.result import GroupStats
from flat_mapper.mapping.cores.tiles import GivenTiles, IntArray, list_starts
from flat_mapper.mapping.cores.view import (
    CoreUse,
    core_count,
    fusion_level,
    levels_between,
    times_brought,
)
from flat_mapper.mapping.values import GroupMapping, Loop, Policy
from flat_mapper.workload.graph import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Equal tiles that cores take at one time, in a number of rounds alike."""

    cores: int  # at work
    distinct: tuple[tuple[str, int], ...]  # different tiles, of the tensors that are multicast


@dataclass(slots=True, kw_only=True)
class _Timed:
    """When tiles are done, before the factor of a kernel."""

    begin: float  # cycles of the rounds of equal tiles
    longest: float = 0.0  # of the fullest core
    busy: float = 0.0  # of all cores
    cold: float = 0.0  # of all cores, that nothing overlaps
    slack: float = 0.0
    rounds: int = 0
    share: dict[str, float] = field(default_factory=dict)  # of all cores, by bottleneck

    def note(self, found: Latency, count: int) -> None:
        """So many tiles."""
        cycles = count * (found.cycles + found.exposed)
        self.share[found.bottleneck] = self.share.get(found.bottleneck, 0.0) + cycles
        self.cold += count * found.exposed
        self.busy += cycles


@dataclass(frozen=True, kw_only=True)
class GroupOnCores:
    """One group, its tiles and what each costs."""

    workload: Workload
    platform: Platform
    group: GroupMapping
    policy: Policy
    tiles: GivenTiles
    priced: PricedTiles
    known: dict[tuple[int, Round], Latency] = field(default_factory=dict)

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

    def core_level(self, arch: Architecture, level: MemoryLevel) -> MemoryLevel:
        """A level inside, as one core has it."""
        instances = level.instances // core_count(arch, self.level.name)
        return replace(level, instances=instances)

    def saved_reads(self, tensor: str) -> int:
        """Tiles of a tensor that need no read of their own, as another core's serves them."""
        return sum(
            count * (one.cores - dict(one.distinct)[tensor])
            for one, count in self.rounds.items()
            if tensor in dict(one.distinct)
        )

    @property
    def at_work(self) -> int:
        """Cores that are given a tile."""
        return min(self.cores, self.tiles.count)

    @cached_property
    def tensors(self) -> dict[str, tuple[str, ...]]:
        """Tensors that cores exchange with the outside, with their ranks."""
        moved = (t for cost in self.priced.direct for t in cost.terms.moved)
        return {t: self.workload.tensor_ranks[t] for t in dict.fromkeys(moved)}

    @cached_property
    def shared_reads(self) -> tuple[str, ...]:
        """Tensors of which one read may serve several cores."""
        made = {self.workload.einsum(n).output.tensor for n in self.group.names}
        arch, level = self.platform.matrix, self.platform.matrix.level(self.level.name)
        return tuple(t for t in self.tensors if t not in made and multicasts(arch, level, t))

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
            passes = times_brought(self.tensors[tensor], self.outer_loops(level.name))
            resident = tensor in self.group.resident
            found[tensor] = 0.0 if resident else self.words(tensor) * passes
        return found

    def brought(self, tensor: str, einsum: str) -> float:
        """Those words, with the first Einsum that reads the tensor: it comes once for all."""
        reads = (nest.einsum for nest in self.group.einsums)
        first = next(n for n in reads if self.workload.einsum(n).touches(tensor))
        return self.outer_words.get(tensor, 0.0) if einsum == first else 0.0

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
    def equal(self) -> int:
        """Tiles at the head of the order that are equal."""
        order = self.tiles.order
        other = (order != order[0]).nonzero()[0]
        return int(other[0]) if len(other) else self.tiles.count

    @cached_property
    def rounds(self) -> dict[Round, int]:
        """Rounds of equal tiles, by what they share."""
        if self.group.order == "lists":
            return self._list_rounds()
        found: dict[Round, int] = {}
        cores, total = self.cores, self.tiles.count
        whole = total if self.equal == total else self.equal // cores * cores
        if not self.shared_reads:
            rounds = {cores: whole // cores, whole % cores: 1}
            return {Round(cores=n, distinct=()): many for n, many in rounds.items() if n and many}
        for first in range(0, whole, cores):
            last = min(first + cores, whole)
            distinct = tuple(
                (t, self.tiles.distinct(self.tensors[t], slice(first, last)))
                for t in self.shared_reads
            )
            one = Round(cores=last - first, distinct=distinct)
            found[one] = found.get(one, 0) + 1
        return found

    @cached_property
    def starts(self) -> IntArray:
        """Places in the order where the cores' lists of tiles begin, and the end of the last."""
        return list_starts(self.tiles.count, self.tiles.together, self.cores)

    def _list_rounds(self) -> dict[Round, int]:
        """The first tiles of all lists, the second ones, and so on; none where tiles differ."""
        found: dict[Round, int] = {}
        if self.equal < self.tiles.count:
            return found
        lengths = np.diff(self.starts)
        for place in range(int(lengths.max())):
            now = self.starts[:-1][lengths > place] + place
            distinct = ((t, self.tiles.distinct(self.tensors[t], now)) for t in self.shared_reads)
            one = Round(cores=len(now), distinct=tuple(distinct))
            found[one] = found.get(one, 0) + 1
        return found

    @cached_property
    def rest(self) -> IntArray:
        """The classes of the tiles after those rounds, in their order."""
        return self.tiles.order[sum(r.cores * n for r, n in self.rounds.items()) :]

    def outside(self, cores: int, distinct: Mapping[str, int]) -> Outside:
        """Levels outside that serve one of so many cores at work."""
        sent = {t: float(distinct.get(t, cores)) for t in self.tensors}
        own, dram = self.platform.dram, dict(sent)
        for tensor, words in self.outer_words.items():
            dram[tensor] = cores * words / self.all_words(tensor)
        sources = [(own, tuple(source_ports(own, dram, float(cores))))]
        for name, level in {lv.name: lv for lv in self.between.values()}.items():
            here = {t: sent[t] for t, keeper in self.between.items() if keeper.name == name}
            filled = {t: dram[t] for t in here}  # what DRAM sends comes in by the same ports
            sources.append((level, tuple(source_ports(level, here, 0.0, filled))))
        return Outside.of(*sources, *self.boundary)

    @cached_property
    def boundary(self) -> tuple[tuple[MemoryLevel, tuple[SourcePort, ...]], ...]:
        """The ports of a core, past which all goes that comes or leaves; none without a limit."""
        level = boundary(self.platform.matrix, self.level.name, self.workload.word_bits)
        if level is None:
            return ()
        shares = self.workload.widths.at(self.platform.dram.name)
        weights = stream_weights(self.facts, self.workload.word_bits, shares, self.tensors)
        return ((level, tuple(source_ports(level, weights))),)

    def all_words(self, tensor: str) -> float:
        """Words of a tensor that all tiles read, each for itself."""
        return self._all_moved(tensor, 0)

    def _all_moved(self, tensor: str, way: int) -> float:
        """Words that all tiles read of a tensor, way 0, or that they send."""
        words: float = self.priced.total(lambda cost: cost.terms.moved.get(tensor, (0.0, 0.0))[way])
        return words

    def boundary_cycles(self) -> dict[str, float]:
        """Cycles of a core's ports for an equal part of all words, by the name they have."""
        part = 1 / self.at_work
        words = {
            t: (part * self._all_moved(t, 0), part * self._all_moved(t, 1)) for t in self.tensors
        }
        return Outside.of(*self.boundary).by_name(words) if self.boundary else {}

    def latency(self, kind: int, at: Round) -> Latency:
        """Cycles of a tile of a class, its fixed costs among what nothing overlaps."""
        key = kind, at
        if key not in self.known:
            cost = self.priced.cost(kind)
            found = cost.terms.latency(self.outside(at.cores, dict(at.distinct)))
            self.known[key] = Latency(
                cycles=found.cycles,
                exposed=found.exposed + self._fixed(cost.steps),
                bottleneck=found.bottleneck,
                slack=found.slack,
            )
        return self.known[key]

    def _fixed(self, steps: int) -> float:
        """Fixed costs of a tile of so many passes."""
        return self.facts.tile_cycles + self.facts.step_cycles * steps

    def _listed(self) -> _Timed:
        """All tiles, each core with a list of its own.

        First inputs and last outputs of a tile stand beside its neighbours in the list, but for the
        first of a list, and for one that waits for its units where the one before waited for words.
        Where tiles are equal all places of the lists share as little as the one that shares least.
        """
        order, starts = self.tiles.order, self.starts
        least = {
            t: max((dict(one.distinct)[t] for one in self.rounds), default=self.at_work)
            for t in self.shared_reads
        }
        at = Round(cores=len(starts) - 1, distinct=tuple(least.items()) if self.rounds else ())
        count = len(self.tiles.classes)
        steady, ends, waits = np.zeros(count), np.zeros(count), np.zeros(count, np.bool_)
        timed, slack = _Timed(begin=0.0), np.zeros(count)
        outside = set(self.outside(1, {}).levels)
        for kind, found in self.priced.latencies(range(count), lambda one: self.latency(one, at)):
            fixed = self._fixed(self.priced.cost(kind).steps)
            steady[kind], ends[kind] = found.cycles + fixed, found.exposed - fixed
            slack[kind], waits[kind] = found.slack, found.bottleneck in outside
            share = self.tiles.classes[kind].count * found.cycles
            timed.share[found.bottleneck] = timed.share.get(found.bottleneck, 0.0) + share
        alone = np.zeros(self.tiles.count, np.bool_)
        alone[1:] = waits[order][:-1] & ~waits[order][1:]
        alone[starts[:-1]] = True
        cycles = steady[order] + np.where(alone, ends[order], 0.0)
        timed.longest = float(np.add.reduceat(cycles, starts[:-1]).max())
        timed.slack = float(np.add.reduceat(slack[order], starts[:-1]).max())
        timed.busy = float(cycles.sum())
        timed.cold = float(np.where(alone, ends[order], 0.0).sum())
        timed.rounds = int(np.diff(starts).max())
        return timed

    def _timed(self) -> _Timed:
        """All tiles, each on the core that is free first."""
        if self.group.order == "lists":
            return self._listed()
        timed = _Timed(begin=0.0)
        kind = int(self.tiles.order[0])
        for one, count in self.rounds.items():
            found = self.latency(kind, one)
            timed.note(found, one.cores * count)
            timed.begin += count * (found.cycles + found.exposed)
            timed.slack += count * found.slack
            timed.rounds += count
        free = Round(cores=self.at_work, distinct=())
        kinds, numbers = np.unique(self.rest, return_counts=True)
        many = dict(zip(kinds.tolist(), numbers.tolist(), strict=True))
        times = np.zeros(len(self.tiles.classes))
        wait = 0.0
        for other, found in self.priced.latencies(
            kinds.tolist(), lambda kind: self.latency(kind, free)
        ):
            times[other] = found.cycles + found.exposed
            wait = max(wait, found.slack)
            timed.note(found, many[other])
        loads, taken = given([timed.begin] * self.cores, runs_of(times[self.rest]))
        timed.slack += taken * wait
        timed.rounds += taken
        timed.longest = max(loads)
        return timed

    def stats(self) -> GroupStats:
        """Latency of the group: that of its fullest core."""
        timed, factor = self._timed(), self.facts.factor
        launch = self.facts.launch_seconds / self.platform.matrix.cycle_seconds
        return GroupStats(
            names=self.group.names,
            schedule=self.group.schedule,
            compute_cycles={},
            ideal_cycles={},
            transfer_cycles={},
            cold_start_cycles=factor * timed.cold / self.at_work + launch,
            cycles=whole_cycles(factor * timed.longest + launch),
            bottleneck=max(timed.share, key=lambda name: timed.share[name]),
            buffer=self.priced.cost(0).terms.buffer,
            slack_cycles=factor * timed.slack,
            cores=CoreUse(
                cores=self.cores,
                tiles=self.tiles.count,
                rounds=timed.rounds,
                busy_cycles=factor * timed.busy,
                longest_cycles=factor * timed.longest,
                launch_cycles=launch,
                divides=all(
                    self.workload.rank_sizes[p.rank] % p.factor == 0 for p in self.group.given_out
                ),
            ),
        )
