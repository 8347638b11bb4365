"""The order in which the Einsums of a cascade are listed, where the cascade itself leaves it open.

Of Einsums that do not wait for each other the one of fewest points goes first, then the shape of
the cascade around them decides, never a name; only those alike in all of that keep the order of the
file. It is the order of whole groups, and of a group one of those that are searched.

The schedule `phases` goes round its phases again and again; a phase begins when the one before is
over. One that needs what a later phase or another unit of its own phase makes is a round behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, compress, product, takewhile
from math import prod
from typing import Literal

from flat_mapper.arch.cores import units_at_once
from flat_mapper.arch.values import Architecture
from flat_mapper.base.errors import MappingError, expected
from flat_mapper.mapping.sharing import carried_tensors, copied_from, in_place_classes
from flat_mapper.mapping.values import Phases, Schedule
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import MaskTiles


def execution_order(workload: Workload) -> tuple[str, ...]:
    """Names of the Einsums, each after those it waits for.

    The forms of softmax that this package writes run in the order of their source.
    """
    if workload.softmax != "none":
        return tuple(workload.ancestors)
    colours, points = _colours(workload), workload.iterations
    weight = {e.name: (points(e), colours[e.name], i) for i, e in enumerate(workload.einsums)}
    done: dict[str, None] = {}
    while len(done) < len(weight):
        ready = (n for n in weight if n not in done and done.keys() >= set(workload.ancestors[n]))
        done[min(ready, key=weight.__getitem__)] = None
    return tuple(done)


def _colours(workload: Workload) -> dict[str, int]:
    """A number for each Einsum, the same for two of them only where they are alike.

    Colour refinement: what an Einsum is by itself, then what makes its inputs and reads its output,
    as often as there are Einsums.
    """
    seen: dict[str, object] = {e.name: _own(workload, e) for e in workload.einsums}
    colours = _numbered(seen)
    for _ in workload.einsums:
        around: dict[str, object] = {}
        for einsum in workload.einsums:
            makers = sorted(
                (colours[workload.producers[a.tensor]] if a.tensor in workload.producers else -1)
                for a in einsum.inputs
            )
            readers = sorted(colours[e.name] for e in workload.readers(einsum.output.tensor))
            around[einsum.name] = (colours[einsum.name], makers, readers)
        finer = _numbered(around)
        if finer == colours:
            break
        colours = finer
    return colours


def _own(workload: Workload, einsum: Einsum) -> object:
    """Signature of an Einsum: its operation, and its ranks by size, role and where they are."""
    roles = {rank: name for name, rank in workload.roles.declared.items()}
    ranks = sorted(
        (
            workload.rank_sizes[rank],
            roles.get(rank, ""),
            rank in einsum.output.ranks,
            sorted(len(a.ranks) for a in einsum.inputs if rank in a.ranks),
            (rank in einsum.each, rank in einsum.after),
        )
        for rank in einsum.ranks
    )
    return (einsum.operation, einsum.unit, einsum.updates, len(einsum.so_far), ranks)


def _numbered(values: dict[str, object]) -> dict[str, int]:
    """Equal values as equal numbers, in the order of how the values are written."""
    listed = sorted({repr(value) for value in values.values()})
    return {name: listed.index(repr(value)) for name, value in values.items()}


def overlaps(schedule: Schedule | str) -> bool:
    """True if units work at once, on different passes."""
    return schedule in ("overlapped", "phases")


def turns_fault(arch: Architecture, schedule: Schedule | str) -> str:
    """Reason why a chip cannot run a schedule of any group; empty where it can."""
    if not (overlaps(schedule) or schedule == "any") or units_at_once(arch):
        return ""
    condition = f"one in which units take turns, as {arch.name} has it (units_at_once: 0)"
    change = f"take interleaved, or a copy of {arch.where} with units_at_once: 1"
    return expected("schedule", condition, schedule, change)


def check_phases(
    workload: Workload,
    names: Sequence[str],
    phases: Phases,
    where: str,
    level: str = "",
    inside: Mapping[str, str] | None = None,
) -> None:
    """Raise MappingError unless every Einsum of a group is in one phase, and none waits in vain.

    level, inside: see `rounds_behind`.
    """
    check_listed(names, phases, where)
    rounds_behind(workload, names, phases, level, inside)


def check_listed(names: Sequence[str], phases: Phases, where: str) -> None:
    """Raise MappingError unless every Einsum of a group is in one phase."""
    listed = [n for phase in phases for n in phase]
    if sorted(listed) != sorted(names):
        condition = f"each of {', '.join(names)} in one phase"
        got = " then ".join(" + ".join(phase) for phase in phases) or "none"
        raise MappingError(expected(f"{where}: phases", condition, got))


def rounds_behind(
    workload: Workload,
    names: Sequence[str],
    phases: Phases,
    level: str = "",
    inside: Mapping[str, str] | None = None,
) -> dict[str, int]:
    """Of each Einsum, by how many rounds it is behind the first.

    level:  the shared one, whose widths decide what shares a place.
    inside: the level of each tensor that is handed over inside it.

    raises: MappingError where Einsums wait for each other in a circle.
    """
    waits = tuple(_waits(workload, names, level, inside))
    at = {n: i for i, phase in enumerate(phases) for n in phase}
    order = {n: i for i, n in enumerate(names)}

    def behind(first: str, second: str) -> int:
        """Rounds that the second is behind the first where both work on one pass."""
        same = workload.einsum(first).unit == workload.einsum(second).unit
        here = at[first] == at[second] and same and order[first] < order[second]
        return 0 if at[first] < at[second] or here else 1

    found = dict.fromkeys(names, 0)
    for _ in range(len(found) + 1):
        late = [
            (second, found[first] - distance + behind(first, second))
            for first, second, distance in waits
        ]
        late = [(name, least) for name, least in late if least > found[name]]
        if not late:
            return found
        for name, least in late:
            found[name] = max(found[name], least)
    name, got = late[0][0], "Einsums that wait in a circle"
    condition = "an order of phases in which every Einsum has its inputs and room for its output"
    change = f"move {name} or what it reads to another phase"
    raise MappingError(expected(f"phases: {name}", condition, got, change))


def _waits(
    workload: Workload, names: Sequence[str], level: str, inside: Mapping[str, str] | None
) -> Iterator[tuple[str, str, int]]:
    """Who waits for whom: for inputs, for old values, and for a copy that nobody reads any more.

    returns: the second Einsum waits for the first's turn of so many passes before.
    """
    yield from _data_waits(workload, names)
    yield from _room_waits(workload, names, level, inside)
    # Of what comes from outside there are two tiles: of one pass and of the next.
    einsums = workload.named(names)
    for tensor in dict.fromkeys(chain.from_iterable(e.operands for e in einsums)):
        users = [e.name for e in einsums if e.touches(tensor)]
        yield from ((first, second, 2) for first, second in product(users, users))


def _room_waits(
    workload: Workload, names: Sequence[str], level: str, inside: Mapping[str, str] | None
) -> Iterator[tuple[str, str, int]]:
    """Who waits for a copy of its output that nobody reads any more; see `_waits`."""
    einsums = workload.named(names)
    carried = carried_tensors(workload, tuple(names))
    places = in_place_classes(workload, names, level, inside)
    for einsum in einsums:
        tensor = einsum.output.tensor
        place = {t for t, at in places.items() if at == places[tensor]}
        users = [e for e in einsums if not place.isdisjoint(e.tensors)]
        copies = 2 if len({e.unit for e in users}) > 1 or tensor in carried else 1
        yield from ((user.name, einsum.name, copies) for user in users)


def _data_waits(workload: Workload, names: Sequence[str]) -> Iterator[tuple[str, str, int]]:
    """Who waits for whom: for inputs, and for old values; see `_waits`."""
    einsums = workload.named(names)
    carried = carried_tensors(workload, tuple(names))
    for i, einsum in enumerate(einsums):
        tensor = einsum.output.tensor
        for other in einsums[:i]:
            if einsum.reads(other.output.tensor) or other.touches(tensor):
                yield other.name, einsum.name, 0
        old = {tensor if tensor in carried else None, copied_from(workload, einsum)}
        yield from ((e.name, einsum.name, 1) for e in einsums if e.output.tensor in old)


def carried_loops(workload: Workload, names: Sequence[str]) -> tuple[Mapping[str, float], ...]:
    """Einsums of both units that wait for one another from pass to pass, by turns in each.

    One of an online softmax corrects a result that another adds to, which the first needs in the
    next pass: however many units there are, their turns are one after the other. So is the turn of
    one that reads the result when it is done, on the unit of the first: it is of an earlier pass.
    One also waits for a copy of its output: of two, its turns are in every second pass. These take
    no longer than the units' own, but where an Einsum that runs when a loop is done comes between.
    """
    unit = {e.name: e.unit for e in workload.named(names)}
    rare = {n for n in names if workload.einsum(n).after}
    waits = [*_data_waits(workload, names)]
    reads = {n: {second for first, second, d in waits if first == n and not d} for n in names}
    after, follows = dict(reads), dict[str, str]()
    for n in reversed(names):
        after[n] = reads[n] | {follows.get(unit[n], n)} - {n}
        follows[unit[n]] = n

    @cache
    def chains(name: str, last: str) -> frozenset[frozenset[str]]:
        """The longest ways from one Einsum to another in a pass."""
        if name == last:
            return frozenset({frozenset({name})})
        found = {way | {name} for one in after[name] for way in chains(one, last)}
        return frozenset(way for way in found if not any(way < other for other in found))

    found = {
        (way.union(n for n in reads[last] if unit[n] == unit[first] or n in rare), distance)
        for last, first, distance in (*waits, *_room_waits(workload, names, "", None))
        for way in (chains(first, last) if distance else ())
    }
    joint = [(w, d) for w, d in found if len({unit[n] for n in w}) > 1 and (d == 1 or w & rare)]
    most = [way for way in joint if not any(way[0] < w and d == way[1] for w, d in joint)]
    return tuple(
        {n: 1 if n in rare else 1 / d for n in sorted(way)}
        for way, d in sorted(most, key=lambda one: (one[1], sorted(one[0])))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PassKind:
    """Passes of one Einsum that move the same tensors."""

    count: float  # passes; under a mask those that it leaves
    fresh: frozenset[str]  # tensors whose tile is another than in the pass before
    first: bool  # the output's tile has not been seen before
    done: bool = True  # what it sends of the output is done; asked where sums are wider
    leaves: bool = True  # a tile of the output that stays goes, as the pass after has another


@dataclass(frozen=True, slots=True, kw_only=True)
class UnevenRows:
    """Rows of a mask's tiles that are not alike: of the inner of its two loops, all passes.

    counts: (passes, rows with so many), from the fewest passes on.
    """

    inner: str  # rank of the inner loop
    counts: tuple[tuple[int, int], ...]

    @property
    def rows(self) -> int:
        """All rows."""
        return sum(rows for _, rows in self.counts)

    @property
    def passes(self) -> int:
        """Passes of all rows."""
        return sum(passes * rows for passes, rows in self.counts)


def uneven_rows(tiles: MaskTiles, pair: tuple[str, str], order: Sequence[str]) -> UnevenRows | None:
    """The rows that a mask leaves of the shared loops; None where they are alike.

    pair: ranks of queries and of keys. order: ranks of the shared loops, outermost first.
    """
    inner = max(pair, key=list(order).index)
    counts = tiles.by_row if inner == pair[1] else tiles.by_column
    return UnevenRows(inner=inner, counts=counts) if len(counts) > 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedLoop:
    """A shared loop, or those of its passes that are of one size: how many begin it, and others."""

    rank: str
    factor: int
    begin: int = 1  # 0: its first pass is of another size
    rest: int = -1  # -1: all others
    ends: bool = True  # whether its last pass is among them

    @property
    def others(self) -> int:
        """Passes beside the first."""
        return self.factor - 1 if self.rest < 0 else self.rest


def pass_kinds(
    loops: Sequence[SharedLoop],
    tensors: Mapping[str, frozenset[str]],
    output: str,
    left: Mapping[tuple[bool, bool], tuple[int, int]] | None = None,
    pair: tuple[str, str] | None = None,
    done: Literal["", "first", "last"] = "",
) -> tuple[PassKind, ...]:
    """The kinds of passes of an Einsum under its shared loops.

    loops:   outermost first.
    tensors: the ranks of each.
    left:    tiles that a mask leaves where it cuts both loops of the pair, over queries and over
             keys, by whether they are in the first row and the first of their own: all of these,
             and those that are the last of their row.
    done:    the pass that sends values of the output that are done: the last one over them; of what
             is corrected and added to afterwards the first, when there is nothing yet; "": all.
    """
    real = [loop for loop in loops if loop.factor > 1]
    ranks = [loop.rank for loop in real]
    stays = {t: innermost_run(real, own) for t, own in tensors.items()}
    lacks, run = frozenset(ranks) - tensors[output], stays[output]
    found: dict[tuple[frozenset[str], bool, bool, bool], float] = {}
    for begins in product((True, False), repeat=len(real)):
        zero = frozenset(compress(ranks, begins))
        what, first = (left if pair else None, pair or ()), lacks <= zero
        count = going = _passes(real, zero, *what)
        if left is not None and pair and pair[0] in run:  # when it came is known, and how often
            going = count * (run <= zero)
        elif run:
            going = _passes(real, zero, *what, run)
        whole = first if done == "first" else not done
        ends = _passes(real, zero, *what, lacks) if done == "last" else going * whole
        fresh = frozenset(t for t, over in stays.items() if over <= zero)
        parts = (ends, True, True), (going - ends, False, True), (count - going, whole, False)
        for n, ended, leaves in parts:
            if n:
                kind = fresh, first, ended, leaves
                found[kind] = found.get(kind, 0) + n
    return tuple(
        PassKind(count=n, fresh=f, first=y, done=d, leaves=z) for (f, y, d, z), n in found.items()
    )


def _passes(
    loops: Sequence[SharedLoop],
    zero: frozenset[str],
    left: Mapping[tuple[bool, bool], tuple[int, int]] | None,
    pair: Sequence[str],
    last: frozenset[str] = frozenset(),
) -> int:
    """Passes in which some loops are in their first one, and no others; last: in their last one."""
    others = [loop for loop in loops if left is None or loop.rank not in pair]
    count = prod(
        (loop.begin if loop.rank in zero else loop.others)
        if loop.rank not in last
        else loop.rank not in zero and loop.others > 0 and loop.ends
        for loop in others
    )
    if left is None:
        return count
    every, ended = left[pair[0] in zero, pair[1] in zero]
    if not last & {*pair}:
        return count * every
    return 0 if pair[0] in last else count * ended  # none is taken for one of the last row


def innermost_run(loops: Sequence[SharedLoop], ranks: frozenset[str]) -> frozenset[str]:
    """Ranks of the innermost loops up to the first over a rank of the tensor's own."""
    own = takewhile(lambda loop: loop.rank not in ranks, reversed(loops))
    return frozenset(loop.rank for loop in own)
