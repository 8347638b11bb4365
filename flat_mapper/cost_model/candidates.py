"""Candidates below the shared level of one Einsum, as arrays.

A candidate is one choice of factors, orders and keeps of all inner levels: an inner mapping. For
each tensor it carries the transfers between one keeper and the next. How often the tiles of a
transfer pass is counted from the inside out; the loops outside multiply it later, by one number if
a run of irrelevant loops is still open at the top of the candidate, by another if it is closed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from flat_mapper.cost_model.transfers import Transfer

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(slots=True)
class NodeChoice:
    """Choice at one inner node."""

    node: str
    grid: Ints  # int64[R, m]: ways to choose the factors
    column: Ints  # int64[n]: which of them
    across: Ints | None = None  # of a fanout, int64[R, m]: the part of each factor on the x axis
    choice: Ints | None = None  # of a level, int64[n]: index into `orders`
    orders: tuple[tuple[int, ...], ...] = ()  # innermost first

    def take(self, index: Ints) -> NodeChoice:
        """Choices of some candidates."""
        choice = None if self.choice is None else self.choice[index]
        return replace(self, column=self.column[index], choice=choice)

    @property
    def on_both_axes(self) -> Bools:
        """Ranks of a fanout's candidates that stand on both axes; bool[R, n]."""
        assert self.across is not None
        return ((self.across > 1) & (self.across < self.grid)).take(self.column, axis=1)

    def factors(self, candidate: int) -> list[int]:
        """By rank, of one candidate."""
        return [int(f) for f in self.grid[:, self.column[candidate]]]

    def on_x(self, candidate: int) -> list[int]:
        """By rank, the part of one candidate's factors on the x axis."""
        assert self.across is not None
        return [int(f) for f in self.across[:, self.column[candidate]]]

    def order(self, candidate: int) -> tuple[int, ...]:
        """The loop order of one candidate, innermost first."""
        assert self.choice is not None
        return self.orders[int(self.choice[candidate])]

    @classmethod
    def joined(cls, parts: list[NodeChoice]) -> NodeChoice:
        """The same node's of several sets of candidates."""
        grid, across, starts = parts[0].grid, parts[0].across, [0] * len(parts)
        if any(p.grid is not grid for p in parts):  # then ways that none has are not kept
            parts = [p._used() for p in parts]
            grid = np.concatenate([p.grid for p in parts], axis=1)
            some = [p.across for p in parts if p.across is not None]
            across = np.concatenate(some, axis=1) if some else None
            starts = np.cumsum([0, *(p.grid.shape[1] for p in parts[:-1])]).tolist()
        choices = [p.choice for p in parts if p.choice is not None]
        return replace(
            parts[0],
            grid=grid,
            column=np.concatenate([p.column + s for p, s in zip(parts, starts, strict=True)]),
            across=across,
            choice=np.concatenate(choices) if choices else None,
        )

    def _used(self) -> NodeChoice:
        """The same with those ways alone that some candidate has."""
        used = np.zeros(self.grid.shape[1], np.bool_)
        used[self.column] = True
        across = None if self.across is None else self.across.compress(used, axis=1)
        grid, column = self.grid.compress(used, axis=1), (np.cumsum(used) - 1)[self.column]
        return replace(self, grid=grid, across=across, column=column)


@dataclass(slots=True)
class CandidateBlock:
    """n candidates that share what every inner level keeps."""

    keep: dict[str, frozenset[str]]
    tile: Ints  # int64[R, n]: extents of all that is counted so far
    spatial: Floats  # float64[n]: compute units in use
    transfers: dict[str, list[Transfer]]  # by tensor, innermost first
    node_choices: list[NodeChoice] = field(default_factory=list)  # innermost first

    @property
    def count(self) -> int:
        """n."""
        return int(self.tile.shape[1])

    @property
    def on_both_axes(self) -> Bools:
        """Merged ranks that stand on both axes of some fanout; bool[R, n]."""
        found = np.zeros(self.tile.shape, np.bool_)
        for node_choice in self.node_choices:
            if node_choice.across is not None:
                found |= node_choice.on_both_axes
        return found

    def take(self, index: Ints) -> CandidateBlock:
        """Some of the candidates."""
        return CandidateBlock(
            keep=self.keep,
            tile=self.tile.take(index, axis=1),
            spatial=self.spatial[index],
            transfers={
                t: [transfer.take(index) for transfer in transfers]
                for t, transfers in self.transfers.items()
            },
            node_choices=[s.take(index) for s in self.node_choices],
        )

    @classmethod
    def joined(cls, parts: list[CandidateBlock]) -> CandidateBlock:
        """Candidates that keep the same, as one."""
        if len(parts) == 1:
            return parts[0]
        first = parts[0]
        return cls(
            keep=first.keep,
            tile=np.concatenate([p.tile for p in parts], axis=1),
            spatial=np.concatenate([p.spatial for p in parts]),
            transfers={
                t: [
                    Transfer.joined([p.transfers[t][i] for p in parts])
                    for i in range(len(transfers))
                ]
                for t, transfers in first.transfers.items()
            },
            node_choices=[
                NodeChoice.joined([p.node_choices[i] for p in parts])
                for i in range(len(first.node_choices))
            ],
        )
