"""Costs of inner rows: exact once the outer loops are known, bounds from below before that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from flat_mapper.arch import MemoryLevel
from flat_mapper.search.rows import Floats, Ints, Link, Rows, looped
from flat_mapper.search.space import EinsumSpace

# Where a tensor's tiles above the inner levels come from:
#   inside  the shared level, and DRAM has no part in it (an intermediate, or already fetched)
#   staged  the shared level, which exchanges whole tiles with DRAM
#   stream  DRAM, past the shared level
Role = Literal["inside", "staged", "stream"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    """The loops outside the inner rows: tile below the DRAM loops, both orders, and the roles."""

    tile: tuple[int, ...]  # by rank of the Einsum; 0: as large as the row's own tile
    dram_order: tuple[int, ...]  # innermost first
    shared_order: tuple[int, ...]
    roles: tuple[Role, ...]  # by tensor
    steps: int = 1  # passes of the innermost DRAM loop, where it is over a rank that no tensor has


@dataclass(slots=True)
class Costs:
    """Of n rows: pJ, and the cycles that each limited port needs."""

    energy: Floats
    ports: dict[tuple[str, str], Floats]  # (level, read | write | shared) -> cycles

    def add_words(self, level: MemoryLevel, reads: Floats, writes: Floats) -> None:
        """Account for words of one instance."""
        for kind, rate, words in (
            ("read", level.read_words_per_cycle, reads),
            ("write", level.write_words_per_cycle, writes),
            ("shared", level.shared_words_per_cycle, reads + writes),
        ):
            if rate is not None:
                key = (level.name, kind)
                self.ports[key] = self.ports.get(key, np.zeros(1)) + words / rate


def row_costs(space: EinsumSpace, rows: Rows, outer: Outer) -> Costs:
    """Exact costs of rows under given outer loops; the model's own arithmetic."""
    costs = Costs(energy=np.full(rows.count, outer.steps * space.compute_energy), ports={})
    sizes = np.array(space.sizes, dtype=np.int64)[:, None]
    tile = np.array(outer.tile, dtype=np.int64)[:, None]
    tile = np.where(tile == 0, rows.tile, tile)
    shared, dram = tile // rows.tile, sizes // tile
    for tensor, role in zip(space.tensors, outer.roles, strict=True):
        links = rows.links[tensor]
        parent = space.arch.levels[0 if role == "stream" else space.shared]
        for i, link in enumerate(links):
            passes, open_ = looped(
                space.relevant[tensor], link.passes, link.open, shared, outer.shared_order
            )
            passes = passes * np.where(open_, 1, outer.steps)
            passes, _ = looped(space.relevant[tensor], passes, open_, dram, outer.dram_order)
            above = links[i + 1] if i + 1 < len(links) else None
            _add_link(space, costs, tensor, link, above, parent, passes)
        if role == "staged":
            _add_staged(space, costs, tensor, dram, outer.dram_order)
    return costs


def _add_staged(
    space: EinsumSpace, costs: Costs, tensor: str, dram: Ints, order: tuple[int, ...]
) -> None:
    """Whole tiles between DRAM and the shared level."""
    one = np.ones(dram.shape[1])
    passes, _ = looped(space.relevant[tensor], one, one > 0, dram, order)
    level = space.arch.levels[space.shared]
    link = Link(child=level, parent=None, passes=one, open=one > 0, spread=one, copies=one)
    _add_link(space, costs, tensor, link, None, space.arch.levels[0], passes)


def _add_link(
    space: EinsumSpace,
    costs: Costs,
    tensor: str,
    link: Link,
    above: Link | None,
    top: MemoryLevel,
    passes: Floats,
) -> None:
    """Words of one link at both its ends, with their energy and port cycles."""
    volume = float(space.volume[tensor])
    parent = top if above is None else above.child
    assert parent is not None
    spread, copies = (1.0, 1.0) if above is None else (above.spread, above.copies)
    held = volume / spread
    drawn = held * passes
    read, _, update = space.prices[parent.name]
    zero = np.zeros(1)
    if tensor == space.output:
        costs.energy = costs.energy + _served(copies, parent) * (
            _rows(drawn, parent) * update + _rows(drawn - held, parent) * read
        )
        costs.add_words(parent, drawn - held, drawn)
    else:
        costs.energy = costs.energy + _served(copies, parent) * _rows(drawn, parent) * read
        costs.add_words(parent, drawn, zero)
    if link.child is not None:
        kept = volume / link.spread
        filled = kept * passes - (kept if tensor == space.output else 0.0)
        fill_pj = space.prices[link.child.name][1]
        served = _served(link.copies, link.child)
        costs.energy = costs.energy + served * _rows(filled, link.child) * fill_pj
        costs.add_words(link.child, zero, filled)


def _served(copies: Floats | float, level: MemoryLevel) -> Floats | float:
    """Physical rows in use: instances of one cluster share theirs."""
    return copies if level.cluster_size == 1 else np.minimum(copies, level.clusters)


def _rows(words: Floats | float, level: MemoryLevel) -> Floats:
    """Vector accesses for a number of words, rounded up."""
    if level.row_words == 1:
        return np.asarray(words)
    return np.ceil(np.asarray(words) / level.row_words)


def tensor_bounds(
    space: EinsumSpace, rows: Rows, tensor: str, role: Role, *, priced: bool = True
) -> tuple[Floats, Floats]:
    """Least pJ of a tensor's moves in every row: in full, and if it may stay in place outside.

    priced: whether the reads at DRAM of a streamed tensor count.
    returns: float64[n] each. In full: every irrelevant loop outside the row brings it again.
    """
    closed = np.ones(rows.count)
    for r, size in enumerate(space.sizes):
        if not space.relevant[tensor][r]:
            closed = closed * (size // rows.tile[r])
    found = []
    links = rows.links[tensor]
    parent = space.arch.levels[0 if role == "stream" else space.shared]
    for stays in (False, True):
        costs = Costs(energy=np.zeros(1), ports={})
        for i, link in enumerate(links):
            above = links[i + 1] if i + 1 < len(links) else None
            factor = np.where(link.open, 1.0, closed) if stays else closed
            _add_link(space, costs, tensor, link, above, parent, link.passes * factor)
            if above is None and not priced and role == "stream":
                costs.energy = costs.energy - _drawn_energy(space, tensor, parent, link, factor)
        if role == "staged":
            one = np.ones((len(space.ranks), 1), np.int64)
            _add_staged(space, costs, tensor, one, ())
        found.append(np.broadcast_to(costs.energy, (rows.count,)))
    return found[0], found[1]


def _drawn_energy(
    space: EinsumSpace, tensor: str, parent: MemoryLevel, link: Link, factor: Floats
) -> Floats:
    volume = float(space.volume[tensor])
    drawn = volume * link.passes * factor
    read, _, update = space.prices[parent.name]
    if tensor == space.output:
        return _rows(drawn, parent) * update + _rows(drawn - volume, parent) * read
    return _rows(drawn, parent) * read


def dram_energy(space: EinsumSpace, tensor: str, words: Floats | float) -> Floats:
    """pJ at DRAM for words of a tensor that the Einsum moves over the whole run."""
    dram = space.arch.levels[0]
    read, _, update = space.prices[dram.name]
    if tensor == space.output:
        return _rows(words, dram) * update + _rows(words - space.volume[tensor], dram) * read
    return _rows(words, dram) * read
