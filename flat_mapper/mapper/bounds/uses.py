"""Words of its tensors that an Einsum moves under outer tiles, at least, whatever the candidate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flat_mapper.cost_model.candidates import Floats, Ints
from flat_mapper.cost_model.counts import mask_leaves
from flat_mapper.cost_model.facts import prod_of
from flat_mapper.cost_model.outside import least_weight, weight_of
from flat_mapper.cost_model.roles import Role
from flat_mapper.cost_model.transfers import looped
from flat_mapper.mapper.bounds.candidate_set import CandidateSet
from flat_mapper.mapper.bounds.energy import drawn_energy
from flat_mapper.mapper.bounds.occupancy import SharedOccupancy
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.group import FOLLOW, GroupProblem, words_of_tile


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """A streamed tensor that some candidate may hold whole, and so keep over DRAM loops."""

    more: Floats  # words of the shared level beside those of its smallest tile, where it stays
    again: Floats  # words through DRAM where it does not stay


@dataclass(frozen=True, kw_only=True)
class Use:
    """One Einsum's use of one tensor, over the outer tiles."""

    space: EinsumSpace
    tensor: str
    role: Role
    tile: Ints  # int64[R, n], by the Einsum's ranks
    smallest: float  # lower bound on the words of a streamed tile
    opening: bool  # whether the group waits for its first tile
    moved: Floats | None  # words through DRAM; None where it has no part in it
    drawn: Floats | None  # the same by split of the fanouts, float64[S, n]; None: of any
    stay: Stay | None
    volume: Floats  # words of the tensor; under a mask those of its tiles that are worked on
    seen: Floats  # lower bound on the words of it that are used at all
    once: Floats  # pJ at DRAM of one pass of every word, as bounds of candidates have it
    fresh: Floats  # share of the Einsum's passes in which words of it move, at most

    def energy(self, words: Floats | float) -> Floats:
        """pJ at DRAM for words."""
        dram = self.space.arch.levels[0]
        return drawn_energy(self.space, self.tensor, dram, words, volume=self.volume)

    @cached_property
    def moved_pj(self) -> Floats | float:
        """pJ at DRAM for its words through DRAM."""
        return 0.0 if self.moved is None else self.energy(self.moved)

    @cached_property
    def is_output(self) -> bool:
        """True if the Einsum writes it."""
        return self.tensor == self.space.output

    @cached_property
    def scale(self) -> float:
        """Words of the shared level for one of DRAM's."""
        return self.space.scale(self.tensor, self.space.arch.levels[self.space.shared])

    @cached_property
    def wide(self) -> float:
        """Words at DRAM of one of it that is still added up."""
        return self.space.so_far[self.space.arch.levels[0].name] if self.is_output else 1.0

    @cached_property
    def weight(self) -> float:
        """Words that DRAM moves for one of it; 0 where it moves a number of them in all."""
        return least_weight(self.space.arch.levels[0], self.tensor)

    def passing(self, zero: Floats) -> Floats:
        """Words through DRAM; float64[n], or by split."""
        if self.drawn is not None:
            return self.drawn
        return zero if self.moved is None else self.moved

    def ways(self, zero: Floats) -> tuple[Floats, Floats]:
        """Words read and written outside; see `passing`."""
        return self.each_way(self.passing(zero))

    def each_way(self, moved: Floats) -> tuple[Floats, Floats]:
        """Words read and written, of so many values that pass: wide, but for the last time."""
        if not self.is_output:
            return moved, 0.0 * moved
        again = np.maximum(moved - self.volume, 0.0) * self.wide
        return again, np.minimum(moved, self.volume) + again

    @property
    def waits(self) -> Floats | float:
        """The same for its first or last words."""
        dram = self.space.arch.levels[0]
        if self.role == "staged" and self.moved is not None:
            return weight_of(dram, self.tensor, self.moved)
        return least_weight(dram, self.tensor)

    @cached_property
    def total(self) -> float:
        """Words that DRAM moves of it however often it is read; else 0."""
        return self.space.arch.levels[0].totals.get(self.tensor, 0.0)


# Orders of the DRAM loops, innermost first, each with the number of tiles in a row that have it
Orders = tuple[tuple[tuple[int, ...], int], ...]


@dataclass(frozen=True, slots=True)
class Loops:
    """The DRAM loops over an Einsum's ranks, by outer tile."""

    extents: Ints  # int64[R, n]
    roles: tuple[Role, ...]
    orders: Orders
    share: Floats  # of the Einsum's work that a mask leaves; float64[n]
    sharing: Ints | None  # see `whole_sizes.sharing_units`; None: not known of any extents
    passes: Ints | None = None  # of extents that need not divide, at least


