"""The level where each tensor of a group has its place for all Einsums, and which share one.

It is the shared level, or one inside it that hands an intermediate over.

`group_turns`: the passes of a group's shared loops, and the turns in each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from math import ceil, prod

from flat_mapper.execution.link import DRAM, SHARED_LEVEL, FlatNest, Place, new_place
from flat_mapper.mapping.values import GroupMapping, Loop, Policy
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask


@dataclass(frozen=True, kw_only=True)
class GroupFacts:
    """Facts of a group that the rules ask for, from its graph and its loops alone."""

    workload: Workload
    group: GroupMapping
    nests: Mapping[str, FlatNest]  # by Einsum, in execution order
    hidden: tuple[Mask, int] | None = None  # see `EinsumRun`

    @property
    def free(self) -> frozenset[str]:
        """Those that a free softmax leaves out of the group: they cost nothing."""
        return frozenset(self.nests) - frozenset(self.group.names)

    @property
    def einsums(self) -> tuple[Einsum, ...]:
        """The Einsums, in execution order."""
        return tuple(nest.einsum for nest in self.nests.values())

    @property
    def shared(self) -> str:
        """The name of the shared level."""
        return next(iter(self.nests.values())).arch.levels[SHARED_LEVEL].name

    @property
    def apart(self) -> bool:
        """True if units work at once, on different passes."""
        return self.group.schedule in ("overlapped", "phases")

    def makers(self, tensor: str) -> list[Einsum]:
        """The Einsums of the group that write a tensor."""
        return [e for e in self.einsums if e.output.tensor == tensor]

    def passed_on(self, tensor: str) -> bool:
        """True if one Einsum of the group makes a tensor and another reads or writes it."""
        users = [e for e in self.einsums if e.touches(tensor)]
        return bool(self.makers(tensor)) and len(users) > 1

    def carried(self, tensor: str) -> bool:
        """True if a shared loop brings partial results of it back, for another Einsum to see."""
        reduced = {r for e in self.makers(tensor) for r in e.reduced_ranks}
        return self.passed_on(tensor) and not reduced.isdisjoint(self.group.cut)

    def home(self, tensor: str) -> str:
        """The name of the level where all Einsums of the group find a tensor."""
        top = [nest.keepers(tensor)[:1] for nest in self.nests.values()]
        if self.passed_on(tensor) and all(levels[:1] > (SHARED_LEVEL,) for levels in top if levels):
            (maker, *_) = self.makers(tensor)
            nest = self.nests[maker.name]
            return nest.arch.levels[nest.keepers(tensor)[0]].name
        return self.shared

    def at(self, nest: FlatNest, tensor: str) -> int:
        """The number of that level on the path of one Einsum."""
        return [level.name for level in nest.arch.levels].index(self.home(tensor))

    def off_chip(self, tensor: str) -> bool:
        """True if some Einsum of the group keeps it at DRAM."""
        return any(DRAM in nest.keepers(tensor) for nest in self.nests.values())

    def leaves_finished(self, tensor: str) -> bool:
        """True if it leaves through an Einsum after the loops that a free softmax leaves out.

        Then it drains row by row while that runs, and needs no second copy.
        """
        readers = self.workload.readers(tensor)
        return bool(readers) and all(e.after and e.name not in self.nests for e in readers)

    def between_units(self, tensor: str) -> bool:
        """True if it is made on one unit and used on another."""
        units = {e.unit for e in self.einsums if e.touches(tensor)}
        return bool(self.makers(tensor)) and len(units) > 1


def _overwritten(facts: GroupFacts) -> dict[str, str]:
    """Of each output that is made in the place of an input, that input: of several the widest's."""
    found: dict[str, str] = {}
    for n, einsum in enumerate(facts.einsums):
        if einsum.unit != "vector" or einsum.after or einsum.reduced_ranks or einsum.updates:
            continue
        later = {*chain.from_iterable(e.operands for e in facts.einsums[n + 1 :])}
        given_up = [t for t in _given_up(facts, einsum) if t not in later]
        if given_up:
            widest = max(given_up, key=lambda tensor: _bits_of_place(facts, found, tensor))
            found[einsum.output.tensor] = widest
    return found


def _given_up(facts: GroupFacts, einsum: Einsum) -> Iterator[str]:
    """Inputs in whose place an output of their shape may be, once nobody else reads them."""
    home = facts.home(einsum.output.tensor)
    for access in einsum.inputs:
        tensor = access.tensor
        alike = {*access.ranks} == {*einsum.output.ranks} and facts.home(tensor) == home
        inside = facts.makers(tensor) and not facts.off_chip(tensor)
        if alike and inside and not facts.carried(tensor):
            yield tensor


def _bits_of_place(facts: GroupFacts, instead: Mapping[str, str], tensor: str) -> float:
    """Bits of the widest tensor that was ever where one is."""

    def place(one: str) -> str:
        return place(instead[one]) if one in instead else one

    here = [t for t in {tensor, *instead, *instead.values()} if place(t) == place(tensor)]
    return max(facts.workload.bits(t, facts.home(t)) for t in here)


def held_in(facts: GroupFacts, policy: Policy) -> dict[str, str]:
    """Of every tensor that has a place, whose place it was first: its own, where nobody had it."""
    instead = _overwritten(facts) if policy.in_place else {}
    found: dict[str, str] = {}
    users = [(nest, a.tensor) for nest in facts.nests.values() for a in nest.einsum.accesses]
    kept = {t for nest, t in users if facts.at(nest, t) in nest.keepers(t)}
    for tensor in dict.fromkeys(t for _, t in users if t in kept):
        found[tensor] = found.get(instead.get(tensor, ""), tensor)
    return found


