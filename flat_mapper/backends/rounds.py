"""One round of a group on many cores, for the backend that has spatial loops outside the cores.

As long as all tiles are equal, cores take them in rounds and do the same at the same time. So a
round is an ordinary mapping of every Einsum: the tile's nest, with a spatial loop over the cores
around it. What a round moves, times the rounds, is what the chip moves; Timeloop multicasts what
several cores need unless it is told not to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod

from flat_mapper.arch.cores import reads_apart
from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
from flat_mapper.backends.accelforge_nest import NotExpressibleError
from flat_mapper.backends.agreement import Crosscheck, Difference
from flat_mapper.base.classes import dataclass
from flat_mapper.base.errors import expected
from flat_mapper.cost_model.backend import Backend
from flat_mapper.cost_model.chip.evaluation import evaluate, stats_alone
from flat_mapper.cost_model.chip.tile import tile_cost
from flat_mapper.cost_model.result import EinsumStats, Infeasible, TensorStats
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.cores.tiles import core_question, full_tile, given_tiles
from flat_mapper.mapping.cores.view import CoreQuestion, core_count, fusion_level
from flat_mapper.mapping.values import EinsumMapping, FusedMapping, GroupMapping, Loop, Slot
from flat_mapper.timeloop.backend import TimeloopBackend
from flat_mapper.workload.graph import Workload

COUNTED = ("scalar_reads", "scalar_fills", "scalar_updates", "temporal_reductions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Tiles that cores take at one time.

    group: with a spatial loop over the cores around every nest.
    """

    workload: Workload  # the tiles of all cores together
    platform: Platform  # one fanout of cores, between DRAM and the fusion level
    nests: tuple[EinsumMapping, ...]
    cores: int  # at work
    rounds: int
    alone: CoreQuestion  # one core's part


def round_of(workload: Workload, platform: Platform, group: GroupMapping) -> Round:
    """The round of a group.

    raises: NotExpressibleError where tiles differ, leave cores without one in the last round, or
            are kept at a level between.
    """
    where, level = f"{' + '.join(group.names)}: cores", fusion_level(platform, group).name
    tiles, cores = given_tiles(workload, platform, group), core_count(platform.matrix, level)
    at_work = min(cores, tiles.count)
    outside = _outside(platform.matrix, level)
    kept = [n.name for n in outside[1:] if any(m.kept_at(n.name) for m in group.einsums)]
    condition = ""
    if len(tiles.classes) > 1 or tiles.count % at_work:
        condition = f"equal tiles, in whole rounds of {at_work} cores"
    elif group.order == "lists":
        condition = "tiles that follow each other in a round, not lists of them"
    elif kept:
        condition = f"nothing kept at {', '.join(kept)}, outside the cores"
    if condition:
        raise NotExpressibleError(expected(where, condition, f"{tiles.count} tiles"))
    alone = core_question(workload, platform, group, full_tile(group))
    spatial = _innermost(group.given_out, at_work, where)
    more = {p.rank: p.factor for p in spatial}
    own = alone.workload
    together = {r: n * more.get(r, 1) for r, n in own.rank_sizes.items()}
    return Round(
        workload=replace(own, rank_sizes=together),
        platform=_around(platform, level, cores),
        nests=tuple(_spread(own, nest, _name(platform), spatial) for nest in alone.group.einsums),
        cores=at_work,
        rounds=tiles.count // at_work,
        alone=alone,
    )


def _outside(arch: Architecture, level: str) -> list[MemoryLevel]:
    nodes = arch.nodes[: arch.nodes.index(arch.level(level))]
    return [node for node in nodes if isinstance(node, MemoryLevel)]


def _name(platform: Platform) -> str:
    return next(node.name for node in platform.matrix.nodes if isinstance(node, Fanout))


def _innermost(loops: tuple[Loop, ...], cores: int, where: str) -> list[Loop]:
    """The loops over the tiles of one round: the innermost ones, the outermost of them in part."""
    found: list[Loop] = []
    left = cores
    for loop in reversed(loops):
        if left % loop.factor == 0:
            part = loop.factor
        elif loop.factor % left == 0:
            part = left
        else:
            condition = f"loops of which the innermost make {cores} tiles"
            raise NotExpressibleError(expected(where, condition, loops))
        left //= part
        found.insert(0, Loop(loop.rank, part))
    return found


def _around(platform: Platform, level: str, cores: int) -> Platform:
    """The chip without levels between DRAM and the cores, and with one fanout over them."""

    def around(arch: Architecture) -> Architecture:
        at = arch.nodes.index(arch.level(level))
        fanout = next(node for node in arch.nodes[:at] if isinstance(node, Fanout))
        one = replace(fanout, fanout_x=cores, fanout_y=1)
        return replace(arch, nodes=(arch.levels[0], one, *arch.nodes[at:]))

    vector = platform.vector
    return replace(
        platform,
        matrix=around(platform.matrix),
        vector=around(vector) if vector is not None else None,
    )


