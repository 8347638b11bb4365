"""The shared level of a group: which tensors have a place there, and which share one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil, prod

from flat_mapper.execution.link import Place, new_place
from flat_mapper.execution.nest import FlatNest
from flat_mapper.execution.turn import DRAM, SHARED
from flat_mapper.mapping.values import GroupMapping, Policy
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask


@dataclass(frozen=True, kw_only=True)
class GroupFacts:
    """Facts of a group that the rules ask for, from its graph and its loops alone."""

    workload: Workload
    group: GroupMapping
    nests: Mapping[str, FlatNest]  # by Einsum, in execution order
    free: frozenset[str] = frozenset()  # those of them that cost nothing
    hidden: tuple[Mask, int] | None = None  # of a tile of a masked whole, see `EinsumRun`

    @property
    def einsums(self) -> tuple[Einsum, ...]:
        """The Einsums, in execution order."""
        return tuple(nest.einsum for nest in self.nests.values())

    @property
    def shared(self) -> str:
        """The name of the shared level."""
        return next(iter(self.nests.values())).arch.levels[SHARED].name

    @property
    def cut(self) -> tuple[str, ...]:
        """Ranks that shared loops cut."""
        return tuple(p.rank for p in self.group.shared if p.factor > 1)

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
        return self.passed_on(tensor) and bool(reduced.intersection(self.cut))

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


def overwritten(facts: GroupFacts) -> dict[str, str]:
    """Of each output that is made in the place of an input, that input: of several the widest's."""
    found: dict[str, str] = {}
    for n, einsum in enumerate(facts.einsums):
        if einsum.unit != "vector" or einsum.after or einsum.reduced_ranks or einsum.updates:
            continue
        later = {a.tensor for e in facts.einsums[n + 1 :] for a in e.inputs}
        given_up = [
            access.tensor
            for access in einsum.inputs
            if set(access.ranks) == set(einsum.output.ranks)
            and facts.makers(access.tensor)
            and not facts.off_chip(access.tensor)
            and not facts.carried(access.tensor)
            and access.tensor not in later
        ]
        if given_up:
            bits = [_bits_of_place(facts, found, tensor) for tensor in given_up]
            found[einsum.output.tensor] = given_up[bits.index(max(bits))]
    return found


def _bits_of_place(facts: GroupFacts, instead: Mapping[str, str], tensor: str) -> float:
    """Bits of the widest tensor that was ever where one is."""

    def place(one: str) -> str:
        return place(instead[one]) if one in instead else one

    here = [t for t in {tensor, *instead, *instead.values()} if place(t) == place(tensor)]
    return max(facts.workload.bits(t, facts.shared) for t in here)


def shared_places(facts: GroupFacts, policy: Policy) -> dict[str, Place]:
    """A place for every tensor that an Einsum of the group keeps at the shared level.

    One that tensors share is as large as the largest of them, with its padding to whole loops.
    """
    extents: dict[str, dict[str, int]] = {}
    for nest in facts.nests.values():
        slot = nest.level_slots[SHARED]
        for access in nest.einsum.accesses:
            if SHARED in nest.keepers(access.tensor):
                known = extents.setdefault(access.tensor, dict.fromkeys(access.ranks, 1))
                for rank in access.ranks:
                    known[rank] = max(known[rank], nest.extent(rank, slot))
    instead = overwritten(facts) if policy.in_place else {}
    holder: dict[str, str] = {}
    for tensor in _in_order(facts, extents):
        holder[tensor] = holder.get(instead.get(tensor, ""), tensor)
        room = extents[holder[tensor]]
        room.update({rank: max(room[rank], n) for rank, n in extents[tensor].items()})
    places = {t: new_place(t, extents[t], 1) for t, first in holder.items() if t == first}
    for tensor, first in holder.items():
        if tensor != first:
            places[tensor] = places[first]
            places[first].tensors.append(tensor)
    return places


def _in_order(facts: GroupFacts, known: Mapping[str, object]) -> Iterator[str]:
    """Tensors in the order in which the group first touches them."""
    touched = dict.fromkeys(a.tensor for e in facts.einsums for a in e.accesses)
    return (t for t in touched if t in known)


def held_words(
    facts: GroupFacts, places: Mapping[str, Place], policy: Policy
) -> tuple[tuple[str, int], ...]:
    """Words of the shared level that each tensor takes while the group runs, copies included."""
    terms: dict[str, float] = {}
    copies: dict[str, float] = {}
    for name, nest in facts.nests.items():
        for access in nest.einsum.accesses:
            tensor = access.tensor
            if name in facts.free and not facts.carried(tensor):
                continue
            place = places.get(tensor)
            holder = place.tensors[0] if place and SHARED in nest.keepers(tensor) else tensor
            words = _tile(nest, access.ranks, staged=SHARED in nest.keepers(tensor))
            terms[holder] = max(
                terms.get(holder, 0.0), words * facts.workload.share(tensor, facts.shared)
            )
            copies[holder] = max(copies.get(holder, 1.0), _copies(facts, tensor, policy))
    return tuple((t, ceil(words * copies[t])) for t, words in terms.items())


def _tile(nest: FlatNest, ranks: tuple[str, ...], *, staged: bool) -> int:
    slot = nest.level_slots[SHARED] + (not staged)
    return prod(min(nest.extent(r, slot), nest.sizes[r]) for r in ranks)


def _copies(facts: GroupFacts, tensor: str, policy: Policy) -> float:
    free = policy.softmax == "free" and len(facts.group.einsums) > 1
    finished = free and bool(facts.makers(tensor)) and facts.leaves_finished(tensor)
    if facts.off_chip(tensor) and not finished:
        return policy.buffering
    if not facts.apart:
        return 1.0
    passed = facts.between_units(tensor) or facts.carried(tensor)
    return 2.0 if passed or finished else 1.0
