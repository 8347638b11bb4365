"""What the search leaves out by its bounds: as much as they allow, no more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from types import SimpleNamespace

import numpy as np
import pytest
from oracles.small_cases import _plain, online_case, small_case

from flat_mapper.api.execution import unpriced
from flat_mapper.arch.values import Architecture, ComputeUnit, Fanout, MemoryLevel, Platform
from flat_mapper.mapper.bounds.stays import StayBounds
from flat_mapper.mapper.bounds.tiles import CandidateTiles
from flat_mapper.mapper.bounds.turns import exposed
from flat_mapper.mapper.cost.candidate_cache import CandidateCache
from flat_mapper.mapper.group.beam import narrowest
from flat_mapper.mapper.group.fused import Fused
from flat_mapper.mapper.group.fused_bounds import FusedBounds
from flat_mapper.mapper.group.group import GroupSearch
from flat_mapper.mapper.group.incumbent import GoalIncumbent
from flat_mapper.mapper.group.objective import Goal
from flat_mapper.mapper.group.picks import Counters
from flat_mapper.mapper.group.promise import promising
from flat_mapper.mapper.solve.alternatives import tasks
from flat_mapper.mapper.solve.solve import solve_group
from flat_mapper.mapper.space.group import GroupProblem, group_problem
from flat_mapper.mapping.space import GroupSpace, Mapspace, partitions
from flat_mapper.mapping.values import Policy
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Softmax, Workload
from flat_mapper.workload.mask import Mask
from flat_mapper.workload.notation import parse_einsum


def test_the_fewest_units_are_the_first_that_can_improve() -> None:
    """Of 64 steps, 8 units take 8 cycles and 7 units more than 9; 9 are known."""
    bounds = SimpleNamespace(
        problem=SimpleNamespace(spaces=[SimpleNamespace(lane_cycles=64.0, widest=16)]),
        busy=lambda position, cycles, outers: np.array([cycles]),
    )
    incumbent = GoalIncumbent.of((Goal(kind="latency"),), ((9.0, 1.0),))
    outers = SimpleNamespace(cycles=np.array([1.0]), energy=np.array([1.0]))
    assert narrowest(bounds, incumbent, outers) == [8]  # type: ignore[arg-type]


def test_what_dram_takes_at_least_is_added_to_every_candidate() -> None:
    """Of two candidates the one of 45 pJ inside is hopeless beside 10 pJ of DRAM: 50 are known."""
    energies = {True: np.array([10.0, 10.0]), False: np.array([10.0, 45.0])}
    candidates = SimpleNamespace(
        energy=lambda roles, priced, share: energies[priced], cycles=np.array([1.0, 1.0])
    )
    outers = SimpleNamespace(
        staged=np.array([0.0]), floors=np.array([10.0]), cycles=np.array([1.0])
    )
    problem = SimpleNamespace(cycles_add=[1.0], spaces=[None], masked_pair=None)
    bounds = SimpleNamespace(problem=problem)
    incumbent = GoalIncumbent.of((Goal(kind="energy"),), ((100.0, 50.0),))
    (left,) = promising(bounds, incumbent, None, [candidates], outers, None)  # type: ignore[arg-type]
    assert left.tolist() == [True, False]
    fast = GoalIncumbent.of((Goal(kind="latency"),), ((1.5, 50.0),))
    (left,) = promising(bounds, fast, None, [candidates], outers, None)  # type: ignore[arg-type]
    assert left.tolist() == [True, True]


def test_what_is_staged_is_added_to_every_candidate() -> None:
    """Of two candidates the one of 45 pJ is hopeless beside 10 pJ of whole tiles: 50 are known."""
    candidates = SimpleNamespace(
        energy=lambda roles, priced, share: np.array([10.0, 45.0]), cycles=np.array([1.0, 1.0])
    )
    outers = SimpleNamespace(
        staged=np.array([10.0]), floors=np.array([0.0]), cycles=np.array([1.0])
    )
    problem = SimpleNamespace(cycles_add=[1.0], spaces=[None], masked_pair=None)
    incumbent = GoalIncumbent.of((Goal(kind="energy"),), ((100.0, 50.0),))
    bounds = SimpleNamespace(problem=problem)
    (left,) = promising(bounds, incumbent, None, [candidates], outers, None)  # type: ignore[arg-type]
    assert left.tolist() == [True, False]


@pytest.mark.parametrize("seed", [0, 1, 2, 6, 8, 13, 16, 18])
def test_no_candidate_under_shared_loops_takes_less_than_its_bound(seed: int) -> None:
    """Grouped heads, corrections and a mask: exact pJ and turns of all candidates of every tile."""
    rng, drawn = np.random.default_rng(seed), online_case(4 * seed)
    form: Softmax = "online" if seed % 3 else "row"
    workload = attention(B=1, H=4, kv_heads=2, P=4, M=4, E=2, F=2, softmax=form)
    if seed % 2 == 0:
        workload = replace(workload, mask=Mask(causal=True))
    tight, singles = {"pJ": 0.0, "cycles": 0.0, "any tile": 0.0}, 0
    wanted = replace(drawn.mapspace.fusion, groups=(("QK", "softmax", "AV"),), optional=False)
    mapspace = replace(drawn.mapspace, fusion=wanted)
    for (group,) in partitions(workload, mapspace):
        problem = group_problem(workload, drawn.platform, drawn.ert, mapspace, group)
        search = GroupSearch.of(problem, CandidateCache())
        search.prepare()
        sets = [
            part
            for part in search._whole([1] * len(problem.spaces), search.roots)
            if part is not None
        ]
        tiles = [CandidateTiles(part) for part in sets]
        incumbent = GoalIncumbent.of((Goal(kind="energy"),), (None,))
        bounded = FusedBounds(problem, search.bounds, tiles, incumbent)
        fused = Fused(problem, search.bounds, tiles, incumbent, Counters())
        fitting = np.flatnonzero(search.bounds.fits(search.roots))
        for number in rng.choice(fitting, min(12, len(fitting)), replace=False):
            one = search.roots.take(np.array([number]))
            where = fused._where(one)
            roles, layout = where.staging.roles, where.layout
            under = bounded._under(one.tile)
            bounds = bounded._by_tile(under, where.staging)[0]
            runs = StayBounds.of(problem, search.bounds, one).runs
            pairs = bounded._turns(under, roles, bounds)
            turns = [pair[not may[0]] for pair, may in zip(pairs, runs, strict=True)]
            beside = 0.0  # cycles of whole tiles, where nothing runs ahead
            for own, part, (bound,), (turn,) in zip(tiles, sets, bounds, turns, strict=True):
                fits = np.isfinite(bound)
                if not fits.any():
                    continue
                outer = fused._outer(part.space, where)
                priced = fused._priced(part, fits[own.which], outer, where.layout)
                which = part.positions(priced.source)
                share = problem.shares(part.space, one.visited)
                own_roles = [(r,) for r in roles[part.space.einsum.name]]
                moved = search.bounds.words.least(part.space, own_roles, share)[0]
                low = float(share[0] * part.space.compute_energy + moved)
                some = layout.energy(priced.costs).min()
                assert low <= some * (1 + 1e-9), (seed, part.space.einsum.name, one.tile.T)
                tight["any tile"] = max(tight["any tile"], low / some)
                units = [*range(2 if layout.has_once else layout.unit_columns)]
                units += [layout.unit_columns] * layout.has_extra
                exact = {
                    "pJ": (bound, layout.energy(priced.costs)),
                    "cycles": (turn, priced.costs[:, units].sum(axis=1)),
                }
                if not problem.runs_ahead:
                    beside += float(priced.costs[:, -4].min())
                else:
                    local = one.tile[problem.index(part.space)]
                    occupancy, name = search.bounds.occupancy, part.space.einsum.name
                    staged = float(
                        exposed(occupancy, part.space, {"staged": local}, roles[name])[0]
                    )
                    exact["cycles"] = turn + staged, exact["cycles"][1] + priced.costs[:, -3]
                for what, (low, costs) in exact.items():
                    values = np.full(part.count, np.inf)
                    np.minimum.at(values, which, costs)
                    least = own.least(values)
                    assert (low[fits] <= least[fits] * (1 + 1e-9)).all(), (seed, what, one.tile.T)
                    tight[what] += int((low[fits] >= least[fits] * (1 - 1e-9)).sum())
            if not problem.runs_ahead and np.isfinite(bounds[-1]).any():
                assert one.waits[0] == pytest.approx(beside)
                singles += beside > 0
    assert tight["any tile"] > 0.97
    assert bool(singles) == (seed in (1, 13))  # one copy of what is staged
    assert all(tight.values()), f"some bound is never met: {tight}"


TURNS = (0, 1, 2, 5, 7, 8, 10)  # seeds of which tiles fit


def _uneven(platform: Platform, rng: np.random.Generator) -> Platform:
    """The platform with room for larger tiles, and with rates that may bind or not."""
    rates = {"DRAM": (0.5, 1, 2, 4), "GLB": (2, 4, 8)}
    room = {"GLB": int(rng.integers(20, 120)), "RF": int(rng.integers(4, 20))}

    def changed(node: MemoryLevel | Fanout) -> MemoryLevel | Fanout:
        if not isinstance(node, MemoryLevel):
            return node
        rate, words = own.get(node.name), room.get(node.name, node.capacity_words)
        return replace(node, shared_words_per_cycle=rate, capacity_words=words)

    own = {name: float(rng.choice(some)) for name, some in rates.items()}
    paths = [platform.matrix, platform.vector]
    matrix, vector = (p and replace(p, nodes=tuple(map(changed, p.nodes))) for p in paths)
    assert matrix is not None
    return replace(platform, matrix=matrix, vector=vector)


def turns_beside_bounds(seed: int) -> Iterator[tuple[float, float, float]]:
    """Of tiles of a group without a mask: bound of an Einsum's turns, longest part, exact least."""
    rng, drawn = np.random.default_rng(seed), online_case(4 * seed)
    workload = attention(B=1, H=1, P=4, M=8, E=4, F=2, softmax="online" if seed % 2 else "row")
    wanted = replace(drawn.mapspace.fusion, groups=(("QK", "softmax", "AV"),), optional=False)
    mapspace = replace(drawn.mapspace, fusion=wanted)
    for (group,) in partitions(workload, mapspace):
        problem = group_problem(workload, _uneven(drawn.platform, rng), drawn.ert, mapspace, group)
        search = GroupSearch.of(problem, CandidateCache())
        search.prepare()
        sets = [p for p in search._whole([1] * len(problem.spaces), search.roots) if p is not None]
        assert len(sets) == len(problem.spaces)
        tiles = [CandidateTiles(part) for part in sets]
        incumbent = GoalIncumbent.of((Goal(kind="energy"),), (None,))
        fused = Fused(problem, search.bounds, tiles, incumbent, Counters())
        fitting = np.flatnonzero(search.bounds.fits(search.roots))
        for number in rng.choice(fitting, min(20, len(fitting)), replace=False):
            one = search.bounds.bounded(search.roots.take(np.array([number])), sets)
            where = fused._where(one)
            units = [*range(2 if where.layout.has_once else where.layout.unit_columns)]
            units += [where.layout.unit_columns] * where.layout.has_extra
            for i, (part, own) in enumerate(zip(sets, tiles, strict=True)):
                extents = one.tile[problem.index(part.space)]
                fits = (extents % own.tile == 0).all(axis=0)
                priced = fused._priced(
                    part, fits[own.which], fused._outer(part.space, where), where.layout
                )
                busy = (
                    float(problem.runs(part.space, one.tile, one.visited)[0]) * part.fewest_cycles
                )
                exact = float(priced.costs[:, units].sum(axis=1).min())
                yield float(one.turns[i, 0]), max(busy, float(one.streams[i, 0])), exact


