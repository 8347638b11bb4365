"""Lower bounds on mappings of any factors, also those that do not divide the ranks (remainders).

They rest on volumes, computes and the number of units alone. Every compute takes its words from
some level. Of a level inside all fanouts that is a word each; of one outside, the words of a tensor
are shared by the units that differ in ranks which the tensor lacks, and all units together are no
more than the fanouts have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.mapper.bounds.outer import OuterBounds
from flat_mapper.mapper.cost.price import drawn_energy, staged_once
from flat_mapper.mapper.space.einsum import EinsumSpace, lanes_of
from flat_mapper.mapper.space.roles import Role

PARTS = 12  # chosen: weights of tensors are tried in twelfths
MANY = 4  # of more tensors only equal weights, and each alone


@dataclass(frozen=True, slots=True)
class _Way:
    """One way of a tensor to the units: pJ in any case, and pJ that the units may share."""

    fixed: float
    shared: float = 0.0  # if every unit took words of its own
    once: float = 0.0  # of these, what remains however many share them: every word once


def least_of_any_size(bounds: OuterBounds) -> tuple[float, float]:
    """Lower bounds on (cycles, pJ) of a group over mappings whose factors need not divide.

    Without a mask.
    """
    spaces = bounds.problem.spaces
    cycles = bounds.compute([s.lane_cycles / s.lanes for s in spaces])
    energy = sum(
        s.compute_energy + s.least_network + _least_moved(s, bounds.roles(s)) for s in spaces
    )
    return max(cycles, bounds.compulsory_cycles()), energy


def _least_moved(space: EinsumSpace, roles: Mapping[str, tuple[Role, ...]]) -> float:
    """Least pJ of bringing an Einsum's words to its units, and what they make back."""
    ways = [list(_ways(space, t, roles[t])) for t in space.tensors]
    return min(_together(space, some) for some in product(*ways))


def _ways(space: EinsumSpace, tensor: str, roles: tuple[Role, ...]) -> Iterator[_Way]:
    """All ways of one tensor: from the top, or through a level below the shared one."""
    volume = float(space.volume[tensor])
    often = max(space.iterations * space.share(tensor) - 1, volume)  # whole words: less is lost
    inner = [n for n in space.inner_nodes if isinstance(n, MemoryLevel)]
    for role in roles:
        level = space.source(tensor, role)
        staged = staged_once(space, tensor, priced=True, rounded=False) if role == "staged" else 0.0
        none, once, each = (
            float(drawn_energy(space, tensor, level, words, rounded=False))
            for words in (0.0, volume, often)
        )
        yield _Way(staged + none, each - none, once - none)
        for own in inner:
            if any(tensor in keep for keep in space.keep_sets(own.name)):
                filled, served = _kept_at(space, tensor, own)
                inside = space.inner_nodes[space.inner_nodes.index(own) + 1 :]
                if lanes_of(inside) == 1:
                    yield _Way(staged + once + filled + served)
                else:
                    yield _Way(staged + once + filled, served)


def _kept_at(space: EinsumSpace, tensor: str, level: MemoryLevel) -> tuple[float, float]:
    """pJ of filling a level with every word once, and of a word for every compute."""
    read, write, update = space.prices[level.name]
    rows = level.row_words * level.cluster_size
    # Counts are whole words of each instance: less than one word of each is lost.
    words = max(space.iterations - level.instances, 0) * space.share(tensor)
    if tensor == space.output:
        return 0.0, words * update / rows
    return float(space.volume[tensor]) * write / rows, words * read / rows


def _together(space: EinsumSpace, ways: tuple[_Way, ...]) -> float:
    """Least pJ of all tensors, each in its way.

    Units differ by s[r] in rank r, so the words of a tensor are shared by the product m of s over
    ranks that it lacks, and all s together are no more than the lanes. For any weights w that sum
    to 1, a sum of terms is at least the product of (term / w)^w (arithmetic and geometric mean).
    """
    shared = np.array([w.shared for w in ways])
    some = np.flatnonzero(shared > 0)
    total = sum(w.fixed + w.once for w in ways)
    if not len(some):
        return total
    weights = _sums_to_one(len(some))
    lacking = np.array([[not own for own in space.relevant[space.tensors[i]]] for i in some])
    most = (weights @ lacking).max(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(weights > 0, weights * np.log(shared[some] / weights), 0.0).sum(axis=1)
    best = float(np.exp(parts - most * np.log(space.lanes)).max())
    return max(total, sum(w.fixed for w in ways) + best)


def _sums_to_one(count: int) -> np.ndarray:
    """Weights of so many terms that sum to 1; float64[n, count]."""
    if count > MANY:
        return np.concatenate([np.eye(count), np.full((1, count), 1 / count)])
    grid = np.indices((PARTS + 1,) * count).reshape(count, -1)
    return grid[:, grid.sum(axis=0) == PARTS].T / PARTS
