"""Rows grown node by node: what is dropped on the way, and what it would have cost."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from oracles.brute_force import Case
from oracles.small_cases import small_case, turns_case

from flat_mapper import load_platform, load_problem
from flat_mapper.api.calls import energies, mapspace_of
from flat_mapper.arch.values import Fanout, MemoryLevel
from flat_mapper.cost_model.latency import limited
from flat_mapper.mapper.bounds.dominance import _ENERGY, _Sum, _Sums, undominated
from flat_mapper.mapper.bounds.partial import ANY, _drawn, least_energy, shared_words
from flat_mapper.mapper.bounds.whole_sizes import sharing_units
from flat_mapper.mapper.cost.candidate_cache import CandidateCache, enumerated
from flat_mapper.mapper.cost.candidate_set import CandidateSet
from flat_mapper.mapper.cost.innermost import closed_passes
from flat_mapper.mapper.cost.linear import least_along, top_lines
from flat_mapper.mapper.cost.price import candidate_costs, drawn_energy, staged_once
from flat_mapper.mapper.group import incremental
from flat_mapper.mapper.group.group import GroupSearch
from flat_mapper.mapper.group.incremental import Improves, IncrementalEnumeration
from flat_mapper.mapper.group.log import candidate_item
from flat_mapper.mapper.solve.optimum import search
from flat_mapper.mapper.solve.result import Solution
from flat_mapper.mapper.space.candidates import CandidateBlock
from flat_mapper.mapper.space.einsum import EinsumSpace, lanes_of
from flat_mapper.mapper.space.enumerate import (
    Wanted,
    dominated_keeps,
    extend,
    inner_candidates,
    keeps,
    start,
)
from flat_mapper.mapper.space.group import GroupProblem, group_problem
from flat_mapper.mapper.space.roles import Outer, Role
from flat_mapper.mapping.space import partitions

FOUR_LEVELS = Path(__file__).parents[2] / "benchmarks" / "four-levels.yaml"


SPLIT = (0, 6, 8, 9, 10, 12, 13, 14, 16, 21, 28, 35)  # questions with a fanout around all levels
INSIDE, STAGED, STREAM = get_args(Role)
DEEP = (115, 121, 124)  # questions of four levels with room for all tensors at each


def problem_of(seed: int) -> GroupProblem:
    case = roomy(turns_case(seed - 100)) if seed in DEEP else small_case(seed)
    groups = list(partitions(case.workload, case.mapspace))[-1]
    return group_problem(case.workload, case.platform, case.ert, case.mapspace, groups[0])


def roomy(case: Case) -> Case:
    """A question whose private levels hold whatever they are given."""
    nodes = tuple(
        replace(n, capacity_words=64) if n.name in ("L1", "RF") else n
        for n in case.platform.matrix.nodes
    )
    matrix = replace(case.platform.matrix, nodes=nodes)
    return replace(case, platform=replace(case.platform, matrix=matrix))


def outers(space: EinsumSpace, rng: np.random.Generator) -> list[Outer]:
    """Loops outside, in random orders, that keep to the tiles of the rows (0)."""
    found = []
    for _ in range(4):
        one, other = (tuple(int(r) for r in rng.permutation(len(space.ranks))) for _ in "ab")
        roles = tuple(rng.choice(["staged", "stream"]) for _ in space.tensors)
        tile = tuple(0 if rng.random() < 0.5 else size for size in space.sizes)
        found.append(Outer(tile=tile, dram_order=one, shared_order=other, roles=roles))
    return found


def partial_candidates(
    space: EinsumSpace,
) -> list[tuple[CandidateBlock, tuple[MemoryLevel | Fanout, ...]]]:
    """Blocks of rows after every node, with the nodes that are still to come."""
    nodes = tuple(reversed(space.inner_nodes))
    found, blocks = [], [start(space)]
    for position, node in enumerate(nodes):
        grown = []
        for block in blocks:
            for keep in keeps(space, node):
                grown.append(extend(space, block, node, keep, Wanted()))
        blocks = [b for b in grown if b.count]
        found += [(b, nodes[position + 1 :]) for b in blocks]
    return found


def completed(
    space: EinsumSpace, candidates: CandidateBlock, rest: tuple[MemoryLevel | Fanout, ...]
) -> list[CandidateBlock]:
    """Some rows with everything that may stand around them."""
    blocks = [candidates]
    for node in rest:
        blocks = [
            extend(space, b, node, keep, Wanted()) for b in blocks for keep in keeps(space, node)
        ]
        blocks = [b for b in blocks if b.count]
    return blocks


def worst(space: EinsumSpace, candidates: CandidateBlock, outer: Outer) -> np.ndarray:
    """Energy, compute cycles and port cycles of every row; float64[D, n]."""
    costs = candidate_costs(space, candidates, outer)
    ports = [
        costs.ports.get((lv.name, kind), np.zeros(1))
        for lv in space.arch.levels
        for kind in ("read", "write", "shared")
    ]
    columns = [costs.energy, space.lane_cycles / candidates.spatial, *ports]
    return np.stack([np.broadcast_to(c, (candidates.count,)) for c in columns])


@pytest.mark.parametrize("seed", range(30))
def test_who_drops_out_is_beaten_under_any_loops_outside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    space = problem_of(seed).spaces[0]
    blocks = [b for b in inner_candidates(space, Wanted()) if b.count][:40]
    left = undominated(space, blocks, ())
    assert sum(b.count for b in left) <= sum(b.count for b in blocks)
    for outer in outers(space, rng):
        tiles = np.concatenate([b.tile for b in blocks], axis=1)
        kept = np.concatenate([b.tile for b in left], axis=1)
        costs = np.concatenate([worst(space, b, outer) for b in blocks], axis=1)
        best = np.concatenate([worst(space, b, outer) for b in left], axis=1)
        for i in range(tiles.shape[1]):
            same = (kept == tiles[:, i : i + 1]).all(axis=0)
            beats = (best[:, same] <= costs[:, i : i + 1] * (1 + 1e-9)).all(axis=0)
            assert beats.any(), f"row {i} under {outer}"


@pytest.mark.parametrize("seed", DEEP[1:])
def test_who_drops_out_moves_as_much_where_words_make_turns_alike(seed: int) -> None:
    """Under any loops outside one that is left is no worse, and as busy at these ports."""
    plain = replace(problem_of(seed).spaces[0], weighing=frozenset())
    names = [lv.name for lv in plain.arch.levels if limited(lv)]
    space = replace(plain, weighing=frozenset(names) & {"L1", "RF"})
    blocks = [b for b in inner_candidates(space, Wanted()) if b.count][:40]
    left = undominated(space, blocks, ())
    assert sum(b.count for b in left) > sum(b.count for b in undominated(plain, blocks, ()))
    tiles = np.concatenate([b.tile for b in blocks], axis=1)
    kept = np.concatenate([b.tile for b in left], axis=1)
    for outer in outers(space, np.random.default_rng(seed)):
        costs = np.concatenate([worst(space, b, outer) for b in blocks], axis=1)
        best = np.concatenate([worst(space, b, outer) for b in left], axis=1)
        ports = [2 + i for i, lv in enumerate(ports_of(space)) if lv in space.weighing]
        for i in range(tiles.shape[1]):
            same = (kept == tiles[:, i : i + 1]).all(axis=0)
            same &= (best <= costs[:, i : i + 1] * (1 + 1e-9)).all(axis=0)
            same &= np.isclose(best[ports], costs[ports, i : i + 1]).all(axis=0)
            assert same.any(), f"row {i} under {outer}"


def ports_of(space: EinsumSpace) -> list[str]:
    """The levels of `worst`, one for each port."""
    return [lv.name for lv in space.arch.levels for _ in range(3)]


@pytest.mark.parametrize("seed", DEEP)
def test_a_tile_that_two_private_levels_keep_is_read_from_the_nearer_one(seed: int) -> None:
    """Energies that candidates are compared by: each transfer between the levels that keep it."""
    space, met = problem_of(seed).spaces[0], 0
    inputs = [t for t in space.tensors if t != space.output]
    for block in inner_candidates(space, Wanted()):
        for tensor in (t for t in inputs if len(block.transfers[t]) == 3):
            chain = block.transfers[tensor]
            levels = [t.child for t in chain if t.child is not None]
            prices = [[pj / level.row_words for pj in space.prices[level.name]] for level in levels]
            words = space.volume[tensor] * closed_passes(space, block.tile, tensor)
            moved = [np.where(t.open, 0.0, words * t.passes) for t in chain]  # one that runs on: 0
            energy = np.zeros(block.count)
            for many, keeper, (read, *_) in zip(moved, chain[1:], prices, strict=False):
                energy = energy + many * read * keeper.copies / keeper.spread
            for many, keeper, (_, write, _) in zip(moved[1:], chain[1:], prices, strict=True):
                energy = energy + many * write * keeper.copies / keeper.spread
            alone = replace(block, transfers={tensor: chain})
            said = _Sums.of(space, alone, (), ()).values[_Sum(_ENERGY)]
            assert np.broadcast_to(said, energy.shape) == pytest.approx(energy)
            met += int((moved[1] > 0).sum())
    assert met


@pytest.mark.parametrize("seed", range(8))
def test_no_candidate_has_a_dominated_keep(seed: int) -> None:
    space = problem_of(seed).spaces[0]
    for candidates, _ in partial_candidates(space):
        assert not dominated_keeps(space, candidates).any()


@pytest.mark.parametrize("seed", range(12))
def test_a_row_in_the_making_costs_no_more_than_any_whole_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    space = problem_of(seed).spaces[0]
    roles = {t: ("staged", "stream") for t in space.tensors}
    sharing = shared_words(space, sharing_units(space))
    begin = start(space), tuple(reversed(space.inner_nodes))
    for candidates, rest in [begin, *partial_candidates(space)]:
        if not rest:
            continue
        some = candidates.take(
            rng.choice(candidates.count, min(candidates.count, 3), replace=False)
        )
        for i in range(some.count):
            one = some.take(np.array([i]))
            every = [ANY, sharing] if lanes_of(rest) == space.lanes else [ANY]
            bound = max(
                min(
                    least_energy(space, one, rest, keep, roles, sharing=units)[0][0]
                    for keep in keeps(space, rest[0])
                )
                for units in every
            )
            for whole in completed(space, one, rest):
                for outer in outers(space, rng):
                    energy = candidate_costs(space, whole, outer).energy.min()
                    assert bound <= energy * (1 + 1e-9)


@pytest.mark.parametrize("seed", SPLIT)
def test_a_split_of_the_last_fanout_bounds_what_stands_in_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    space = problem_of(seed).spaces[0]
    fanout = space.inner_nodes[0]
    enumeration = whole_enumeration(space, improves=lambda *_: np.ones(1, np.bool_))
    last = enumeration._last
    assert last is not None
    before = [c for c, rest in partial_candidates(space) if rest == (fanout,)]
    for candidates in before:
        for i in rng.choice(candidates.count, min(candidates.count, 5), replace=False):
            one = candidates.take(np.array([i]))
            priced, free, cycles = enumeration._costs(one, (fanout,), frozenset(), by=last)
            whole = extend(space, one, fanout, frozenset(), Wanted())
            kind = last.which[whole.node_choices[-1].column]
            assert (free <= priced * (1 + 1e-9)).all()
            assert cycles[kind, 0] == pytest.approx(space.lane_cycles / whole.spatial)
            for outer in outers(space, rng):
                energy = candidate_costs(space, whole, outer).energy
                assert (priced[kind, 0] <= energy * (1 + 1e-9)).all()


@pytest.mark.parametrize("seed", SPLIT)
def test_who_may_improve_in_a_split_is_enough_to_go_on_with(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same candidates with and without a look at the splits of the last fanout."""
    monkeypatch.setattr(incremental, "LEFT_TO_ALL", 0)  # both are thinned at the same times
    space = problem_of(seed).spaces[0]
    whole = whole_enumeration(space, improves=None).candidate_set(lambda c, *_: np.arange(c.count))
    limit = np.quantile(whole.energy(priced=True) * whole.cycles, 0.3)

    def worth(*costs: np.ndarray) -> np.ndarray:
        return np.asarray(costs[0] * costs[2] <= limit)

    found = [
        whole_enumeration(space, improves=improves).candidate_set(
            lambda _candidates, _keep, *costs: np.flatnonzero(worth(*costs))
        )
        for improves in (None, worth)
    ]
    every = [{pick_key(b, i) for b in part.blocks for i in range(b.count)} for part in found]
    assert 0 < len(every[0]) < whole.count
    assert every[0] == every[1]