@pytest.mark.parametrize("seed", TURNS)
def test_a_turn_that_moves_nothing_is_as_long_as_its_compute(seed: int) -> None:
    """What comes in a few passes makes these longer: all of them take more than either part."""
    found = list(turns_beside_bounds(seed))
    assert found
    for bound, part, exact in found:
        assert part * (1 - 1e-12) <= bound <= exact * (1 + 1e-9), seed


def test_turns_are_bounded_by_more_than_their_longest_part() -> None:
    found = [own for seed in TURNS for own in turns_beside_bounds(seed)]
    longer = [(bound, exact) for bound, part, exact in found if bound > part * (1 + 1e-9)]
    assert len(longer) > 20
    assert sum(bound >= exact * (1 - 1e-9) for bound, exact in longer) > 5


@pytest.mark.parametrize("seed", [6, 12, 20, 30, 36, 53])
def test_every_outer_choice_is_refused_bounded_or_evaluated(seed: int) -> None:
    """Each one once, whether candidates are left under it or not."""
    case = small_case(seed)
    for task in tasks(case.workload, case.platform, case.mapspace, case.ert):
        for search in task.searches:
            search.prepare()
            search.solve(GoalIncumbent.of((Goal(kind="edp"),), (None,)))
            counted = search.counters
            done = counted.outer_infeasible + counted.outer_bounded + counted.outer_evaluated
            assert done == counted.outer > 0
            assert 0 <= counted.candidates_bounded <= counted.candidates
            assert counted.evaluated >= len(search.problem.spaces)


