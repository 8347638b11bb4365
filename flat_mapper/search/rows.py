"""Everything that may stand below the shared level of one Einsum, as arrays.

A row is one choice of factors, orders and keeps of all inner levels. For each tensor a row carries
its links: the moves between one keeper and the next. How often a link's tiles pass is counted from
the inside out; what stands outside multiplies it later, by one number if a run of irrelevant loops
is still open at the top of the row, and by another if it is closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from flat_mapper.arch import Fanout, MemoryLevel
from flat_mapper.errors import SpecError, expected
from flat_mapper.search.space import (
    EinsumSpace,
    combinations,
    loop_orders,
    prod_of,
    spatial_splits,
)

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

MOST_PAIRS = 30_000_000  # rows times factors of one more node; each takes some 100 bytes


@dataclass(slots=True)
class Link:
    """Moves of one tensor between a keeper and what it feeds. All arrays float64[n] or bool[n]."""

    child: MemoryLevel | None  # None: the compute unit
    parent: MemoryLevel | None  # None: not met yet; the shared level or DRAM
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


@dataclass(slots=True)
class Step:
    """What was chosen at one inner node."""

    node: str
    spatial: bool
    factors: Ints  # int64[R, n]
    choice: Ints  # int64[n]: index into `orders` (temporal) or `axes` (spatial)
    orders: tuple[tuple[int, ...], ...] = ()  # innermost first
    axes: tuple[tuple[str, ...], ...] = ()


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

    def take(self, index: Ints) -> Rows:
        """Some of the rows."""
        return Rows(
            keep=self.keep,
            tile=self.tile[:, index],
            spatial=self.spatial[index],
            links={t: [link.take(index) for link in links] for t, links in self.links.items()},
            steps=[
                replace(s, factors=s.factors[:, index], choice=s.choice[index]) for s in self.steps
            ],
        )


def inner_rows(space: EinsumSpace, least: int = 1) -> Iterator[Rows]:
    """All rows of an Einsum, in blocks that share what the inner levels keep, one after another.

    least: compute units that a row must use.
    """
    yield from _grown(space, _start(space), tuple(reversed(space.inner_nodes)), least)


def _grown(
    space: EinsumSpace, rows: Rows, nodes: tuple[MemoryLevel | Fanout, ...], least: int
) -> Iterator[Rows]:
    """Rows with the nodes that are still to come, innermost first, around them."""
    if not rows.count:
        return
    if not nodes:
        used = np.flatnonzero(rows.spatial >= least)
        if len(used):
            yield rows if len(used) == rows.count else rows.take(used)
        return
    node, rest = nodes[0], nodes[1:]
    if isinstance(node, Fanout):
        yield from _grown(space, _fan_out(space, rows, node, least), rest, least)
        return
    for keep in space.keep_sets(node.name):
        yield from _grown(space, _at_level(space, rows, node, keep), rest, least)


def _start(space: EinsumSpace) -> Rows:
    one = np.ones(1)
    links = {
        t: [Link(child=None, parent=None, passes=one, open=one < 0, spread=one, copies=one)]
        for t in space.tensors
    }
    tile = np.ones((len(space.ranks), 1), np.int64)
    return Rows(keep={}, tile=tile, spatial=one, links=links)


def _fan_out(space: EinsumSpace, rows: Rows, fanout: Fanout, least: int) -> Rows:
    grid, axes = spatial_splits(space, fanout)
    others = space.lanes // (fanout.fanout_x * fanout.fanout_y)
    wide = np.flatnonzero(prod_of(grid, range(len(space.ranks))) * others >= least)
    grid, axes = grid[:, wide], [axes[i] for i in wide]
    rows, grid, picked = _cross(space, rows, grid, fanout.name)
    names = tuple(dict.fromkeys(axes))
    choice = np.array([names.index(a) for a in axes], dtype=np.int64)[picked]
    everything = prod_of(grid, range(len(space.ranks))).astype(np.float64)
    for tensor, links in rows.links.items():
        mine = [r for r, yes in enumerate(space.relevant[tensor]) if yes]
        relevant = prod_of(grid, mine).astype(np.float64)
        for link in links:
            link.spread = link.spread * relevant
            link.copies = link.copies * everything
    rows.tile = rows.tile * grid
    rows.spatial = rows.spatial * everything
    rows.steps.append(Step(node=fanout.name, spatial=True, factors=grid, choice=choice, axes=names))
    return rows


def _at_level(space: EinsumSpace, rows: Rows, level: MemoryLevel, keep: frozenset[str]) -> Rows:
    """Rows with one more level: its factors, its loop order, and what it keeps.

    Two kinds of loops are not tried. Over a rank that all tensors have: outermost of all it costs
    the same and leaves smaller tiles. At the innermost level, over a rank that no kept tensor has:
    as the innermost loop of the next level it costs the same, because below there is only the
    compute unit, to which order means nothing.
    """
    innermost = all(link.child is None for links in rows.links.values() for link in links)
    ruled = any(
        space.rules(lv.name, "temporal")
        for lv in space.arch.levels[space.shared :]
        if lv is not level
    )  # the next level may then not take such a loop
    forced = {m for rule in space.rules(level.name, "temporal") for m in rule.factors}
    limit = level.usable_words if level.usable_words is not None else space.iterations
    choices = []
    for r, rank in enumerate(space.ranks):
        grows = any(space.relevant[t][r] for t in keep)
        used = ruled or not innermost or grows
        free = (used and not space.common[r]) or forced & set(rank.members)
        # A tile of values that share a word may have more of them than the level has words.
        packed = min((space.share(t) for t in keep if space.relevant[t][r]), default=1)
        most = int(limit / min(packed, 1)) if grows else space.iterations
        choices.append(space.options(level.name, "temporal", r, most) if free else [1])
    grid = combinations(choices, space.iterations)
    grid = grid[:, _tile_total(space, keep, grid) <= limit]
    rows, grid, _ = _cross(space, rows, grid, level.name)
    tile = rows.tile * grid
    fits = np.flatnonzero(_tile_total(space, keep, tile) <= limit)
    rows, grid = rows.take(fits), grid[:, fits]
    rows.tile = rows.tile * grid
    rows = _ordered(space, rows, level, grid)
    rows.keep = {**rows.keep, level.name: keep}
    for tensor in keep:
        links = rows.links[tensor]
        links[-1].parent = level
        one = np.ones(rows.count)
        links.append(
            Link(child=level, parent=None, passes=one, open=one > 0, spread=one, copies=one)
        )
    return rows


def _ordered(space: EinsumSpace, rows: Rows, level: MemoryLevel, grid: Ints) -> Rows:
    """Put a level's loops around the rows, in every order that matters."""
    lacking = [
        frozenset(r for r, yes in enumerate(space.relevant[t]) if not yes)
        for t, links in rows.links.items()
        if any(link.child is not None for link in links)
    ]
    orders = allowed_orders(loop_orders(range(len(space.ranks)), lacking), space, level.name)
    count = rows.count
    copied = rows.take(np.tile(np.arange(count), len(orders)))
    choice = np.repeat(np.arange(len(orders)), count)
    parts: dict[str, list[list[tuple[Floats, Bools]]]] = {t: [] for t in rows.links}
    for order in orders:
        for tensor, links in rows.links.items():
            parts[tensor].append(
                [
                    looped(space.relevant[tensor], link.passes, link.open, grid, order)
                    for link in links
                ]
            )
    for tensor, links in copied.links.items():
        for i, link in enumerate(links):
            link.passes = np.concatenate([p[i][0] for p in parts[tensor]])
            link.open = np.concatenate([p[i][1] for p in parts[tensor]])
    copied.steps.append(
        Step(
            node=level.name,
            spatial=False,
            factors=np.tile(grid, (1, len(orders))),
            choice=choice,
            orders=tuple(orders),
        )
    )
    return copied


