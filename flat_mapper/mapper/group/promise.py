"""Candidates that may be part of an improvement, whatever the other Einsums do."""

from __future__ import annotations

import numpy as np

from flat_mapper.cost_model.candidates import Bools, Ints
from flat_mapper.mapper.bounds.candidate_set import CandidateSet
from flat_mapper.mapper.bounds.outer import OuterBounds, Outers
from flat_mapper.mapper.group.beside import Beside, least_shares
from flat_mapper.mapper.group.incumbent import Incumbent
from flat_mapper.mapper.group.picks import GroupSolution
from flat_mapper.mapper.space.factors import distinct_columns
from flat_mapper.mapper.space.outer import Staging

FEW = 100  # candidates of an Einsum under one tile
WARM_LEFT = 100  # chosen: outer choices so few that all are searched about as soon as tried
WARM_TILES = 1  # tiles in a row that bring little, after which a first answer is good


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


def by_promise(incumbent: Incumbent[GroupSolution], outers: Outers) -> Ints:
    """Outer choices in the order in which a first mapping is looked for."""
    keys = incumbent.sort_keys(outers.cycles, outers.energy)
    return np.lexsort((-outers.needs, *keys[::-1]))  # of equal ones the largest tile: it keeps most


def is_warm(incumbent: Incumbent[GroupSolution], outers: Outers, quiet: int) -> bool:
    """True if the search of all outer choices may begin.

    quiet: tiles since one improved.
    """
    if not incumbent.open:
        left = incumbent.can_improve(outers.cycles, outers.energy)
        if np.count_nonzero(left) <= WARM_LEFT:
            return True
    return quiet >= WARM_TILES


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