def pick_key(block: CandidateBlock, i: int) -> str:
    """All that a candidate has chosen."""
    return repr(candidate_item(block, i))


def whole_enumeration(space: EinsumSpace, improves: Improves | None) -> IncrementalEnumeration:
    """An enumeration of all candidates of an Einsum."""
    return IncrementalEnumeration(
        space=space,
        roles={t: ("staged", "stream") for t in space.tensors},
        least=1,
        tiles=np.array(space.sizes, dtype=np.int64)[:, None],
        sharing=shared_words(space, sharing_units(space)),
        improves=improves,
    )


@pytest.mark.parametrize("seed", range(20))
def test_who_uses_so_many_units_is_enumerated_once_for_all_numbers_of_them(seed: int) -> None:
    """Between two numbers of units that splits of the fanouts use there is no candidate."""
    for space in problem_of(seed).spaces:
        roles = {t: ("stream",) for t in space.tensors}
        units = [int(n) for b in inner_candidates(space, Wanted()) for n in b.spatial]
        known = CandidateCache()
        for least in range(1, space.widest + 1):
            found = enumerated(space, roles, known, least, most=10**6)
            assert found is not None
            used = sorted(int(n) for b in found.blocks for n in b.spatial)
            assert used == sorted(n for n in units if n >= least)
        splits = [set(grid.prod(axis=0).tolist()) for grid, _ in space.splits.values()]
        assert len(set(units)) <= len(known.candidate_sets) <= prod(map(len, splits))