def looped(
    relevant: tuple[bool, ...], passes: Floats, open_: Bools, grid: Ints, order: tuple[int, ...]
) -> tuple[Floats, Bools]:
    """Passes and open run of a link once loops stand around it; order innermost first."""
    for r in order:
        if relevant[r]:
            open_ = open_ & (grid[r] == 1)
        else:
            passes = passes * np.where(open_, 1, grid[r])
    return passes, open_


def allowed_orders(
    orders: list[tuple[int, ...]], space: EinsumSpace, node: str
) -> list[tuple[int, ...]]:
    """Orders under the rules of a mapspace: a rule fixes the innermost ranks."""
    for rule in space.rules(node, "temporal"):
        if rule.innermost:
            names = [
                next((i for i, k in enumerate(space.ranks) if m in k.members), -1)
                for m in rule.innermost
            ]
            fixed = tuple(dict.fromkeys(i for i in names if i >= 0))
            orders = list(
                dict.fromkeys(fixed + tuple(r for r in order if r not in fixed) for order in orders)
            )
    return orders


def _cross(space: EinsumSpace, rows: Rows, grid: Ints, node: str) -> tuple[Rows, Ints, Ints]:
    """Every row with every column of a factor grid that still divides the rank sizes."""
    sizes = np.array(space.sizes, dtype=np.int64)[:, None]
    n, m = rows.count, grid.shape[1]
    if n * m > MOST_PAIRS:
        where = f"{space.einsum.name} on {space.arch.name}"
        condition = f"at most {MOST_PAIRS:,} partial loop nests at {node}"
        change = "fix factors, spatial ranks or what it keeps there, in the mapspace or the node"
        raise SpecError(expected(where, condition, f"{n * m:,}", change))
    room = sizes // rows.tile
    row = np.repeat(np.arange(n), m)
    column = np.tile(np.arange(m), n)
    good = np.ones(n * m, np.bool_)
    if (rows.tile > 1).any():
        for r in range(len(space.ranks)):
            good &= (room[r][:, None] % grid[r][None, :] == 0).ravel()
    row, column = row[good], column[good]
    return rows.take(row), grid[:, column], column


def _tile_total(space: EinsumSpace, keep: frozenset[str], tile: Ints) -> Ints | Floats:
    """Words of the tiles of what a level keeps, whole ones each."""
    total = np.zeros(tile.shape[1], np.int64)
    for tensor in keep:
        mine = [r for r, yes in enumerate(space.relevant[tensor]) if yes]
        values, share = prod_of(tile, mine), space.share(tensor)
        total = total + (values if share == 1 else np.ceil(values * share))
    return total
