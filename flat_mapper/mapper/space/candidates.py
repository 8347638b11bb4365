"""What may stand below the shared level of one Einsum, as arrays.

A row is one choice of factors, orders and keeps of all inner levels. For each tensor a row carries
its links: the moves between one keeper and the next. How often a link's tiles pass is counted from
the inside out; what stands outside multiplies it later, by one number if a run of irrelevant loops
is still open at the top of the row, and by another if it is closed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from flat_mapper.arch.values import MemoryLevel

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(slots=True)
class Link:
    """Moves of one tensor between a keeper and what it feeds. All arrays float64[n] or bool[n]."""

    child: MemoryLevel | None  # None: the compute unit
    passes: Floats  # irrelevant temporal loops outside the child so far, the open run left out
    open: Bools  # only irrelevant loops so far
    spread: Floats  # relevant spatial factors outside the child so far
    copies: Floats  # all spatial factors outside the child so far

    def take(self, index: Ints) -> Link:
        """The link of some rows."""
        return replace(
            self,
            passes=self.passes[index],
            open=self.open[index],
            spread=self.spread[index],
            copies=self.copies[index],
        )

    @classmethod
    def joined(cls, parts: list[Link]) -> Link:
        """The same link of several sets of rows."""
        return replace(
            parts[0],
            passes=np.concatenate([p.passes for p in parts]),
            open=np.concatenate([p.open for p in parts]),
            spread=np.concatenate([p.spread for p in parts]),
            copies=np.concatenate([p.copies for p in parts]),
        )


@dataclass(slots=True)
class Step:
    """What was chosen at one inner node."""

    node: str
    grid: Ints  # int64[R, m]: ways to choose the factors
    column: Ints  # int64[n]: which of them
    across: Ints | None = None  # of a fanout, int64[R, m]: the part of each factor on the x axis
    choice: Ints | None = None  # of a level, int64[n]: index into `orders`
    orders: tuple[tuple[int, ...], ...] = ()  # innermost first

    def take(self, index: Ints) -> Step:
        """What was chosen for some rows."""
        choice = None if self.choice is None else self.choice[index]
        return replace(self, column=self.column[index], choice=choice)

    @property
    def on_both_axes(self) -> Bools:
        """Which ranks of a fanout's rows stand on both axes; bool[R, n]."""
        assert self.across is not None
        return ((self.across > 1) & (self.across < self.grid))[:, self.column]

    def factors(self, row: int) -> list[int]:
        """By rank, of one row."""
        return [int(f) for f in self.grid[:, self.column[row]]]

    def on_x(self, row: int) -> list[int]:
        """By rank, the part of one row's factors on the x axis."""
        assert self.across is not None
        return [int(f) for f in self.across[:, self.column[row]]]

    def order(self, row: int) -> tuple[int, ...]:
        """The loop order of one row, innermost first."""
        assert self.choice is not None
        return self.orders[int(self.choice[row])]

    @classmethod
    def joined(cls, parts: list[Step]) -> Step:
        """The same node's of several sets of rows."""
        first = parts[0]
        grids = list({id(p.grid): p.grid for p in parts}.values())
        before = np.cumsum([0, *(g.shape[1] for g in grids)])
        offsets = {id(g): int(n) for g, n in zip(grids, before[:-1], strict=True)}
        starts = [offsets[id(p.grid)] for p in parts]
        choices = [p.choice for p in parts if p.choice is not None]
        across = {id(p.grid): p.across for p in parts if p.across is not None}
        return replace(
            first,
            grid=np.concatenate(grids, axis=1),
            column=np.concatenate([p.column + s for p, s in zip(parts, starts, strict=True)]),
            across=np.concatenate([across[id(g)] for g in grids], axis=1) if across else None,
            choice=np.concatenate(choices) if choices else None,
        )


@dataclass(slots=True)
class Rows:
    """n rows that share what every inner level keeps."""

    keep: dict[str, frozenset[str]]
    tile: Ints  # int64[R, n]: extents of all that is counted so far
    spatial: Floats  # float64[n]: compute units in use
    links: dict[str, list[Link]]  # by tensor, innermost first
    steps: list[Step] = field(default_factory=list)  # innermost first

    @property
    def count(self) -> int:
        """n."""
        return int(self.tile.shape[1])

    @property
    def on_both_axes(self) -> Bools:
        """Which merged ranks stand on both axes of some fanout; bool[R, n]."""
        found = np.zeros(self.tile.shape, np.bool_)
        for step in self.steps:
            if step.across is not None:
                found |= step.on_both_axes
        return found

    def take(self, index: Ints) -> Rows:
        """Some of the rows."""
        return Rows(
            keep=self.keep,
            tile=self.tile[:, index],
            spatial=self.spatial[index],
            links={t: [link.take(index) for link in links] for t, links in self.links.items()},
            steps=[s.take(index) for s in self.steps],
        )

    @classmethod
    def joined(cls, parts: list[Rows]) -> Rows:
        """Rows that keep the same, as one."""
        if len(parts) == 1:
            return parts[0]
        first = parts[0]
        return cls(
            keep=first.keep,
            tile=np.concatenate([p.tile for p in parts], axis=1),
            spatial=np.concatenate([p.spatial for p in parts]),
            links={
                t: [Link.joined([p.links[t][i] for p in parts]) for i in range(len(links))]
                for t, links in first.links.items()
            },
            steps=[Step.joined([p.steps[i] for p in parts]) for i in range(len(first.steps))],
        )


def looped(
    relevant: tuple[bool, ...],
    passes: Floats,
    open_: Bools,
    grid: Ints,
    order: tuple[int, ...],
    column: Ints | None = None,
) -> tuple[Floats, Bools]:
    """Passes and open run of a link once loops stand around it; order innermost first.

    column: which column of the grid each has; None: its own.
    """
    for r in order:
        factors = grid[r] if column is None else grid[r][column]
        if relevant[r]:
            open_ = open_ & (factors == 1)
        else:
            passes = passes * np.where(open_, 1, factors)
    return passes, open_
