"""Path through a cascade on many devices: which Einsums run as one, how each run is divided.

A node of the path is a place between Einsums with the placement of every tensor that is alive
there; an edge is a run of Einsums in one way (`devices.ways`), with what moves before it. A tensor
is in one place: what reads it moves it to where it is needed. What nobody makes (weights, tables, a
cache) stands where it is needed, from the start. The stream of a layer ends where it began; so
does what attention by itself makes, where its queries began, and its keys stand with these.

The search is exact in this space, of runs with at most one product, or attention as a whole. Its
parts are questions to one chip; each is bounded first, by words and peaks, and searched only when
the least path goes through it, where what was not searched counts as near as the gap lets it be. So
no path is below the bound of the one that ends the search, and that one is as near as was asked.
Once the time is over the least path through what was searched is the answer, if there is one.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import product
from math import inf
from typing import NamedTuple

from flat_mapper.base.budget import Budget
from flat_mapper.devices.cluster import Cluster
from flat_mapper.devices.network import Moved
from flat_mapper.devices.ways import PARTIAL, WHOLE, Placement, Way, Ways, Work
from flat_mapper.workload.graph import Workload

Placed = tuple[tuple[str, Placement], ...]  # of tensors, by name
Price = Callable[[Work], float]


class Step(NamedTuple):
    """A run of Einsums in one way, with what moves before it, by tensor."""

    way: Way
    moved: tuple[tuple[str, Moved], ...]


class Label(NamedTuple):
    """A path to a node: seconds, bytes of a device that stay, the most that come and go."""

    seconds: float
    static: float
    peak: float
    steps: tuple[Step, ...]

    def then(self, more: Label, seconds: float) -> Label:
        """The path with what moves before one more run, and the seconds of that."""
        return Label(
            self.seconds + more.seconds + seconds,
            self.static + more.static,
            max(self.peak, more.peak),
            self.steps + more.steps,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A path with its proof.

    moved:          after the last step. start, end: placements of what comes in and goes out.
    seconds, bound: of one run. static, peak: bytes of a device.
    searched:       questions to one chip.
    """

    steps: tuple[Step, ...]
    moved: tuple[tuple[str, Moved], ...]
    start: Mapping[str, Placement]
    end: Mapping[str, Placement]
    seconds: float
    bound: float
    static: float
    peak: float
    searched: int = 0


