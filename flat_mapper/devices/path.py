"""Path through a cascade on many devices: which Einsums run as one, how each run is divided.

A node of the path is a place between Einsums with the placement of every tensor that is alive
there; an edge is a run of Einsums in one way (`devices.ways`), with what moves before it. A tensor
is in one place: what reads it moves it to where it is needed. What nobody makes (weights, tables, a
cache) stands where it is needed, from the start. The stream of a layer ends where it began; so
does what attention by itself makes, where its queries began, and its keys stand with these.

The search is exact in this space, of runs with at most one product, or attention as a whole; one
device runs all as one, so that its answer is its chip's. Its parts are questions to one chip; each
is bounded first, by words and peaks, and searched only when the least path goes through it, those
of a device that waits for a slower one for any mapping. Of paths that the gap does not tell apart,
that of fewest parts. The search ends with a path that was searched and is as near as was asked to
the least by all bounds, or once the time is over, if there is one.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from itertools import product
from math import inf
from typing import NamedTuple

from flat_mapper.base.budget import Budget
from flat_mapper.base.tolerance import EQUAL
from flat_mapper.devices.cluster import PARTIAL, WHOLE, Cluster, Placement
from flat_mapper.devices.network import Movement
from flat_mapper.devices.ways import Sharding, Ways, Work, units_of
from flat_mapper.workload.graph import Workload

Placements = tuple[tuple[str, Placement], ...]  # of tensors, by name
_Price = Callable[[Work], float]
_Takes = list[list[tuple[float, int, Sharding]]]  # the same, with seconds of the way
_Runs = list[list[tuple[int, Sharding]]]  # from each unit: the one after a run, and its way


class PartSeconds(NamedTuple):
    """Seconds of a work's mapping, and what none is below; whether they are near each other.

    A device that waits for a slower one needs some mapping, and no proof.
    """

    seconds: float
    bound: float
    near: bool = True


class PathStep(NamedTuple):
    """A run of Einsums in one way, with what moves before it, by tensor."""

    way: Sharding
    moved: tuple[tuple[str, Movement], ...]


class Label(NamedTuple):
    """A path to a node: seconds, bytes of a device that stay, the most that come and go.

    Those that stay are of all layers.
    """

    seconds: float = 0.0
    static: float = 0.0
    peak: float = 0.0
    steps: tuple[PathStep, ...] = ()

    @property
    def room(self) -> float:
        """Bytes of a device."""
        return self.static + self.peak

    def then(self, more: Label, seconds: float) -> Label:
        """The path with what moves before one more run, and the seconds of that."""
        return Label(
            self.seconds + more.seconds + seconds,
            self.static + more.static,
            max(self.peak, more.peak),
            self.steps + more.steps,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePath:
    """A path with its proof.

    moved:          after the last step. start, end: placements of what comes in and goes out.
    seconds, bound: of one run. static, peak: bytes of a device.
    searched:       questions to one chip.
    """

    steps: tuple[PathStep, ...]
    moved: tuple[tuple[str, Movement], ...]
    start: Mapping[str, Placement]
    end: Mapping[str, Placement]
    seconds: float
    bound: float
    static: float
    peak: float
    searched: int = 0


MANY = 1e3  # chosen: times what a path takes at least


@dataclass(kw_only=True)
class Paths:
    """The search of one workload on one cluster.

    low:   seconds that no mapping of a work is below.
    solve: a work, near its best or any mapping of it; infinite where it has none.
    fixed: placements in which tensors start, and are left by who makes them.
    budget: its gap and its seconds.
    """

    workload: Workload
    cluster: Cluster
    low: _Price
    solve: Callable[[Work, bool], PartSeconds]
    allowed: Callable[[Sharding], bool] = lambda _: True
    fixed: Mapping[str, Placement] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    solved: dict[Work, PartSeconds] = field(default_factory=dict)
    ways: Ways = field(init=False)
    units: list[tuple[str, ...]] = field(init=False)
    step: Callable[[Placements, Sharding, int], tuple[Label, Placements] | None] = field(init=False)

    def __post_init__(self) -> None:
        self.ways = Ways(self.workload, self.cluster)
        whole = [tuple(self.workload.ancestors)]
        self.units = whole if self.cluster.single else list(units_of(self.workload))
        self.step = cache(self._step)

    def best(self) -> DevicePath | None:
        """A path that is near enough to the least; None where none is allowed, or has room."""
        bounded, solved = cache(self.low), self.solved
        runs = [list(self._runs(i)) for i in range(len(self.units))]

        def known(work: Work, which: int = 0) -> float:
            """Of what was searched, its best (0) or what none is below (1); else a bound."""
            return solved[work][which] if work in solved else bounded(work)

        def within(more: float, way: Sharding) -> float:
            """The cost of a way, and so much more for each part that was not searched."""
            return way.seconds(known) + more * len(self._open(way))

        def least() -> DevicePath | None:
            return self._least(runs, lambda way: way.seconds(lambda work: known(work, 1)))

        if (floor := least()) is None:
            return None
        works = {work for step in floor.steps for work in step.way.works}
        each = self.budget.gap * floor.seconds / 2 / len(works)  # few parts first, within the gap
        while True:
            more = MANY * floor.seconds if self.budget.over else each  # late, the fewest
            plan = self._least(runs, partial(within, more))
            if plan is None:
                return None
            left, near = self._left(plan, known)
            if not left:
                floor = least()
                assert floor is not None
                left, near = self._left(floor, known)
                done = plan.seconds <= floor.seconds * (1 + self.budget.gap) or self.budget.over
                if done or not left:
                    return replace(plan, bound=floor.seconds, searched=len(solved))
            longest = max(left, key=bounded)  # what it ends needs no other search
            solved[longest] = self.solve(longest, near)

    def followed(self, start: Placements, ways: Sequence[Sharding]) -> DevicePath | None:
        """The path of some ways in turn, of searched parts; None where it leads nowhere."""
        state, label, i = start, Label(), 0
        for way in ways:
            i += len([names for names in self.units[i:] if set(names) <= set(way.names)])
            if (step := self.step(state, way, i)) is None:
                return None
            state, label = step[1], label.then(step[0], self._searched(way))
        return self._ended(label, start, state)

    def _searched(self, way: Sharding) -> float:
        """Seconds of a way all of whose parts were searched."""
        return inf if self._open(way) else way.seconds(lambda work: self.solved[work][0])

    def _open(self, way: Sharding) -> list[Work]:
        """Works of a way that were not searched."""
        return [work for work in way.works if work not in self.solved]

    def _left(self, plan: DevicePath, price: _Price) -> tuple[list[Work], bool]:
        """Works of a path to search, and whether to near their best: those of slowest devices.

        Of the others any mapping will do, until it makes its device the slowest.
        """
        ways = [step.way for step in plan.steps]
        slowest = (work for way in ways for turn in way.slowest(price) for work in turn.works)
        near = self._near
        if left := [work for work in slowest if work not in near]:
            return left, True
        return [work for way in ways for work in self._open(way)], False

    @property
    def _near(self) -> set[Work]:
        """Works whose seconds are as near to the best as they will be."""
        over = self.budget.over
        return {work for work, part in self.solved.items() if part.near or over}

    def _runs(self, first: int) -> Iterator[tuple[int, Sharding]]:
        """Runs that begin with a unit: the one after them, and a way."""
        names: tuple[str, ...] = ()
        for last in range(first, len(self.units)):
            names += self.units[last]
            products = [n for n in names if self.workload.einsum(n).unit == "matrix"]
            if last > first and len(products) > 1:
                return
            for way in self.ways.of(names):
                if self.allowed(way):
                    yield last + 1, way

    def _least(self, runs: _Runs, cost: Callable[[Sharding], float]) -> DevicePath | None:
        """The least path that has room: the node first whose least end is least.

        Of paths as fast, but for rounding, it is the one with the fewest bytes of a device.
        """
        takes: _Takes = [[(s, j, w) for j, w in some if (s := cost(w)) < inf] for some in runs]
        rest, room = self._rest(takes), self.cluster.dram_bytes
        starts = self.starts()
        least = min(rest(0, start, start) for start in starts)
        tick = least * EQUAL if 0 < least < inf else 1.0
        kept: dict[tuple[int, Placements, Placements], list[Label]] = {}
        heap: list[tuple[int, float, int, int, Placements, Placements, Label | DevicePath]] = []
        count = itertools.count()

        def push(i: int, start: Placements, state: Placements, label: Label) -> None:
            others = kept.setdefault((i, start, state), [])
            least = label.seconds + rest(i, start, state)
            fits = least < inf and label.room <= room
            if fits and not _dominated(label, others, tick, roomy=room == inf):
                others.append(label)
                entry = round(least / tick), label.room, next(count), i, start, state, label
                heapq.heappush(heap, entry)

        for start in starts:
            push(0, start, start, Label())
        while heap:
            *_, i, start, state, label = heapq.heappop(heap)
            if isinstance(label, DevicePath):
                return label
            if label not in kept[i, start, state]:
                continue
            if i == len(takes) and (plan := self._ended(label, start, state)) is not None:
                needs, ticks = plan.static + plan.peak, round(plan.seconds / tick)
                heapq.heappush(heap, (ticks, needs, next(count), i, start, state, plan))
            for seconds, j, way in [*takes, []][i]:
                if (step := self.step(state, way, j)) is not None:
                    push(j, start, step[1], label.then(step[0], seconds))
        return None

    def _rest(self, takes: _Takes) -> Callable[[int, Placements, Placements], float]:
        """From each node the seconds of all that follows, whatever room it takes."""

        @cache
        def rest(i: int, start: Placements, state: Placements) -> float:
            if i == len(takes):
                plan = self._ended(Label(), start, state)
                return inf if plan is None else plan.seconds
            ways = ((seconds, j, self.step(state, way, j)) for seconds, j, way in takes[i])
            return min(
                (seconds + s[0].seconds + rest(j, start, s[1]) for seconds, j, s in ways if s),
                default=inf,
            )

        return rest

    def _step(
        self, state: Placements, way: Sharding, after: int
    ) -> tuple[Label, Placements] | None:
        """Moves before a run, and the placements after it; None where nothing leads there."""
        now, static, moved, both = dict(state), 0.0, list[tuple[str, Movement]](), 0.0
        for tensor, at in way.needs.items():
            of = self.workload.views.get(tensor, tensor)
            if of in now:
                to = self.viewed(tensor, of, at)
                if (found := self.ways.moved(of, now[of], to)) is None:
                    return None
                moved += [(of, one) for one in found]
                both += self.ways.bytes(of, to) if found else 0.0
                now[of] = to
            if of not in now or self._grows(tensor, of):
                if self.fixed.get(tensor, at) != at:
                    return None
                static += self.ways.bytes(tensor, at) * self.workload.held_layers
        for tensor, at in way.gives.items():
            to = self.fixed.get(tensor, at)
            if (found := self.ways.moved(tensor, at, to)) is None:
                return None
            moved += [(tensor, one) for one in found]
            now[tensor] = to
        peak = sum(self.ways.bytes(t, at) for t, at in now.items()) + both + way.buffers
        left = tuple(sorted((t, at) for t, at in now.items() if self._last[t] >= after))
        label = Label(
            sum(o.seconds for _, o in moved), static, peak, (PathStep(way, tuple(moved)),)
        )
        return label, left

    def _grows(self, view: str, of: str) -> bool:
        """True where what a view reads is more than what was made of it: a cache."""
        return view != of and self.workload.tensor_words(view) != self.workload.tensor_words(of)

    def viewed(self, view: str, of: str, at: Placement) -> Placement:
        """The placement of a tensor whose view is needed at one; whole where that is longer."""
        ranks, sizes = self.workload.tensor_ranks, self.workload.rank_sizes
        names = dict(zip(ranks[view], ranks[of], strict=True))
        return tuple(names[r] if r in names and sizes[names[r]] == sizes[r] else WHOLE for r in at)

    @cached_property
    def _last(self) -> dict[str, int]:
        """Of each tensor the last unit that reads it; what goes out is read after all."""
        unit = {name: i for i, names in enumerate(self.units) for name in names}
        last: dict[str, int] = {}
        for einsum in self.workload.einsums:
            for access in einsum.inputs:
                of = self.workload.views.get(access.tensor, access.tensor)
                last[of] = max(last.get(of, 0), unit[einsum.name])
        return {t: last.get(t, len(self.units)) for t in self.workload.tensor_ranks}

    @cached_property
    def _stream(self) -> tuple[str, ...]:
        """Tensors that come in and go out in one placement: first what the others stand with."""
        workload, ranks = self.workload, self.workload.tensor_ranks
        inputs = [t for t in ranks if t not in workload.producers and t not in workload.views]
        if workload.core and set(workload.core) == set(workload.ancestors):
            queries, keys = workload.roles.queries, workload.roles.keys
            return tuple(sorted(inputs, key=lambda t: (queries not in ranks[t], keys in ranks[t])))
        out = (t for t in workload.producers if self._last[t] == len(self.units))
        ends = {frozenset(ranks[t]) for t in out}
        held = [t for t in inputs if frozenset(ranks[t]) in ends and t not in workload.weights]
        return tuple(held[:1])

    def starts(self) -> list[Placements]:
        """Placements of what comes in."""
        if not self._stream:
            return [()]
        first, *others = self._stream
        sizes, roles = self.workload.rank_sizes, self.workload.roles
        own = [r for r in self.workload.tensor_ranks[first] if sizes[r] > 1]
        if others:  # queries, keys and values: not parts of a head
            own = [r for r in own if r in roles.declared.values()]
        seen = set()
        for at in self.cluster.placements(own):
            for dealt in product((False, True), repeat=len(at) * bool(others)):
                placed = {first: at} | {t: self._beside(t, at, dealt) for t in others}
                placed |= {t: to for t, to in self.fixed.items() if t in placed}
                if placed[first] == at:
                    seen.add(tuple(sorted(placed.items())))
        return sorted(seen)

    def _beside(self, tensor: str, first: Placement, dealt: tuple[bool, ...]) -> Placement:
        """A placement beside that of the queries: keys are with them, or dealt out to all."""
        roles, ranks = self.workload.roles, self.workload.tensor_ranks[tensor]
        return tuple(
            roles.keys
            if rank == roles.queries or (rank == WHOLE and deal)
            else (rank if rank in ranks else WHOLE)
            for rank, deal in zip(first, dealt, strict=True)
        )

    def _ended(self, label: Label, start: Placements, state: Placements) -> DevicePath | None:
        """A path with its moves at the end: to the stream's placement, or else any that is no sum.

        None where nothing leads there.
        """
        begun, moved, end = dict(start), list[tuple[str, Movement]](), {}
        ranks = self.workload.tensor_ranks
        for tensor, at in state:
            to = tuple(WHOLE if r == PARTIAL else r for r in at)
            if self._stream and set(begun[self._stream[0]]) <= {WHOLE, *ranks[tensor]}:
                to = begun[self._stream[0]]
            to = self.fixed.get(tensor, to)
            if (found := self.ways.moved(tensor, at, to)) is None:
                return None
            moved += [(tensor, one) for one in found]
            end[tensor] = to
        return DevicePath(
            steps=label.steps,
            moved=tuple(moved),
            start=begun,
            end=end,
            seconds=label.seconds + sum(one.seconds for _, one in moved),
            bound=0.0,
            static=label.static,
            peak=label.peak,
        )


def _dominated(found: Label, others: list[Label], tick: float, *, roomy: bool) -> bool:
    """True where another path to the node is no worse for all that follows; of what is worse than
    the one that is found, the others are cleared. tick: seconds that are none. roomy: room is
    no matter."""

    def no_worse(one: Label, other: Label) -> bool:
        smaller = one.static <= other.static and one.room <= other.room  # whatever peak follows
        faster = one.seconds < other.seconds - tick and roomy
        return faster or (one.seconds <= other.seconds + tick and smaller)

    if any(no_worse(one, found) for one in others):
        return True
    others[:] = [one for one in others if not no_worse(found, one)]
    return False
