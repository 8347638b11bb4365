"""Annealing inside a mapspace: mappings by chance moves from an answer, each priced by the model.

It shares no code with the search. A move keeps what a mapspace of listed groups fixes: a group's
shared loops are the same for all its Einsums, what several of them use is staged, and factors of a
rank multiply to its size; a rank stands on one axis of an array. What the model calls illegal or
too large is no mapping, nor what breaks the rules of FLAT's baselines: they are written here again.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import FlatMapperError
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.values import (
    EinsumMapping,
    FusedMapping,
    GroupMapping,
    Loop,
    Slot,
    slots_of,
)
from flat_mapper.workload.graph import Workload

HOT, COLD = 0.3, 1e-3  # shares of the value by which a worse mapping is taken, first and last
Loops = dict[Slot, list[tuple[str, int]]]  # outermost first


# Of the naive baseline, what a PE holds of a product, and the ranks along the axes of the array
STATIONARY = {"QK": ("K", "E", "M"), "AV": ("V", "M", "F")}


def has_one_axis(mapping: FusedMapping) -> bool:
    """True if no rank stands on both axes of an array."""
    for nest in (nest for group in mapping.groups for nest in group.einsums):
        places = {(s.node, r, s.axis) for s, own in _loops(nest).items() for r, _ in own}
        if len({(node, rank) for node, rank, _ in places}) < len(places):
            return False
    return True


def is_held(mapping: FusedMapping) -> bool:
    """True if a softmax by itself stages what it reads and leaves, in an unfused mapspace."""
    return all({"QK", "A"} <= {*g.staged} for g in mapping.groups if len(g.einsums) > 1)


def is_streamed(mapping: FusedMapping) -> bool:
    """True if a product stages nothing (FLAT's baselines without staging)."""
    return is_held(mapping) and not any(g.staged for g in mapping.groups if len(g.einsums) == 1)


def is_naive(mapping: FusedMapping) -> bool:
    """True if both products are weight-stationary, and queries pass by innermost (FLAT's Naive)."""
    nests = {nest.einsum: nest for group in mapping.groups for nest in group.einsums}
    for name, (held, *axes) in STATIONARY.items():
        loops = _loops(nests[name])
        across = [loops.get(Slot("PE", axis), []) for axis in ("x", "y")]
        if any({r for r, _ in own} - {rank} for own, rank in zip(across, axes, strict=True)):
            return False
        if loops.get(Slot("RF", "temporal")) or dict(nests[name].keep)["RF"] != (held,):
            return False
        ranks = [r for r, _ in loops.get(Slot("GLB", "temporal"), [])]
        if "P" in ranks[:-1]:
            return False
    return is_streamed(mapping)


RULES = {"naive": is_naive, "flex-stream": is_streamed, "flex": is_held}  # by mapspace


@dataclass(slots=True)
class Annealing:
    """A walk through the mappings of a question; `value` is what is to be small."""

    workload: Workload
    platform: Platform
    ert: Ert
    value: Callable[[Result], float]
    rng: random.Random
    rules: Callable[[FusedMapping], bool] = lambda _: True  # whether a mapping is in the mapspace
    legal: int = 0  # moves to a mapping that has a value
    known: dict[FusedMapping, float] = field(default_factory=dict)

    def best(self, start: FusedMapping, evaluations: int) -> tuple[float, FusedMapping]:
        """The least value of so many moves, and its mapping."""
        now = start
        own = best = self._priced(start)
        found = start
        for number in range(evaluations):
            heat = HOT * (COLD / HOT) ** (number / evaluations)
            tried = now
            for _ in range(self.rng.choice((1, 1, 1, 2, 3))):
                tried = self._moved(tried)
            value = self._priced(tried)
            if value < math.inf and self.rng.random() < math.exp(min(0, own / value - 1) / heat):
                now, own = tried, value
            if own < best:
                best, found = own, now
        return best, found

    def _priced(self, mapping: FusedMapping) -> float:
        if mapping not in self.known:  # a cold walk comes by again and again
            self.known[mapping] = self._value(mapping)
        self.legal += self.known[mapping] < math.inf
        return self.known[mapping]

    def _value(self, mapping: FusedMapping) -> float:
        if not (self.rules(mapping) and has_one_axis(mapping)):
            return math.inf
        try:
            found = evaluate(self.workload, self.platform, mapping, self.ert)
        except FlatMapperError:
            return math.inf
        return self.value(found) if isinstance(found, Result) else math.inf

    def _moved(self, mapping: FusedMapping) -> FusedMapping:
        number = self.rng.randrange(len(mapping.groups))
        group = mapping.groups[number]
        move = self.rng.choice((self._inside, self._inside, self._order, self._keep, self._shared))
        groups = list(mapping.groups)
        groups[number] = move(group)
        return replace(mapping, groups=tuple(groups))

    def _arch(self, nest: EinsumMapping) -> tuple[Slot, ...]:
        return slots_of(self.platform.path(self.workload.einsum(nest.einsum).unit))

    def _inside(self, group: GroupMapping) -> GroupMapping:
        """A prime factor goes from one place of a nest to another, below the shared loops."""
        i = self.rng.randrange(len(group.einsums))
        nest, alone = group.einsums[i], not group.shared
        slots, loops = self._arch(nest)[0 if alone else 1 :], _loops(nest)
        places = [(s, n) for s in slots for n in range(len(loops.get(s, ())))]
        if not places:
            return group
        slot, n = self.rng.choice(places)
        rank, factor = loops[slot][n]
        _move(loops, slot, rank, self.rng.choice(_primes(factor)), self.rng.choice(slots), self.rng)
        return _with(group, i, replace(nest, loops=_tuple(loops, self._arch(nest))))

    def _order(self, group: GroupMapping) -> GroupMapping:
        """Two loops of a place change, or two shared loops for all."""
        if group.shared[1:] and self.rng.random() < 0.3:
            every = list(group.shared)
            _swap(every, self.rng)
            return self._all(replace(group, shared=tuple(every)))
        i = self.rng.randrange(len(group.einsums))
        nest, loops = group.einsums[i], _loops(group.einsums[i])
        slots = self._arch(nest)[0 if not group.shared else 1 :]
        some = [s for s in slots if s.axis == "temporal" and len(loops.get(s, ())) > 1]
        if some:
            _swap(loops[self.rng.choice(some)], self.rng)
        return _with(group, i, replace(nest, loops=_tuple(loops, self._arch(nest))))

    def _keep(self, group: GroupMapping) -> GroupMapping:
        """A tensor is kept at a private level or no more, stays there or no more, or is staged."""
        i = self.rng.randrange(len(group.einsums))
        nest = group.einsums[i]
        accesses = self.workload.einsum(nest.einsum).accesses
        levels = [name for name, _ in nest.keep]
        tensor, chance = self.rng.choice(accesses).tensor, self.rng.random()
        if chance < 0.4 and levels[2:]:
            level = self.rng.choice(levels[2:])
            return _with(group, i, _kept(nest, level, tensor))
        if chance < 0.7 and group.shared:
            stay = set(nest.stay) ^ {tensor}
            return _with(group, i, replace(nest, stay=tuple(sorted(stay))))
        users = [n for n, own in enumerate(group.einsums) if self._uses(own, tensor)]
        if len(users) > 1:
            return group  # what several use is staged
        staged = tuple(t for t in group.staged if t != tensor)
        if tensor not in group.staged:
            staged = (*staged, tensor)
        return _with(replace(group, staged=staged), i, _kept(nest, levels[1], tensor))

    def _uses(self, nest: EinsumMapping, tensor: str) -> bool:
        return self.workload.einsum(nest.einsum).touches(tensor)

    def _shared(self, group: GroupMapping) -> GroupMapping:
        """A prime factor goes from the shared loops into all nests, or from all of them there."""
        if group.schedule == "sequential":
            return group
        ranks = {r for nest in group.einsums for r in self.workload.einsum(nest.einsum).ranks}
        rank, shared = self.rng.choice(sorted(ranks)), dict[str, int]()
        for loop in group.shared:
            shared[loop.rank] = shared.get(loop.rank, 1) * loop.factor
        into = self.rng.random() < 0.5
        nests = [n for n in group.einsums if rank in self.workload.einsum(n.einsum).ranks]
        sizes = self.workload.rank_sizes[rank] // shared.get(rank, 1)
        every = _primes(shared.get(rank, 1) if into else sizes)
        if not every or len(nests) < len(group.einsums):
            return group  # a rank that only some have is not shared
        prime, made = self.rng.choice(every), list[EinsumMapping]()
        for nest in nests:
            loops, slots = _loops(nest), self._arch(nest)
            if into:
                _add(loops, slots[1], rank, prime, self.rng)
            else:
                some = [
                    s
                    for s in slots[1:]
                    for r, f in loops.get(s, ())
                    if r == rank and f % prime == 0
                ]
                if not some:
                    return group
                _move(loops, self.rng.choice(some), rank, prime, None, self.rng)
            made.append(replace(nest, loops=_tuple(loops, slots)))
        factor = shared.get(rank, 1) // prime if into else shared.get(rank, 1) * prime
        others = [loop for loop in group.shared if loop.rank != rank]
        at = next((n for n, loop in enumerate(group.shared) if loop.rank == rank), None)
        if factor > 1:
            position = self.rng.randint(0, len(others)) if at is None else at
            others.insert(position, Loop(rank, factor))
        return self._all(replace(group, shared=tuple(others), einsums=tuple(made)))

    def _all(self, group: GroupMapping) -> GroupMapping:
        """A group whose nests have its shared loops, as far as they have their ranks."""
        made = []
        for nest in group.einsums:
            slots, loops = self._arch(nest), _loops(nest)
            ranks = self.workload.einsum(nest.einsum).ranks
            loops[slots[0]] = [(s.rank, s.factor) for s in group.shared if s.rank in ranks]
            made.append(replace(nest, loops=_tuple(loops, slots)))
        return replace(group, einsums=tuple(made))


def _loops(nest: EinsumMapping) -> Loops:
    return {slot: [(one.rank, one.factor) for one in loops] for slot, loops in nest.loops}


def _tuple(loops: Loops, slots: tuple[Slot, ...]) -> tuple[tuple[Slot, tuple[Loop, ...]], ...]:
    return tuple((s, tuple(Loop(r, f) for r, f in loops[s])) for s in slots if loops.get(s))


def _move(
    loops: Loops, at: Slot, rank: str, prime: int, to: Slot | None, rng: random.Random
) -> None:
    """Move a prime factor of a rank from one place to another; to: None: out of the nest."""
    n = next(n for n, (r, f) in enumerate(loops[at]) if r == rank and f % prime == 0)
    left = loops[at][n][1] // prime
    loops[at][n : n + 1] = [(rank, left)] if left > 1 else []
    if to is not None:
        _add(loops, to, rank, prime, rng)


def _add(loops: Loops, to: Slot, rank: str, prime: int, rng: random.Random) -> None:
    own = loops.setdefault(to, [])
    same = next((n for n, (r, _) in enumerate(own) if r == rank), None)
    if same is None:
        own.insert(rng.randint(0, len(own)), (rank, prime))
    else:
        own[same] = rank, own[same][1] * prime


def _kept(nest: EinsumMapping, level: str, tensor: str) -> EinsumMapping:
    """A nest in which a tensor is kept at a level where it was not, or no more."""
    keep = []
    for name, tensors in nest.keep:
        has = tensor in tensors
        if name == level:
            tensors = tuple(t for t in tensors if t != tensor) if has else (*tensors, tensor)
        keep.append((name, tensors))
    return replace(nest, keep=tuple(keep))


def _with(group: GroupMapping, number: int, nest: EinsumMapping) -> GroupMapping:
    nests = list(group.einsums)
    nests[number] = nest
    return replace(group, einsums=tuple(nests))


def _swap[T](every: list[T], rng: random.Random) -> None:
    a, b = rng.sample(range(len(every)), 2)
    every[a], every[b] = every[b], every[a]


def _primes(number: int) -> list[int]:
    found, divisor = list[int](), 2
    while number > 1:
        if number % divisor:
            divisor += 1
        else:
            found.append(divisor)
            number //= divisor
    return found
