"""What may be given out to the cores of a chip: levels to fuse at, and tiles of a group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from math import prod

from flat_mapper.arch.cores import core_facts, multicasts
from flat_mapper.arch.values import Fanout, Platform
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.cost_model.chip.rounds import given
from flat_mapper.cost_model.latency import transfer_cycles
from flat_mapper.energy.operations import operation_cycles
from flat_mapper.mapper.space.factors import divisors
from flat_mapper.mapping.cores.between import times_brought, words_held
from flat_mapper.mapping.cores.lift import loop_orders
from flat_mapper.mapping.cores.tiles import given_ranks
from flat_mapper.mapping.cores.view import core_count, levels_between
from flat_mapper.mapping.order import overlaps
from flat_mapper.mapping.sharing import crosses_dram
from flat_mapper.mapping.space import GroupSpace, Mapspace
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask
from flat_mapper.workload.softmax import SPLIT, alternatives, with_splits


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A group's fusion level and the extents of its tiles."""

    workload: Workload
    group: GroupSpace
    level: str
    tile: tuple[tuple[str, int], ...]
    keys: int  # of a pass, where a mask makes tiles of queries differ; 0: all tiles are equal
    cores: int  # of the chip

    @property
    def count(self) -> int:
        """Tiles."""
        sizes = self.workload.rank_sizes
        return prod(-(-sizes[r] // n) for r, n in self.tile)

    @property
    def at_work(self) -> int:
        """Cores that are given a tile."""
        return min(self.cores, self.count)

    @property
    def cuts_queries(self) -> bool:
        """Whether tiles have some of the queries each: then a mask leaves them different keys."""
        queries = self.workload.roles.queries
        size = self.workload.rank_sizes.get(queries, 1)
        return dict(self.tile).get(queries, size) < size

    @property
    def core_workload(self) -> Workload:
        """The largest tile as a workload of its own."""
        mask = None if self.cuts_queries else self.workload.mask
        sizes = {**self.workload.rank_sizes, **dict(self.tile)}
        return replace(self.workload, rank_sizes=sizes, mask=mask, repeat=1)

    def inner(self, mapspace: Mapspace) -> Mapspace:
        """The mapspace of a tile."""
        own = {r: t for r, t in mapspace.fusion.tiles.items() if r not in dict(self.tile)}
        if self.keys:
            own[key_rank(self.workload)] = (self.keys,)
        return replace(mapspace, fusion=replace(mapspace.fusion, level="", cores=(), tiles=own))

    def passes(self) -> list[tuple[int, int]]:
        """Passes over the keys of all tiles: (passes, tiles that make so many), most passes first.

        Of equal tiles one each.
        """
        pair = self.workload.roles.masked
        if not self.keys or pair is None or self.workload.mask is None:
            return [(1, self.count)]
        queries, keys = (self.workload.rank_sizes[r] for r in pair)
        rows = dict(self.tile)[pair[0]]
        alike = self.count // (queries // rows)
        found = _key_passes(self.workload.mask, queries, keys, rows, self.keys)
        return [(passes, alike * tiles) for passes, tiles in found]

    def __str__(self) -> str:
        """The level and the tile, for who waits."""
        tile = " ".join(f"{r}={n}" for r, n in self.tile) or "one tile"
        return f"{self.level}, {tile}"


@cache
def _key_passes(
    mask: Mask, queries: int, keys: int, rows: int, tile: int
) -> tuple[tuple[int, int], ...]:
    found: dict[int, int] = {}
    for start in range(keys - queries, keys, rows):
        low, high = mask.seen(start, start + rows - 1, keys)
        passes = -(-high // tile) - low // tile
        found[passes] = found.get(passes, 0) + 1
    return tuple(sorted(found.items(), reverse=True))


def key_rank(workload: Workload) -> str:
    """The rank of the keys of a mask."""
    pair = workload.roles.masked
    assert pair is not None
    return pair[1]


def every_assignment(
    workload: Workload, platform: Platform, mapspace: Mapspace, group: GroupSpace
) -> Iterator[Assignment]:
    """Every level and every extent of a tile that divides."""
    for level in fusion_levels(platform, mapspace):
        yield from _of_level(workload, platform, mapspace, group, level)


def _of_level(
    workload: Workload, platform: Platform, mapspace: Mapspace, group: GroupSpace, level: str
) -> Iterator[Assignment]:
    cores = core_count(platform.matrix, level)
    legal = given_ranks(workload, group.names) if cores > 1 else ()
    wanted = mapspace.fusion.cores
    ranks = [r for r in legal if wanted == "any" or r in wanted or r == SPLIT]
    fixed, sizes = {**mapspace.fusion.tiles, SPLIT: (1,)}, workload.rank_sizes
    extents = [[n for n in divisors(sizes[r]) if n in fixed.get(r, (n,))] for r in ranks]
    pair = workload.roles.masked
    cut = {r for n in group.names for r in workload.einsum(n).each}
    for chosen in product(*extents):
        one = Assignment(
            workload=workload,
            group=group,
            level=level,
            tile=tuple(zip(ranks, chosen, strict=True)),
            keys=0,
            cores=cores,
        )
        if not (workload.mask and one.cuts_queries and pair and pair[1] in cut):
            yield one
            continue
        for n in divisors(sizes[pair[1]]):
            if n < sizes[pair[1]] and n in fixed.get(pair[1], (n,)):
                yield replace(one, keys=n)


def least_moved(
    platform: Platform, one: Assignment, buffering: float
) -> tuple[dict[str, float], dict[str, float]]:
    """The least that DRAM moves for one core, in whatever way tiles are given out: weights, totals.

    An input that a level between keeps comes from DRAM as often as loops outside that level bring
    it; of the ways for which there is room, the least. Or one read serves all cores that need the
    same.
    """
    if one.cores == 1:
        return {}, {}
    arch, workload = platform.matrix, one.workload
    inputs = _inputs(one)
    shared = [t for t in inputs if multicasts(arch, arch.level(one.level), t)]
    between = levels_between(arch, one.level)
    totals: dict[str, float] = {}
    for order in loop_orders(workload, one.group.names, dict(one.tile)) if between else ():
        for outer in (order[:i] for i in range(len(order) + 1)):
            needs = sum(
                words_held(
                    *(words, workload.tensor_ranks[t], outer, one.count, one.at_work, buffering)
                )
                for t, words in inputs.items()
            )
            room = between[-1].usable_words
            if room is not None and needs > room:
                continue
            for t, words in inputs.items():
                moved = words * times_brought(workload.tensor_ranks[t], outer) / one.count
                totals[t] = min(totals.get(t, moved), moved)
    if not totals:
        return dict.fromkeys(shared, 1.0 / one.at_work), {}
    for t in inputs:
        totals[t] = 0.0 if t in shared else min(totals[t], _tile_words(one, t))
    return {}, totals


def _inputs(one: Assignment) -> dict[str, float]:
    """Words of the tensors that a group reads from outside."""
    workload, names = one.workload, one.group.names
    made = {workload.einsum(n).output.tensor for n in names}
    moved = {a.tensor for n in names for a in workload.einsum(n).accesses} - made
    return {
        t: workload.tensor_words(t) * workload.share(t)
        for t in sorted(moved)
        if crosses_dram(workload, names, t)
    }


def _tile_words(one: Assignment, tensor: str) -> float:
    """Words of a tensor in a tile."""
    core = one.core_workload
    return core.tensor_words(tensor) * core.share(tensor)


def at_dram(platform: Platform, one: Assignment, buffering: float) -> float:
    """Cycles of DRAM that no mapping beats."""
    weights, totals = least_moved(platform, one, buffering)
    workload, names = one.workload, one.group.names
    reads = sum(
        totals.get(t, weights.get(t, 1.0) * (0.0 if one.keys else _tile_words(one, t)))
        for t in _inputs(one)
    )
    made = (workload.einsum(n).output.tensor for n in names)
    writes = sum(_tile_words(one, t) for t in set(made) if crosses_dram(workload, names, t))
    return float(transfer_cycles(platform.dram, reads * one.count, writes * one.count))


def at_peak(platform: Platform, one: Assignment) -> float:
    """Cycles that no mapping beats: units at peak, all cores alike or the largest tiles of one."""
    tile, own = _Peak.of(platform, one), one.passes()
    longest = tile.cycles(own[0][0]) * (-(-one.count // one.cores) if len(own) == 1 else 1)
    return max(sum(n * tile.cycles(passes) for passes, n in own) / one.cores, longest)


def on_fullest(platform: Platform, one: Assignment, least: float = 0.0) -> float:
    """Cycles of the fullest core, if every tile takes as long as units at peak do.

    least: cycles that no mapping of the largest tile beats. A tile of fewer passes takes as much
    of it, or more: what does not depend on the passes is in both.
    """
    tile = _Peak.of(platform, one)
    own = one.passes()
    most = own[0][0]
    facts = core_facts(platform.matrix)
    steps = {passes: passes if one.keys else 1 for passes, _ in own}
    timed = [
        (
            max(tile.cycles(passes), least * passes / most)
            + facts.tile_cycles
            + facts.step_cycles * steps[passes],
            n,
        )
        for passes, n in own
    ]
    launch = facts.launch_seconds / platform.matrix.cycle_seconds
    if len(timed) == 1:
        rounds, left = divmod(one.count, one.cores)
        if rounds and left:
            # Fewer cores have more of DRAM each; a tile takes no less than in proportion.
            last = max(tile.cycles(most), least * left / one.cores)
            launch += last + facts.tile_cycles + facts.step_cycles
        return launch + max(rounds, 1) * timed[0][0]
    if _longest_first(one):
        loads, _ = given([0.0] * one.cores, timed)
        return launch + max(loads)
    return launch + max(sum(cycles * n for cycles, n in timed) / one.cores, timed[0][0])


def _longest_first(one: Assignment) -> bool:
    """Whether tiles can only be given out by the queries first."""
    others = [r for r, n in one.tile if n < one.workload.rank_sizes[r]]
    return others == [one.workload.roles.queries]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Peak:
    """Cycles of a tile at peak: those that do not depend on its passes over keys, and of each."""

    fixed: float
    each: float

    @classmethod
    def of(cls, platform: Platform, one: Assignment) -> _Peak:
        """The peak of a core's units for the Einsums of a group."""
        core = one.core_workload
        keys = key_rank(core) if one.keys else ""
        sizes = {**core.rank_sizes, **({keys: one.keys} if keys else {})}
        found: dict[tuple[str, bool], float] = {}
        for einsum in map(core.einsum, one.group.names):
            arch = platform.path(einsum.unit)
            points = prod(sizes[r] for r in einsum.ranks if r not in einsum.each)
            if not keys:
                points = 0 if einsum.each else core.unmasked_iterations(einsum)
            cycles = points * operation_cycles(arch, einsum, core.widths)
            key = einsum.unit, bool(keys) and keys in (*einsum.ranks, *einsum.each)
            found[key] = found.get(key, 0.0) + cycles * one.cores / arch.compute.instances
        total = max if overlaps(one.group.schedule) else sum
        fixed, each = (
            float(total([found.get((unit, per), 0.0) for unit in ("matrix", "vector")]))
            for per in (False, True)
        )
        if overlaps(one.group.schedule):
            fixed = 0.0  # of another unit than what passes wait for, perhaps
            each = each if keys else float(max(found.values()))
        return cls(fixed=fixed, each=each)

    def cycles(self, passes: int) -> float:
        """Cycles of a tile."""
        return self.fixed + passes * self.each


def fusion_levels(platform: Platform, mapspace: Mapspace) -> list[str]:
    """The levels at which a group may be fused: on chip, and on every path.

    raises: SpecError where the mapspace names another.
    """
    paths = [platform.matrix, *filter(None, [platform.vector])]
    common = [
        level.name
        for level in platform.matrix.levels[1:]
        if all(any(lv.name == level.name for lv in path.levels[1:]) for path in paths)
    ]
    wanted = mapspace.fusion.level
    if wanted == "any":
        return [name for name in common if name not in deaf_inside(platform, common)]
    if wanted and wanted not in common:
        where = f"{mapspace.name}: fusion.level"
        raise SpecError(expected(where, f"any or one of {', '.join(common)}", wanted))
    return [wanted or common[0]]


def deaf_inside(platform: Platform, names: Sequence[str]) -> list[str]:
    """Levels inside which a fanout reads for each instance, which no loop of one Einsum may use."""
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