def passing_product(seed: int) -> GroupProblem:
    """A product and what is computed of each word of it, fused; no level keeps what they stream.

    DRAM is slow, or what is beside it, as one of many cores sees it; in every third also DRAM, of
    which inputs need a number of words in all.
    """
    rng = np.random.default_rng(seed)
    sizes = {r: int(rng.choice((2, 3, 4, 6))) for r in "ijk"}
    lines = ("Y[i,j] = A[i,k] * B[k,j]", "Z[i,j] = relu(Y[i,j])")
    workload = Workload(
        name="product",
        rank_sizes={r.upper(): n for r, n in sizes.items()},
        einsums=tuple(parse_einsum(line) for line in lines),
    )
    rate, beside = (0.25, None, 0.5)[seed % 3], ({"A": 3.0, "B": 2.0}, {"B": 4.0})
    dram = replace(
        _plain("DRAM", None, 1),
        shared_words_per_cycle=rate,
        beside=beside if seed % 3 else (),
        totals={"A": 30.0, "B": 2.0} if seed % 3 == 2 else {},
    )
    room = _plain("GLB", int(rng.choice((20, 40))), 1)

    def path(name: str, fanout: tuple[int, int]) -> Architecture:
        wide = Fanout(name=name, fanout_x=fanout[0], fanout_y=fanout[1])
        unit = ComputeUnit(name="MAC", component_class="intmac", instances=prod(fanout))
        return Architecture(name=name, nodes=(dram, room, wide), compute=unit, cycle_seconds=1e-9)

    platform = Platform(name="small", matrix=path("PE", (4, 2)), vector=path("lane", (2, 1)))
    group = GroupSpace(names=("Y", "Z"), fused=True, schedule="sequential", declared=True)
    policy = Policy(buffering=(1, 2)[seed // 3])
    space = Mapspace(name="fused", policy=policy)
    return group_problem(workload, platform, unpriced(platform), space, group)


@pytest.mark.parametrize("seed", range(6))
def test_what_no_level_keeps_is_drawn_for_every_compute(seed: int) -> None:
    """No outer choice takes less than its bound, and some of which DRAM or what is beside it binds
    takes no more.
    """
    problem = passing_product(seed)
    every, met = GroupSearch.of(problem, CandidateCache()), 0
    for number in np.flatnonzero(every.bounds.fits(every.roots)):
        one = every.roots.take(np.array([number]))
        search = replace(GroupSearch.of(problem, CandidateCache()), _found_roots=one)
        found, _ = solve_group(search, Goal(kind="latency"), None)
        if isinstance(found, list):
            assert one.cycles[0] <= found[0].cycles
            binds = one.cycles[0] > problem.spaces[0].lane_cycles / problem.spaces[0].widest
            met += binds and one.cycles[0] == found[0].cycles
    assert met
