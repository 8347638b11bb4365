"""Lower bounds on what an Einsum's words take, whatever the tile.

Every compute takes its words from some level. Of a level inside all fanouts that is a word each; of
one outside, the words of a tensor are shared by the units that differ in ranks which the tensor
lacks. How many that may be is known of the splits whose factors divide the ranks; of any factors,
also those that do not (remainders), all units together are no more than the fanouts have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

from flat_mapper.arch.values import Fanout, MemoryLevel
from flat_mapper.base.grouping import distinct_columns
from flat_mapper.cost_model.candidates import Floats, Ints
from flat_mapper.cost_model.facts import prod_of
from flat_mapper.cost_model.roles import Role
from flat_mapper.mapper.bounds.energy import drawn_energy, moved_once, staged_once
from flat_mapper.mapper.space.einsum import EinsumSpace, lanes_of, remembered
from flat_mapper.mapper.space.enumerate import sharing_ranks
from flat_mapper.mapper.space.factors import Splits, on_axes

_PARTS = 12  # chosen: weights of tensors are tried in twelfths
_MANY = 4  # of more tensors only equal weights, and each alone


@dataclass(frozen=True, slots=True)
class _Way:
    """One way of a tensor to the units: pJ in any case, and pJ that the units may share."""

    fixed: float
    shared: float = 0.0  # if every unit took words of its own
    once: float = 0.0  # of these, what remains however many share them: every word once
    spared: float = 0.0  # pJ of reads that first visits of an output spare, and no mask does


@dataclass(frozen=True, slots=True)
class WordsBound:
    """Least pJ of an Einsum's words on their way to the units and back; by way of its tensors."""

    ways: tuple[tuple[float, float], ...]  # pJ without a mask, and `_Way.spared`

    def at(self, share: Floats | float) -> Floats:
        """pJ at least where a mask leaves a share of the work; float64[n]."""
        found = [np.asarray(share * pj - (1 - share) * spared) for pj, spared in self.ways]
        least: Floats = np.maximum(np.minimum.reduce(found), 0.0)
        return least


def least_words(
    space: EinsumSpace,
    roles: tuple[tuple[Role, ...], ...],
    share: Floats | float,
    priced: float = 1.0,
) -> Floats:
    """Lower bound on the pJ of an Einsum's words and networks; see `words_bound`.

    share: of the work that a mask leaves; float64[n].
    """
    return words_bound(space, roles, priced).at(share) + share * space.least_network


@remembered
def words_bound(
    space: EinsumSpace,
    roles: tuple[tuple[Role, ...], ...],
    priced: float = 1.0,
    *,
    divides: bool = True,
) -> WordsBound:
    """Bound of an Einsum in some roles; by tensor, those that it may have.

    priced:  share of what DRAM takes that counts: of a staged tensor for every word once, of a
             streamed one for what is drawn.
    divides: whether factors do.
    """
    every = [
        [way for role in own for way in _ways(space, tensor, role, priced)]
        for tensor, own in zip(space.tensors, roles, strict=True)
    ]
    found, most, ways = list[tuple[float, float]](), -1.0, list(product(*every))
    least = _of_splits(space, ways) if divides else [_of_any(space, own) for own in ways]
    some = zip(least, (sum(x.spared for x in own) for own in ways), strict=True)
    for pj, spared in sorted(some, key=lambda one: (one[0], -one[1])):
        if spared > most:  # else another way is never more
            most = spared
            found.append((pj, spared))
    return WordsBound(ways=tuple(found))


@remembered
def _ways(space: EinsumSpace, tensor: str, role: Role, priced: float) -> list[_Way]:
    """All ways of one tensor: from the top, or through a level below the shared one."""
    direct = _from_top(space, tensor, role, priced)
    least = direct.fixed + direct.once  # every word once from the top
    levels = [n for n in space.inner_nodes if isinstance(n, MemoryLevel)]
    keepers = space.keepers(tensor)
    found = [] if keepers else [direct]
    last = levels.index(keepers[-1]) if keepers else 0  # none outside it serves the units
    for own in (n for n in levels[last:] if space.may_keep(tensor, n.name)):
        filled, served = _kept_at(space, tensor, own)
        pj = least + filled + sum(_through(space, tensor, n) for n in keepers if n is not own)
        within = space.inner_nodes[space.inner_nodes.index(own) + 1 :]
        found.append(_Way(pj + served) if lanes_of(within) == 1 else _Way(pj, served))
    return found


def _through(space: EinsumSpace, tensor: str, level: MemoryLevel) -> float:
    """pJ of a level that keeps a tensor outside the one that hands it on: every word once."""
    read, write, update = moved_once(space, tensor, level)
    return update if tensor == space.output else read + write