def test_units_to_come_spare_the_level_above_them_as_many_reads() -> None:
    """Of 8 reads for four PEs, L1 serves two and one fill, and the shared level one, not two."""
    case = roomy(turns_case(3))
    table = {**case.ert.levels, "L1": {"read": 5.0, "write": 7.0, "update": 7.0}}
    table["GLB"] = {**table["GLB"], "read": 1000.0}
    case = replace(case, ert=replace(case.ert, levels=table))
    (group, *_), *_ = partitions(case.workload, case.mapspace)
    space = group_problem(case.workload, case.platform, case.ert, case.mapspace, group).spaces[0]
    tensor = next(t for t in space.tensors if t != space.output)
    words, rest = float(space.volume[tensor]), tuple(reversed(space.inner_nodes))[1:]
    assert [n.name for n in rest] == ["PE", "L1"]
    assert isinstance(rest[0], Fanout)
    each = rest[0].fanout_x * rest[0].fanout_y
    lines = top_lines(space, tensor, ("staged",), rounded=True)
    top, found = (
        np.asarray(_drawn(space, tensor, nodes, np.array([many]), lines, None)[1])[0]
        for nodes, many in (((), 1.0), (rest, 2.0 * each))
    )
    assert found == pytest.approx(top + 2 * words * 5 + words * 7)