@dataclass(kw_only=True)
class Paths:
    """The search of one workload on one cluster.

    low:   seconds that no mapping of a work is below.
    solve: the seconds of its best mapping, and what none is below; infinite where it has none.
    fixed: placements in which tensors start, and are left by who makes them.
    room:  bytes of a device; infinite where they are not known. budget: its gap and its seconds.
    """

    workload: Workload
    cluster: Cluster
    low: Price
    solve: Callable[[Work], tuple[float, float]]
    allowed: Callable[[Way], bool] = lambda _: True
    fixed: Mapping[str, Placement] = field(default_factory=dict)
    room: float = inf
    budget: Budget = field(default_factory=Budget)
    solved: dict[Work, tuple[float, float]] = field(default_factory=dict)
    ways: Ways = field(init=False)
    units: list[tuple[str, ...]] = field(init=False)
    step: Callable[[Placed, Way, int], tuple[Label, Placed] | None] = field(init=False)

    def __post_init__(self) -> None:
        self.ways = Ways(self.workload, self.cluster)
        self.units = list(units_of(self.workload))
        self.step = cache(self._step)

    def best(self) -> Plan | None:
        """A path that is near enough to the least; None where none is allowed, or has room."""
        bounded, solved = cache(self.low), self.solved
        runs = [list(self._runs(i)) for i in range(len(self.units))]

        def near(work: Work) -> float:
            return solved[work][0] if work in solved else bounded(work) * (1 + self.budget.gap)

        def least(price: Price) -> Plan | None:
            found = None
            for room in dict.fromkeys((inf, self.room)):  # most paths have room without being told
                found = self._least(runs, price, room)
                if found is None or found.static + found.peak <= self.room:
                    break
            return found

        while True:
            late = self.budget.over and least(lambda w: solved[w][0] if w in solved else inf)
            if not (plan := late or least(near)):
                return None
            steps = [step for one in plan.steps for step in one.way.steps]
            slowest = (
                max(turns, key=lambda t: sum(map(near, t.works)) + t.merge) for turns in steps
            )
            left = [w for turn in slowest for w in turn.works if w not in solved] or [
                w for turns in steps for t in turns for w in t.works if w not in solved
            ]
            if not left:
                proof = least(lambda w: solved[w][1] if w in solved else bounded(w))
                assert proof is not None
                return replace(plan, bound=proof.seconds, searched=len(solved))
            longest = max(left, key=bounded)  # what it ends needs no other search
            solved[longest] = self.solve(longest)

    def _runs(self, first: int) -> Iterator[tuple[int, Way]]:
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

    def _least(self, runs: list[list[tuple[int, Way]]], price: Price, room: float) -> Plan | None:
        """The least path that needs no more room: the node first whose least end is least."""
        takes = [[(way.seconds(price), j, way) for j, way in some] for some in runs]
        takes = [[edge for edge in some if edge[0] < inf] for some in takes]
        rest = _rest(takes)
        kept: dict[tuple[int, Placed, Placed], list[Label]] = {}
        heap: list[tuple[float, float, int, int, Placed, Placed, Label | Plan]] = []
        count, layers = itertools.count(), self.workload.held_layers

        def push(i: int, start: Placed, state: Placed, label: Label) -> None:
            others = kept.setdefault((i, start, state), [])
            takes_bytes = layers * label.static + label.peak  # of paths as fast the smaller first
            if (
                label.seconds + rest[i] < inf
                and takes_bytes <= room
                and not _dominated(label, others, room)
            ):
                others.append(label)
                entry = label.seconds + rest[i], takes_bytes, next(count), i, start, state, label
                heapq.heappush(heap, entry)

        for start in self._starts():
            push(0, start, start, Label(0.0, 0.0, 0.0, ()))
        while heap:
            *_, i, start, state, label = heapq.heappop(heap)
            if isinstance(label, Plan):
                return label
            if label not in kept[i, start, state]:
                continue
            if i == len(takes) and (ends := self._end(start, state)) is not None:
                plan = self._plan(label, start, *ends)
                entry = plan.seconds, plan.static + plan.peak, next(count), i, start, state, plan
                heapq.heappush(heap, entry)
            for seconds, j, way in [*takes, []][i]:
                if (step := self.step(state, way, j)) is not None:
                    push(j, start, step[1], label.then(step[0], seconds))
        return None

    def _plan(
        self, label: Label, start: Placed, moved: list[tuple[str, Moved]], end: Placed
    ) -> Plan:
        return Plan(
            steps=label.steps,
            moved=tuple(moved),
            start=dict(start),
            end=dict(end),
            seconds=label.seconds + sum(one.seconds for _, one in moved),
            bound=0.0,
            static=label.static * self.workload.held_layers,
            peak=label.peak,
        )

    def _step(self, state: Placed, way: Way, after: int) -> tuple[Label, Placed] | None:
        """Moves before a run, and the placements after it; None where nothing leads there."""
        now, static, moved, both = dict(state), 0.0, list[tuple[str, Moved]](), 0.0
        for tensor, at in way.needs.items():
            of = self.workload.views.get(tensor, tensor)
            if of in now:
                to = self._viewed(tensor, of, at)
                if (found := self.ways.moved(of, now[of], to)) is None:
                    return None
                moved += [(of, one) for one in found]
                both += self.ways.bytes(of, to) if found else 0.0
                now[of] = to
            if of not in now or self._grows(tensor, of):
                if tensor in self.fixed and self.fixed[tensor] != at:
                    return None
                static += self.ways.bytes(tensor, at)
        for tensor, at in way.gives.items():
            to = self.fixed.get(tensor, at)
            if (found := self.ways.moved(tensor, at, to)) is None:
                return None
            moved += [(tensor, one) for one in found]
            now[tensor] = to
        peak = sum(self.ways.bytes(t, at) for t, at in now.items()) + both + way.buffers
        left = tuple(sorted((t, at) for t, at in now.items() if self._last[t] >= after))
        label = Label(sum(o.seconds for _, o in moved), static, peak, (Step(way, tuple(moved)),))
        return label, left

    def _grows(self, view: str, of: str) -> bool:
        """True where what a view reads is more than what was made of it: a cache."""
        return view != of and self.workload.tensor_words(view) != self.workload.tensor_words(of)

    def _viewed(self, view: str, of: str, at: Placement) -> Placement:
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
    def _outputs(self) -> tuple[str, ...]:
        return tuple(t for t in self.workload.producers if self._last[t] == len(self.units))

    @cached_property
    def _stream(self) -> tuple[str, ...]:
        """Tensors that come in and go out in one placement: first what the others stand with."""
        workload, ranks = self.workload, self.workload.tensor_ranks
        inputs = [t for t in ranks if t not in workload.producers and t not in workload.views]
        if workload.core and set(workload.core) == set(workload.ancestors):
            queries, keys = workload.roles.queries, workload.roles.keys
            return tuple(sorted(inputs, key=lambda t: (queries not in ranks[t], keys in ranks[t])))
        ends = {ranks[t] for t in self._outputs}
        held = [t for t in inputs if ranks[t] in ends and t not in workload.weights]
        return tuple(held[:1])

    def _starts(self) -> Iterator[Placed]:
        """Placements of what comes in."""
        ranks, sizes, roles = (
            self.workload.tensor_ranks,
            self.workload.rank_sizes,
            self.workload.roles,
        )
        stream = self._stream
        own = [r for r in ranks[stream[0]] if sizes[r] > 1] if stream else []
        if len(stream) > 1:  # queries, keys and values: not parts of a head
            own = [r for r in own if r in roles.declared.values()]
        seen = set()
        for first in product((WHOLE, *own), repeat=len(self.cluster.axes)) if stream else [()]:
            placed = {stream[0]: first} if stream else {}
            for dealt in product((False, True), repeat=len(first) * (len(stream) > 1)):
                for tensor in stream[1:]:
                    placed[tensor] = tuple(
                        roles.keys
                        if r == roles.queries or (r == WHOLE and deal)
                        else r
                        if r in ranks[tensor]
                        else WHOLE
                        for r, deal in zip(first, dealt, strict=True)
                    )
                placed |= {t: at for t, at in self.fixed.items() if t in placed}
                if first == placed.get(stream[0] if stream else "", first):
                    seen.add(tuple(sorted(placed.items())))
        yield from sorted(seen)

    def _end(self, start: Placed, state: Placed) -> tuple[list[tuple[str, Moved]], Placed] | None:
        """Moves at the end, and placements then: the stream's, or else any that is no sum."""
        begun, moved, end = dict(start), list[tuple[str, Moved]](), {}
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
        return moved, tuple(end.items())


