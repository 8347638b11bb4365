"""A group of Einsums run pass by pass, turn by turn, in one shared level."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise, product
from math import ceil

from flat_mapper.arch.values import MemoryLevel, Platform
from flat_mapper.base.errors import MappingError, expected
from flat_mapper.execution.link import DRAM, SHARED_LEVEL, Place
from flat_mapper.execution.result import AliveWords
from flat_mapper.execution.shared import GroupFacts, PassTurn, group_turns, shared_places, words_at
from flat_mapper.execution.turn import EinsumRun
from flat_mapper.mapping.values import Policy
from flat_mapper.workload.einsum import Einsum

Exchanged = tuple[float, float]  # read, written
Passed = tuple[float, float, float]  # read, updated, filled from above


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnLog:
    """Cost of one turn: steps of the compute unit, and words of one instance of each level."""

    turn: PassTurn
    steps: int
    ports: Mapping[str, Passed]  # of the shared level and those below it
    streamed: Mapping[str, Exchanged]  # by tensor, words from outside that pass the shared level by


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsidePort:
    """A level outside the shared one; weights: words that it moves for one of a tensor's.

    fills: words that are written into it meanwhile, for one that it sends.
    adds: words that it reads and writes for one of a tensor's that leaves, where it adds it up.
    """

    level: MemoryLevel
    weights: Mapping[str, float] = field(default_factory=dict)
    other: float = 1.0
    fills: Mapping[str, float] = field(default_factory=dict)
    adds: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def moved(self, words: Mapping[str, Exchanged]) -> Passed:
        """Words that pass there, for the words of some tensors that come and leave."""
        read = updated = filled = 0.0
        for tensor, (come, leave) in words.items():
            weight = self.weights.get(tensor, self.other)
            more, kept = self.adds.get(tensor, (0.0, weight))
            read, updated = read + weight * come + more * leave, updated + kept * leave
            filled += self.fills.get(tensor, 0.0) * come
        return read, updated, filled


@dataclass
class GroupRun:
    """One tile of a group at work; `outside`: the levels that serve it."""

    facts: GroupFacts
    platform: Platform
    policy: Policy
    dram: Mapping[str, Place]
    outside: tuple[OutsidePort, ...] = ()
    runs: dict[str, EinsumRun] = field(default_factory=dict)
    logs: list[TurnLog] = field(default_factory=list)

    def __post_init__(self) -> None:
        facts = self.facts
        self.places = shared_places(facts, self.policy)
        self.alone = len(facts.group.einsums) == 1
        for name, nest in facts.nests.items():
            for tensor in filter(facts.passed_on, nest.mapping.stay):
                condition = "tensors that no other Einsum of the group makes, reads or writes"
                raise MappingError(expected(f"{name}: stay", condition, tensor))
            tensors = nest.einsum.tensors
            found = {(facts.at(nest, t), t): self.places[t] for t in tensors if t in self.places}
            self.runs[name] = EinsumRun(
                workload=facts.workload,
                nest=nest,
                places=found | {(DRAM, t): self.dram[t] for t in tensors},
                resident=frozenset(nest.mapping.stay),
                fixed=0 if self.alone else nest.dram_loops,
                hidden=facts.hidden,
                shared=frozenset(dict(facts.group.windows)) & {*tensors},
            )
        self.turns = group_turns(facts)
        self.copied = {n: x for e in facts.einsums if (n := e.name) and (x := copied(facts, e))}
        # By unit where units overlap, else under one name: (level, what) -> words, at the worst.
        self.peaks: dict[str, dict[str, dict[str, int]]] = {}

    def asked(self, name: str, tensor: str) -> list[tuple[frozenset[int], int]]:
        """Places outside that an Einsum reads of a tensor in each pass, and how many values."""
        run = self.runs[name]
        factors = [s.factor for s in run.nest.temporal[: run.nest.dram_loops]]
        count = self.turns[-1].pass_number + 1
        passes = {turn.dram: turn.pass_number for turn in self.turns if turn.einsum == name}
        if self.alone:
            every = list(product(*map(range, factors)))
            passes, count = {index: n for n, index in enumerate(every)}, len(every)
        places: list[set[int]] = [set() for _ in range(count)]
        values = [0] * count
        for index, place, some in run.links[tensor][0].asked or ():
            number = passes[tuple(index[: len(factors)])]
            places[number].add(place)
            values[number] += some
        return list(zip(map(frozenset, places), values, strict=True))

    @property
    def charged(self) -> dict[str, EinsumRun]:
        """The Einsums that cost something."""
        return {n: one for n, one in self.runs.items() if n not in self.facts.free}

    def run(self) -> GroupRun:
        """All turns; the same run, when they are over."""
        own = ([turn for turn in self.turns if turn.einsum == name] for name in self.runs)
        # Of a turn the loops' indices at its Einsum's next one.
        following = {one.number: then.dram for turns in own for one, then in pairwise(turns)}
        last = {(t.einsum, self._results(t)): t.number for t in self.turns}
        for _, turns in groupby(self.turns, key=lambda turn: turn.pass_number):
            of_pass = list(turns)
            for turn in of_pass:
                self._copy(turn)
            for turn in of_pass:
                run = self.runs[turn.einsum]
                run.turn = turn.number
                ends = last[turn.einsum, self._results(turn)] == turn.number
                what = turn.dram[: run.fixed], following.get(turn.number)
                steps = run.take_turn(*what, last=ends)
                if turn.einsum not in self.facts.free:
                    self._note_alive(run)
                self.logs.append(self._log(turn, run, steps))
        return self

    def _results(self, turn: PassTurn) -> tuple[int, ...]:
        """What a turn adds to, by the indices of the loops over ranks of its output."""
        return tuple(turn.dram[i] for i in self.runs[turn.einsum].kept_dram)

    def _copy(self, turn: PassTurn) -> None:
        """Give what corrects partial results the old value of what it corrects by.

        This is before the maker of that value has its turn; it is counted in the turn of the Einsum
        that asks for it.
        """
        run, source = self.runs[turn.einsum], self.copied.get(turn.einsum)
        if source is None or tuple(turn.dram[i] for i in run.kept_dram) not in run.seen:
            return
        nest, made = run.nest, run.nest.einsum.output
        self.places[made.tensor].data[:] = self.places[source].data
        home, slot = self.facts.at(nest, source), nest.level_slots[SHARED_LEVEL]
        at = {s.rank: turn.dram[i] for i, s in enumerate(nest.temporal[: nest.dram_loops])}
        words = 1
        for r in made.ranks:
            extent = nest.extent(r, slot)
            words *= min(extent, nest.sizes[r] - at.get(r, 0) * extent)
        run.counter(home, source).reads += words
        run.counters[home, made.tensor].updates += words

    def _log(self, turn: PassTurn, run: EinsumRun, steps: int) -> TurnLog:
        ports: dict[str, Passed] = {}
        streamed: dict[str, Exchanged] = {}
        free = turn.einsum in self.facts.free
        for (level, tensor), c in () if free else run.counters.items():
            read, updated, filled = c.since()
            if level == DRAM:
                if SHARED_LEVEL not in run.nest.keepers(tensor):
                    streamed[tensor] = read, updated
                continue
            n = run.nest.instances(run.nest.level_slots[level])
            name = run.nest.arch.levels[level].memory  # whose ports they pass
            old = ports.get(name, (0.0, 0.0, 0.0))
            ports[name] = more(old, (read, updated, filled), 1 / n)
        return TurnLog(turn=turn, steps=0 if free else steps, ports=ports, streamed=streamed)

    def _note_alive(self, run: EinsumRun) -> None:
        """Keep the worst moment of every private level: own tiles, and what others left there."""
        einsum = run.nest.einsum
        apart = self.facts.apart
        pool = einsum.unit if apart else ""
        now: dict[str, dict[str, int]] = {}
        for name, other in self.runs.items():
            if apart and other.nest.einsum.unit != einsum.unit:
                continue
            tiles = other.tile_words(held=other is not run)
            for (level, tensor), words in tiles.items():
                if level > SHARED_LEVEL:
                    level_name = other.nest.arch.levels[level].name
                    at = now.setdefault(level_name, {})
                    at[f"{name}.{tensor}"] = ceil(words)
        worst = self.peaks.setdefault(pool, {})
        for level_name, terms in now.items():
            if sum(terms.values()) > sum(worst.get(level_name, {}).values()):
                worst[level_name] = terms

    def alive(self) -> tuple[AliveWords, ...]:
        """The most words alive at once in one instance of every on-chip level."""
        found: dict[str, dict[str, int]] = {self.facts.shared: {}}
        for einsum in self.facts.einsums:
            found.setdefault(self.facts.home(einsum.output.tensor), {})
        for pool in self.peaks.values():
            for name, terms in pool.items():
                found.setdefault(name, {}).update(terms)
        levels = levels_by_name(self.platform)
        for name, terms in found.items():
            terms.update(words_at(self.facts, self.places, self.policy, name, self._widest))
        return tuple(
            AliveWords(level=name, capacity=levels[name].usable_words, terms=tuple(terms.items()))
            for name, terms in found.items()
        )

    def _widest(self, name: str, tensor: str) -> float:
        """Words of a tensor's value where an Einsum has its place, or past which it streams."""
        run, home = self.runs[name], self.facts.home(tensor)
        level = self.facts.at(run.nest, tensor)
        at = level if level in run.nest.keepers(tensor) else DRAM
        sums = (at, tensor) in run.counters and run.counters[at, tensor].sums
        widths = self.facts.workload.widths
        return widths.so_far(tensor, home) if sums else widths.share(tensor, home)