def shared_places(facts: GroupFacts, policy: Policy) -> dict[str, Place]:
    """A place for every tensor that an Einsum of the group keeps where all of them find it.

    One that tensors share is as large as the largest of them, with its padding to whole loops.
    """
    extents: dict[str, dict[str, int]] = {}
    copies: dict[str, int] = {}
    for nest in facts.nests.values():
        for access in nest.einsum.accesses:
            if (at := facts.at(nest, access.tensor)) in nest.keepers(access.tensor):
                slot = nest.level_slots[at]
                copies[access.tensor] = nest.instances(slot)
                known = extents.setdefault(access.tensor, dict.fromkeys(access.ranks, 1))
                for rank in access.ranks:
                    known[rank] = max(known[rank], nest.extent(rank, slot))
    holder = held_in(facts, policy)
    for tensor, first in holder.items():
        room = extents[first]
        room.update({rank: max(room[rank], n) for rank, n in extents[tensor].items()})
    places = {t: new_place(t, extents[t], copies[t]) for t, first in holder.items() if t == first}
    for tensor, first in holder.items():
        if tensor != first:
            places[tensor] = places[first]
            places[first].tensors.append(tensor)
    return places


def words_at(
    facts: GroupFacts,
    places: Mapping[str, Place],
    policy: Policy,
    level: str,
    widest: Callable[[str, str], float],
) -> tuple[tuple[str, int], ...]:
    """Words of a level that tensors with a place there take while the group runs, all copies.

    widest: words of a value that an Einsum has of a tensor there, at most.
    """
    terms: dict[str, float] = {}
    copies: dict[str, float] = {}
    for name, nest in facts.nests.items():
        for access in nest.einsum.accesses:
            tensor = access.tensor
            if facts.home(tensor) != level:
                continue
            if name in facts.free and not facts.carried(tensor):
                continue
            place, at = places.get(tensor), facts.at(nest, tensor)
            holder = place.tensors[0] if place and at in nest.keepers(tensor) else tensor
            slot = nest.level_slots[at] + (at not in nest.keepers(tensor))
            words = prod(min(nest.extent(r, slot), nest.sizes[r]) for r in access.ranks)
            terms[holder] = max(terms.get(holder, 0.0), words * widest(name, tensor))
            copies[holder] = max(copies.get(holder, 1.0), _copies(facts, tensor, policy))
    return tuple((t, ceil(words * copies[t])) for t, words in terms.items())


def _copies(facts: GroupFacts, tensor: str, policy: Policy) -> float:
    free = policy.softmax == "free" and len(facts.group.einsums) > 1
    finished = free and bool(facts.makers(tensor)) and facts.leaves_finished(tensor)
    if facts.off_chip(tensor) and not finished:
        return policy.buffering
    if not facts.apart:
        return 1.0
    passed = facts.between_units(tensor) or facts.carried(tensor)
    return 2.0 if passed or finished else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PassTurn:
    """One Einsum in one pass: the indices of its own DRAM loops there."""

    number: int
    pass_number: int
    einsum: str
    dram: tuple[int, ...]


def group_turns(facts: GroupFacts) -> tuple[PassTurn, ...]:
    """Every turn of a group, pass by pass and in execution order.

    An Einsum that lacks the rank of a shared loop runs after that loop: in its last pass.
    """
    loops = [p for p in facts.group.shared if p.factor > 1]
    own = {e.name: [i for i, p in enumerate(loops) if p.rank in e.ranks] for e in facts.einsums}
    turns = [
        (n, name, tuple(index[i] for i in at))
        for n, index in enumerate(_visited(facts))
        for name, at in own.items()
    ]
    last = {(name, dram): n for n, name, dram in turns}
    kept = (turn for turn in turns if last[turn[1:]] == turn[0])
    return tuple(
        PassTurn(number=number, pass_number=n, einsum=name, dram=dram)
        for number, (n, name, dram) in enumerate(kept)
    )


def _visited(facts: GroupFacts) -> Iterator[tuple[int, ...]]:
    """Combinations of the shared loops' indices; those in which no query may see a key left out."""
    loops = [p for p in facts.group.shared if p.factor > 1]
    mask, sizes, pair = facts.workload.mask, facts.workload.rank_sizes, facts.workload.roles.masked
    every = product(*(range(p.factor) for p in loops))
    if mask is None or pair is None or not facts.group.cut.issuperset(pair):
        yield from every
        return
    queries, keys = pair
    nests = [
        n for n in facts.nests.values() if {*pair} <= {*n.einsum.ranks}.difference(n.einsum.each)
    ]
    rows, columns = (nests[0].extent(rank, 1) for rank in pair)
    for index in every:
        row, column = (_number(loops, index, rank) for rank in pair)
        start = sizes[keys] * mask.parts - sizes[queries] + row * rows
        last = min(start + rows, sizes[keys] * mask.parts) - 1
        low, high = mask.seen(start, last, sizes[keys])
        if column * columns < high and low < (column + 1) * columns:
            yield index


def _number(loops: Sequence[Loop], index: Sequence[int], rank: str) -> int:
    """The number of a pass among those of all loops over a rank."""
    number = 0
    for i, loop in zip(index, loops, strict=True):
        if loop.rank == rank:
            number = number * loop.factor + i
    return number
