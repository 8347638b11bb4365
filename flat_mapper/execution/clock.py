"""The timeline of a group: when turns run and tiles move, from what was executed.

Turns are jobs of a unit. Tiles that come to the shared level from DRAM, and results that leave it,
are requests to DRAM; they move beside the turns, in the bandwidth that the turns' own streams
leave, the earliest deadline first. A request waits until there is room for it:

- with two copies (`buffering` >= 2) a tile may be fetched as soon as the tile before the previous
  one is no longer needed, and the maker of the tile after next waits for a result's drain;
- with less, a pass begins when its tiles are there; when its turns are over its results leave.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Literal, get_args

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.base.errors import MappingError, expected
from flat_mapper.energy.tables import operation_cycles
from flat_mapper.execution.group import Exchanged, GroupRun, Passed, TurnLog, levels_by_name, more
from flat_mapper.execution.link import DRAM
from flat_mapper.execution.result import TurnTime
from flat_mapper.execution.shared import PassTurn
from flat_mapper.workload.einsum import Einsum

EPSILON = 1e-9  # cycles; rounding of float64


# By what a unit takes its next turn. pass: of those ready that of the earliest pass. On the matrix
# path also ready: that of the group's first Einsum; and none but the one whose turn it is, in turn:
# pass by pass; program: the first Einsum's of the next pass before the others' of this one, as in a
# software pipeline.
_Order = Literal["pass", "ready", "in turn", "program"]
FIXED: tuple[_Order, ...] = ("in turn", "program")


@dataclass(slots=True, kw_only=True)
class _Waiting:
    """Work that may begin when some turns have ended and some requests are done."""

    after_turns: set[int] = field(default_factory=set)
    after_requests: list[Request] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Request(_Waiting):
    """A tile on its way from or to DRAM. deadline: number of the turn that waits for it."""

    tensor: str
    words: float
    reads: bool
    deadline: float
    done: bool = False


@dataclass(slots=True, kw_only=True)
class Job(_Waiting):
    """A turn: its time on its unit."""

    log: TurnLog
    unit: str
    cycles: float
    rates: tuple[Passed, ...]  # of each port outside, words per cycle that its streams take
    start: float = -1.0
    end: float = inf

    @property
    def turn(self) -> PassTurn:
        """The turn."""
        return self.log.turn


def group_timeline(run: GroupRun) -> tuple[float, tuple[TurnTime, ...]]:
    """Cycles of a group, and its turns."""
    if run.alone:
        # One Einsum is Timeloop's: the slowest of compute and all levels, over the run.
        (log,) = run.logs
        turn, cycles = run.turns[0], max(_compute(run, log), *cycles_at_levels(run).values(), 0.0)
        return cycles, (TurnTime(einsum=turn.einsum, pass_number=0, start=0.0, end=cycles),)
    # Where units overlap, the matrix path may go ahead of a pass or not: the best is taken.
    choice = run.facts.group.schedule == "overlapped" and run.policy.buffering >= 2
    orders: tuple[_Order, ...] = get_args(_Order) if choice else ("pass",)
    return min((_in_order(run, order) for order in orders), key=lambda found: found[0])


def _in_order(run: GroupRun, order: _Order) -> tuple[float, tuple[TurnTime, ...]]:
    """The same for one order of the turns; infinite where they wait for each other in it."""
    jobs = [_job(run, log) for log in run.logs]
    requests = _requests(run, jobs)
    _order(run, jobs)
    end = _Clock(run, jobs, requests, order).run()
    if run.facts.apart:
        end = max(end, *cycles_at_levels(run).values())  # whose ports all units share
    turns = (
        TurnTime(einsum=j.turn.einsum, pass_number=j.turn.pass_number, start=j.start, end=j.end)
        for j in jobs
        if j.turn.einsum not in run.facts.free
    )
    return end, tuple(turns)


def _at_ports(level: MemoryLevel, words: Passed) -> tuple[float, ...]:
    """Of each port of a level, in the order of its rates, the words that pass it."""
    read, updated, filled = words
    return read, updated + filled * (level.fill_words_per_cycle is None), filled, sum(words)


def cycles_at_ports(level: MemoryLevel, words: Passed) -> float:
    """Cycles that words take through the ports of one instance of a level."""
    ports = zip(_at_ports(level, words), level.rates, strict=True)
    return max((passed / rate for passed, rate in ports if rate is not None), default=0.0)


def _compute(run: GroupRun, log: TurnLog) -> float:
    nest = run.facts.nests[log.turn.einsum]
    return log.steps * operation_cycles(nest.arch, nest.einsum, run.facts.workload.widths)


def cycles_at_levels(run: GroupRun) -> dict[str, float]:
    """Cycles that all words of a run take at every level, its own and those that serve it."""
    total: dict[str, Passed] = {}
    for name, words in (one for log in run.logs for one in log.ports.items()):
        total[name] = more(total.get(name, (0.0, 0.0, 0.0)), words)
    crossed: dict[str, Exchanged] = {}
    for one in run.charged.values():
        for tensor in (t for level, t in one.counters if level == DRAM):
            (read, written), c = crossed.get(tensor, (0.0, 0.0)), one.counters[DRAM, tensor]
            crossed[tensor] = read + c.words[0], written + c.words[1]
    total |= {port.level.name: port.moved(crossed) for port in run.outside}
    levels = levels_by_name(run.platform) | {port.level.name: port.level for port in run.outside}
    return {name: cycles_at_ports(levels[name], words) for name, words in total.items()}


def _job(run: GroupRun, log: TurnLog) -> Job:
    """A turn takes as long as the slowest of its compute, its ports, and its own streams."""
    levels = levels_by_name(run.platform)
    ports = [cycles_at_ports(levels[name], words) for name, words in log.ports.items()]
    streams = [port.moved(log.streamed) for port in run.outside]
    ports += [
        cycles_at_ports(p.level, words) for p, words in zip(run.outside, streams, strict=True)
    ]
    cycles = max(_compute(run, log), *ports)
    rates = tuple(more((0.0, 0.0, 0.0), s, 1 / cycles if cycles else 0.0) for s in streams)
    unit = run.facts.nests[log.turn.einsum].einsum.unit if run.facts.apart else ""
    return Job(log=log, unit=unit, cycles=cycles, rates=rates)


def _requests(run: GroupRun, jobs: list[Job]) -> list[Request]:
    """The moves of staged tiles, and who waits for them."""
    copies = 2 if run.policy.buffering >= 2 else 1
    number = [job.turn.pass_number for job in jobs]
    found: list[Request] = []
    for one in run.runs.values():
        for tensor in dict.fromkeys(tile.tensor for tile in one.tiles):
            tiles = [tile for tile in one.tiles if tile.tensor == tensor]
            users = {e.name for e in run.facts.einsums if e.touches(tensor)}
            touching = [n for n, job in enumerate(jobs) if job.turn.einsum in users]
            passes = [number[n] for n in touching]
            # By all its Einsums, from the first pass to the last.
            begins = (bisect_left(passes, number[t.first]) for t in tiles)
            ends = (bisect_right(passes, number[t.last]) for t in tiles)
            used = [touching[first:end] for first, end in zip(begins, ends, strict=True)]
            move = partial(Request, tensor=tensor)
            drains: list[Request] = []
            for n, tile in enumerate(tiles):
                fetch = move(words=tile.fetched, reads=True, deadline=tile.first)
                heir = tiles[n + copies].first if n + copies < len(tiles) else inf
                drain = move(words=tile.drained, reads=False, deadline=heir)
                drain.after_turns.update(used[n])
                drains.append(drain)
                if n >= copies:
                    fetch.after_turns.update(used[n - copies])
                    fetch.after_requests.append(drains[n - copies])
                    jobs[tile.first].after_requests.append(drains[n - copies])
                for user in used[n]:
                    jobs[user].after_requests.append(fetch)
                found += [fetch, drain]
    if copies == 1:
        _hold_passes(jobs, number, found)
    return found


def _hold_passes(jobs: list[Job], number: Sequence[int], requests: list[Request]) -> None:
    """Nothing runs ahead: the tiles of a pass come when the one before is over, results gone.

    Where units overlap, the last turn of a pass may end before others of it.
    number: of the pass of each job.
    """
    within = defaultdict[int, set[int]](set)
    drains, fetches = defaultdict[int, list[Request]](list), defaultdict[int, list[Request]](list)
    for n, p in enumerate(number):
        within[p].add(n)
    for request in requests:
        if request.reads:
            fetches[number[int(request.deadline)]].append(request)
        else:
            p = max(number[n] for n in request.after_turns)
            request.after_turns = within[p]
            drains[p].append(request)
    for p, job in zip(number, jobs, strict=True):
        job.after_requests += fetches[p] + drains[p - 1]
    for p, wanted in fetches.items():
        for request in wanted:
            request.after_turns |= within[p - 1]
            request.after_requests += drains[p - 1]


def _order(run: GroupRun, jobs: list[Job]) -> None:
    """Who waits for whom: in turn, each for the one before; else each for what it uses."""
    facts = run.facts
    if not facts.apart:
        for n in range(1, len(jobs)):
            jobs[n].after_turns.add(n - 1)
        return
    waits = {einsum.name: [*_waits(run, einsum)] for einsum in facts.einsums}
    at = {(job.turn.einsum, job.turn.pass_number): n for n, job in enumerate(jobs)}
    before: dict[str, int] = {}  # each Einsum's last turn so far
    for n, job in enumerate(jobs):
        name, number = job.turn.einsum, job.turn.pass_number
        others = ((other, number - passes) for other, passes in waits[name])
        job.after_turns.update(at[one] for one in others if one in at)
        job.after_turns.discard(n)
        if name in before:
            job.after_turns.add(before[name])
        before[name] = n
    # Where nothing runs ahead, a pass is over before the next begins, whatever the phases.
    if facts.group.schedule == "phases" and run.policy.buffering >= 2:
        _hold_phases(facts.group.phases, jobs)


def _waits(run: GroupRun, einsum: Einsum) -> Iterator[tuple[str, int]]:
    """The Einsums for whose turns one waits, and how many passes before its own these are.

    It waits for the makers of its inputs, for room, and for its unit's earlier Einsums.
    """
    facts = run.facts
    made = einsum.output.tensor
    for other in facts.einsums[: facts.einsums.index(einsum)]:
        read = facts.passed_on(other.output.tensor) and einsum.touches(other.output.tensor)
        room = facts.passed_on(made) and other.touches(made)
        if other.unit == einsum.unit or read or room:
            yield other.name, 0
    if facts.passed_on(made):
        # Until the copy that it writes is no longer read.
        inside = run.places[made].tensors if made in run.places else [made]
        users = [e for e in facts.einsums if not {*inside}.isdisjoint(e.tensors)]
        carried = facts.carried(made)
        copies = 2 if carried or len({e.unit for e in users}) > 1 else 1
        yield from ((user.name, copies) for user in users)
        yield from ((maker.name, 1) for maker in facts.makers(made) if carried)
    for maker in facts.makers(run.copied.get(einsum.name, "")):
        yield maker.name, 1


def _hold_phases(phases: Sequence[Sequence[str]], jobs: Sequence[Job]) -> None:
    """Let turns wait as the schedule `phases` has it, round after round.

    A phase waits for the phase before. In each an Einsum has its next turn if that is ready.
    """
    left: dict[str, list[int]] = {}
    for n, job in enumerate(jobs):
        left.setdefault(job.turn.einsum, []).append(n)
    over, before = set[int](), set[int]()
    while any(left.values()):
        progress = len(over)
        for phase in phases:
            now: set[int] = set()
            for name, n in [(name, own[0]) for name, own in left.items() if own and name in phase]:
                beside = {m for m in now if jobs[m].unit == jobs[n].unit}
                if jobs[n].after_turns <= over | beside:
                    left[name].pop(0)
                    now.add(n)
            for n in now:
                jobs[n].after_turns.update(before)
            over |= now
            before = now or before
        if len(over) == progress:
            condition = "phases in which some Einsum can have its turn"
            raise MappingError(expected("phases", condition, "Einsums that wait in a circle"))


def _queue(jobs: Sequence[Job], order: _Order) -> list[int]:
    """The numbers of turns in the order in which their units look at them."""
    place = {name: i for i, name in enumerate(dict.fromkeys(job.turn.einsum for job in jobs))}

    def rank(n: int) -> tuple[int, ...]:
        turn = jobs[n].turn
        if order in ("pass", "in turn") or jobs[n].unit != "matrix":
            return (n,)
        if order == "ready":
            return (place[turn.einsum], n)
        first = place[turn.einsum] == 0
        return (turn.pass_number - first, not first, n)

    return sorted(range(len(jobs)), key=rank)


class _Clock:
    """Jobs and requests, from event to event."""

    def __init__(
        self, run: GroupRun, jobs: list[Job], requests: list[Request], order: _Order
    ) -> None:
        self.outside, self.jobs = run.outside, jobs
        self.requests = sorted(requests, key=lambda r: (r.deadline, not r.reads))
        self.ended: set[int] = set()
        self.now = 0.0
        self.waiting: dict[str, list[int]] = {}
        for n in _queue(jobs, order):
            self.waiting.setdefault(jobs[n].unit, []).append(n)
        self.fixed = {"matrix"} if order in FIXED else set[str]()
        self.running: dict[str, int] = {}

    def run(self) -> float:
        """The cycle at which everything is done."""
        while True:
            while self._finish() or self._start():
                pass
            rates = self._rates()
            ends = [self.jobs[n].end for n in self.running.values()]
            ends += [self.now + r.words / rate for r, rate in rates if rate > 0]
            if not ends:
                waits = any(self.waiting.values())
                assert self.fixed or not waits, "a turn waits for itself"
                return inf if waits else self.now
            step = min(ends) - self.now
            for request, rate in rates:
                request.words = 0.0 if rate == inf else request.words - rate * step
            self.now += step

    def _finish(self) -> bool:
        """End what is over at this moment."""
        over = [u for u, n in self.running.items() if self.jobs[n].end <= self.now + EPSILON]
        for unit in over:
            self.ended.add(self.running.pop(unit))
        done = [r for r in self.requests if self._free(r) and r.words <= EPSILON]
        for request in done:
            request.done = True
        if done:
            self.requests = [r for r in self.requests if not r.done]
        return bool(over or done)

    def _free(self, waits: _Waiting) -> bool:
        turns = all(n in self.ended for n in waits.after_turns)
        return turns and all(r.done for r in waits.after_requests)

    def _start(self) -> bool:
        """Give free units the first turn that is ready."""
        begun = False
        for unit, queue in self.waiting.items():
            if unit in self.running:
                continue
            first = queue[:1] if unit in self.fixed else queue
            ready = next((n for n in first if self._free(self.jobs[n])), None)
            if ready is not None:
                queue.remove(ready)
                job = self.jobs[ready]
                job.start, job.end = self.now, self.now + job.cycles
                self.running[unit] = ready
                begun = True
        return begun

    def _rates(self) -> list[tuple[Request, float]]:
        """Words per cycle of every request that may move now, the earliest deadline first."""
        jobs = [self.jobs[n] for n in self.running.values()]
        lefts = [_Left(p.level, [j.rates[i] for j in jobs]) for i, p in enumerate(self.outside)]
        found = []
        for request in self.requests:
            if not self._free(request):
                continue
            way = (1.0, 0.0) if request.reads else (0.0, 1.0)
            words = [port.moved({request.tensor: way}) for port in self.outside]
            used = [(left, own) for left, own in zip(lefts, words, strict=True) if any(own)]
            rate = min((left.rate(own) for left, own in used), default=inf)
            for left, own in used:
                left.take(own, rate)
            found.append((request, rate))
        return found


class _Left:
    """Rest of the bandwidths of a level's ports, beside what streams take of them."""

    def __init__(self, level: MemoryLevel, streams: Sequence[Passed]) -> None:
        self.level = level
        self.ports = [inf if rate is None else rate for rate in level.rates]
        for words in streams:
            self.take(words, 1.0)

    def rate(self, words: Passed) -> float:
        """Times a cycle that so many words may pass."""
        ports = zip(self.ports, _at_ports(self.level, words), strict=True)
        rate = min(left / n for left, n in ports if n)
        return rate if rate > EPSILON else 0.0

    def take(self, words: Passed, rate: float) -> None:
        """Take them so often in a cycle."""
        if rate != inf:
            ports = zip(self.ports, _at_ports(self.level, words), strict=True)
            self.ports = [left - rate * n for left, n in ports]