@pytest.mark.parametrize("seed", range(8))
def test_lines_of_the_level_on_top_are_the_least_over_roles(seed: int) -> None:
    """Of words that come once or more often, from a level that rounds nothing up to rows."""
    space, often = problem_of(seed).spaces[0], np.array([1.0, 1.5, 4.0, 1000.0])
    for tensor in space.tensors:
        for some in ((STAGED,), (INSIDE,), (STREAM, STAGED), (STAGED, INSIDE), (STREAM, INSIDE)):
            for rounded in (True, False):
                for priced, lines in zip(
                    (True, False), top_lines(space, tensor, some, rounded=rounded), strict=True
                ):
                    every = []
                    for role in some:
                        level = space.arch.levels[0 if role == STREAM else space.shared]
                        words = space.volume_at(tensor, level) * often
                        pj = drawn_energy(space, tensor, level, words, rounded=False)
                        once = staged_once(space, tensor, priced=priced, rounded=rounded)
                        every.append(0 * pj if role == STREAM and not priced else pj)
                        every[-1] = every[-1] + (once if role == STAGED else 0.0)
                    found = np.broadcast_to(least_along(lines, often), often.shape)
                    assert found == pytest.approx(np.min(every, axis=0), rel=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_growth_that_drops_nothing_has_the_least_row(seed: int) -> None:
    problem = problem_of(seed)
    search_ = GroupSearch.of(problem, CandidateCache())
    search_.prepare()
    space = problem.spaces[0]
    tiles = np.array(space.sizes, dtype=np.int64)[:, None]
    enumeration = IncrementalEnumeration(
        space=space, roles=search_._roles[0], least=1, tiles=tiles, share=None
    )
    grown = enumeration.candidate_set(lambda candidates, *_: np.arange(candidates.count))
    whole = CandidateSet(
        space=space, blocks=list(inner_candidates(space, Wanted())), roles=search_._roles[0]
    )
    for priced in (True, False):
        least = float(whole.energy(priced=priced).min())
        assert float(grown.energy(priced=priced).min()) == pytest.approx(least, rel=1e-9)
        low = enumeration.least_of_all()
        assert (low.priced if priced else low.free) <= least * (1 + 1e-9)


def test_four_levels_are_searched() -> None:
    platform = load_platform(FOUR_LEVELS)
    workload = load_problem("bert-base", sizes={"P": 1024, "M": 1024})
    ert, _ = energies(platform, None)
    found = search(workload, platform, mapspace_of("flat", workload, platform), ert)
    assert isinstance(found, Solution)
    assert found.certificate.optimal
    assert found.result.utilization > 0.8
