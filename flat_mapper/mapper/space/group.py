"""A group of Einsums as a search problem."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import numpy as np

from flat_mapper.arch.values import Platform
from flat_mapper.cost_model.candidates import Floats, Ints
from flat_mapper.cost_model.facts import Rank, prod_of
from flat_mapper.cost_model.roles import FirstPasses
from flat_mapper.cost_model.schedule import Rounds, rounds_of
from flat_mapper.cost_model.turns import narrowed
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.space.einsum import EinsumSpace, merged_ranks
from flat_mapper.mapping.order import (
    PassKind,
    SharedLoop,
    UnevenRows,
    carried_loops,
    overlaps,
    pass_kinds,
    uneven_rows,
)
from flat_mapper.mapping.sharing import (
    carried_tensors,
    crosses_dram,
    may_stay,
    shared_level,
    whole_group,
)
from flat_mapper.mapping.space import GroupSpace, Mapspace, held_ranks
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask, MaskTiles, mask_tiles, row_sums

FOLLOW = 0  # a tile extent: whatever the candidates leave


@dataclass(frozen=True, kw_only=True)
class GroupProblem:
    """A group of Einsums as a search problem."""

    workload: Workload
    platform: Platform
    ert: Ert
    mapspace: Mapspace
    group: GroupSpace
    ranks: tuple[Rank, ...]
    shared_ranks: tuple[int, ...]  # indices of the ranks with shared loops, outermost first
    spaces: tuple[EinsumSpace, ...]
    whole: tuple[str, ...]  # the group's Einsums, with the free ones that run between them
    inner: tuple[int, ...] = ()  # those of shared_ranks whose loops stand innermost
    buffer_words: int | None = None  # of the shared level that may be used; None: all
    firsts: FirstPasses | None = None  # of the tile of a core, where others see fewer keys

    def first_passes(self, tile: Sequence[int]) -> float:
        """First passes over the keys whose pJ count beside those of the largest tile."""
        if self.firsts is None or not self.group.fused:
            return 0.0
        each = zip(self.ranks, tile, strict=True)
        return self.firsts.count([(r.members[0], r.size // n) for r, n in each])

    @cached_property
    def masked_pair(self) -> tuple[int, int] | None:
        """Group ranks of queries and keys, where shared loops may cut both under a mask."""
        pair = self.workload.roles.masked
        if self.workload.mask is None or pair is None:
            return None
        found = tuple(i for r in pair for i in self.shared_ranks if self.ranks[i].members == (r,))
        return (found[0], found[1]) if len(found) == 2 else None

    def mask_tiles(self, tile: Sequence[int]) -> MaskTiles | None:
        """Tiles of queries x keys that a mask leaves under an outer tile; None: all of them."""
        found = self._masked(tile)
        return mask_tiles(*found) if found else None

    def _masked(self, tile: Sequence[int]) -> tuple[Mask, int, int, int, int] | None:
        if self.masked_pair is None:
            return None
        return self._cut(*(int(tile[i]) for i in self.masked_pair))

    def _cut(self, rows: int, columns: int) -> tuple[Mask, int, int, int, int] | None:
        if self.masked_pair is None or self.workload.mask is None:
            return None
        queries, keys = (self.ranks[i].size for i in self.masked_pair)
        if rows == queries or columns == keys:
            return None
        return self.workload.mask, queries, keys, rows, columns

    def rows(self, tile: Sequence[int], order: Sequence[int]) -> UnevenRows | None:
        """Rows that a mask leaves of the DRAM loops, where units take turns and run ahead.

        order: of the loops, innermost first. None where the rows are alike, or units work at once.
        """
        turns = self.takes_turns and self.runs_ahead and not overlaps(self.group.schedule)
        tiles, pair = self.mask_tiles(tile), self.workload.roles.masked
        if tiles is None or pair is None or not turns:
            return None
        return uneven_rows(tiles, pair, [self.ranks[i].members[0] for i in reversed(order)])

    def visited_of(self, tile: Sequence[int]) -> float:
        """Share of the tiles of queries x keys that a mask leaves under an outer tile."""
        return (
            1.0
            if self.masked_pair is None
            else self._share(*(int(tile[i]) for i in self.masked_pair))
        )

    def _share(self, rows: int, columns: int) -> float:
        """The same of a tile of so many queries x keys."""
        found = self._cut(rows, columns)
        if found is None:
            return 1.0
        _, queries, keys, *_ = found
        return row_sums(*found).every / (-(-queries // rows) * -(-keys // columns))

    def visited(self, tile: Ints) -> Floats:
        """The same by outer tile; float64[n].

        tile: int64[R, n].
        """
        if self.masked_pair is None:
            return np.ones(tile.shape[1])
        shapes, which = np.unique(tile[list(self.masked_pair)], axis=1, return_inverse=True)
        found = [self._share(*shape) for shape in shapes.T.tolist()]
        return np.array(found)[which.ravel()]

    @cached_property
    def least_visited(self) -> float:
        """Lower bound on `visited`: tiles of one query and one key leave most out."""
        return self.visited_of([1] * len(self.ranks))

    def shares(self, space: EinsumSpace, visited: Floats) -> Floats:
        """Share of an Einsum's work that a mask leaves, by outer choice; float64[n].

        What runs once for each tile of keys has a row as its work: a mask leaves all rows.
        """
        if self.masked(space) is None or space.einsum.each:
            return np.ones(len(visited))
        return visited

    def runs(self, space: EinsumSpace, tile: Ints, visited: Floats) -> Floats:
        """Runs of an Einsum in each pass of the other shared loops; float64[n].

        Under a mask that is the share of its work which is left. tile: int64[R, n]. visited: by
        outer choice.
        """
        if not space.einsum.each:
            return self.shares(space, visited)
        runs = np.ones(tile.shape[1])
        for i, rank in enumerate(self.ranks):
            if rank.members[0] in space.einsum.each:
                runs = runs * (rank.size // tile[i])
        return runs if self.masked(space) is None else runs * visited

    @property
    def takes_turns(self) -> bool:
        """True if Einsums take turns, and transfers run ahead only where there is room for them."""
        return self.group.fused and self.mapspace.policy.prefetch == "held"

    @property
    def opens(self) -> bool:
        """True if nothing overlaps the first inputs and the last outputs."""
        waits = self.mapspace.policy.prefetch != "own"
        return self.takes_turns or (waits and self.group.schedule != "sequential")

    @property
    def runs_ahead(self) -> bool:
        """True if transfers at DRAM run beside the turns, in two copies of what crosses it."""
        return not self.takes_turns or self.mapspace.policy.buffering >= 2

    def kinds(
        self, space: EinsumSpace, tile: tuple[int, ...], order: tuple[int, ...]
    ) -> tuple[PassKind, ...]:
        """The kinds of an Einsum's passes; tile and order (innermost first) by group rank."""
        if not self.takes_turns:
            return ()
        each = space.einsum.each
        own = [i for i, r in enumerate(self.ranks) if r in space.ranks or r.members[0] in each]
        loops = [
            SharedLoop(rank=self.ranks[i].name, factor=self.ranks[i].size // tile[i])
            for i in reversed(order)
            if i in own
        ]
        tensors = {
            t: frozenset(r.name for r, yes in zip(space.ranks, relevant, strict=True) if yes)
            for t, relevant in space.relevant.items()
        }
        tiles = None if self.masked(space) is None else self.mask_tiles(tile)
        left = tiles.count(tiles.rows) if tiles else None
        what = left, self.workload.roles.masked, narrowed(space.einsum, space.widths)
        return pass_kinds(loops, tensors, space.output, *what)

    @cached_property
    def loops(self) -> tuple[Mapping[str, float], ...]:
        """Einsums that wait for one another from pass to pass, where the schedule has no rounds."""
        return () if self.rounds else carried_loops(self.workload, self.group.names)

    @cached_property
    def rounds(self) -> Rounds | None:
        """Rounds of the schedule `phases`."""
        level, absent = shared_level(self.platform).name, self.workload.absent
        return rounds_of(self.workload, self.group.names, self.group.phases, level, absent)

    def turns(self, space: EinsumSpace, tile: tuple[int, ...], order: tuple[int, ...]) -> float:
        """Number of turns of an Einsum; told apart where units overlap only."""
        if not overlaps(self.group.schedule):
            return 1.0
        return sum((kind.count for kind in self.kinds(space, tile, order)), 0.0)

    def rare_turns(self, tile: tuple[int, ...], order: tuple[int, ...]) -> float:
        """Number of turns of those Einsums that run when a loop is done; told apart in phases."""
        if self.rounds is None:
            return 1.0
        rare = (self.turns(s, tile, order) for s in self.spaces if s.einsum.after)
        return max(rare, default=1.0)

    def may_stay(self, space: EinsumSpace) -> tuple[bool, ...]:
        """By tensor, whether it may stay at the private levels while others have their turn."""
        legal = may_stay(self.workload, self.whole, space.einsum)
        return tuple(t in legal for t in space.tensors)

    @cached_property
    def private_levels(self) -> dict[str, int | None]:
        """Words of the levels that Einsums use in turn, by name."""
        return {
            lv.name: lv.usable_words for s in self.spaces for lv in s.arch.levels[s.shared + 1 :]
        }

    def passes(self, space: EinsumSpace, tile: tuple[int, ...]) -> int:
        """Runs of an Einsum in each pass of the other shared loops."""
        each = [i for i, r in enumerate(self.ranks) if r.members[0] in space.einsum.each]
        return prod(self.ranks[i].size // tile[i] for i in each)

    def masked(self, space: EinsumSpace) -> tuple[int, ...] | None:
        """Of the two ranks of a mask, those of an Einsum's tensors; None if it lacks one.

        An Einsum that runs in each pass over the keys has them without a tensor of its own.
        """
        pair = self.workload.roles.masked
        if self.masked_pair is None or pair is None or not set(pair) <= set(space.einsum.ranks):
            return None
        ranks = (i for i, r in enumerate(space.ranks) if r.members[0] in pair)
        return tuple(ranks)

    @cached_property
    def carried(self) -> tuple[str, ...]:
        """Tensors that the inner loops carry from pass to pass."""
        return carried_tensors(self.workload, self.whole)

    @cached_property
    def external(self) -> tuple[str, ...]:
        """Tensors that cross DRAM, in the order of first use."""
        tensors = dict.fromkeys(t for s in self.spaces for t in s.tensors)
        return tuple(t for t in tensors if crosses_dram(self.workload, self.whole, t))

    @cached_property
    def counted(self) -> frozenset[str]:
        """Inputs of which DRAM moves a number of words in all, as a level between keeps them."""
        return frozenset(self.external).intersection(self.platform.dram.totals)

    @cached_property
    def cycles_add(self) -> tuple[int, ...]:
        """By Einsum, 1 where compute cycles add to the group's lower bound, else 0.

        Where units overlap, those of the unit that is busy longest if all lanes are.
        """
        if not overlaps(self.group.schedule):
            return (1,) * len(self.spaces)
        busy = {s.einsum.unit: 0.0 for s in self.spaces}
        for space in self.spaces:
            busy[space.einsum.unit] += space.lane_cycles / space.widest
        longest = max(busy, key=busy.__getitem__)
        return tuple(int(s.einsum.unit == longest) for s in self.spaces)

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {rank.name: i for i, rank in enumerate(self.ranks)}

    def index(self, space: EinsumSpace) -> list[int]:
        """Positions of an Einsum's ranks among the group's."""
        return [self._positions[r.name] for r in space.ranks]


def group_ranks(
    workload: Workload, platform: Platform, mapspace: Mapspace, group: GroupSpace
) -> tuple[Rank, ...]:
    """The ranks of a group, those that count as one merged."""
    granularity = mapspace.fusion.granularity
    at_one: tuple[str, ...] = ()  # ranks of which a FLAT-tile holds one
    if group.declared and granularity != "any":
        at_one = held_ranks(granularity, workload.roles)
    apart = [*_named_ranks(workload, mapspace), *_apart_below(workload, platform, group)]
    return merged_ranks(workload, group.names, apart, at_one)


def group_problem(
    workload: Workload, platform: Platform, ert: Ert, mapspace: Mapspace, group: GroupSpace
) -> GroupProblem:
    """The search problem of a group."""
    assert not mapspace.fusion.intermediates, "a handover inside is a question of its own"
    ranks = group_ranks(workload, platform, mapspace, group)
    whole, legal, inner = group.names, tuple[str, ...](), tuple[str, ...]()
    if group.fused:
        whole = whole_group(workload, group.names, mapspace.policy)
        legal, inner = workload.shareable_ranks(whole), workload.inner_ranks(whole)
    spaces = [
        EinsumSpace(
            einsum=einsum,
            arch=(arch := platform.path(einsum.unit)),
            ert=ert,
            mapspace=mapspace,
            ranks=tuple(r for r in ranks if r.members[0] in _own_ranks(einsum)),
            shared=arch.levels.index(arch.level(shared_level(platform).name)),
            widths=workload.widths,
            masked=(workload.mask and workload.roles.masked) or (),
        )
        for einsum in map(workload.einsum, group.names)
    ]
    spaces = [replace(s, staying=_staying(workload, whole, s, legal)) for s in spaces]
    problem = GroupProblem(
        workload=workload,
        platform=platform,
        ert=ert,
        mapspace=mapspace,
        group=group,
        ranks=ranks,
        shared_ranks=_made_of(ranks, legal),
        spaces=tuple(spaces),
        whole=whole,
        inner=_made_of(ranks, inner),
    )
    waits = problem.counted.intersection(spaces[0].tensors)
    if waits and group.fused and problem.runs_ahead and mapspace.fusion.staging != "all":
        spaces[0] = replace(spaces[0], waits=waits)
    return replace(problem, spaces=tuple(spaces))


def _staying(
    workload: Workload, whole: tuple[str, ...], space: EinsumSpace, shared: tuple[str, ...]
) -> dict[str, tuple[int, ...]]:
    """Tensors of an Einsum that may stay over shared loops, with their ranks that none of them cut.

    shared: the ranks with shared loops.
    """
    loops = {r for r in shared if workload.rank_sizes[r] > 1}
    cut = [bool(loops.intersection(rank.members)) for rank in space.ranks]
    own = {t: workload.tensor_ranks[t] for t in may_stay(workload, whole, space.einsum)}
    return {
        t: tuple(r for r, yes in enumerate(space.relevant[t]) if yes and not cut[r])
        for t, ranks in own.items()
        if loops - {*ranks}
    }


def _apart_below(workload: Workload, platform: Platform, group: GroupSpace) -> Iterator[str]:
    """Ranks of an Einsum that some input lacks of which DRAM moves a number of words in all.

    Such an input may stay over a part of their loops (lemma 1).
    """
    for einsum in map(workload.einsum, group.names if group.fused else ()):
        for access in einsum.accesses:
            if access.tensor in platform.dram.totals:
                lacks = (r for r in einsum.ranks if r not in access.ranks)
                yield from (r for r in lacks if workload.rank_sizes[r] > 1)


def _named_ranks(workload: Workload, mapspace: Mapspace) -> list[str]:
    """Ranks that a rule of the mapspace or an Einsum names."""
    named = list(mapspace.fusion.tiles)
    for rule in mapspace.slots:
        named += [*rule.factors, *rule.at_most, *rule.innermost, *(rule.x or ()), *(rule.y or ())]
    if workload.mask is not None:
        named += workload.roles.masked or ()
    for einsum in workload.einsums:
        named += [*einsum.each, *einsum.after]
    return named


def _made_of(ranks: tuple[Rank, ...], names: tuple[str, ...]) -> tuple[int, ...]:
    """Positions of the merged ranks all of whose members are among some names."""
    return tuple(i for i, rank in enumerate(ranks) if set(rank.members) <= set(names))


def _own_ranks(einsum: Einsum) -> tuple[str, ...]:
    """Ranks of an Einsum's tensors: those in whose passes it runs are the group's affair."""
    return tuple(r for r in einsum.ranks if r not in einsum.each)


def words_of_tile(space: EinsumSpace, tensor: str, tile: Ints, level: str) -> Ints | Floats:
    """Words of a tensor at a level over tile extents; tile int64[R, n] by the Einsum's ranks."""
    own = [r for r, yes in enumerate(space.relevant[tensor]) if yes]
    words = prod_of(tile, own)
    share = space.share(tensor, level)
    return words if share == 1 else np.asarray(words * share, np.float64)