def more(some: Passed, others: Passed, times: float = 1.0) -> Passed:
    """Words, and others so often."""
    read, updated, filled = (a + times * b for a, b in zip(some, others, strict=True))
    return read, updated, filled


def levels_by_name(platform: Platform) -> dict[str, MemoryLevel]:
    """Every level of a platform by name."""
    return {level.name: level for path in platform.paths for level in path.levels}


def copied(facts: GroupFacts, einsum: Einsum) -> str:
    """The tensor whose old value an Einsum finds in its output's place; empty if there is none."""
    if not (einsum.each and einsum.updates and einsum.so_far):
        return ""
    if len(facts.makers(einsum.output.tensor)) > 1:
        return ""
    return next((t for t in einsum.so_far if facts.carried(t)), "")


def chained(runs: Sequence[GroupRun], outside: tuple[OutsidePort, ...]) -> GroupRun:
    """The runs of several tiles on one core, which knows of the next one while it does the last.

    outside: the levels that serve them.
    """
    whole = copy.copy(runs[0])
    whole.outside = outside
    whole.runs = {name: copy.copy(one) for name, one in runs[0].runs.items()}
    whole.logs, whole.turns = [], ()
    for one in whole.runs.values():
        one.tiles = []
    turns = passes = 0
    for run in runs:
        whole.turns += tuple(
            replace(t, number=t.number + turns, pass_number=t.pass_number + passes)
            for t in run.turns
        )
        whole.logs += [replace(log, turn=whole.turns[turns + log.turn.number]) for log in run.logs]
        for name, one in run.runs.items():
            whole.runs[name].tiles += [
                replace(t, first=t.first + turns, last=t.last + turns) for t in one.tiles
            ]
        turns, passes = len(whole.turns), passes + run.turns[-1].pass_number + 1
    return whole
