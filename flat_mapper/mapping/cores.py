"""Cores: what one of them has of the chip, and which tiles of a group it is given.

A core sees two things outside its fusion level: what it moves words from and to, and nothing else.
So its architecture is DRAM, standing for everything outside, and the nodes from the fusion level
in; its nests have all temporal loops outside the fusion level at DRAM. A group that says nothing of
cores has one, which is the whole chip.

The passes of the loops `cores` of a group are its tiles, in the order of the loops, the larger ones
first unless the group's order says otherwise; docs/model.md has the order `lists` (source: the
program factory of ttnn's scaled_dot_product_attention, tt-metal). Tiles need not divide a rank: the
last one is smaller. Under a mask a tile of queries works on the tiles of keys that some query of it
may see, each done whole.

`lifted` gives a tile out in all ways; `shrunk` has the same tiles, the outermost loops cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, product
from math import ceil, prod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flat_mapper.arch.cores import sums_at
from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
from flat_mapper.base.errors import MappingError, expected
from flat_mapper.base.formats import DEFAULT, SUMS, TensorWidth, stored_bits
from flat_mapper.base.grouping import distinct_columns
from flat_mapper.mapping.resize import resized_group, resized_mapping
from flat_mapper.mapping.sharing import shared_level
from flat_mapper.mapping.values import (
    EinsumMapping,
    FusedMapping,
    GroupMapping,
    Loop,
    Policy,
    Slot,
    largest_extent,
    pieces,
    rank_extent,
)
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask

MOST_TILES = 2**24  # chosen: some hundred MB of indices
IntArray = npt.NDArray[np.int64]


class CoreQuestion(NamedTuple):
    """One core's problem: a tile of the workload, on one core, in one core's nests."""

    workload: Workload
    platform: Platform
    group: GroupMapping


def fusion_level(platform: Platform, group: GroupMapping) -> MemoryLevel:
    """The level at which a group holds its intermediates.

    raises: MappingError where a path of the chip has no such level on chip.
    """
    if not group.level:
        return shared_level(platform)
    for arch in platform.paths:
        names = [level.name for level in arch.levels[1:]]
        if group.level not in names:
            where = f"{' + '.join(group.names)}: level"
            condition = f"a level on chip of {arch.name} ({', '.join(names)})"
            raise MappingError(expected(where, condition, group.level))
    return platform.matrix.level(group.level)


def core_count(arch: Architecture, level: str) -> int:
    """Instances of a level: the product of the fanouts outside it."""
    return prod(node.copies for node in arch.outside(level) if isinstance(node, Fanout))


def levels_between(arch: Architecture, level: str) -> tuple[MemoryLevel, ...]:
    """The levels between DRAM and another one, outermost first."""
    names = [lv.name for lv in arch.levels]
    return arch.levels[1 : names.index(level)]


def names_outside(arch: Architecture, level: str) -> tuple[str, ...]:
    """Names of DRAM and the levels between, outermost first."""
    return tuple(lv.name for lv in (arch.levels[0], *levels_between(arch, level)))


def core_platform(platform: Platform, level: str) -> Platform:
    """The chip as one core sees it; its DRAM stands for all that is outside the level."""
    return platform.changed(lambda arch: _core(arch, level))


def _core(arch: Architecture, level: str) -> Architecture:
    cores, outside = core_count(arch, level), arch.outside(level)
    inside = tuple(
        replace(node, instances=node.instances // cores) if isinstance(node, MemoryLevel) else node
        for node in arch.nodes[len(outside) :]
    )
    compute = replace(arch.compute, instances=arch.compute.instances // cores)
    pj = sum(sum(node.word_pj) for node in outside if isinstance(node, Fanout))
    dram = replace(arch.levels[0], outside_pj=pj)
    return replace(arch, nodes=(dram, *inside), compute=compute)


def core_nest(arch: Architecture, nest: EinsumMapping, level: str) -> EinsumMapping:
    """An Einsum's nest as one core runs it."""
    names, dram = [node.name for node in arch.outside(level)], arch.levels[0].name
    time = tuple(loop for slot, loop in nest.placed if slot.node in names)
    inside = tuple((slot, at) for slot, at in nest.loops if slot.node not in names)
    kept = dict.fromkeys(chain.from_iterable(at for name, at in nest.keep if name in names))
    return replace(
        nest,
        loops=((Slot(dram, "temporal"), time), *inside) if time else inside,
        keep=((dram, tuple(kept)), *((n, at) for n, at in nest.keep if n not in names)),
    )


