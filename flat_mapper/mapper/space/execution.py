"""Execution orders of a group, as far as they differ in the model.

Of Einsums that do not wait for each other any may run first. The model sees four things of the
order that a group runs in (lemma 31 of docs/search.md):

- which tensors share a place: what a later Einsum reads is not overwritten;
- who brings a tensor that several Einsums read: the first of them;
- for which streams nothing overlaps: inputs of the first Einsum, and the output of the last one;
- in the schedule `phases`, by how many rounds an Einsum is behind another.

Orders that are alike in these cost the same. Of the others all are searched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import MappingError
from flat_mapper.cost_model.ports import limited
from flat_mapper.mapping.order import check_phases, overlaps, rounds_behind
from flat_mapper.mapping.sharing import (
    carried_tensors,
    crosses_dram,
    in_place_classes,
    overwritten,
    shared_level,
    whole_group,
)
from flat_mapper.mapping.space import GroupSpace, Mapspace
from flat_mapper.workload.graph import Workload

Edges = tuple[tuple[int, int], ...]  # each: the first runs before the second
# Einsums of which one goes before all of some rivals, or else after them
Contest = tuple[Sequence[int], Sequence[int], bool]


def execution_orders(
    workload: Workload,
    platform: Platform,
    mapspace: Mapspace,
    group: GroupSpace,
    *,
    on_cores: bool = False,
) -> tuple[GroupSpace, ...]:
    """The group in every execution order that may be the best; the one it comes in first, if so.

    on_cores: whether its tiles are given out.

    raises: MappingError where Einsums wait for each other in a circle of phases in every order.
    """
    if not group.fused:
        return (group,)
    fixed = next((o for o in mapspace.fusion.orders if set(o) == set(group.names)), None)
    if fixed is not None:
        return (replace(group, names=fixed),)
    eyes = _Eyes(
        workload=workload, platform=platform, mapspace=mapspace, group=group, on_cores=on_cores
    )
    found: dict[object, tuple[str, ...]] = {}
    for names in (group.names, *eyes.orders()):
        seen = eyes.seen(names)
        if seen is not None:
            found.setdefault(seen, names)
    if not found:
        named = group.names, group.phases, f"{mapspace.name}: fusion"
        check_phases(workload, *named, *eyes.place)
    return tuple(replace(group, names=names) for names in found.values())


@dataclass(frozen=True, kw_only=True)
class _Eyes:
    """All that the model sees of a group's orders."""

    workload: Workload
    platform: Platform
    mapspace: Mapspace
    group: GroupSpace
    on_cores: bool

    @property
    def by_staging(self) -> bool:
        """True if what is staged makes no difference to what nothing overlaps."""
        return self.mapspace.policy.prefetch == "held"

    @cached_property
    def whole(self) -> tuple[str, ...]:
        """The Einsums, with those that a free softmax leaves out."""
        return whole_group(self.workload, self.group.names, self.mapspace.policy)

    @cached_property
    def carried(self) -> frozenset[str]:
        """Tensors that are carried."""
        return frozenset(carried_tensors(self.workload, self.whole))

    @cached_property
    def outside(self) -> dict[str, tuple[str, ...]]:
        """The tensors that cross DRAM, with the Einsums of the group that touch them."""
        found: dict[str, tuple[str, ...]] = {}
        for name in self.group.names:
            for access in self.workload.einsum(name).accesses:
                if crosses_dram(self.workload, self.whole, access.tensor):
                    found.setdefault(access.tensor, ())
                    if name not in found[access.tensor]:
                        found[access.tensor] += (name,)
        return found

    @cached_property
    def brought(self) -> tuple[str, ...]:
        """Inputs that several Einsums read, where it makes a difference who brings them.

        Its words take turns at the shared level with those of whoever has its turn. Einsums with
        passes of their own, and those that stand behind other nodes, bring it otherwise.
        """
        group = [self.workload.einsum(n) for n in self.group.names]
        paths = {e.unit: self.platform.path(e.unit) for e in group}
        level = shared_level(self.platform).name
        outer = [a.nodes[: a.nodes.index(a.level(level)) + 1] for a in paths.values()]
        differ = (
            self.on_cores
            or self.workload.mask is not None
            or any(e.each or e.after for e in group)
            or any(limited(a.level(level)) for a in paths.values())
            or any(one != outer[0] for one in outer)
        )
        made = {e.output.tensor for e in group}
        several = (t for t, users in self.outside.items() if len(users) > 1 and t not in made)
        return tuple(several) if differ else ()

    def _streams(self, tensor: str) -> bool:
        """True if a tensor that crosses DRAM may stream."""
        staging = self.mapspace.fusion.staging
        staged = staging == "all" or (isinstance(staging, tuple) and tensor in staging)
        alone = len(self.outside[tensor]) == 1 and tensor not in self.carried
        return alone and self.group.declared and not staged

    def _waits(self, first: str, last: str) -> frozenset[str]:
        """Streams that nothing overlaps, of the first Einsum's inputs and the last one's output."""
        policy = self.mapspace.policy
        inputs = {a.tensor for a in self.workload.einsum(first).inputs}.intersection(self.outside)
        if not self.by_staging:
            return frozenset(inputs)
        if policy.buffering < 2 and not self.on_cores:
            return frozenset()  # nothing runs ahead of a turn, and nothing stays behind
        output = {self.workload.einsum(last).output.tensor}.intersection(self.outside)
        return frozenset(t for t in inputs | output if self._streams(t))

    @property
    def place(self) -> tuple[str, Mapping[str, str]]:
        """The shared level, and that of each tensor that is handed over inside it."""
        inside = self.mapspace.fusion.intermediates or self.workload.absent
        return shared_level(self.platform).name, inside

    def seen(self, names: tuple[str, ...]) -> object:
        """All that the model sees of an order; None where phases have none such."""
        workload, policy, behind = self.workload, self.mapspace.policy, 0
        level, inside = self.place
        if self.group.phases:
            try:
                rounds = rounds_behind(workload, names, self.group.phases, level, inside)
                behind = max(rounds.values())
            except MappingError:
                return None
        places: dict[str, list[str]] = {}
        if policy.in_place:
            whole = whole_group(workload, names, policy)
            for tensor, place in in_place_classes(workload, whole, level, inside).items():
                places.setdefault(place, []).append(tensor)
        # What shares a place, without the names of intermediates; and who brings what several read.
        kinds = (Counter(map(self._kind, own)) for own in places.values())
        words = Counter(frozenset(own.items()) for own in kinds)
        movers = [next(n for n in names if n in self.outside[t]) for t in self.brought]
        waits = self._waits(names[0], names[-1])
        return frozenset(words.items()), tuple(movers), waits, behind

    def _kind(self, tensor: str) -> object:
        """All that the words of an intermediate depend on; of others their name."""
        workload = self.workload
        if tensor in self.outside:
            return tensor
        users = workload.readers(tensor)
        units = {e.unit for e in users} | {workload.einsum(workload.producers[tensor]).unit}
        inside = self.mapspace.fusion.intermediates or workload.absent
        return (
            frozenset(workload.tensor_ranks[tensor]),
            workload.every_width(tensor),
            inside.get(tensor),
            overlaps(self.group.schedule) and (len(units) > 1 or tensor in self.carried),
        )

    def orders(self) -> Iterator[tuple[str, ...]]:
        """An order for each combination of what makes a difference, of those that there are."""
        index = {n: i for i, n in enumerate(self.whole)}
        waits = [
            sum(1 << index[m] for m in self.workload.ancestors[n] if m in index) for n in self.whole
        ]
        contests = (*self._contests(index), *self._ends(index, waits))
        choices = [
            [_edges(one, rivals, first=first) for one in some]
            for some, rivals, first in contests
            if len(some) > 1
        ]
        for before in self._chosen(waits, choices):
            order = _least(before)
            yield tuple(self.whole[i] for i in order if self.whole[i] in self.group.names)

    def _contests(self, index: dict[str, int]) -> Iterator[Contest]:
        """Who is the first or the last to read a tensor, and who goes first in a phase."""
        einsums = [self.workload.einsum(n) for n in self.whole]
        for phase in self.group.phases:
            for pair in combinations([index[n] for n in phase if n in index], 2):
                if einsums[pair[0]].unit == einsums[pair[1]].unit:
                    yield pair, pair, True
        for tensor in self.brought:
            users = [index[n] for n in self.outside[tensor]]
            yield users, users, True
        if self.mapspace.policy.in_place:
            taken = (t for e in einsums for t in overwritten(self.workload, self.whole, e))
            for tensor in dict.fromkeys(taken):
                users = [index[e.name] for e in einsums if e.reads(tensor)]
                yield users, users, False

    def _ends(self, index: dict[str, int], waits: Sequence[int]) -> Iterator[Contest]:
        """Who goes first and who goes last, of those of which it makes a difference."""
        own = [index[n] for n in self.group.names]
        begin = [i for i in own if not any(waits[i] >> j & 1 for j in own)]
        end = [j for j in own if not any(waits[i] >> j & 1 for i in own)]
        for some, first in ((begin, True), (end, False)):
            if any(self._waits(self.whole[i], self.whole[i]) for i in some):
                yield some, own, first

    def _chosen(self, before: Sequence[int], choices: Sequence[list[Edges]]) -> Iterator[list[int]]:
        """Predecessors of every Einsum, under each combination of choices that has an order."""
        if not choices:
            yield list(before)
            return
        for edges in choices[0]:
            found = list(before)
            if all(_adds(found, first, second) for first, second in edges):
                yield from self._chosen(found, choices[1:])


def _edges(one: int, rivals: Sequence[int], *, first: bool) -> Edges:
    """An Einsum before all of some others, or else after them."""
    return tuple((one, other) if first else (other, one) for other in rivals if other != one)


def _adds(before: list[int], first: int, second: int) -> bool:
    """Let one Einsum wait for another; False where that one waits for it."""
    if before[first] >> second & 1:
        return False
    new = before[first] | 1 << first
    for i, own in enumerate(before):
        if i == second or own >> second & 1:
            before[i] = own | new
    return True


def _least(before: Sequence[int]) -> list[int]:
    """The order of Einsums of which the first that may go goes first."""
    order, done = list[int](), 0
    while len(order) < len(before):
        ready = next(i for i, own in enumerate(before) if not done >> i & 1 and not own & ~done)
        order.append(ready)
        done |= 1 << ready
    return order
