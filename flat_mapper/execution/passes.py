"""The passes of a group's shared loops, and the turns in each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from flat_mapper.execution.shared import GroupFacts


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
            start = sizes[keys] - sizes[queries] + at[queries] * rows
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