def view_faults(platform: Platform, group: GroupMapping, level: str) -> Iterator[str]:
    """Reasons why one core's part of a group cannot be told; a line each."""
    for arch in platform.paths:
        if core_count(arch, level) != core_count(platform.matrix, level):
            condition = f"{core_count(platform.matrix, level)} instances of {level} on both paths"
            yield expected(arch.name, condition, core_count(arch, level))
        fanouts = {node.name for node in arch.outside(level) if isinstance(node, Fanout)}
        for nest in group.einsums:
            for slot, loops in nest.loops:
                if slot.node in fanouts and slot.axis != "temporal" and loops:
                    change = "write cores: {DRAM: [...]} in its group"
                    condition = "no loops of one Einsum's own over what is outside the fusion level"
                    yield expected(f"{nest.einsum}: {slot.node}", condition, loops, change)


def times_brought(ranks: Sequence[str], outer: Sequence[Loop]) -> int:
    """Number of times a whole tensor comes to the level: loops outside it over ranks that it lacks.

    ranks: of the tensor. outer: the loops given out that stand outside the level.
    """
    loops = [p for p in outer if p.factor > 1]
    while loops and loops[-1].rank not in ranks:
        loops.pop()
    return prod(p.factor for p in loops if p.rank not in ranks)


def words_held(
    words: float,
    ranks: Sequence[str],
    outer: Sequence[Loop],
    tiles: int,
    at_work: float,
    buffering: float,
) -> int:
    """Words that a tensor takes at the level: its tile there, as often as it may be in flight.

    words: of the whole tensor. tiles: that are given out, to so many cores at work.
    """
    cut = prod(p.factor for p in outer if p.rank in ranks)
    inside = tiles // prod(p.factor for p in outer)
    flying = min(cut, -(-(at_work - 1) // inside) + 1)
    copies = max(buffering, flying) if cut > 1 else 1.0
    return ceil(words / cut * copies)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreUse:
    """Tiles of a group on the cores of a chip."""

    cores: int  # of the chip
    tiles: int
    rounds: int  # tiles of the core that was given most
    busy_cycles: float  # of all cores
    longest_cycles: float  # of the fullest core
    launch_cycles: float = 0.0

    @property
    def imbalance(self) -> float:
        """The fullest core's cycles over the mean of the cores that were given a tile."""
        mean = self.busy_cycles / min(self.cores, self.tiles)
        return self.longest_cycles / mean if mean else 1.0

    @property
    def idle_share(self) -> float:
        """The share of all cores' cycles in which a core has no tile."""
        most = self.cores * self.longest_cycles
        return 1 - self.busy_cycles / most if most else 0.0

    def to_dict(self) -> dict[str, object]:
        """The names of `--json`."""
        counts = "cores", "tiles", "rounds"
        shares = "imbalance", "idle_share", "longest_cycles", "launch_cycles"
        return {name: getattr(self, name) for name in (*counts, *shares)}


@dataclass(frozen=True, slots=True, kw_only=True)
class TileClass:
    """Tiles of one size."""

    sizes: tuple[tuple[str, int], ...]  # by rank
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenTiles:
    """The tiles of a group, largest class first.

    order: int64[T], the class of each tile, in the order in which they are given out.
    at:    int64[T] by rank, which of its tiles it is; of masked keys, the first that it sees.
    together: so many that follow each other go to one core.
    """

    classes: tuple[TileClass, ...]
    order: IntArray
    at: Mapping[str, IntArray]
    together: int = 1

    @property
    def count(self) -> int:
        """T."""
        return len(self.order)

    def distinct(self, ranks: tuple[str, ...], places: IntArray, rounds: IntArray) -> IntArray:
        """Different tiles of a tensor with these ranks in each round; int64[rounds].

        places: int64[n], in the order. rounds: int64[n], which one each is in, none without any.
        """
        own = [self.at[r][places] for r in self.at if r in ranks]
        found: IntArray = np.bincount(distinct_columns(np.stack([rounds, *own]))[0][0])
        return found


def given_tiles(workload: Workload, platform: Platform, group: GroupMapping) -> GivenTiles:
    """The tiles of a group; one where nothing is given out."""
    loops = group.given_out
    total = prod(loop.factor for loop in loops)
    if total > MOST_TILES:
        where = f"{' + '.join(group.names)}: cores"
        raise MappingError(expected(where, f"at most {MOST_TILES:,} tiles", f"{total:,}"))
    keys = _key_passes(workload, platform, group)
    axes = [_along(workload, group, loop, keys) for loop in loops]
    shape, order, at = [*map(len, axes)], np.zeros(1, np.int64), dict[str, IntArray]()
    kinds = [Counter(part.sizes for part in along) for along in axes]
    for axis, (loop, along) in enumerate(zip(loops, axes, strict=True)):
        numbers, first_keys, sizes = zip(*along, strict=True)
        at[loop.rank] = _over(shape, axis, numbers)
        if keys and loop.rank == keys.queries:
            at[keys.keys] = _over(shape, axis, first_keys)
        index = {size: i for i, size in enumerate(kinds[axis])}
        own = np.array([*map(index.__getitem__, sizes)], np.int64)
        order = (order[:, None] * len(index) + own).reshape(-1)
    classes = (  # the tiles are a grid: every combination of kinds is among them
        TileClass(
            sizes=tuple(sorted(chain(*(sizes for sizes, _ in some)))),
            count=prod(count for _, count in some),
        )
        for some in product(*(own.items() for own in kinds))
    )
    return GivenTiles(
        classes=tuple(classes),
        order=order,
        at=at,
        together=2 if loops and _paired(group, loops[-1], keys) else 1,
    )


def _over(shape: Sequence[int], axis: int, values: Sequence[int]) -> IntArray:
    """Values along one axis of a grid, at each of its points in a row."""
    own = np.array(values, np.int64).reshape([-1, *[1] * (len(shape) - axis - 1)])
    return np.broadcast_to(own, shape).reshape(-1)


class _Part(NamedTuple):
    """A tile along one loop: the first key that its queries see, if it is of masked ones."""

    number: int
    first_key: int
    sizes: tuple[tuple[str, int], ...]  # by rank


def _along(workload: Workload, group: GroupMapping, loop: Loop, keys: _Keys | None) -> list[_Part]:
    """The tiles along one loop, in the order in which they are given out."""
    size, tile = workload.rank_sizes[loop.rank], largest_extent(group, loop.rank)
    along = []
    for i in range(loop.factor):
        length, first = min(tile, size - i * tile), 0
        sizes = [(loop.rank, length)]
        if keys and loop.rank == keys.queries:
            first, last = keys.seen(i * tile, length)
            sizes.append((keys.keys, last - first))
        along.append(_Part(i, first, tuple(sizes)))
    if group.order == "largest":
        along.sort(key=lambda part: -prod(n for _, n in part.sizes))
    if _paired(group, loop, keys):
        along = [along[i // 2 if i % 2 == 0 else -1 - i // 2] for i in range(len(along))]
    return along


def _paired(group: GroupMapping, loop: Loop, keys: _Keys | None) -> bool:
    """True if the tiles along a loop go in pairs."""
    inner = group.order == "lists" and loop is group.given_out[-1]
    return inner and keys is not None and loop.rank == keys.queries and loop.factor % 2 == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keys:
    """Keys that a tile of queries works on, under a mask."""

    workload: Workload
    queries: str
    keys: str
    tile: int  # keys of one pass

    def seen(self, start: int, rows: int) -> tuple[int, int]:
        """Keys [first, last) of the tiles that some of these queries may see, each tile whole."""
        mask, sizes = self.workload.mask, self.workload.rank_sizes
        assert mask is not None
        size = sizes[self.keys]
        first = size * mask.parts - sizes[self.queries] + start
        low, high = mask.seen(first, first + rows - 1, size)
        return low // self.tile * self.tile, min(-(-high // self.tile) * self.tile, size)


def _key_passes(workload: Workload, platform: Platform, group: GroupMapping) -> _Keys | None:
    """Keys that tiles of queries see; None where a mask leaves all, or whole rows are done."""
    pair = workload.roles.masked
    if workload.mask is None or pair is None:
        return None
    queries, keys = pair
    if keys not in group.cut or all(loop.rank != queries for loop in group.given_out):
        return None
    tile = pass_extent(workload, platform, group, keys)
    return _Keys(workload=workload, queries=queries, keys=keys, tile=tile)


def pass_extent(
    workload: Workload, platform: Platform, group: GroupMapping, rank: str, passes: int = 1
) -> int:
    """The extent of a rank in so many passes of each temporal shared loop of the largest tile."""
    outside, most = names_outside(platform.matrix, fusion_level(platform, group).name), 1
    for nest in group.einsums:
        if rank not in workload.einsum(nest.einsum).each:
            own = [(slot.node in outside, p) for slot, p in nest.placed if p.rank == rank]
            loops = [p for _, p in own]
            inner = [*pieces(loops), 1][max(0, sum(out for out, _ in own) - 1)]
            times = prod(min(p.factor, passes) for out, p in own if out)
            most = max(most, inner * times if own and own[0][0] else rank_extent(nest, rank))
    return most


@dataclass(frozen=True, kw_only=True)
class CoreView:
    """A group as one core sees it, whatever the sizes of the tile that it has."""

    workload: Workload
    platform: Platform
    group: GroupMapping

    @cached_property
    def alone(self) -> tuple[Platform, GroupMapping]:
        """One core of the chip, and the group in one core's nests with a tile as they have it."""
        level, group = fusion_level(self.platform, self.group).name, self.group
        units = (self.workload.einsum(m.einsum).unit for m in group.einsums)
        nests = (
            core_nest(self.platform.path(unit), m, level)
            for unit, m in zip(units, group.einsums, strict=True)
        )
        own = replace(group, einsums=tuple(nests), level="", cores=(), resident=())
        own = replace(own, order="largest", kernel="")  # which are none of a core's
        return core_platform(self.platform, level), own

    @cached_property
    def full(self) -> dict[str, int]:
        """The largest tile's extents of the ranks that are given out."""
        return {p.rank: largest_extent(self.group, p.rank) for p in self.group.given_out}

    @cached_property
    def steps(self) -> dict[str, int]:
        """Extents of the ranks in one pass of the temporal shared loops."""
        where = self.workload, self.platform, self.group
        return {r: pass_extent(*where, r) for r in self.workload.rank_sizes}

    @cached_property
    def walked(self) -> tuple[str, ...]:
        """Ranks of the loops in time outside the fusion level, outermost first."""
        own = self.alone[1]
        loops = own.shared or own.einsums[0].at(Slot(self.alone[0].dram.name, "temporal"))
        return tuple(loop.rank for loop in loops if loop.factor > 1)

    def question(self, sizes: Mapping[str, int] | None = None) -> CoreQuestion:
        """The problem of one core with a tile of some sizes; by default with the largest.

        sizes: of the ranks that are given out, and of the keys that a tile of queries sees.
        """
        if not self.group.on_cores:
            return CoreQuestion(self.workload, self.platform, self.group)
        sizes = self.full if sizes is None else sizes
        full, ranks, pair = self.full, self.workload.rank_sizes, self.workload.roles.masked
        platform, own = self.alone
        whole = {**ranks, **full}
        for rank, size in sizes.items():
            if size < whole[rank]:
                core = at_sizes(self.workload, whole, None)
                own = resized_group(own, core, rank, size, self.steps[rank])
        kept = self.workload.mask
        if pair and (pair[0] in full or pair[1] in sizes):
            kept = None
        core = at_sizes(self.workload, {**whole, **sizes}, kept)
        return CoreQuestion(core, platform, own)


def at_sizes(workload: Workload, sizes: Mapping[str, int], mask: Mask | None) -> Workload:
    """A cascade once, at the sizes of a tile: sound as it is, and with all that is known of it."""
    found = object.__new__(Workload)
    found.__dict__.update(workload.__dict__, rank_sizes=dict(sizes), mask=mask, repeat=1)
    return found


def one_core(workload: Workload, platform: Platform, group: GroupMapping) -> CoreQuestion:
    """The problem of a core with the largest tile, and all keys that one of its size sees."""
    view = CoreView(workload=workload, platform=platform, group=group)
    keys = _key_passes(workload, platform, group)
    if not keys:
        return view.question()
    tiles = given_tiles(workload, platform, group).classes
    seen = max(dict(tile.sizes)[keys.keys] for tile in tiles)
    return view.question({**view.full, keys.keys: seen})


def given_ranks(workload: Workload, names: tuple[str, ...]) -> tuple[str, ...]:
    """Ranks over which a group's tiles may be given out to cores.

    Each core works without the others: nothing is carried over such a rank, and no result is summed
    over it.
    """
    inner = workload.inner_ranks(names)
    made = [einsum.output.ranks for einsum in workload.named(names)]
    legal = workload.shareable_ranks(names)
    return tuple(r for r in legal if r not in inner and all(r in ranks for ranks in made))


def summed_ranks(workload: Workload, names: tuple[str, ...]) -> tuple[str, ...]:
    """Ranks over which tiles may be given out as parts of sums, which are added up outside.

    Every result that lacks such a rank is a plain sum over it, and leaves the group as it is.
    """
    group, inner = workload.named(names), workload.inner_ranks(names)
    read = {t for einsum in group for t in einsum.operands}
    whole = given_ranks(workload, names)
    masked = workload.roles.masked or () if workload.mask else ()

    def plain(einsum: Einsum, rank: str) -> bool:
        if rank in einsum.output.ranks:
            return True
        added = einsum.operation in SUMMED and rank in einsum.reduced_ranks and not einsum.updates
        return added and einsum.output.tensor not in read

    return tuple(
        rank
        for rank in workload.shareable_ranks(names)
        if rank not in (*inner, *whole, *masked) and all(plain(einsum, rank) for einsum in group)
    )


SUMMED = ("mul", "sum")  # operations whose reduction adds


def merged(workload: Workload, group: GroupMapping) -> tuple[str, ...]:
    """Results of a group of which several of its tiles have parts."""
    given = {loop.rank for loop in group.given_out if loop.factor > 1}
    made = [einsum.output for einsum in workload.named(group.names)]
    return tuple(access.tensor for access in made if given - {*access.ranks})


def with_wide_parts(workload: Workload, platform: Platform, mapping: FusedMapping) -> Workload:
    """The workload with results of which cores have parts as wide as sums, at every level.

    No core knows whether its part is the last one: none is ever done.
    """
    parts = {t for group in mapping.groups for t in merged(workload, group)}
    names = {level.name for path in platform.paths for level in path.levels}
    wide: dict[str, TensorWidth] = {}
    for tensor in parts & workload.widths.sums:
        both = {at: (workload.width(tensor, at), workload.width(SUMS, at)) for at in names}
        own = {at: max(some, key=stored_bits) for at, some in both.items()}
        wide[tensor] = own | {DEFAULT: workload.width(tensor)}
    return replace(workload, tensor_bits={**workload.tensor_bits, **wide}) if wide else workload


def core_faults(
    workload: Workload, platform: Platform, group: GroupMapping, policy: Policy
) -> Iterator[str]:
    """Reasons why tiles of a group cannot be given out as it says; a line each."""
    where = f"{' + '.join(group.names)}: cores"
    if not group.on_cores:
        yield from _alone_faults(platform, group)
        return
    if policy.softmax == "free" and len(group.einsums) > 1:
        yield expected(where, "a charged softmax", "a free one")
        return
    level = fusion_level(platform, group).name
    yield from view_faults(platform, group, level)
    between = names_outside(platform.matrix, level)
    for name, _ in group.cores:
        if name not in between:
            yield expected(where, f"loops at levels outside {level} ({', '.join(between)})", name)
    yield from _given_faults(workload, group, where)
    yield from _sum_faults(workload, platform, group)
    held = {t for m in group.einsums for name in between[1:] for t in m.kept_at(name)}
    for tensor in dict(group.windows).keys() - held:
        condition = f"an input that a level between keeps ({', '.join(sorted(held)) or 'none'})"
        yield expected(f"{' + '.join(group.names)}: windows", condition, tensor)


def _sum_faults(workload: Workload, platform: Platform, group: GroupMapping) -> Iterator[str]:
    """Reasons why what tiles have of one result cannot be added up."""
    adder, dram = sums_at(platform.matrix), platform.dram.name
    for tensor in merged(workload, group):
        where = f"{' + '.join(group.names)}: {tensor}"
        keepers = {at for m in group.einsums for at, some in m.keep if tensor in some}
        outside = names_outside(platform.matrix, fusion_level(platform, group).name)
        at = next((name for name in reversed(outside) if name in keepers), dram)
        if adder and at != adder:
            yield expected(where, f"its sums at {adder}, which adds (core_sums_at)", at)


def _given_faults(workload: Workload, group: GroupMapping, where: str) -> Iterator[str]:
    """Faults of the loops whose passes are given out."""
    legal = (*given_ranks(workload, group.names), *summed_ranks(workload, group.names))
    ranks = [loop.rank for loop in group.given_out]
    for loop in group.given_out:
        if loop.rank not in legal or ranks.count(loop.rank) > 1:
            condition = f"one loop each over {', '.join(legal) or 'nothing'}"
            yield expected(where, condition, loop.rank, "cores work on tiles without each other")
            continue
        size, tile = workload.rank_sizes[loop.rank], largest_extent(group, loop.rank)
        if loop.factor != -(-size // tile):
            condition = f"{-(-size // tile)} tiles of {tile} for {size}"
            yield expected(f"{where}: {loop.rank}", condition, loop.factor)
    pair = workload.mask and workload.roles.masked
    if pair and pair[0] in ranks and group.cut.issuperset(pair):
        condition = f"{pair[0]} cut by the cores' loops or by those in time, under a mask"
        yield expected(where, condition, "both")


def _alone_faults(platform: Platform, group: GroupMapping) -> Iterator[str]:
    """Reasons why a group cannot be one on the whole chip: there are several of what it shares."""
    where, level = " + ".join(group.names), shared_level(platform).name
    if group.windows:
        condition = "none in a group whose tiles are not given out to cores"
        yield expected(f"{where}: windows", condition, dict(group.windows))
    if got := group.kernel or group.order * (group.order != "largest"):
        condition = "none in a group whose tiles are not given out to cores"
        yield expected(f"{where}: {'kernel' if group.kernel else 'order'}", condition, got)
    if len(group.einsums) > 1 and (cores := core_count(platform.matrix, level)) > 1:
        change = f"write level: {level}, and cores: {{...}}"
        condition = f"a fusion level, of which each of {cores} cores has its own"
        yield expected(f"{where}: level", condition, "none", change)


def lifted(
    workload: Workload,
    platform: Platform,
    group: GroupMapping,
    level: str,
    tiles: Mapping[str, int],
) -> Iterator[GroupMapping]:
    """Mappings of a whole group in which every core runs a tile as one core does.

    Tiles of queries go first or last. Without a level between, nothing is kept there; with one,
    either nothing or every input of the group, of all tiles or of those of the innermost loops.

    group: of a tile, on `core_platform`. tiles: extents of the ranks that are given out.
    """
    orders, dram = given_orders(workload, group.names, tiles), platform.dram.name
    ways = [(dram, [(dram, order)]) for order in orders]
    for between in levels_between(platform.matrix, level)[-1:]:
        ways += [
            (between.name, [(dram, order[:n]), (between.name, order[n:])])
            for order in orders
            for n in range(len(order) + 1)
        ]
    for at, cores in ways:
        yield replace(
            group,
            einsums=tuple(_outside_at(workload, group, nest, at) for nest in group.einsums),
            level=level,
            cores=tuple((name, loops) for name, loops in cores if loops),
        )


def given_orders(
    workload: Workload, names: tuple[str, ...], tiles: Mapping[str, int]
) -> list[tuple[Loop, ...]]:
    """The loops over a group's tiles, outermost first, in every order that is tried."""
    sizes, legal = workload.rank_sizes, given_ranks(workload, names)
    loops = [Loop(r, -(-sizes[r] // n)) for r, n in tiles.items() if n < sizes[r] and r in legal]
    queries = [p for p in loops if p.rank == workload.roles.queries]
    others = [p for p in loops if p not in queries]
    first = (*others, *queries)
    return [first, (*queries, *others)] if queries and others else [first]


def _outside_at(
    workload: Workload, group: GroupMapping, nest: EinsumMapping, at: str
) -> EinsumMapping:
    """The nest with its loops outside the fusion level at a level, where its inputs are kept."""
    (dram, kept), *rest = nest.keep
    if at == dram:
        return nest
    loops = tuple((Slot(at, s.axis) if s.node == dram else s, ls) for s, ls in nest.loops)
    made = workload.made_by(group.names)
    held = tuple(t for t in kept if t not in made)
    return replace(nest, loops=loops, keep=((dram, kept), (at, held), *rest))


PASSES = 2  # of an outermost loop that are left: the first, and one that comes after another


def shrunk(
    workload: Workload, mapping: FusedMapping, platform: Platform
) -> tuple[Workload, FusedMapping]:
    """The mapping with every loop outside its fusion level cut to two passes, and the workload too.

    A rank keeps the most that two passes of any Einsum cover, and two tiles of cores where it is
    given out, so that no tile inside is cut. Under a mask there stay at least as many keys as
    queries.
    """
    sizes = {rank: _kept(workload, mapping, platform, rank, PASSES) for rank in workload.rank_sizes}
    passes, pair = PASSES, workload.roles.masked
    queries, keys = pair or ("", "")
    mask = workload.mask
    while (
        mask
        and pair
        and sizes[keys] < min(-(-sizes[queries] // mask.parts), workload.rank_sizes[keys])
    ):
        passes += 1
        sizes[keys] = _kept(workload, mapping, platform, keys, passes)
    small = replace(workload, rank_sizes=sizes)
    for rank, size in sizes.items():
        if size < workload.rank_sizes[rank]:
            mapping = resized_mapping(mapping, workload, rank, size)
    return small, mapping


def cut_ranks(before: Workload, after: Workload) -> Mapping[str, tuple[int, int]]:
    """The ranks that became shorter: their sizes before and after."""
    return {
        rank: (size, after.rank_sizes[rank])
        for rank, size in before.rank_sizes.items()
        if after.rank_sizes[rank] != size
    }


def _kept(
    workload: Workload, mapping: FusedMapping, platform: Platform, rank: str, passes: int
) -> int:
    """Rest of a rank: the most that so many passes outside the fusion level cover."""
    size, covered = workload.rank_sizes[rank], []
    for group in mapping.groups:
        if count := next((p.factor for p in group.given_out if p.rank == rank), 0):
            covered.append(largest_extent(group, rank) * min(count, passes))
        elif any(rank in einsum.own_ranks for einsum in workload.named(group.names)):
            covered.append(pass_extent(workload, platform, group, rank, passes))
    return min(size, max(covered, default=size))
