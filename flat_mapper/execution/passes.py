"""The passes of a group's shared loops, and the turns in each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from flat_mapper.base.errors import MappingError, expected
from flat_mapper.execution.shared import GroupFacts

# By what a unit takes its next turn. pass: of those ready that of the earliest pass. On the matrix
# path also ready: that of the group's first Einsum; and none but the one whose turn it is, in turn:
# pass by pass; program: the first Einsum's of the next pass before the others' of this one, as in a
# software pipeline.
Order = Literal["pass", "ready", "in turn", "program"]
FIXED: tuple[Order, ...] = ("in turn", "program")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One Einsum in one pass: the indices of its own DRAM loops there."""

    number: int
    pass_number: int
    einsum: str
    dram: tuple[int, ...]


def turns_of(facts: GroupFacts) -> tuple[Turn, ...]:
    """Every turn of a group, pass by pass and in execution order.

    An Einsum that lacks the rank of a shared loop runs after that loop: in its last pass.
    """
    loops = [p for p in facts.group.shared if p.factor > 1]
    passes = list(_visited(facts))
    own = {e.name: [i for i, p in enumerate(loops) if p.rank in e.ranks] for e in facts.einsums}
    last: dict[tuple[str, tuple[int, ...]], int] = {}
    for n, index in enumerate(passes):
        for name, at in own.items():
            last[name, tuple(index[i] for i in at)] = n
    found: list[Turn] = []
    for n, index in enumerate(passes):
        for name, at in own.items():
            dram = tuple(index[i] for i in at)
            if len(at) == len(loops) or last[name, dram] == n:
                found.append(Turn(number=len(found), pass_number=n, einsum=name, dram=dram))
    return tuple(found)


def _visited(facts: GroupFacts) -> Iterator[tuple[int, ...]]:
    """Combinations of the shared loops' indices; those in which no query may see a key left out."""
    loops = [p for p in facts.group.shared if p.factor > 1]
    mask, sizes = facts.workload.mask, facts.workload.rank_sizes
    pair = facts.workload.roles.masked or ()
    cut = {rank: _tiles(facts, rank) for rank in pair if rank in facts.cut}
    for index in product(*(range(p.factor) for p in loops)):
        if mask is not None and len(cut) == 2:
            at = {rank: 0 for rank in cut}
            for i, p in zip(index, loops, strict=True):
                if p.rank in at:
                    at[p.rank] = at[p.rank] * p.factor + i
            queries, keys = cut
            rows, columns = sizes[queries] // cut[queries], sizes[keys] // cut[keys]
            start = sizes[keys] * mask.parts - sizes[queries] + at[queries] * rows
            low, high = mask.seen(start, start + rows - 1, sizes[keys])
            first = at[keys] * columns
            if high <= first or low >= first + columns:
                continue
        yield index


def _tiles(facts: GroupFacts, rank: str) -> int:
    count = 1
    for p in facts.group.shared:
        if p.rank == rank:
            count *= p.factor
    return count


def in_order(turns: Sequence[tuple[Turn, str]], order: Order) -> list[int]:
    """The positions of turns in the order in which their units look at them; each with its unit."""
    place = {name: i for i, name in enumerate(dict.fromkeys(turn.einsum for turn, _ in turns))}

    def rank(n: int) -> tuple[int, ...]:
        turn, unit = turns[n]
        if order in ("pass", "in turn") or unit != "matrix":
            return (n,)
        if order == "ready":
            return (place[turn.einsum], n)
        first = place[turn.einsum] == 0
        return (turn.pass_number - first, not first, n)

    return sorted(range(len(turns)), key=rank)


def hold_phases(
    phases: Sequence[Sequence[str]],
    names: Sequence[str],
    units: Sequence[str],
    after: Sequence[set[int]],
) -> None:
    """Let turns wait as the schedule `phases` has it, round after round.

    A phase waits for the phase before. In each an Einsum has its next turn if that is ready.
    names, units: of the turns' Einsums. after: the turns that each waits for; the phase before is
    added to it.
    """
    left: dict[str, list[int]] = {}
    for n, name in enumerate(names):
        left.setdefault(name, []).append(n)
    over: set[int] = set()
    before: set[int] = set()
    while any(left.values()):
        progress = len(over)
        for phase in phases:
            now: set[int] = set()
            for n in [turns[0] for name, turns in left.items() if turns and name in phase]:
                if after[n] <= over | {m for m in now if units[m] == units[n]}:
                    left[names[n]].pop(0)
                    now.add(n)
            for n in now:
                after[n].update(before)
            over |= now
            before = now or before
        if len(over) == progress:
            condition = "phases in which some Einsum can have its turn"
            raise MappingError(expected("phases", condition, "Einsums that wait in a circle"))