def uses_of(
    occupancy: SharedOccupancy, space: EinsumSpace, loops: Loops, part: CandidateSet | None
) -> Iterator[Use]:
    """The tensors of an Einsum."""
    problem, extents, share = occupancy.problem, loops.extents, loops.share
    tile = np.where(extents == FOLLOW, 1, extents)
    sizes = np.array(space.sizes, dtype=np.int64)[:, None]
    dram = np.where(extents == FOLLOW, 1, sizes // tile) if loops.passes is None else loops.passes
    masked, level = problem.masked(space) or (), space.arch.levels[space.shared].name
    queries = problem.masked_pair[0] if problem.masked_pair else -1
    for tensor, role in zip(space.tensors, loops.roles, strict=True):
        whole = np.full(tile.shape[1], float(space.volume[tensor]))
        relevant = space.relevant[tensor]
        own = [problem.ranks.index(space.ranks[r]) for r in masked if relevant[r]]
        volume = whole * share if len(own) == 2 else whole
        moved = None
        if role != "inside":
            moved = _staged_words(space, tensor, dram, loops, masked)
        stay, drawn, outermost = None, None, space.arch.levels[0].name
        smallest, least = space.share(tensor, outermost), space.share(tensor, level)
        if role == "stream" and moved is not None:
            smallest = part.smallest(tensor, outermost) if part else smallest
            least = part.smallest(tensor, level) if part else least
            kept = (
                part.largest_kept(tensor)
                if part
                else space.room_inside(tensor, space.arch.levels[0])
            )
            words = words_of_tile(space, tensor, tile, outermost)
            again = streamed_words(space, tensor, dram) * share
            may = words <= kept
            moved = np.where(may, moved, again)
            if (moved < again).any():
                held = np.where(may, words_of_tile(space, tensor, tile, level), 0)
                copies = occupancy.lower_term(space, tensor, role, tile, least).copies
                stay = Stay(more=copies * np.maximum(held - least, 0.0), again=again)
            if tensor in space.passing and loops.sharing is not None:
                drawn = np.maximum(_drawn(space, tensor, loops.share, loops.sharing), moved)
                moved = drawn.min(axis=0, initial=np.inf)
        fresh = np.ones(1)
        if problem.takes_turns and problem.masked_pair is None and not space.einsum.each:
            often = _staged_words(space, tensor, dram, loops, ()) if moved is None else moved
            most = streamed_words(space, tensor, dram)
            fresh = np.minimum(often / most, 1.0) if drawn is None else fresh
        yield Use(
            space=space,
            tensor=tensor,
            role=role,
            tile=tile,
            smallest=smallest,
            opening=space is problem.spaces[0]
            and tensor != space.output
            and tensor in problem.external,
            moved=moved,
            drawn=drawn,
            stay=stay,
            volume=volume,
            seen=whole if own in ([], [queries]) else whole * share,
            once=share * _once(problem, space, tensor),
            fresh=fresh,
        )


def _once(problem: GroupProblem, space: EinsumSpace, tensor: str) -> Floats:
    """pJ at DRAM of one pass of every word; under a mask it is scaled, and so without rounding."""
    words = space.volume[tensor]
    dram = space.arch.levels[0]
    return drawn_energy(space, tensor, dram, words, rounded=problem.masked_pair is None)


def _staged_words(
    space: EinsumSpace, tensor: str, dram: Ints, loops: Loops, masked: Sequence[int]
) -> Floats:
    """Words through DRAM of a tensor whose whole tile stays in place; dram int64[R, n] factors.

    masked: the mask's ranks that the Einsum has.
    """
    relevant, found, begin = space.relevant[tensor], list[Floats](), 0
    for order, count in loops.orders:
        part = slice(begin, begin + count)
        begin += count
        words = np.full(count, float(space.volume[tensor]))
        moved, _ = looped(relevant, words, np.ones(1) > 0, dram[:, part], order)
        if masked:
            still = np.ones(count, np.bool_)
            left = mask_leaves(
                *(relevant, still, dram[:, part], order, tuple(masked), loops.share[part])
            )
            moved = moved * left[0] * left[1]
        found.append(moved)
    return found[0] if len(found) == 1 else np.concatenate(found)


def streamed_words(space: EinsumSpace, tensor: str, dram: Ints) -> Floats:
    """Words of a streamed tensor through DRAM, unless it stays over its DRAM loops."""
    lacks = [r for r, yes in enumerate(space.relevant[tensor]) if not yes]
    return float(space.volume[tensor]) * prod_of(dram, lacks)


def _drawn(space: EinsumSpace, tensor: str, left: Floats, sharing: Ints) -> Floats:
    """Words that the units draw of a tensor that no level keeps for them; float64[S, n].

    One for every compute, which as many units share as differ in ranks that it lacks.
    """
    units = sharing[space.tensors.index(tensor)][:, None]
    # Counts are whole values: less than one of them is lost.
    share = space.share(tensor, space.arch.levels[0].name)
    often = max(space.iterations * share - max(share, 1), 0)
    return np.asarray(left * (often / units))
