"""The search on a chip of many cores: at which level to fuse, and which tiles to give out.

For given tiles the problem of one core is an ordinary one: a tile of the workload under the core's
part of the bandwidths. It is solved twice, with an equal share of DRAM and with all that it wants;
what comes of both is laid over the cores in every way, and priced as it is. Without a mask the
second solution bounds every mapping with these tiles from below: no core is faster, and the fullest
has as many tiles as the others or more. Under one, units at peak on the tiles of pairs that are
left do. The least bound of all tiles is part of the certificate: what was found is the best where
it reaches that, and else no further from it than the gap.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import inf, prod

from flat_mapper.arch.values import Architecture, Fanout, Platform
from flat_mapper.base.budget import Budget, Stopped
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.progress import Progress
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.operations import operation_cycles
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.group.objective import Goal, Objective, better_pair
from flat_mapper.mapper.solve.result import Certificate, Solution
from flat_mapper.mapper.solve.solve import best_mapping, floor_of, value_of
from flat_mapper.mapper.space.factors import divisors
from flat_mapper.mapping.cores.lift import lifted
from flat_mapper.mapping.cores.tiles import given_ranks
from flat_mapper.mapping.cores.view import core_count, core_platform
from flat_mapper.mapping.space import Mapspace
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import mask_tiles
from flat_mapper.workload.softmax import MERGE, SPLIT, alternatives, with_splits

EXACT = 1e-12  # rounding of float64
TRIED = 8  # chosen: tiles that are tried where no budget is given; some CPU seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A fusion level and the extents of a tile, with what no mapping of it beats."""

    workload: Workload
    level: str
    tile: tuple[tuple[str, int], ...]
    keys: int  # of a pass, where a mask makes it matter; 0: free
    cores: int
    least: float  # cycles

    @property
    def names(self) -> tuple[str, ...]:
        """The Einsums before the parts of the keys are merged."""
        merging = self.workload.operators.get(MERGE, ()) if SPLIT in dict(self.tile) else ()
        return tuple(n for n in self.workload.ancestors if n not in merging)

    @property
    def tiles(self) -> int:
        """How many tiles there are."""
        sizes = self.workload.rank_sizes
        return prod(-(-sizes[r] // n) for r, n in self.tile)

    @property
    def cuts_queries(self) -> bool:
        """Whether tiles have some of the queries each: then a mask leaves them different keys."""
        queries = self.workload.roles.queries
        size = self.workload.rank_sizes.get(queries, 1)
        return dict(self.tile).get(queries, size) < size

    @property
    def rounds(self) -> int:
        """Tiles of the fullest core, at least."""
        return -(-self.tiles // self.cores)


@dataclass
class _Search:
    """What is asked, and what came of it so far."""

    platform: Platform
    mapspace: Mapspace
    ert: Ert
    objective: Objective
    best: tuple[Workload, Result] | None = None
    size: int = 0
    evaluated: int = 0
    pruned: dict[str, int] = field(default_factory=dict)
    refused: Infeasible | None = None

    @property
    def goal(self) -> Goal:
        """The objective, with leakage."""
        return Goal(kind=self.objective, leak=sum(self.ert.leak_per_cycle(self.platform).values()))

    def run(self, one: Assignment) -> float:
        """Try an assignment; the least cycles of its mappings."""
        inner = replace(
            self.mapspace,
            fusion=replace(
                self.mapspace.fusion,
                level="",
                cores=(),
                tiles={
                    **{
                        r: t
                        for r, t in self.mapspace.fusion.tiles.items()
                        if r not in dict(one.tile)
                    },
                    **({_keys(one.workload): (one.keys,)} if one.keys else {}),
                },
            ),
        )
        sizes = {**one.workload.rank_sizes, **dict(one.tile)}
        mask = None if one.cuts_queries else one.workload.mask
        core = replace(one.workload, rank_sizes=sizes, mask=mask, repeat=1)
        least = inf
        at_work = min(one.cores, one.tiles)
        for share in (None, at_work):
            chip = _served(core_platform(self.platform, one.level), share)
            found = best_mapping(core, chip, inner, self.ert, objective=self.objective)
            if not isinstance(found, Solution):
                self.refused = found if isinstance(found, Infeasible) else self.refused
                return inf
            self.size += found.certificate.mapspace_size
            self.evaluated += found.certificate.evaluated
            if share is None and self.objective == "latency":
                tile = sum(g.cycles for g in found.result.groups if g.names[0] in one.names)
                least = one.rounds * float(tile) if not one.keys else one.least
                if self.best and least >= self.best[1].cycles / self.best[0].repeat:
                    return least
            mapping = found.result.mapping
            if len(one.names) < len(one.workload.ancestors):
                again = self._merged(one, chip, inner, mapping)
                if again is None:
                    return inf
                mapping = again
            self._lay_out(one, mapping)
        return least if least < inf else one.least

    def over(
        self, everything: Sequence[Assignment], budget: Budget, progress: Progress | None
    ) -> float:
        """Try assignments, the most promising first; the least cycles of all mappings."""
        limit = TRIED if min(budget.seconds, budget.steps) == inf else inf
        left = inf
        for number, one in enumerate(everything):
            best = self.best[1].cycles / self.best[0].repeat if self.best else inf
            if self.objective == "latency" and one.least >= best:
                self.pruned["tiles"] = len(everything) - number
                break
            if progress:
                progress(number / len(everything), f"{one.level}, {_text(one.tile)}")
            try:
                budget.step(known=self.best is not None)
                if number >= limit and self.best:
                    budget.stopped = "tiles"
                    raise Stopped
                left = min(left, self.run(one))
            except Stopped:
                left = min(left, one.least)
                self.pruned["tiles left"] = len(everything) - number
                break
        return left

    def _merged(
        self, one: Assignment, chip: Platform, inner: Mapspace, mapping: FusedMapping
    ) -> FusedMapping | None:
        """A mapping of a tile with one part of the keys, and of what merges all parts of a tile."""
        sizes = {**one.workload.rank_sizes, **dict(one.tile), SPLIT: one.workload.rank_sizes[SPLIT]}
        core = replace(one.workload, rank_sizes=sizes, repeat=1)
        found = best_mapping(core, chip, inner, self.ert, objective=self.objective)
        if not isinstance(found, Solution):
            return None
        before = [g for g in mapping.groups if g.names[0] in one.names]
        after = [g for g in found.result.mapping.groups if g.names[0] not in one.names]
        return replace(mapping, groups=(*before, *after))

    def _lay_out(self, one: Assignment, mapping: FusedMapping) -> None:
        for whole in lifted(one.workload, self.platform, mapping, one.level, dict(one.tile)):
            result = evaluate(one.workload, self.platform, whole, self.ert)
            if isinstance(result, Infeasible):
                self.refused = self.refused or result
                continue
            self.evaluated += 1
            own = float(result.cycles), result.dynamic_pj
            best = self.best[1] if self.best else None
            if best is None or better_pair(self.goal, own, (float(best.cycles), best.dynamic_pj)):
                self.best = one.workload, result


def best_on_cores(
    workload: Workload,
    platform: Platform,
    mapspace: Mapspace,
    ert: Ert,
    *,
    objective: Objective = "edp",
    progress: Progress | None = None,
    budget: Budget | None = None,
) -> Solution | Infeasible:
    """The best mapping on the cores of a chip that was found, and how far any other may be.

    budget: what may be spent; without one the search ends after some tiles.

    raises: SpecError where the mapspace names a level that is not on every path.
    """
    if mapspace.policy.softmax == "free":
        where = f"{mapspace.name}: policy.softmax"
        raise SpecError(expected(where, "charged, where tiles are given out to cores", "free"))
    begin, budget = time.perf_counter(), budget or Budget()
    search = _Search(platform=platform, mapspace=mapspace, ert=ert, objective=objective)
    everything = sorted(
        (
            one
            for cascade in _cascades(workload, platform, mapspace)
            for level in _levels(platform, mapspace)
            for one in _assignments(cascade, platform, mapspace, level)
        ),
        key=lambda one: (one.least, one.tiles),
    )
    left = search.over(everything, budget, progress)
    if search.best is None:
        assert search.refused is not None
        return search.refused
    cascade, result = search.best
    left_out = _deaf_inside(platform, [lv.name for lv in platform.matrix.levels[1:]])
    if mapspace.fusion.level == "any" and left_out:
        note = f"not fused at {', '.join(left_out)}: inside, every instance reads for itself"
        result = replace(result, notes=(*result.notes, note))
    floor = bound = floor_of(result, objective)
    if objective == "latency":
        bound = max(floor, min(left * cascade.repeat, result.cycles) * result.cycle_seconds)
    gap = value_of(result, objective) / bound - 1
    return Solution(
        workload=cascade,
        result=result,
        mapspace=mapspace.name,
        objective=objective,
        certificate=Certificate(
            mapspace_size=max(search.size, 1),
            evaluated=search.evaluated,
            pruned=search.pruned,
            optimal=gap < EXACT,
            lower_bound=floor,
            proven_bound=bound,
            gap=max(gap, 0.0),
            stopped=budget.stopped,
            seconds=time.perf_counter() - begin,
        ),
    )


def _cascades(workload: Workload, platform: Platform, mapspace: Mapspace) -> Iterator[Workload]:
    """The forms of the softmax, and of an online one the keys in parts, a core each."""
    wanted, keys = mapspace.fusion.cores, workload.roles.keys
    for cascade in alternatives(workload):
        yield cascade
        if cascade.softmax != "online" or cascade.mask or not keys:
            continue
        if wanted == "any" or keys in wanted:
            most = max(core_count(platform.matrix, lv) for lv in _levels(platform, mapspace))
            for parts in divisors(cascade.rank_sizes[keys]):
                if 1 < parts <= most:
                    yield with_splits(cascade, parts)


def _text(tile: tuple[tuple[str, int], ...]) -> str:
    return " ".join(f"{r}={n}" for r, n in tile) or "one tile"


def _keys(workload: Workload) -> str:
    pair = workload.roles.masked
    assert pair is not None
    return pair[1]


def _levels(platform: Platform, mapspace: Mapspace) -> list[str]:
    """The levels at which a group may be fused: on chip, and on every path."""
    paths = [platform.matrix, *filter(None, [platform.vector])]
    common = [
        level.name
        for level in platform.matrix.levels[1:]
        if all(any(lv.name == level.name for lv in path.levels[1:]) for path in paths)
    ]
    wanted = mapspace.fusion.level
    if wanted == "any":
        return [name for name in common if name not in _deaf_inside(platform, common)]
    if wanted and wanted not in common:
        where = f"{mapspace.name}: fusion.level"
        raise SpecError(expected(where, f"any or one of {', '.join(common)}", wanted))
    return [wanted or common[0]]


def _deaf_inside(platform: Platform, names: Sequence[str]) -> list[str]:
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


def _assignments(
    workload: Workload, platform: Platform, mapspace: Mapspace, level: str
) -> Iterator[Assignment]:
    """Every extent of a tile that divides, on the cores that have the level."""
    merging = workload.operators.get(MERGE, ()) if SPLIT in workload.rank_sizes else ()
    names = tuple(n for n in workload.ancestors if n not in merging)
    cores = core_count(platform.matrix, level)
    legal = given_ranks(workload, names) if cores > 1 else ()
    wanted = mapspace.fusion.cores
    if merging and cores == 1:
        return
    ranks = [r for r in legal if wanted == "any" or r in wanted or r == SPLIT]
    fixed, sizes = {**mapspace.fusion.tiles, SPLIT: (1,)}, workload.rank_sizes
    extents = [[n for n in divisors(sizes[r]) if n in fixed.get(r, (n,))] for r in ranks]
    pair = workload.roles.masked
    for chosen in product(*extents):
        tile = tuple(zip(ranks, chosen, strict=True))
        one = Assignment(workload=workload, level=level, tile=tile, keys=0, cores=cores, least=0.0)
        keys = [0]
        if workload.mask and one.cuts_queries and pair and pair[1] in workload.inner_ranks(names):
            keys = [n for n in divisors(sizes[pair[1]]) if n in fixed.get(pair[1], (n,))]
        for n in keys:
            yield replace(one, keys=n, least=_least(platform, mapspace, replace(one, keys=n)))


def _least(platform: Platform, mapspace: Mapspace, one: Assignment) -> float:
    """Cycles that no mapping with these tiles beats: units at peak, the fullest core's tiles.

    Cores share the work of all tiles at best; one of them has the largest tile, and where all are
    equal as many as the rounds.
    """
    workload, sizes, tile = one.workload, one.workload.rank_sizes, dict(one.tile)
    share, largest = _kept(one)
    whole: dict[str, float] = {}
    alone: dict[str, float] = {}
    for einsum in (workload.einsum(n) for n in one.names):
        passes = 1.0
        if einsum.each:
            passes = sizes[_keys(workload)] / one.keys if one.keys else 0.0
        pair = workload.roles.masked or ()
        cut = set(pair) <= {*einsum.ranks, *einsum.each}
        arch = platform.path(einsum.unit)
        cycles = passes * operation_cycles(arch, einsum, workload.widths) / arch.compute.instances
        whole_mask = workload.mask is not None and not one.cuts_queries
        count = workload.unmasked_iterations if whole_mask else workload.iterations
        points = count(einsum) * cycles
        parts = prod(-(-sizes[r] // n) for r, n in tile.items() if r in einsum.ranks)
        whole[einsum.unit] = whole.get(einsum.unit, 0.0) + points * (share if cut else 1.0)
        one_core = points / parts * one.cores * (largest if cut else 1.0)
        alone[einsum.unit] = alone.get(einsum.unit, 0.0) + one_core
    overlap = mapspace.fusion.schedule in ("overlapped", "any")
    total, most = (max(c.values()) if overlap else sum(c.values()) for c in (whole, alone))
    return max(total, most * (one.rounds if not one.keys else 1))


def _kept(one: Assignment) -> tuple[float, float]:
    """Shares of the pairs of queries and keys that are worked on: of all, of the largest tile."""
    workload, pair = one.workload, one.workload.roles.masked
    if not one.keys or pair is None or workload.mask is None:
        return 1.0, 1.0
    queries, keys = (workload.rank_sizes[r] for r in pair)
    rows = dict(one.tile)[pair[0]]
    tiles = mask_tiles(workload.mask, queries, keys, rows, one.keys)
    most = max(
        -(-high // one.keys) - low // one.keys
        for start in range(keys - queries, keys, rows)
        for low, high in [workload.mask.seen(start, start + rows - 1, keys)]
    )
    return tiles.visited / tiles.total, most * one.keys / keys


def _served(platform: Platform, cores: int | None) -> Platform:
    """A core with an equal share of DRAM, or with all that it wants."""

    def slower(arch: Architecture) -> Architecture:
        dram, *inside = arch.nodes
        keys = ("read_words_per_cycle", "write_words_per_cycle", "shared_words_per_cycle")
        rates = {k: getattr(dram, k) for k in keys}
        rates = {k: rate / cores if cores and rate else None for k, rate in rates.items()}
        return replace(arch, nodes=(replace(dram, **rates), *inside))

    vector = platform.vector
    return replace(
        platform,
        matrix=slower(platform.matrix),
        vector=slower(vector) if vector is not None else None,
    )
