"""Residence: what levels hold while a group runs.

The shared level, or one inside it where something is handed over, holds that for whoever has its
turn. Private levels, which the Einsums use in turn, hold what stays over others' turns, and beside
it the tiles of a turn.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import NamedTuple

import numpy as np

from flat_mapper.arch.values import Architecture
from flat_mapper.cost_model.candidates import Bools, CandidateBlock, Floats, Ints
from flat_mapper.cost_model.counts import Chain
from flat_mapper.cost_model.einsum import returning
from flat_mapper.cost_model.facts import EinsumFacts, prod_of
from flat_mapper.cost_model.nest import factors_of, nest_of, words_of_tiles
from flat_mapper.cost_model.ports import Amount, largest
from flat_mapper.cost_model.result import BufferUse, Infeasible
from flat_mapper.cost_model.roles import Outer
from flat_mapper.cost_model.transfers import SHARED, Amounts, Transfer, transfers_of, unfinished
from flat_mapper.mapping.check import handed_inside
from flat_mapper.mapping.cores import CoreQuestion
from flat_mapper.mapping.order import overlaps
from flat_mapper.mapping.sharing import (
    carried_tensors,
    in_place_classes,
    leaves_finished,
    shared_level,
    whole_group,
)
from flat_mapper.mapping.values import (
    EinsumMapping,
    Policy,
    Slot,
    piece_at,
    sized_ranks,
    slots_of,
)
from flat_mapper.workload.graph import Workload


class TileOccupancy(NamedTuple):
    """Words of one tensor's tile in its level, or of several that share one place.

    Numbers of one mapping, or float64[n] of candidates.
    """

    tensor: str  # the first of those that share it
    words: Amount  # of one copy
    copies: float
    level: str = ""
    first: str = ""  # the Einsum of the group that touches it first
    last: str = ""  # and the one that touches it last

    @property
    def total_words(self) -> Amount:
        """Words of all copies."""
        total = self.words * self.copies
        return np.ceil(total) if isinstance(total, np.ndarray) else ceil(total)


def merged(tiles: Iterable[TileOccupancy]) -> dict[str, TileOccupancy]:
    """Tiles by place: as large as the largest there, in as many copies as any needs."""
    held: dict[str, TileOccupancy] = {}
    for one in tiles:
        before = held.setdefault(one.tensor, one)
        if before is not one:
            words, copies = largest((before.words, one.words)), max(before.copies, one.copies)
            held[one.tensor] = before._replace(words=words, copies=copies, last=one.last)
    return held


@dataclass(frozen=True, slots=True, kw_only=True)
class TilePlaces:
    """The places that tensors of a group take where it hands them over, and in how many copies.

    What the group exchanges with DRAM is held `buffering` times, an intermediate once. When units
    overlap, two tiles are in flight: twice is held what passes from one unit to another, and what
    the inner loops carry from pass to pass.
    """

    workload: Workload
    names: tuple[str, ...]  # of the Einsums of the group that are mapped
    schedule: str
    policy: Policy
    level: str  # the shared one
    whole: tuple[str, ...]  # the Einsums, those of a free softmax among them
    off_chip: Collection[str]  # tensors that the group exchanges with DRAM while it runs
    carried: Collection[str]  # tensors that its inner loops carry, see `carried_tensors`
    left_out: Collection[str]  # those of them that a free softmax leaves out of the mapping
    shared: Mapping[str, str]  # of those that share a place, the first

    @classmethod
    def of(
        cls,
        workload: Workload,
        names: tuple[str, ...],
        schedule: str,
        policy: Policy,
        level: str,
        crossing: Collection[str],
        inside: Mapping[str, str],
    ) -> TilePlaces:
        """Those of a group; crossing: what DRAM keeps of it. inside: see `in_place_classes`."""
        whole = whole_group(workload, names, policy)
        free = policy.softmax == "free" and len(names) > 1
        carried = carried_tensors(workload, whole)
        mapped = {access.tensor for name in names for access in workload.einsum(name).accesses}
        return cls(
            workload=workload,
            names=names,
            schedule=schedule,
            policy=policy,
            level=level,
            whole=whole,
            off_chip={t for t in crossing if not (free and leaves_finished(workload, names, t))},
            carried=carried,
            left_out=[tensor for tensor in carried if tensor not in mapped],
            shared=in_place_classes(workload, whole, level, inside) if policy.in_place else {},
        )

    def takes(
        self, tensor: str, words: Amount, *, kept: bool = True, part: bool = False
    ) -> TileOccupancy:
        """The place of a tile of so many words; not kept: it is streamed.

        What is streamed goes by in tiles of its own, or takes no room where what passes by is free,
        unless a part of the level keeps it.
        What a mapping fetches from DRAM overwrites nothing, though its maker is left out.
        """
        place = self.shared.get(tensor, tensor)
        if tensor not in self.off_chip:
            return TileOccupancy(place, words, 2.0 if self._in_flight(tensor) else 1.0)
        if not (kept or part) and self.policy.passing == "free":
            return TileOccupancy(tensor, words, 0.0)
        made = self.workload.producers.get(tensor) in self.names
        return TileOccupancy(place if kept and made else tensor, words, self.policy.buffering)

    def _in_flight(self, tensor: str) -> bool:
        """True if an intermediate needs a second tile: two units work on two tiles at once."""
        if not overlaps(self.schedule) or tensor not in self.workload.producers:
            return False
        if tensor in self.carried:
            return True
        maker = self.workload.einsum(self.workload.producers[tensor]).unit
        readers = self.workload.readers(tensor)
        return any(reader.unit != maker for reader in readers)

    def unmapped(self, extents: Mapping[str, Amount], cut: Amount) -> Iterator[TileOccupancy]:
        """Tiles of what is left out.

        extents: of a pass, by rank. cut: whether some inner loop has more than one.
        """
        for tensor in self.left_out:
            tile = prod(extents.get(r, 1) for r in self.workload.tensor_ranks[tensor])
            yield self.takes(tensor, cut * tile * self.workload.share(tensor, self.level))


def tile_occupancies(core: CoreQuestion, policy: Policy) -> tuple[TileOccupancy, ...]:
    """Tiles that the shared level holds for a group, by tensor, and those handed over inside it.

    A tensor kept there takes its whole tile below the shared loops; one that bypasses it is
    streamed, and takes its tile below the shared level's own loops. One that is handed over inside
    takes its whole tile there, in an instance.
    """
    workload, platform, group = core
    level, names, inside = shared_level(platform).name, group.names, handed_inside(*core)
    whole = whole_group(workload, names, policy)
    crossing = {t for m in group.einsums for t in m.kept_at(platform.dram.name)}
    places = TilePlaces.of(workload, names, group.schedule, policy, level, crossing, inside)
    held = []
    for mapping in group.einsums:
        einsum = workload.einsum(mapping.einsum)
        arch, widest = platform.path(einsum.unit), _widest(core, whole, mapping)
        for tensor in (access.tensor for access in einsum.accesses):
            home = inside.get(tensor, level)
            values = shared_tile(workload, arch, mapping, tensor, home)
            words, kept = values * widest(tensor, home), tensor in mapping.kept_at(home)
            part = any(tensor in mapping.kept_at(lv.name) for lv in arch.levels if lv.part_of)
            one = places.takes(tensor, words, kept=kept, part=part)
            held.append(one._replace(level=home, first=einsum.name, last=einsum.name))
    cut = {loop.rank: loop.factor for loop in group.shared}
    extents = {r: n // cut.get(r, 1) for r, n in workload.rank_sizes.items()}
    inner = any(cut.get(r, 1) > 1 for r in workload.inner_ranks(places.whole))
    for one in places.unmapped(extents, inner) if inner else ():
        held.append(one._replace(level=level, first=names[0], last=names[-1]))
    return tuple(one for one in merged(held).values() if one.copies)


def _widest(
    core: CoreQuestion, names: Sequence[str], mapping: EinsumMapping
) -> Callable[[str, str], float]:
    """Words of a value of a tensor at a level, at most at any time; of one nest.

    names: the Einsums of the group, those of a free softmax among them. What passes a level by is
    as wide there as where it comes from.
    """
    workload, platform, _ = core
    einsum = workload.einsum(mapping.einsum)
    output, widths = einsum.output.tensor, workload.widths
    if output not in widths.sums:
        return widths.share
    arch = platform.path(einsum.unit)
    nest = nest_of(arch, einsum, mapping, returning(workload, names, mapping))
    moves = transfers_of(nest, factors_of(nest, [mapping]), output)
    keepers = [lv.name for lv, kept in zip(arch.levels, nest.keep, strict=True) if output in kept]
    sums = {at: bool(unfinished(*moves[n : n + 2]).all()) for n, at in enumerate(keepers)}

    def widest(tensor: str, level: str) -> float:
        so_far = tensor == output and sums.get(level, sums[keepers[0]])
        return widths.so_far(tensor, level) if so_far else widths.share(tensor, level)

    return widest


def buffer_use(core: CoreQuestion, policy: Policy) -> BufferUse:
    """Live words of the shared level at the worst moment of a FLAT-tile: all that it holds."""
    level, held = shared_level(core.platform), tile_occupancies(core, policy)
    terms = tuple((h.tensor, h.total_words) for h in held if h.level == level.name)
    return BufferUse(level=level.name, capacity_words=level.usable_words, terms=terms)


def shared_tile(
    workload: Workload, arch: Architecture, mapping: EinsumMapping, tensor: str, level: str
) -> int:
    """Values of a tensor's tile at a level: whole where kept, inner where streamed."""
    slots, sizes = slots_of(arch), workload.rank_sizes
    outside = slots[: slots.index(Slot(level, "temporal")) + (tensor not in mapping.kept_at(level))]
    own = workload.tensor_ranks[tensor]
    return prod(piece_at(mapping, rank, outside, sizes[rank]) for rank in own)