def _spread(
    workload: Workload, nest: EinsumMapping, fanout: str, spatial: list[Loop]
) -> EinsumMapping:
    """A tile's nest with the loops over the cores around it."""
    ranks = workload.einsum(nest.einsum).ranks
    own = tuple(p for p in spatial if p.rank in ranks and p.factor > 1)
    outer = [(s, at) for s, at in nest.loops if s.node == nest.keep[0][0]]
    inner = [(s, at) for s, at in nest.loops if s.node != nest.keep[0][0]]
    return replace(nest, loops=(*outer, (Slot(fanout, "x"), own), *inner))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Native:
    """Native counts of an Einsum: of a tile by itself, in its group, on the chip."""

    alone: EinsumStats
    tile: EinsumStats
    chip: EinsumStats


def crosscheck_rounds(
    workload: Workload,
    platform: Platform,
    mapping: FusedMapping,
    ert: Ert,
    backends: Sequence[Backend],
) -> Crosscheck:
    """The counts of all groups on cores, compared with those of Timeloop's rounds.

    A tile that returns to the fusion level with every turn is compared as if it stayed there:
    Timeloop knows no other Einsums, and `execute` is the referee of that.
    raises: MappingError and BackendError as `Backend.evaluate`.
    """
    native = evaluate(workload, platform, mapping, ert)
    absent: dict[str, str] = {}
    found: list[Difference] = []
    compared = 0
    for backend in backends:
        if not isinstance(backend, TimeloopBackend) or isinstance(native, Infeasible):
            absent[backend.name] = "it has no spatial loops outside the shared level"
        elif missing := backend.missing():
            absent[backend.name] = missing
        else:
            try:
                chip = {one.einsum: one for one in native.einsums}
                for group in mapping.groups:
                    one = round_of(workload, platform, group)
                    for pair in _counts(backend, one, mapping, ert, chip):
                        compared += 1
                        found += [pair] if pair.native != pair.other else []
            except NotExpressibleError as error:
                absent[backend.name] = str(error)
    answers = {} if absent.keys() >= {b.name for b in backends} else {"timeloop": native}
    return Crosscheck(
        native=native, answers=answers, absent=absent, compared=compared, differences=tuple(found)
    )


def _counts(
    backend: TimeloopBackend,
    one: Round,
    mapping: FusedMapping,
    ert: Ert,
    chip: Mapping[str, EinsumStats],
) -> Iterator[Difference]:
    core = one.alone
    alone = stats_alone(core.workload, core.platform, FusedMapping(groups=(core.group,)), ert)
    tile = tile_cost(core, mapping.policy, ert)
    if isinstance(tile, Infeasible):
        return
    inside = {stats.einsum: stats for stats in tile.stats}
    for nest in one.nests:
        arch = one.platform.path(one.workload.einsum(nest.einsum).unit)
        answer = backend.einsum(one.workload, arch, nest, ert)
        if isinstance(answer, Infeasible):
            raise NotExpressibleError(f"{nest.einsum}: timeloop-model refuses a round: {answer}")
        name = nest.einsum
        own = _Native(alone=alone[name], tile=inside[name], chip=chip[name])
        yield from _of_einsum(backend.name, one, nest, own, answer)


def _of_einsum(
    backend: str, one: Round, nest: EinsumMapping, own: _Native, answer: EinsumStats
) -> Iterator[Difference]:
    def pair(level: str, tensor: str, quantity: str, native: float, other: float) -> Difference:
        return Difference(
            backend=backend,
            einsum=nest.einsum,
            level=level,
            tensor=tensor,
            quantity=quantity,
            native=native,
            other=other,
            allowed=0.0,
        )

    rounds, dram = one.rounds, one.platform.dram.name
    yield pair("", "", "computes", own.chip.computes, rounds * answer.computes)
    yield pair("", "", "compute_cycles", own.chip.compute_cycles, rounds * answer.compute_cycles)
    for level in own.alone.levels:
        for t in level.tensors:
            name, tensor = level.level, t.tensor
            tile, chip, theirs = (
                _stats(stats, name, tensor) for stats in (own.tile, own.chip, answer)
            )
            times = rounds * (words_of_round(one, nest, tensor) if name == dram else 1)
            for quantity in COUNTED:
                count = getattr(chip, quantity)
                if getattr(t, quantity) != getattr(tile, quantity):
                    count = times * getattr(t, quantity)
                yield pair(name, tensor, quantity, count, rounds * getattr(theirs, quantity))
            instances = chip.utilized_instances, theirs.utilized_instances
            yield pair(name, tensor, "utilized_instances", *instances)


def _stats(stats: EinsumStats, level: str, tensor: str) -> TensorStats:
    found = stats.level(level)
    assert found is not None
    return next(t for t in found.tensors if t.tensor == tensor)


def words_of_round(one: Round, nest: EinsumMapping, tensor: str) -> int:
    """Cores whose words of a tensor DRAM moves in a round: of those it serves at once, one."""
    fanout = next(n for n in one.platform.matrix.nodes if isinstance(n, Fanout))
    if reads_apart(fanout, tensor):
        return one.cores
    ranks = one.workload.tensor_ranks[tensor]
    return prod(p.factor for p in nest.at(Slot(fanout.name, "x")) if p.rank in ranks)
