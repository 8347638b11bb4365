"""Choices of a chip with cores: levels to fuse at, and tiles of a group to give out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from math import prod

from flat_mapper.arch.values import Fanout, Platform
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.cost_model.widths import check_between
from flat_mapper.mapper.space.factors import divisors
from flat_mapper.mapping.arch_rules import GIVE_TILES
from flat_mapper.mapping.cores import MOST_TILES, core_count
from flat_mapper.mapping.order import overlaps
from flat_mapper.mapping.space import GroupSpace, Mapspace
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask, RowSums, mask_tiles, row_sums
from flat_mapper.workload.softmax import SPLIT, alternatives, with_splits


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A group's fusion level and the extents of its tiles."""

    workload: Workload
    core_workload: Workload  # the largest tile as a workload of its own
    group: GroupSpace
    level: str
    tile: tuple[tuple[str, int], ...]
    keys: int  # of a pass, where a mask makes tiles of queries differ; 0: all tiles are equal
    cores: int  # of the chip
    dram: str  # the name of the outermost level
    served: int = 0  # cores at work, of one round alone
    # Of what is handed over inside a core, by Einsum how it is spread; None: nothing is. And of one
    # tile of the shared loops, words that it takes.
    spread: Mapping[str, Mapping[str, Mapping[str, int]]] | None = None
    shared: tuple[tuple[str, int], ...] = ()
    held: int = 0

    @cached_property
    def count(self) -> int:
        """Tiles."""
        sizes = self.workload.rank_sizes
        return prod(-(-sizes[r] // n) for r, n in self.tile)

    @cached_property
    def alike(self) -> bool:
        """True if all tiles see all keys."""
        return self.passed.every == self.most_passes * self.count

    @property
    def rounds(self) -> int:
        """Tiles of the fullest core, at least."""
        return -(-self.count // self.cores)

    @property
    def remainder(self) -> int:
        """Cores in the last round of equal tiles, where fewer than before have one; else 0."""
        return self.count % self.cores if self.alike and self.rounds > 1 else 0

    @property
    def counts_mean(self) -> bool:
        """True if all rounds count as so many mean ones (lemma 35)."""
        return self.remainder > 0 and not overlaps(self.group.schedule)

    @property
    def at_work(self) -> float:
        """Cores that are given a tile; where a mean round counts, those of it."""
        if self.served:
            return self.served
        return self.count / self.rounds if self.counts_mean else min(self.cores, self.count)

    @property
    def query_tiles(self) -> int:
        """Tiles that differ in their queries."""
        queries = self.workload.roles.queries
        size = self.workload.rank_sizes.get(queries, 1)
        return -(-size // dict(self.tile).get(queries, size))

    @property
    def cuts_queries(self) -> bool:
        """True if tiles have some of the queries each: then a mask leaves them different keys."""
        queries = self.workload.roles.queries
        size = self.workload.rank_sizes.get(queries, 1)
        return dict(self.tile).get(queries, size) < size

    def inner(self, mapspace: Mapspace) -> Mapspace:
        """The mapspace of a tile."""
        own = {r: t for r, t in mapspace.fusion.tiles.items() if r not in dict(self.tile)}
        if self.keys:
            own[key_rank(self.workload)] = (self.keys,)
        if self.keys and self.most_passes > 1:  # queries are cut by the cores' loops alone
            queries = self.workload.roles.queries
            own[queries] = (dict(self.tile)[queries],)
        own |= {r: (n,) for r, n in self.shared}
        fusion = replace(mapspace.fusion, level="", cores=(), intermediates={}, tiles=own)
        return replace(mapspace, fusion=fusion)

    @property
    def most_passes(self) -> int:
        """Passes of a tile that sees all keys."""
        return self.workload.rank_sizes[key_rank(self.workload)] // self.keys if self.keys else 1

    def passes(self) -> list[tuple[int, int]]:
        """Passes over the keys of all tiles: (passes, tiles that make so many), most passes first.

        Of equal tiles one each.
        """
        if (question := self._passes) is None:
            return [(1, self.count)]
        alike = self.count // self.query_tiles
        return [(passes, alike * tiles) for passes, tiles in reversed(mask_tiles(*question).by_row)]

    @cached_property
    def passed(self) -> RowSums:
        """Passes of the tile that makes most, and of all tiles; and tiles that make one."""
        if (question := self._passes) is None:
            return RowSums(1, self.count, self.count)
        alike, own = self.count // self.query_tiles, row_sums(*question)
        return RowSums(own.most, own.every * alike, own.single * alike)

    @property
    def _passes(self) -> tuple[Mask, int, int, int, int] | None:
        """Arguments of `mask_tiles`; None where tiles are equal."""
        pair, mask = self.workload.roles.masked, self.workload.mask
        if not self.keys or pair is None or mask is None:
            return None
        queries, keys = (self.workload.rank_sizes[r] for r in pair)
        return mask, queries, keys, dict(self.tile)[pair[0]], self.keys

    def __str__(self) -> str:
        """The level and the tile, for who waits."""
        tile = " ".join(f"{r}={n}" for r, n in self.tile) or "one tile"
        return f"{self.level}, {tile}"


def key_rank(workload: Workload) -> str:
    """The rank of the keys of a mask."""
    pair = workload.roles.masked
    assert pair is not None
    return pair[1]


def every_assignment(
    workload: Workload,
    platform: Platform,
    mapspace: Mapspace,
    group: GroupSpace,
    check: Callable[[], None] = lambda: None,
) -> Iterator[Assignment]:
    """Every level and every extent of a tile that divides; check: called with each of them."""
    for level in fusion_levels(platform, mapspace):
        every = list[Assignment]()
        for one in _of_level(workload, platform, mapspace, group, level):
            check()
            every.append(one)
        few = [one for one in every if one.count <= MOST_TILES]  # the model counts them one by one
        yield from few or every  # then it refuses what the mapspace names


def _of_level(
    workload: Workload, platform: Platform, mapspace: Mapspace, group: GroupSpace, level: str
) -> Iterator[Assignment]:
    from flat_mapper.mapping.cores import given_ranks  # one array gives out nothing

    check_between(workload, platform, level)
    cores = core_count(platform.matrix, level)
    legal = given_ranks(workload, group.names) if cores > 1 else ()
    wanted = mapspace.fusion.cores
    ranks = [r for r in legal if wanted == "any" or r in wanted or r == SPLIT]
    pair = workload.roles.masked
    if workload.mask and pair and not group.fused:  # which keys a tile sees follows from its rows
        ranks = [r for r in ranks if r != pair[1]]
    fixed, sizes = {**mapspace.fusion.tiles, SPLIT: (1,)}, workload.rank_sizes
    extents = [[n for n in divisors(sizes[r]) if n in fixed.get(r, (n,))] for r in ranks]
    cut = {r for n in group.names for r in workload.einsum(n).each}
    in_time = workload.shareable_ranks(group.names) if group.fused else ()
    for chosen in product(*extents):
        tile = dict(zip(ranks, chosen, strict=True))
        one = Assignment(
            workload=workload,
            core_workload=_core_workload(workload, tile),
            group=group,
            level=level,
            tile=tuple(tile.items()),
            keys=0,
            cores=cores,
            dram=platform.dram.name,
        )
        if not (workload.mask and one.cuts_queries and pair and pair[1] in in_time):
            yield one
            continue
        for n in divisors(sizes[pair[1]]):
            whole = n == sizes[pair[1]] and pair[1] in cut  # another form of the group has it
            if not whole and n in fixed.get(pair[1], (n,)):
                yield replace(one, keys=n)


def _core_workload(workload: Workload, tile: Mapping[str, int]) -> Workload:
    """A tile as a workload of its own; where queries are cut a mask leaves it all that it sees.

    It is made a thousand times: nothing is checked again, or derived again from its Einsums.
    """
    queries, sizes = workload.roles.queries, workload.rank_sizes
    cut = queries in tile and tile[queries] < sizes[queries]
    mask = None if cut else workload.mask
    core = copy(workload)
    vars(core).update(rank_sizes={**sizes, **tile}, mask=mask, repeat=1)
    return core


def fusion_levels(platform: Platform, mapspace: Mapspace) -> list[str]:
    """The levels at which a group may be fused: on chip, and on every path.

    Of any level one inside which instances read for themselves is left out, unless it is the only
    one: it takes long to search, and a mapspace may name it.
    raises: SpecError where the mapspace names another.
    """
    common, wanted = _common_levels(platform), mapspace.fusion.level
    if wanted == "any":
        deaf = deaf_inside(platform, common)
        return [name for name in common if name not in deaf] or common
    if wanted and wanted not in common:
        where = f"{mapspace.name}: fusion.level"
        raise SpecError(expected(where, f"any or one of {', '.join(common)}", wanted))
    return [wanted or common[0]]


def _common_levels(platform: Platform) -> list[str]:
    return [
        level.name
        for level in platform.matrix.levels[1:]
        if not level.part_of
        and all(any(lv.name == level.name for lv in path.levels[1:]) for path in platform.paths)
    ]


def check_one_array(platform: Platform, mapspace: Mapspace) -> None:
    """Refuse a mapspace for one array where each core, an array of its own, reads for itself.

    raises: SpecError with the mapspaces that say what such cores do.
    """
    common, arch = _common_levels(platform), platform.matrix
    deaf = deaf_inside(platform, common)
    core = arch.nodes[arch.nodes.index(arch.level(common[len(deaf)])) :] if deaf != common else ()
    if deaf and any(isinstance(node, Fanout) for node in core):
        condition = f"tiles for cores, which read {deaf[0]} for themselves, or a level"
        change = f"{GIVE_TILES}, or fusion: {{level: {deaf[0]}}} for one tile of all cores"
        raise SpecError(expected(f"{mapspace.name}: fusion", condition, "neither", change))


def deaf_inside(platform: Platform, names: Sequence[str]) -> list[str]:
    """Levels inside which a fanout reads for each instance."""
    found = []
    for name in names:
        arch = platform.matrix
        inside = arch.nodes[arch.nodes.index(arch.level(name)) :]
        rules = (n.constraints.get("spatial") for n in inside if isinstance(n, Fanout))
        keys = ("no_reuse", "no_multicast_no_reduction")
        if any(isinstance(rule, Mapping) and any(rule.get(k) for k in keys) for rule in rules):
            found.append(name)
    return found


def cascades(workload: Workload, platform: Platform, mapspace: Mapspace) -> Iterator[Workload]:
    """The forms of the softmax, and of an online one the keys in parts, a core each."""
    wanted, keys = mapspace.fusion.cores, workload.roles.keys
    levels = fusion_levels(platform, mapspace)
    most = max((core_count(platform.matrix, lv) for lv in levels), default=1)
    for cascade in alternatives(workload):
        yield cascade
        if cascade.softmax != "online" or cascade.mask or not keys:
            continue
        if wanted == "any" or keys in wanted:
            for parts in divisors(cascade.rank_sizes[keys]):
                if 1 < parts <= most:
                    yield with_splits(cascade, parts)
