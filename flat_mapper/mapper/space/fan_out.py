"""Candidates with a fanout around them: every way to split ranks over its instances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flat_mapper.arch.cores import reads_apart
from flat_mapper.arch.values import Fanout
from flat_mapper.mapper.space.candidates import CandidateBlock, Floats, Ints, NodeChoice
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.factors import prod_of
from flat_mapper.mapper.space.tile_index import FactorGrid


@dataclass(frozen=True, slots=True)
class FanoutSplits:
    """Ways to split ranks over a fanout."""

    factors: FactorGrid
    across: Ints  # the part of each on the x axis
    units: Floats  # instances in use; float64[m]

    def take(self, some: Ints) -> FanoutSplits:
        """Some of the ways."""
        grid = self.factors.grid.take(some, axis=1)
        return FanoutSplits(FactorGrid(grid), self.across.take(some, axis=1), self.units[some])


def sharing_ranks(space: EinsumSpace, fanout: Fanout) -> tuple[tuple[int, ...], ...]:
    """By tensor, ranks over which instances of a fanout take the same words of it."""
    return tuple(
        ()
        if reads_apart(fanout, tensor)
        else tuple(r for r, yes in enumerate(space.relevant[tensor]) if not yes)
        for tensor in space.tensors
    )


def splits_of(space: EinsumSpace, fanout: Fanout, least: int) -> FanoutSplits:
    """Those beside which so many compute units at least may be in use."""
    grid, across = space.splits[fanout.name]
    others = space.lanes // (fanout.fanout_x * fanout.fanout_y)
    units = prod_of(grid, range(len(space.ranks)))
    every = FanoutSplits(FactorGrid(grid), across, units.astype(np.float64))
    return every.take(np.flatnonzero(units * others >= least))


def fanned(
    space: EinsumSpace,
    candidates: CandidateBlock,
    fanout: Fanout,
    splits: FanoutSplits,
    candidate: Ints,
    column: Ints,
) -> CandidateBlock:
    """Pairs of a candidate and a way to split ranks over a fanout around it."""
    grid, units = splits.factors.grid, splits.units
    node_choice = NodeChoice(node=fanout.name, grid=grid, column=column, across=splits.across)
    # A merged rank stands on both axes of one fanout at most: its members then suffice for all.
    if candidates.on_both_axes.any():
        good = np.flatnonzero(
            ~(candidates.on_both_axes[:, candidate] & node_choice.on_both_axes).any(axis=0)
        )
        candidate, column, node_choice = candidate[good], column[good], node_choice.take(good)
    candidates = candidates.take(candidate)
    everything = units[column]
    for tensor, transfers in candidates.transfers.items():
        own = [r for r, yes in enumerate(space.relevant[tensor]) if yes]
        relevant = prod_of(grid, own).astype(np.float64)[column]
        apart = reads_apart(fanout, tensor)
        for transfer in transfers:
            top = transfer is transfers[-1]
            transfer.fan_out(fanout, relevant, everything, outermost=top, apart=apart)
    candidates.tile *= grid.take(column, axis=1)
    candidates.spatial = candidates.spatial * everything
    candidates.node_choices.append(node_choice)
    return candidates
