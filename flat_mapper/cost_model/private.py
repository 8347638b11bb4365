"""Private levels, which the Einsums of a group use in turn: what stays there over others' turns.

What is handed over at such a level is there all the while, for whoever has its turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from flat_mapper.arch.values import Platform
from flat_mapper.cost_model.candidates import Bools, CandidateBlock, Floats, Ints
from flat_mapper.cost_model.counts import Chain
from flat_mapper.cost_model.einsum import returning
from flat_mapper.cost_model.facts import EinsumFacts, prod_of
from flat_mapper.cost_model.nest import factors_of, nest_of, tile_words
from flat_mapper.cost_model.residence import tile_occupancies
from flat_mapper.cost_model.result import BufferUse, Infeasible
from flat_mapper.cost_model.roles import Outer
from flat_mapper.cost_model.transfers import SHARED, Amounts, Transfer, transfers_of
from flat_mapper.mapping.check import handed_inside
from flat_mapper.mapping.order import overlaps
from flat_mapper.mapping.values import GroupMapping, Policy, sized_ranks
from flat_mapper.workload.graph import Workload

STAYS = "which stays"  # said of a tile
Place = tuple[str, str]  # private level and tensor
Stays = Mapping[Place, Bools | bool]


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


def private_tiles(words: Mapping[Place, Amounts], stays: Stays) -> list[PrivateTile]:
    """Tiles of n nests, with those that stay; words: of one instance."""
    return [
        PrivateTile(*place, np.ceil(own), np.asarray(stays.get(place, False)))
        for place, own in words.items()
    ]


def in_place(tensor: str, moves: Iterable[tuple[Transfer, Bools | bool]]) -> Stays:
    """Candidates whose tiles of a tensor stay, if the shared loops let it: no pass replaces them.

    moves: its transfers, and whether the run of each is open at the shared loops.
    """
    return {(one.child.name, tensor): stays for one, stays in moves if one.child}


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
    shared, dram = outer.grids(facts.sizes, candidates.tile)
    passes, stays = dram[:, 0].tolist(), dict[Place, Bools | bool]()
    for position, tensor in enumerate(facts.tensors):
        if runs_on(facts.relevant[tensor], passes, outer.dram_order, outer.passes):
            chain = Chain.of(facts, candidates, outer, position, shared)
            stays |= in_place(tensor, zip(chain.transfers, chain.stays, strict=True))
    return private_tiles(words, stays)


def private_words(
    facts: EinsumFacts, candidates: CandidateBlock, outer: Outer, levels: tuple[str, ...]
) -> PrivateWords:
    """Words that candidates hold at private levels; levels: their names."""
    found = PrivateWords(*np.zeros((2, len(levels), candidates.count)))
    for level, _, words, stays in candidate_tiles(facts, candidates, outer):
        found.stays[levels.index(level)] += np.where(stays, words, 0.0)
        found.turn[levels.index(level)] += np.where(stays, 0.0, words)
    return found


def staying(facts: EinsumFacts, candidate: CandidateBlock, outer: Outer) -> tuple[str, ...]:
    """Tensors of one candidate that stay at some private level over the DRAM loops."""
    found = {t.tensor for t in candidate_tiles(facts, candidate, outer) if t.stays.all()}
    return tuple(tensor for tensor in facts.tensors if tensor in found)


def private_uses(
    workload: Workload, platform: Platform, group: GroupMapping, names: Sequence[str]
) -> dict[str, list[PrivateTile]]:
    """Tiles that the Einsums of a group hold at private levels, by Einsum in execution order.

    names: the Einsums of the group, those of a free softmax among them.
    """
    found: dict[str, list[PrivateTile]] = {}
    inside = handed_inside(workload, platform, group)
    for mapping in group.einsums:
        einsum = workload.einsum(mapping.einsum)
        arch = platform.path(einsum.unit)
        nest = nest_of(arch, einsum, mapping, returning(workload, names, mapping))
        factors, sizes = factors_of(nest, [mapping]), sized_ranks(workload, mapping)
        tiles = tile_words(nest, factors, tuple(sizes[r] for r in nest.ranks))
        every = ((arch.levels[i].name, t, n) for (i, t), n in tiles.items() if i > SHARED)
        words = {(lv, t): n * workload.share(t, lv) for lv, t, n in every if inside.get(t) != lv}
        passes, stays = factors.factors[0, :, 0].tolist(), dict[Place, Bools | bool]()
        for tensor, relevant in nest.relevant.items():
            if runs_on(relevant, passes, nest.orders[0]):
                moves = transfers_of(nest, factors, tensor)
                stays |= in_place(tensor, ((one, one.stays) for one in moves))
        found[einsum.name] = private_tiles(words, stays)
    return found


def private_needs(
    workload: Workload,
    platform: Platform,
    group: GroupMapping,
    names: Sequence[str],
    policy: Policy,
) -> tuple[BufferUse, ...]:
    """Words of one instance of each private level: all that stays there, and the largest turn.

    Where units overlap, each has a turn of its own at the same time.
    """
    units = {name: workload.einsum(name).unit for name in group.names}
    archs = [platform.path(unit) for unit in units.values()]
    capacity = {lv.name: lv.usable_words for arch in archs for lv in arch.levels[SHARED + 1 :]}
    held = tile_occupancies(workload, platform, group, policy)
    uses = private_uses(workload, platform, group, names)
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


def private_overflow(
    workload: Workload,
    platform: Platform,
    group: GroupMapping,
    names: Sequence[str],
    policy: Policy,
) -> Infeasible | None:
    """The private level of a group that cannot hold all that stays there beside any one turn."""
    if len(group.einsums) == 1:
        return None
    for use in private_needs(workload, platform, group, names, policy):
        hint = "let a tensor return to the shared level with each turn, or cut its tile"
        overflow = use.overflow(" + ".join(group.names), hint)
        if overflow is not None:
            return overflow
    return None