STAYS = "which stays"  # said of a tile


class PrivateTile(NamedTuple):
    """A tensor's tile in one instance of a private level, of n nests."""

    level: str
    tensor: str
    words: Amounts
    stays: Bools  # over the turns of other Einsums; else it is there in its own turn alone


def runs_on(
    relevant: Sequence[bool], dram: Sequence[int], order: Sequence[int], passes: int = 1
) -> bool:
    """True if the innermost shared loop is over a rank that a tensor lacks.

    dram: by rank, passes of the shared loops; order innermost first. passes: of one that is further
    in, over a rank that no tensor has.
    """
    inner = next((r for r in order if dram[r] > 1), None)
    return passes > 1 or (inner is not None and not relevant[inner])


def _tiles(
    words: Mapping[tuple[str, str], Amounts],
    moves: Mapping[str, Iterable[tuple[Transfer, Bools | bool]]],
) -> list[PrivateTile]:
    """Tiles of n nests, with those that stay.

    words: of one instance, by private level and tensor. moves: transfers of the tensors that the
    shared loops let stay, and whether the run of each is open there: no pass replaces its tile.
    """
    each = ((one, t, stays) for t, every in moves.items() for one, stays in every)
    stays = {(one.child.name, t): stays for one, t, stays in each if one.child}
    return [
        PrivateTile(*place, np.ceil(own), np.asarray(stays.get(place, False)))
        for place, own in words.items()
    ]


