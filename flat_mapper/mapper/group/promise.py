"""Candidates that may be part of an improvement, whatever the other Einsums do."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flat_mapper.cost_model.candidates import Bools, Floats, Ints
from flat_mapper.mapper.bounds.candidate_set import CandidateSet
from flat_mapper.mapper.bounds.outer import OuterBounds, Outers
from flat_mapper.mapper.bounds.tiles import CandidateTiles
from flat_mapper.mapper.group.beside import Beside, least_shares
from flat_mapper.mapper.group.incumbent import Incumbent
from flat_mapper.mapper.group.picks import GroupSolution
from flat_mapper.mapper.space.factors import distinct_columns
from flat_mapper.mapper.space.outer import Staging

FEW = 100  # candidates of an Einsum under one tile
BOUNDED = 2_000  # chosen: outer choices that are sorted at once
ALIKE = 0.01  # chosen: of a bound, what tells the promise of two tiles apart
FAR = 1.043  # chosen: of cycles and of pJ, beside bounds
WARM_LEFT = 100  # chosen: outer choices so few that all are searched about as soon as tried
WARM_TILES = 1  # tiles in a row that bring little, after which a first answer is good
WARM_MORE = 8  # chosen: the same as long as it is so far above what bounds promise


def promising(
    bounds: OuterBounds,
    incumbent: Incumbent[GroupSolution],
    candidate_sets: list[CandidateSet],
    outers: Outers,
    staging: Staging | None,
) -> list[Bools]:
    """Candidates of each candidate set that may still be part of a better solution.

    staging: that of the outer choices; None: they have several.
    """
    roles = [staging.roles[t.space.einsum.name] if staging else None for t in candidate_sets]
    shares = least_shares(bounds.problem, outers)
    every = [t.least(r, s) for t, r, s in zip(candidate_sets, roles, shares, strict=True)]
    beside = Beside.of(bounds.problem, incumbent, outers, every)
    return [beside.improving(i, own) for i, own in enumerate(every)]


def kept_of(candidate_sets: list[CandidateSet], masks: list[Bools]) -> list[CandidateSet]:
    """The candidates of each candidate set that its mask keeps."""
    return [t if m.all() else t.keep(m) for t, m in zip(candidate_sets, masks, strict=True)]


def improvable(incumbent: Incumbent[GroupSolution], outers: Outers) -> Bools:
    """Outer choices that can improve."""
    cycles, energy = outers.cycles, outers.energy
    alive, sums = incumbent.can_improve(cycles, energy), outers.sums
    return alive if sums is None else alive & incumbent.sum_can_improve(sums, cycles, energy)


def most_promising(
    incumbent: Incumbent[GroupSolution],
    whole: CandidateSet,
    most: int,
    energy: Floats | None = None,
) -> Bools:
    """The candidates that promise most: those of least bound on the objective; bool[n].

    energy: pJ of each at least; None: whatever the outer choice.
    """
    if whole.count <= 2 * most:
        return np.ones(whole.count, np.bool_)
    cycles = whole.cycles
    if energy is None:
        energy = whole.least()[1]
    mask = _smallest(incumbent.sort_keys(cycles, energy)[0], most)
    # The widest candidates too: where transfers bind, the bound on cycles says little.
    wide = np.flatnonzero(cycles == cycles.min())
    mask[wide[_smallest(energy[wide], most)]] = True
    return mask


def _smallest(values: Floats, most: int) -> Bools:
    """True for so many of the least values, of equal ones the first; bool[n]."""
    if len(values) <= most:
        return np.ones(len(values), np.bool_)
    limit = np.partition(values, most - 1)[most - 1]
    found: Bools = values < limit
    found[np.flatnonzero(values == limit)[: most - np.count_nonzero(found)]] = True
    return found


def promising_under(
    bounds: OuterBounds, incumbent: Incumbent[GroupSolution], part: CandidateSet, outers: Outers
) -> CandidateSet:
    """Candidates that promise most under one tile, in any staging of its outer choices."""
    numbers = dict.fromkeys(outers.staging.tolist())
    name, own = part.space.einsum.name, outers.tile[bounds.problem.index(part.space), :1]
    tiles, every = CandidateTiles(part), np.arange(part.count)
    masks = [
        most_promising(
            *(incumbent, part, FEW),
            tiles.bounds(roles).candidate_energy(own, np.zeros_like(every), every),
        )
        for roles in dict.fromkeys(bounds.stagings[n].roles[name] for n in numbers)
    ]
    return part.keep(np.logical_or.reduce(masks))


def by_promise(incumbent: Incumbent[GroupSolution], outers: Outers) -> Ints:
    """Outer choices in the order in which a first mapping is looked for."""
    first, second, third = incumbent.sort_keys(outers.cycles, outers.energy)
    # Of equal promise the largest tile: it keeps most. Before all, the largest of nearly equal
    # promise: it leaves candidates most room, and bounds of small ones say less about them.
    wide = np.where(first <= (1 + ALIKE) * first.min(initial=np.inf), outers.needs, 0)
    return np.lexsort((third, second, -outers.needs, first, wide < wide.max(initial=0)))


def promising_first(incumbent: Incumbent[GroupSolution], outers: Outers) -> Iterator[Outers]:
    """Outer choices by their promise: some, as to sort all of them takes longer, then all."""
    promise = incumbent.sort_keys(outers.cycles, outers.energy)[0]
    if len(promise) > BOUNDED:
        part = outers.take(np.flatnonzero(promise <= np.partition(promise, BOUNDED)[BOUNDED]))
        yield part.take(by_promise(incumbent, part))
    yield outers.take(by_promise(incumbent, outers))


def is_warm(incumbent: Incumbent[GroupSolution], outers: Outers, quiet: int) -> bool:
    """True if the search of all outer choices may begin.

    quiet: tiles since one brought much.
    """
    if not incumbent.open:
        left = incumbent.can_improve(outers.cycles, outers.energy)
        if np.count_nonzero(left) <= WARM_LEFT:
            return True
    return quiet >= WARM_MORE or (quiet >= WARM_TILES and not _is_far(incumbent, outers))


def _is_far(incumbent: Incumbent[GroupSolution], outers: Outers) -> bool:
    """True if the incumbent is well above the bounds of some outer choices."""
    return bool(incumbent.can_improve(FAR * outers.cycles, FAR * outers.energy).any())


def halves(incumbent: Incumbent[GroupSolution], outers: Outers) -> list[Outers]:
    """Outer choices in two parts by their tiles, the more promising one last; or none."""
    tiles, _, which = distinct_columns(outers.tile)
    if tiles.shape[1] < 2:
        return []
    promise = np.full(tiles.shape[1], np.inf)
    keys = incumbent.sort_keys(outers.cycles, outers.energy)
    np.minimum.at(promise, which.ravel(), keys[0])
    better = np.zeros(tiles.shape[1], np.bool_)
    better[np.argsort(promise, kind="stable")[: max(1, tiles.shape[1] // 4)]] = True
    mask = better[which.ravel()]
    return [outers.take(np.flatnonzero(~mask)), outers.take(np.flatnonzero(mask))]