def _from_top(space: EinsumSpace, tensor: str, role: Role, priced: float) -> _Way:
    """Way of a tensor from the shared level, or from outside."""
    level, staged, weight = space.arch.levels[0 if role == "stream" else space.shared], 0.0, 1.0
    volume, share = space.volume_at(tensor, level), space.share(tensor, level.name)
    often = max(space.iterations * share - max(share, 1), volume)  # whole values: less is lost
    if role == "stream":
        weight = priced
    elif role == "staged":
        both = (staged_once(space, tensor, priced=yes, rounded=False) for yes in (True, False))
        whole, within = both
        staged = priced * whole + (1 - priced) * within
    words = np.array([0.0, volume, often])
    pj = weight * drawn_energy(space, tensor, level, words, rounded=False)
    none, once, each = pj.tolist()
    # Of an output no words are less than none, by what its first visits spare.
    spared = 0.0 if space.first_visits_masked else -none
    return _Way(staged + none, each - none, once - none, spared)


def _kept_at(space: EinsumSpace, tensor: str, level: MemoryLevel) -> tuple[float, float]:
    """pJ of filling a level with every word once, and of a word for every compute."""
    read, write, update = space.prices[level.name]
    rows = level.row_words * level.cluster_size
    # Counts are whole words of each instance: less than one word of each is lost.
    words = max(space.iterations - level.instances, 0) * space.share(tensor, level.name)
    if tensor == space.output:
        return 0.0, words * update / rows
    return space.volume_at(tensor, level) * write / rows, words * read / rows


@remembered
def sharing_units(space: EinsumSpace) -> Ints:
    """Most units that take one word of each tensor, by split of the fanouts; int64[tensors, n].

    Of splits whose factors divide the ranks, those beside which no other has more of every tensor.
    """
    found = np.ones((len(space.tensors), 1), np.int64)
    for fanout in (n for n in space.inner_nodes if isinstance(n, Fanout)):
        own = _sharing_of(space.on_fanout(fanout), sharing_ranks(space, fanout))
        if not own.shape[1]:
            continue  # a rule leaves no split: no mapping is bounded
        found = _largest((found[:, :, None] * own[:, None, :]).reshape(len(found), -1))
    return found


@lru_cache(maxsize=1 << 12)  # some numbers each, of all tiles of a group on cores
def _sharing_of(splits: Splits, lacking: tuple[tuple[int, ...], ...]) -> Ints:
    """The same of one fanout, not to be changed; lacking: by tensor, ranks that it lacks."""
    grid, _ = on_axes(*splits)
    return _largest(np.array([prod_of(grid, own) for own in lacking]))


def _largest(columns: Ints) -> Ints:
    """Columns beside which no other is as large in every place."""
    left, found = distinct_columns(columns)[0], list[Ints]()
    volume = np.log(left).sum(axis=0)
    while left.shape[1]:
        found.append(left[:, volume.argmax()])
        more = (left > found[-1][:, None]).any(axis=0)
        left, volume = left[:, more], volume[more]
    return np.array(found, np.int64).reshape(-1, len(columns)).T


def _of_splits(space: EinsumSpace, ways: Sequence[tuple[_Way, ...]]) -> list[float]:
    """Least pJ of all tensors in each of several ways, over the splits of `sharing_units`."""
    sharing = sharing_units(space)
    shared = np.array([[way.shared for way in own] for own in ways])
    once = np.array([[way.once for way in own] for own in ways])
    every = np.maximum(shared[:, :, None] / sharing, once[:, :, None]).sum(axis=1)
    alone = (shared <= 0).all(axis=1)  # of words that no units share
    least = np.where(alone, once.sum(axis=1), every.min(axis=1, initial=np.inf))
    return [sum(w.fixed for w in own) + float(pj) for own, pj in zip(ways, least, strict=True)]


def _of_any(space: EinsumSpace, ways: tuple[_Way, ...]) -> float:
    """Least pJ of all tensors, each in its way, whatever the split."""
    shared, once = (np.array(own) for own in ([w.shared for w in ways], [w.once for w in ways]))
    fixed, some = sum(w.fixed for w in ways), np.flatnonzero(shared > 0)
    if not len(some):
        return fixed + float(once.sum())
    return fixed + max(float(once.sum()), _of_any_split(space, shared[some], some))


def _of_any_split(space: EinsumSpace, shared: Floats, some: Ints) -> float:
    """Least sum of what tensors take; shared: pJ of each if every unit took words of its own.

    Units differ by s[r] in rank r, so the words of a tensor are shared by the product m of s over
    ranks that it lacks, and all s together are no more than the lanes. For any weights w that sum
    to 1, a sum of terms is at least the product of (term / w)^w (arithmetic and geometric mean).
    """
    weights = _sums_to_one(len(some))
    lacking = np.array([[not own for own in space.relevant[space.tensors[i]]] for i in some])
    most = (weights @ lacking).max(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(weights > 0, weights * np.log(shared / weights), 0.0).sum(axis=1)
    return float(np.exp(parts - most * np.log(space.lanes)).max())


def _sums_to_one(count: int) -> np.ndarray:
    """Weights of so many terms that sum to 1; float64[n, count]."""
    if count > _MANY:
        return np.concatenate([np.eye(count), np.full((1, count), 1 / count)])
    grid = np.indices((_PARTS + 1,) * count).reshape(count, -1)
    return grid[:, grid.sum(axis=0) == _PARTS].T / _PARTS