def _rest(takes: list[list[tuple[float, int, Way]]]) -> list[float]:
    """From each node the seconds of all that follows, wherever tensors are."""
    rest = [inf] * len(takes) + [0.0]
    for i in reversed(range(len(takes))):
        rest[i] = min((seconds + rest[j] for seconds, j, _ in takes[i]), default=inf)
    return rest


def _dominated(found: Label, others: list[Label], room: float) -> bool:
    """True where another path to the node is no worse for all that follows; of what is worse than
    the one that is found, the others are cleared."""

    def no_worse(one: Label, other: Label) -> bool:
        smaller = one.static <= other.static and one.peak <= other.peak
        return one.seconds <= other.seconds and (room == inf or smaller)

    if any(no_worse(one, found) for one in others):
        return True
    others[:] = [one for one in others if not no_worse(found, one)]
    return False


def units_of(workload: Workload) -> Iterator[tuple[str, ...]]:
    """Einsums that no run cuts, in execution order: attention, an operator, or one alone."""
    whole = [workload.core] if workload.core else []
    whole += [own for own in workload.operators.values() if not set(own) & set(workload.core)]
    order, done = tuple(workload.ancestors), set[str]()
    for name in order:
        if name not in done:
            members = next((own for own in whole if name in own), (name,))
            yield tuple(n for n in order if n in members)
            done |= set(members)