@dataclass(frozen=True, slots=True)
class PrivateWords:
    """Words of n candidates at private levels, of one instance; float64[L, n] by level."""

    stays: Floats  # over the turns of other Einsums
    turn: Floats  # in the Einsum's own turn alone

    @classmethod
    def joined(cls, parts: list[PrivateWords]) -> PrivateWords:
        """Several sets as one."""
        return cls(
            np.concatenate([p.stays for p in parts], axis=1),
            np.concatenate([p.turn for p in parts], axis=1),
        )

    def take(self, index: Ints) -> PrivateWords:
        """Some of the candidates."""
        return PrivateWords(self.stays[:, index], self.turn[:, index])


def candidate_tiles(
    facts: EinsumFacts, candidates: CandidateBlock, outer: Outer
) -> list[PrivateTile]:
    """Tiles that candidates keep at private levels."""
    words, extents = {}, np.ones(candidates.tile.shape, np.int64)
    for choice in candidates.node_choices:
        extents = extents * choice.grid[:, choice.column]
        for tensor in candidates.keep.get(choice.node, ()):
            own = [r for r, yes in enumerate(facts.relevant[tensor]) if yes]
            words[choice.node, tensor] = prod_of(extents, own) * facts.share(tensor, choice.node)
    for level, so_far in unfinished_at(facts, candidates, outer).items():
        if (place := (level, facts.output)) in words:
            words[place] = words[place] * np.where(so_far, facts.so_far[level], 1.0)
    shared, dram = outer.grids(facts.sizes, candidates.tile)
    passes, moves = dram[:, 0].tolist(), {}
    for position, tensor in enumerate(facts.tensors):
        if runs_on(facts.relevant[tensor], passes, outer.dram_order, outer.passes):
            chain = Chain.of(facts, candidates, outer, position, shared)
            moves[tensor] = zip(chain.transfers, chain.stays, strict=True)
    return _tiles(words, moves)


def unfinished_at(facts: EinsumFacts, candidates: CandidateBlock, outer: Outer) -> dict[str, Bools]:
    """By level that keeps the output, candidates that hold sums there at some time; bool[n].

    Nothing where a sum is no wider than when it is done.
    """
    if not facts.adds_up:
        return {}
    shared, dram = outer.grids(facts.sizes, candidates.tile)
    chain = Chain.of(facts, candidates, outer, len(facts.tensors) - 1, shared)
    chain.over(facts.relevant[facts.output], dram, outer)
    return dict(chain.unfinished())


