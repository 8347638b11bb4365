"""Bounds that know which tiles cannot stay at a private level together.

While other Einsums have their turn, a tensor can stay only if its tile is left alone by the
innermost shared loop, and only if there is room: spread over all instances of the level, two tiles
may already need nearly all that it has. Then the two Einsums keep little else there, or one of them
fetches its tile in every pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from flat_mapper.base.classes import dataclass
from flat_mapper.mapper.bounds.outer import OuterBounds, Outers
from flat_mapper.mapper.bounds.turns import stays_private
from flat_mapper.mapper.cost.candidate_set import CandidateSet
from flat_mapper.mapper.cost.turns import private_tiles
from flat_mapper.mapper.space.candidates import Bools, Floats, Ints
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.factors import distinct
from flat_mapper.mapper.space.group import GroupProblem, tile_words

ROOMS = (0, 2, 6)  # words left beside two tiles that stay, up to which a bound is worth its time


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two Einsums whose tiles leave little room at a private level if both stay."""

    pair: tuple[int, int]
    level: str
    room: Floats  # words left beside them; float64[n], infinite where they do not both stay


@dataclass(frozen=True, slots=True)
class StayBounds:
    """Of n outer choices: which Einsums may let a tensor stay, and which of them not together."""

    runs: list[Bools]  # by Einsum: whether some tensor of it may stay over a shared loop
    conflicts: list[Conflict]

    @classmethod
    def of(cls, problem: GroupProblem, bounds: OuterBounds, outers: Outers) -> StayBounds:
        """The bounds of a group."""
        runs: list[Bools] = []
        words: list[Floats] = []
        for space in problem.spaces:
            stays = [
                _stays(problem, bounds, outers, space, tensor)
                for tensor, may in zip(space.tensors, problem.may_stay(space), strict=True)
                if may
            ]
            some = [np.where(yes, n, np.inf) for yes, n in stays]
            least = np.minimum.reduce(some) if some else np.full(outers.tile.shape[1], np.inf)
            runs.append(np.isfinite(least))
            words.append(least)
        conflicts = []
        for i, j in combinations(range(len(problem.spaces)), 2):
            level = only_level(problem.spaces[i])
            if level is not None and level == only_level(problem.spaces[j]):
                has = problem.private_levels[level]
                left = (np.inf if has is None else float(has)) - words[i] - words[j]
                room = np.where(runs[i] & runs[j], left, np.inf)
                if (room <= ROOMS[-1]).any():
                    conflicts.append(Conflict((i, j), level, room))
        return cls(runs, conflicts)

    def take(self, some: Ints) -> StayBounds:
        """Those of some outer choices."""
        conflicts = [replace(c, room=c.room[some]) for c in self.conflicts]
        few = [c for c in conflicts if (c.room <= ROOMS[-1]).any()]
        return StayBounds([runs[some] for runs in self.runs], few)

    def total(
        self,
        stay: Sequence[Floats],
        none: Sequence[Floats],
        within: Callable[[int, int], Floats] | None = None,
    ) -> Floats:
        """Lower bound on the sum over Einsums; float64[n].

        stay, none: lower bounds of each Einsum if its tensors may stay, and if none does.
        within:     that of an Einsum whose tensor stays beside so many words at most.
        """
        lows = [np.where(runs, s, n) for runs, s, n in zip(self.runs, stay, none, strict=True)]
        more = np.zeros(len(lows[0]))
        for conflict in self.conflicts:
            i, j = conflict.pair
            with np.errstate(invalid="ignore"):
                least = np.minimum(none[i] - lows[i], none[j] - lows[j])
                both = np.zeros(len(more))
                for words in reversed(ROOMS):
                    some = conflict.room <= words
                    if within and some.any():
                        tight = within(i, words) + within(j, words) - lows[i] - lows[j]
                        both = np.where(some, np.maximum(both, tight), both)
                both = np.where(conflict.room < 0, np.inf, both)
                least = np.minimum(least, both)
            close = conflict.room <= ROOMS[-1]
            more = np.maximum(more, np.where(close & np.isfinite(least), least, 0.0))
        return sum(lows, more)


def only_level(space: EinsumSpace) -> str | None:
    """The private level of an Einsum's path, where it has just one."""
    match space.arch.levels[space.shared + 1 :]:
        case (only,):
            return only.name
    return None


def words_staying(problem: GroupProblem, part: CandidateSet) -> Floats:
    """Least words of a tensor that may stay, by candidate, at the innermost private level.

    Infinite where a candidate keeps no such tensor there; float64[n].
    """
    return _least_words(problem, part, lambda own, _: own)


def words_beside(problem: GroupProblem, part: CandidateSet) -> Floats:
    """Fewest words that candidates keep at that level beside a tensor that may stay; the same."""
    return _least_words(problem, part, lambda own, total: total - own)


def _least_words(
    problem: GroupProblem, part: CandidateSet, words: Callable[[Floats, Floats], Floats]
) -> Floats:
    """The least of some words over tensors that may stay.

    words: from those of the tensor and those of all that is kept.
    """
    space, level, found = part.space, part.space.arch.levels[-1].name, list[Floats]()
    stay = stays_private(problem, space)
    for block in part.blocks:
        tiles = private_tiles(space, block, level) if stay else {}
        total = sum(tiles.values(), np.zeros(block.count))
        own = [words(n, total) for t, n in tiles.items() if t in stay]
        found.append(np.minimum.reduce([np.full(block.count, np.inf), *own]))
    return np.concatenate(found)


def _stays(
    problem: GroupProblem, bounds: OuterBounds, outers: Outers, space: EinsumSpace, tensor: str
) -> tuple[Bools, Floats]:
    """True if a tensor may stay over a shared loop, and lower bound on the words it then takes."""
    index = problem.index(space)
    count = outers.tile.shape[1]
    decided, may = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    for number in distinct(outers.order):
        chosen = np.flatnonzero(outers.order == number)
        for r in bounds.orders[int(number)]:
            rank = problem.ranks[r]
            if r not in index and rank.members[0] not in space.einsum.each:
                continue
            real = chosen[(outers.tile[r, chosen] < rank.size) & ~decided[chosen]]
            may[real] = r not in index or not space.relevant[tensor][index.index(r)]
            decided[real] = True
    if only_level(space) is None:
        return may, np.zeros(count)
    level = space.arch.levels[-1]
    words = tile_words(space, tensor, outers.tile[index], level.name) / level.instances
    return may, np.ceil(words)
