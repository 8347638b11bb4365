"""Questions of the search where intermediates are handed over inside the fusion level.

Of a group, each way to spread what it hands over inside over the instances of that level is an
ordinary question on a chip with one level more, right outside theirs: it keeps what is handed over
and nothing else, has no loops, and costs what that level does but for what is filled in; at the
fusion level these tensors have no width. So every mapping costs there what it costs here
(lemma 32), and the best of all questions is the best mapping.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod

from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.formats import DEFAULT, SUMS
from flat_mapper.cost_model.residence import TilePlaces, merged
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.space.factors import divisors
from flat_mapper.mapping.sharing import (
    copied_from,
    crosses_dram,
    in_place_classes,
    shared_level,
)
from flat_mapper.mapping.space import (
    Fusion,
    GroupSpace,
    KeepRule,
    Mapspace,
    SlotRule,
    handed_over,
    partitions,
)
from flat_mapper.mapping.values import (
    EinsumMapping,
    GroupMapping,
    Loop,
    Slot,
    slots_of,
)
from flat_mapper.workload.graph import Workload

OUTSIDE = "handed over"  # name of the level more

Spread = Mapping[str, Mapping[str, int]]  # by fanout, factors by rank, where not 1


@dataclass(frozen=True, kw_only=True)
class InsideQuestion:
    """One group: what it hands over at a level, spread over its instances in one way."""

    workload: Workload
    platform: Platform
    mapspace: Mapspace
    ert: Ert
    order: GroupSpace  # the group, in one execution order
    level: str
    tensors: tuple[str, ...]
    spread: Mapping[str, Spread]  # by Einsum, of those that touch them
    held: int = 0  # words of its level that they take

    def by_tile(self) -> Iterator[InsideQuestion]:
        """The same for each tile of the shared loops, with the room that is left beside it."""
        workload, fusion, group = self.workload, self.mapspace.fusion, self.order
        has = min(a.level(self.level).usable_words or 0 for a in self.platform.paths)
        legal = workload.shareable_ranks(group.names)
        some = [
            [n for n in divisors(workload.rank_sizes[r]) if n in fusion.tiles.get(r, (n,))]
            for r in legal
        ]
        for extents in product(*some):
            tile = dict(zip(legal, extents, strict=True))
            held = self._held(group.names, group.schedule, tile)
            if held <= has:
                tiles = {**fusion.tiles, **{r: (n,) for r, n in tile.items()}}
                space = replace(self.mapspace, fusion=replace(fusion, tiles=tiles))
                yield replace(self, mapspace=space, held=held)

    def _held(self, names: tuple[str, ...], schedule: str, tile: Mapping[str, int]) -> int:
        """Words that what is handed over takes in an instance of its level, for a tile."""
        workload, level = self.workload, shared_level(self.platform).name
        what = workload, names, schedule, self.mapspace.policy, level
        places = TilePlaces.of(*what, (), dict.fromkeys(self.tensors, self.level))
        held = []
        for tensor in self.tensors:
            spread = self.spread[workload.producers[tensor]]
            ranks = workload.tensor_ranks[tensor]
            extents = (tile.get(r, workload.rank_sizes[r]) for r in ranks)
            over = prod(n for at in spread.values() for r, n in at.items() if r in ranks)
            # What is added up is taken as wide as a sum, though it may come done from further in.
            words = prod(extents) // over * workload.widths.so_far(tensor, self.level)
            held.append(places.takes(tensor, words))
        return sum(one.total_words for one in merged(held).values())

    def asked(self) -> tuple[Workload, Platform, Mapspace, Ert]:
        """The question on the chip with one level more."""
        actions = dict(zip(("read", "write", "update"), self.ert.actions(self.level), strict=True))
        levels = {**self.ert.levels, OUTSIDE: actions | {"write": 0.0}}
        vector = self.platform.vector
        platform = replace(
            self.platform,
            matrix=self._with_level(self.platform.matrix),
            vector=None if vector is None else self._with_level(vector),
        )
        return self._narrow(), platform, self._ruled(), replace(self.ert, levels=levels)

    def _with_level(self, arch: Architecture) -> Architecture:
        nodes: list[MemoryLevel | Fanout] = []
        for node in arch.nodes:
            if isinstance(node, MemoryLevel) and node.name == self.level:
                nodes.append(replace(node, name=OUTSIDE, capacity_words=None, constraints={}))
                if self.held and node.usable_words is not None:
                    left = node.usable_words - self.held
                    nodes.append(replace(node, capacity_words=left, multiple_buffering=1))
                    continue
            nodes.append(node)
        return replace(arch, nodes=tuple(nodes))

    def _narrow(self) -> Workload:
        """The workload with nothing to hold or move of these tensors at the fusion level."""
        shared, bits = shared_level(self.platform).name, dict(self.workload.tensor_bits)
        for tensor in self.tensors:
            own = bits.get(tensor, self.workload.word_bits)
            levels = dict(own) if isinstance(own, Mapping) else {DEFAULT: own}
            at = self.workload.width(tensor, self.level)
            bits[tensor] = levels | {shared: at, OUTSIDE: at}
        if isinstance(sums := bits.get(SUMS), Mapping):
            bits[SUMS] = {**sums, OUTSIDE: self.workload.width(SUMS, self.level)}
        absent = dict.fromkeys(self.tensors, shared)
        return replace(self.workload, tensor_bits=bits, absent=absent)

    def _ruled(self) -> Mapspace:
        slots, keeps = [*self.mapspace.slots], [*self.mapspace.keeps]
        shared = shared_level(self.platform).name
        every = tuple(self.workload.tensor_ranks)
        others = tuple(t for t in every if t not in self.tensors)
        keeps.append(KeepRule(level=OUTSIDE, keep=self.tensors, bypass=others))
        for einsum in self.workload.einsums:
            own = tuple(t for t in self.tensors if einsum.touches(t))
            ranks = [r for r in einsum.ranks if r not in einsum.each]
            none = dict.fromkeys(ranks, 1)
            rule = SlotRule(node=OUTSIDE, kind="temporal", einsum=einsum.name, factors=none)
            slots.append(rule)
            if not own:
                continue
            cut = {r: 1 for r in ranks if any(r in self.workload.tensor_ranks[t] for t in own)}
            for node in between(self.platform.path(einsum.unit), shared, self.level):
                if isinstance(node, Fanout):
                    spread = none | dict(self.spread.get(einsum.name, {}).get(node.name, {}))
                    slots.append(
                        SlotRule(node=node.name, kind="spatial", einsum=einsum.name, factors=spread)
                    )
                    continue
                slots.append(
                    SlotRule(node=node.name, kind="temporal", einsum=einsum.name, factors=cut)
                )
                if node.name != shared:
                    keeps.append(KeepRule(level=node.name, einsum=einsum.name, bypass=own))
            keeps.append(KeepRule(level=self.level, einsum=einsum.name, bypass=own))
        fusion = replace(self.mapspace.fusion, intermediates={})
        return replace(self.mapspace, fusion=fusion, slots=tuple(slots), keeps=tuple(keeps))

    def group(self, group: GroupMapping) -> GroupMapping:
        """A mapping of `asked` as one of this chip."""
        nests = tuple(map(self._nest, group.einsums))
        staged = tuple(t for t in group.staged if t not in self.tensors)
        return replace(group, einsums=nests, staged=staged)

    def _nest(self, nest: EinsumMapping) -> EinsumMapping:
        shared, held = shared_level(self.platform).name, nest.kept_at(OUTSIDE)
        keep = []
        for level, tensors in nest.keep:
            if level == shared:
                keep.append((level, tuple(t for t in tensors if t not in held)))
            elif level == self.level:
                keep.append((level, (*tensors, *held)))
            elif level != OUTSIDE:
                keep.append((level, tensors))
        loops = dict((s, at) for s, at in nest.loops if s.node != OUTSIDE)
        arch = self.platform.path(self.workload.einsum(nest.einsum).unit)
        fanouts = {f.name: f for f in arch.fanouts}
        for name, factors in self.spread.get(nest.einsum, {}).items():
            y, x = _on_axes(fanouts[name], factors)
            loops |= {Slot(name, "y"): y, Slot(name, "x"): x}
        found = tuple((slot, loops[slot]) for slot in slots_of(arch) if loops.get(slot))
        return replace(nest, keep=tuple(keep), loops=found)


def _on_axes(fanout: Fanout, factors: Mapping[str, int]) -> tuple[tuple[Loop, ...], ...]:
    """Loops on a fanout's y and x; no cost asks on which, as long as all Einsums have the same."""
    ranks = sorted(factors)
    for ys in product(*(divisors(factors[r]) for r in ranks)):
        xs = [factors[r] // y for r, y in zip(ranks, ys, strict=True)]
        if prod(ys) <= fanout.fanout_y and prod(xs) <= fanout.fanout_x:
            sides = (zip(ranks, side, strict=True) for side in (ys, xs))
            y, x = (tuple(Loop(r, n) for r, n in side if n > 1) for side in sides)
            return y, x
    return ()


def between(arch: Architecture, first: str, level: str) -> tuple[MemoryLevel | Fanout, ...]:
    """Nodes from one level, itself among them, to another."""
    nodes = arch.nodes
    return nodes[nodes.index(arch.level(first)) : nodes.index(arch.level(level))]


def inside_questions(
    workload: Workload, platform: Platform, mapspace: Mapspace, ert: Ert, group: GroupSpace
) -> Iterator[InsideQuestion]:
    """The questions that a group with a handover inside is made of; group: in one order."""
    tensors = handed_over(workload, mapspace, group)
    level = mapspace.fusion.intermediates[tensors[0]]
    for tensor in tensors:
        _check_places(workload, mapspace, group, tensor)
    for spread in spreads(workload, platform, level, tensors):
        yield InsideQuestion(
            workload=workload,
            platform=platform,
            mapspace=mapspace,
            ert=ert,
            order=group,
            level=level,
            tensors=tensors,
            spread=spread,
        )


def check_inside(workload: Workload, chips: Sequence[Platform], mapspace: Mapspace) -> None:
    """Refuse a handover inside that no mapping can have; chips: as a core of each level sees it.

    raises: SpecError where a level is not inside, or a tensor no intermediate of a group.
    """
    where, fusion = _where(mapspace), mapspace.fusion
    _check_level(where, max(chips, key=lambda chip: len(chip.matrix.levels)), fusion)
    for tensor in fusion.intermediates:
        if tensor not in workload.producers:
            known = ", ".join(workload.intermediates)
            raise SpecError(expected(where, f"intermediates among {known}", tensor))
        if fusion.anything is not None:
            continue
        every = [group for groups in partitions(workload, mapspace) for group in groups]
        made = [group for group in every if workload.producers[tensor] in group.names]
        if all(crosses_dram(workload, group.names, tensor) for group in made):
            raise SpecError(expected(where, "intermediates that stay in their group", tensor))


def _check_level(where: str, platform: Platform, fusion: Fusion) -> None:
    """Refuse a handover but at one level inside, behind the same nodes and without a bandwidth."""
    levels, names = set(fusion.intermediates.values()), [lv.name for lv in platform.matrix.levels]
    if len(levels) != 1 or not levels <= set(names[2:]):
        got = ", ".join(sorted(levels))
        raise SpecError(expected(where, f"one level inside among {', '.join(names[2:])}", got))
    (level,), shared = levels, shared_level(platform).name
    own = [arch for arch in platform.paths if level in [lv.name for lv in arch.levels]]
    ways = [between(arch, shared, level) for arch in own]
    if len(own) < len(platform.paths) or any(way != ways[0] for way in ways):
        condition = f"{level} on both paths, behind the same nodes"
        raise SpecError(expected(where, condition, "other nodes"))
    if any(rate is not None for arch in own for rate in arch.level(level).rates):
        change = "leave out its bandwidth; evaluate and execute have it"
        raise SpecError(expected(where, f"{level} without a bandwidth", "one", change))


def _where(mapspace: Mapspace) -> str:
    return f"{mapspace.name}: fusion.intermediates"


def _check_places(workload: Workload, mapspace: Mapspace, group: GroupSpace, tensor: str) -> None:
    """Refuse a part of a place, and what is copied."""
    where, inside = _where(mapspace), mapspace.fusion.intermediates
    copies = [
        (copied_from(workload, e), e.output.tensor) for e in map(workload.einsum, group.names)
    ]
    if any(old and tensor in (old, new) for old, new in copies):
        condition = "none that is copied: an old maximum, or its correction"
        raise SpecError(expected(where, condition, tensor))
    places = in_place_classes(workload, group.names, "") if mapspace.policy.in_place else {}
    lacking = [t for t, at in places.items() if at == places.get(tensor) and t not in inside]
    if lacking:
        change = f"add {', '.join(lacking)}, or write in_place: false"
        raise SpecError(expected(where, "all tensors of one place, or none", tensor, change))


def spreads(
    workload: Workload, platform: Platform, level: str, tensors: Sequence[str]
) -> Iterator[dict[str, Spread]]:
    """The ways to spread what is handed over over the instances of its level, by Einsum.

    Einsums that hand something on to one another have the same loops, over ranks of it all.
    """
    touching = [e for e in workload.einsums if any(map(e.touches, tensors))]
    parts: list[tuple[set[str], list[str]]] = []
    for einsum in touching:
        own, names = {t for t in tensors if einsum.touches(t)}, [einsum.name]
        for part in [p for p in parts if p[0] & own]:
            parts.remove(part)
            own, names = own | part[0], [*part[1], *names]
        parts.append((own, names))
    shared = shared_level(platform).name
    fanouts = [n for n in between(platform.matrix, shared, level) if isinstance(n, Fanout)]
    every = []
    for own, names in parts:
        ranks = set.intersection(*(set(workload.tensor_ranks[t]) for t in own))
        sizes = {r: workload.rank_sizes[r] for r in workload.rank_sizes if r in ranks}
        every.append([dict.fromkeys(names, one) for one in _spread(fanouts, sizes)])
    for chosen in product(*every):
        yield {name: spread for part in chosen for name, spread in part.items()}


def _spread(
    fanouts: Sequence[Fanout], sizes: Mapping[str, int]
) -> Iterator[dict[str, dict[str, int]]]:
    if not fanouts:
        yield {}
        return
    first, *others = fanouts
    for chosen in product(*(divisors(n) for n in sizes.values())):
        factors = {r: n for r, n in zip(sizes, chosen, strict=True) if n > 1}
        if prod(chosen) > first.copies or (factors and not any(_on_axes(first, factors))):
            continue
        left = {r: n // factors.get(r, 1) for r, n in sizes.items()}
        yield from ({first.name: factors, **rest} for rest in _spread(others, left))