def private_words(
    facts: EinsumFacts, candidates: CandidateBlock, outer: Outer, levels: tuple[str, ...]
) -> PrivateWords:
    """Words that candidates hold at private levels; levels: their names."""
    found = PrivateWords(*np.zeros((2, len(levels), candidates.count)))
    if not candidates.count:
        return found  # a rule leaves no order of the shared level's loops
    for level, _, words, stays in candidate_tiles(facts, candidates, outer):
        found.stays[levels.index(level)] += np.where(stays, words, 0.0)
        found.turn[levels.index(level)] += np.where(stays, 0.0, words)
    return found


def staying(facts: EinsumFacts, candidate: CandidateBlock, outer: Outer) -> tuple[str, ...]:
    """Tensors of one candidate that stay at some private level over the DRAM loops."""
    found = {t.tensor for t in candidate_tiles(facts, candidate, outer) if t.stays.all()}
    return tuple(tensor for tensor in facts.tensors if tensor in found)


def private_uses(core: CoreQuestion, names: Sequence[str]) -> dict[str, list[PrivateTile]]:
    """Tiles that the Einsums of a group hold at private levels, by Einsum in execution order.

    names: the Einsums of the group, those of a free softmax among them.
    """
    workload, platform, group = core
    found, inside = dict[str, list[PrivateTile]](), handed_inside(*core)
    for mapping in group.einsums:
        einsum = workload.einsum(mapping.einsum)
        arch = platform.path(einsum.unit)
        nest = nest_of(arch, einsum, mapping, returning(workload, names, mapping))
        factors, sizes = factors_of(nest, [mapping]), sized_ranks(workload, mapping)
        tiles = words_of_tiles(nest, factors, tuple(sizes[r] for r in nest.ranks))
        every = ((arch.levels[i].name, t, n) for (i, t), n in tiles.items() if i > SHARED)
        widest = _widest(core, names, mapping)
        words = {(lv, t): n * widest(t, lv) for lv, t, n in every if inside.get(t) != lv}
        passes = factors.factors[0, :, 0].tolist()
        moves = {
            tensor: [(one, one.stays) for one in transfers_of(nest, factors, tensor)]
            for tensor, relevant in nest.relevant.items()
            if runs_on(relevant, passes, nest.orders[0])
        }
        found[einsum.name] = _tiles(words, moves)
    return found


def private_needs(core: CoreQuestion, policy: Policy) -> tuple[BufferUse, ...]:
    """Words of one instance of each private level: all that stays there, and the largest turn.

    Where units overlap, each has a turn of its own at the same time. An Einsum alone has no turns.
    """
    workload, platform, group = core
    if len(group.einsums) == 1:
        return ()
    units = {name: workload.einsum(name).unit for name in group.names}
    archs = [platform.path(unit) for unit in units.values()]
    capacity = {lv.name: lv.usable_words for arch in archs for lv in arch.levels[SHARED + 1 :]}
    held = tile_occupancies(core, policy)
    uses = private_uses(core, whole_group(workload, group.names, policy))
    found = []
    for level, capacity_words in capacity.items():
        terms = [(h.tensor, h.total_words) for h in held if h.level == level]
        turns: dict[str, list[list[tuple[str, int]]]] = {}
        for name, tiles in uses.items():
            here = [t for t in tiles if t.level == level]
            every = [(f"{t.tensor} of {name}", int(t.words[0]), bool(t.stays.all())) for t in here]
            terms += [(f"{tile}, {STAYS}", n) for tile, n, stays in every if stays]
            own = turns.setdefault(units[name] if overlaps(group.schedule) else "", [])
            own.append([(tile, n) for tile, n, stays in every if not stays])
        for own in turns.values():
            terms += max(own, key=lambda turn: sum(n for _, n in turn))
        found.append(BufferUse(level=level, capacity_words=capacity_words, terms=tuple(terms)))
    return tuple(found)


def private_overflow(core: CoreQuestion, policy: Policy) -> Infeasible | None:
    """The private level of a group that cannot hold all that stays there beside any one turn."""
    hint = "let a tensor return to the shared level with each turn, or cut its tile"
    where, uses = " + ".join(core.group.names), private_needs(core, policy)
    refused = (use.overflow(where, hint) for use in uses)
    return next((one for one in refused if one is not None), None)
