"""Steps of the search, each on numbers small enough to work out by hand."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mapper.test_search_growth import problem_of
from oracles.fused_questions import fused_question
from oracles.small_cases import network_case, small_case

from flat_mapper.arch.values import Beside
from flat_mapper.base.budget import Budget, Limits
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.mapper.bounds.border import BorderBounds
from flat_mapper.mapper.bounds.bound_filter import LowerBounds
from flat_mapper.mapper.bounds.tiles import CandidateTiles
from flat_mapper.mapper.bounds.traffic import _beside_cycles
from flat_mapper.mapper.chip.floors import Peak
from flat_mapper.mapper.chip.fullest import Fullest
from flat_mapper.mapper.chip.moved import KeptInput, MovedCycles, Shares
from flat_mapper.mapper.chip.question import Counters
from flat_mapper.mapper.cost.candidate_set import CandidateSet
from flat_mapper.mapper.cost.dense import DenseLayout
from flat_mapper.mapper.cost.masks import mask_leaves
from flat_mapper.mapper.cost.price import Costs, add_total, candidate_costs
from flat_mapper.mapper.group import fused_bounds, incremental
from flat_mapper.mapper.group.cost_layout import CostLayout
from flat_mapper.mapper.group.fused import Fused
from flat_mapper.mapper.group.fused_bounds import FusedBounds
from flat_mapper.mapper.group.group import GroupSearch
from flat_mapper.mapper.group.incremental import IncrementalEnumeration, _chunks
from flat_mapper.mapper.group.incumbent import FrontIncumbent, GoalIncumbent, gained
from flat_mapper.mapper.group.log import GroupLog, candidate_item
from flat_mapper.mapper.group.objective import Goal
from flat_mapper.mapper.group.picks import BesideTurns, PricedCandidates
from flat_mapper.mapper.group.promise import Chance, promising
from flat_mapper.mapper.group.reconstruct import _passes
from flat_mapper.mapper.solve.front_search import frontier
from flat_mapper.mapper.solve.limits import _over
from flat_mapper.mapper.solve.optimum import search
from flat_mapper.mapper.solve.partition import PartitionSearch
from flat_mapper.mapper.solve.rebuild import candidate
from flat_mapper.mapper.solve.replay import Row
from flat_mapper.mapper.solve.solve import _Run, of_all_runs
from flat_mapper.mapper.solve.weighted_sum import WeightedSumSearch, _Pool
from flat_mapper.mapper.space import outer as outer_choices
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.enumerate import Wanted, _distinct, inner_candidates
from flat_mapper.mapper.space.group import group_problem
from flat_mapper.mapper.space.outer import contradicts
from flat_mapper.mapper.space.roles import Outer, Role
from flat_mapper.mapping.space import partitions
from flat_mapper.mapping.values import Loop

Fake = partial(SimpleNamespace)


def test_parts_that_a_node_is_put_around_are_as_large_as_they_may_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Four at once: two candidates of two factors each; of nine factors, one candidate."""
    monkeypatch.setattr(incremental, "AT_ONCE", 4)
    five: Any = Fake(count=5, take=lambda index: index.tolist())
    assert list(_chunks(five, 2)) == [[0, 1], [2, 3], [4]]
    assert list(_chunks(five, 9)) == [[0], [1], [2], [3], [4]]


def test_what_is_too_much_is_thinned_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of seven candidates in three blocks, the smallest tile and the two cheapest others."""
    blocks: list[Any] = [
        Fake(count=n, take=lambda index, at=at: (at, index.tolist()))
        for at, n in enumerate((3, 2, 2))
    ]
    costs = np.array([5.0, 9.0, 1.0, 8.0, 2.0, 7.0, 6.0])
    words = np.array([4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 1.0])
    one: Any = Fake(
        most=3,
        crowd=lambda priced, free, cycles, most: np.argsort(priced)[:most],
        _thinned=lambda blocks, rest: blocks,
        _words=lambda blocks: words,
        _costs=lambda block, rest, keep: tuple(
            np.split(costs, [3, 5])[blocks.index(block)] for _ in range(3)
        ),
    )
    assert IncrementalEnumeration._fewer(one, blocks, ()) == [(0, [2]), (1, [1]), (2, [1])]


def test_a_first_pass_gains_where_every_goal_is_better_by_a_hundredth_or_so() -> None:
    """From 100 cycles and 50 pJ, of two mappings: one goal alone is not enough."""
    goals, before = (Goal(kind="latency"), Goal(kind="energy")), ((100.0, 60.0), (110.0, 50.0))
    for cycles, energy, more in ((98.0, 45.0, True), (98.0, 49.9, False), (99.9, 45.0, False)):
        now = GoalIncumbent.of(goals, ((cycles, 60.0), (110.0, energy)))
        assert gained(now, before) is more
    assert not gained(GoalIncumbent.of(goals, before), ())


def test_a_front_drops_what_a_point_is_better_than_by_a_picojoule() -> None:
    front: Any = FrontIncumbent()
    for cycles, energy in ((5.0, 10.5), (7.0, 9.0), (4.0, 10.0)):
        front.take(0, Fake(cycles=cycles, energy=energy))
    assert front.mark == ((7.0, 9.0), (4.0, 10.0))


def border(*, schedule: str, masked: bool = False, skipped: float = 0.0) -> BorderBounds:
    """Bounds of A (matrix, 8 cycles) and B (vector, 6 cycles), two pJ of networks each."""
    units = {"A": "matrix", "B": "vector"}
    spaces = {
        name: Fake(
            lane_cycles=cycles,
            widest=1,
            compute_energy=10.0,
            least_network=2.0,
            shared=0,
            arch=Fake(levels=[Fake(name="GLB", row_words=1)]),
            prices={"GLB": (1.0, 1.0, 1.0)},
            tensors=(),
        )
        for name, cycles in (("A", 8.0), ("B", 6.0))
    }
    workload = Fake(
        einsum=lambda name: Fake(unit=units[name], each=()),
        iterations=lambda einsum: 4,
        unmasked_iterations=lambda einsum: 4 * (1 - skipped),
    )
    mapspace = Fake(fusion=Fake(schedule=schedule))
    return BorderBounds(workload=workload, platform=None, mapspace=mapspace, spaces=spaces)  # type: ignore[arg-type]


def test_units_of_two_einsums_overlap_where_the_schedule_lets_them() -> None:
    names = ("A", "B")
    for schedule, cycles in (("sequential", 14), ("overlapped", 8), ("any", 8)):
        assert border(schedule=schedule)._computes(names, False) == cycles
    assert border(schedule="any")._computes(("B",), False) == 6


def test_words_cross_the_networks_where_no_mask_spares_them() -> None:
    """12 pJ each; under a mask that may leave out half, half of the computes."""
    assert border(schedule="any")._inside(("A", "B"), False) == 24
    assert border(schedule="any", skipped=0.5)._inside(("A", "B"), True) == 10


def test_a_turn_is_as_long_as_its_stream() -> None:
    """3 cycles of compute and 5 of DRAM, beside 4 of others; 7 at least in all, then 12."""
    chance: Any = partial(
        Chance, incumbent=None, slopes=[], rests=[2.0], slack=4.0, streamed=5.0, adds=1
    )
    for least, cycles in ((7.0, 9.0), (12.0, 12.0)):
        latency, energy = chance(one=Fake(cycles=np.array([least]))).bound(
            np.array([3.0]), np.array([1.0])
        )
        assert (latency.tolist(), energy.tolist()) == ([cycles], [3.0])


def test_what_a_source_beside_takes_for_an_output_that_comes_again() -> None:
    """Of 4 words that leave three times, 8 come back: each takes half a cycle, each way."""
    both = Beside(comes={"Z": 0.5}, leaves={"Z": 0.5})
    dram = replace(small_case(0).platform.dram, beside=(both, Beside(comes={"Z": 1.0})))
    space: Any = Fake(arch=Fake(levels=[dram]), volume={"Z": 4.0}, output="Z")
    costs = Costs(energy=np.zeros(1), ports={})
    add_total(space, costs, "Z", np.array([12.0]))
    assert costs.ports[dram.name, "beside 0"].tolist() == [10.0]
    assert costs.ports[dram.name, "beside 1"].tolist() == [8.0]
    ways = np.array([8.0]), np.array([12.0])
    use: Any = Fake(space=space, tensor="Z", ways=lambda zero: ways, total=0.0)
    assert _beside_cycles(dram, [use], np.zeros(1)).tolist() == [10.0]


def test_the_least_sums_of_some_candidates() -> None:
    """By 2 pJ a cycle: 10 + 2 x 1 and 4 + 2 x 5."""
    found = LowerBounds.none([2.0]).including(
        np.array([10.0, 4.0]), np.array([1.0, 3.0]), np.array([1.0, 5.0])
    )
    assert found == LowerBounds(4.0, 1.0, 1.0, ((2.0, 12.0),))


def test_what_is_best_under_two_weights_is_best_between_them() -> None:
    """And as fast as can be, under every heavier one."""
    one, same, other = (Fake(cycles=c, energy=e) for c, e in ((5.0, 2.0), (5.0, 2.0), (3.0, 9.0)))
    pool: Any = _Pool(Fake(floor=lambda: (3.0, 1.0)))  # type: ignore[arg-type]
    weights = {n: Goal(kind="weighted", weight=n) for n in (1.0, 2.0, 3.0, 4.0, 5.0)}
    pool.found += [(weights[1.0], one), (weights[3.0], same), (Goal(kind="latency"), other)]
    assert pool.known(weights[2.0]) is one
    assert pool.known(weights[4.0]) is None
    assert pool.known(Goal(kind="energy")) is None
    pool.found.append((weights[4.0], other))
    assert pool.known(weights[5.0]) is other


def test_a_product_of_sums_is_bounded_by_what_each_group_takes_at_least() -> None:
    """Two groups of 2 and 3 cycles, 10 and 20 pJ, and no weight tried: 5 x 30."""
    found: Any = WeightedSumSearch([], Goal(kind="edp"))
    found.searches = [Fake(floor=lambda: (2.0, 10.0)), Fake(floor=lambda: (3.0, 20.0))]
    found.same = [0, 1]
    assert found.bound() == 150.0


def test_a_candidate_is_weighed_with_its_cycles() -> None:
    """With 50 x 50 known and 10 cycles of 10 pJ at least, 20 of 200 are hopeless; alone they fit.

    What improves lies under the chord between (10, 250) and (250, 10), of slope 1: a sum of 260.
    """
    for energy, cycles, good in ((200.0, 20.0, False), (100.0, 20.0, True), (10.0, 240.0, True)):
        candidates: Any = Fake(
            energy=lambda roles, priced, share, pj=energy: np.array([10.0, pj]),
            cycles=np.array([10.0, cycles]),
        )
        outers: Any = Fake(staged=np.zeros(1), floors=np.zeros(1), cycles=np.ones(1))
        problem = Fake(cycles_add=[1.0], spaces=[None], masked_pair=None)
        incumbent = GoalIncumbent.of((Goal(kind="edp"),), ((50.0, 50.0),))
        bounds: Any = Fake(problem=problem)
        (left,) = promising(bounds, incumbent, None, [candidates], outers, None)
        assert left.tolist() == [True, good]


def test_orders_of_the_same_real_loops_count_once() -> None:
    """Of ranks 0, 1, 2 the last may as well stand further out: not outermost, if it is real."""
    grid = np.array([[2, 2, 1], [1, 2, 3], [1, 1, 2]])
    outward = np.array([False, False, True])
    orders = [(0, 1, 2), (1, 0, 2), (0, 2, 1), (2, 0, 1)]
    found = [good.tolist() for good in _distinct(orders, grid, outward)]
    assert found == [
        [True, True, False],
        [False, True, False],
        [False, False, True],
        [False, False, False],
    ]


@pytest.mark.parametrize("seed", [0, 6])
def test_energies_of_pairs_are_those_of_each_alone(seed: int) -> None:
    """Candidates under outer tiles, whole or of one in a rank: neighbours share the candidate."""
    space = problem_of(seed).spaces[0]
    blocks, roles = (
        list(inner_candidates(space, Wanted())),
        dict.fromkeys(space.tensors, ("staged",)),
    )
    part = CandidateSet(space=space, blocks=blocks, roles=roles)  # type: ignore[arg-type]
    tiles = CandidateTiles(part)
    bounds = tiles.bounds(tuple("staged" for _ in space.tensors))
    sizes = np.array(space.sizes)
    extents = np.array(
        [sizes, *(np.where(np.arange(len(sizes)) == r, 1, sizes) for r in (0, 1, 2))]
    )
    pairs = [
        (choice, c)
        for c in range(part.count)
        for choice, own in enumerate(extents)
        if (own % part.tile[:, c] == 0).all()
    ]
    choice, candidate = (np.array(column) for column in zip(*pairs, strict=True))
    every = bounds.candidate_energy(extents.T, choice, candidate)
    alone = [
        float(bounds.candidate_energy(extents.T, choice[i : i + 1], candidate[i : i + 1])[0])
        for i in range(len(pairs))
    ]
    assert every == pytest.approx(alone)
    assert any(
        pairs[i][1] == pairs[i + 1][1] and alone[i] != pytest.approx(alone[i + 1])
        for i in range(len(pairs) - 1)
    )


def test_how_far_a_search_is() -> None:
    """Nothing found yet, then 10 with 8 proven."""
    run: Any = Fake(everything=[Fake(phase="A + B")], number=0, bound=lambda: 8.0, sequence=None)
    run.value = lambda: np.inf
    assert _Run.progress(run) == (0.0, "1 of 1, A + B: no mapping yet, bound 8")
    run.value = lambda: 10.0
    assert _Run.progress(run) == (0.8, "1 of 1, A + B: best 10, bound 8, gap 25.00 %")
    run.value, run.goal = (lambda: np.inf), Goal(kind="edp")
    run.sequence = Fake(so_far=lambda: (2.0, 5.0))  # groups one after another
    assert _Run.progress(run) == (0.8, "1 of 1, A + B: best 10, bound 8, gap 25.00 %")


def test_a_log_has_the_weights_of_its_sums() -> None:
    lines: list[Any] = []
    index = np.array([0])
    part = Fake(
        staging=index,
        order=index,
        tile=np.array([[2]]),
        cycles=np.array([3.0]),
        energy=np.array([5.0]),
        sums=(np.array([11.0]),),
    )
    part.take = lambda some: part
    log = GroupLog(lines.append, (0, 0), None, [True])  # type: ignore[arg-type]
    incumbent = GoalIncumbent.of((Goal(kind="weighted", weight=2.0),), ((1.0, 1.0),))
    log.outers(part, np.array([True]), incumbent, left=True)  # type: ignore[arg-type]
    (line,) = [line for line in lines if line["rule"] == "outer bound"]
    assert line["sums"] == [[[2.0], [11.0]]]


def test_more_energy_is_a_way_out_where_it_is_limited() -> None:
    result: Any = Fake(latency_s=2.0, energy_pj=1e12)
    for energy, way in ((np.inf, "allow more"), (3.0, "allow more, or more energy")):
        fault = _over(result, Limits(latency_s=1.0, energy_j=energy), "latency")
        assert fault is not None
        assert fault.hint == way


@pytest.mark.parametrize("seed", range(3))
def test_what_fits_nowhere_says_how_much_it_needs(seed: int) -> None:
    """A shared level of a word: every tile needs more."""
    case = fused_question(31) if seed == 2 else small_case(6 * seed)
    nodes = tuple(
        replace(n, capacity_words=1) if n.name == "GLB" else n for n in case.platform.matrix.nodes
    )
    matrix = replace(case.platform.matrix, nodes=nodes)
    chip = replace(case.platform, matrix=matrix)
    found = search(case.workload, chip, case.mapspace, case.ert)
    if isinstance(found, Infeasible):
        assert found.needs > found.has
        assert found.needs == sum(words for _, words in found.terms)
        assert all(words > 0 for _, words in found.terms)


def test_tiles_in_order_of_their_queries_or_of_the_rest() -> None:
    """Six tiles of a cycle and two of four, on two cores: the long ones last, or in two turns."""
    tiles: Any = Fake(passes=[(1, 6), (2, 2)], one=Fake(count=8, query_tiles=4, cores=2))
    assert Fullest._fullest(tiles, [1.0, 4.0], "queries") == 7
    assert Fullest._fullest(tiles, [1.0, 4.0], "heads") == 9


def tiles_of(passes: tuple[tuple[int, int], ...], outside: MovedCycles) -> Fullest:
    """Tiles of at most three passes: 2 cycles at peak and 2 for each, 3 of steps, 1 for a tile."""
    one: Any = Fake(most_passes=3, keys=1, passes=lambda: passes, count=sum(n for _, n in passes))
    return Fullest(
        one=one,
        peak=Peak(fixed=2.0, each=2.0),
        outside=outside,
        tile_cycles=1.0,
        step_cycles=3.0,
        launch=0.0,
        passes=passes,
    )


def test_a_tile_is_between_one_pass_at_peak_and_all_of_them() -> None:
    """One pass takes 7 cycles or more, three take 40: two half of each, but for each limit."""
    tiles = tiles_of(((3, 1), (2, 1), (1, 1)), MovedCycles(fixed=20.0))
    assert tiles._tile(2, 40.0, BesideTurns()) == 27  # words take longest: 20, steps 6, a tile
    assert tiles._tile(1, 40.0, BesideTurns()) == 24
    short = tiles_of(tiles.passes, MovedCycles(fixed=2.0))
    assert short._tile(2, 40.0, BesideTurns()) == 2.5 + 20 + 1  # 2 and 3: what takes longest in all
    assert short._tile(2, 40.0, BesideTurns(outside=40.0)) == 1 + 20 + 6 + 1
    assert short._tile(1, 40.0, BesideTurns(outside=40.0, unequal=9.0)) == 2 + 3 + 3 + 1
    once = tiles_of(tiles.passes, MovedCycles(ahead=False))
    assert once._tile(2, 40.0, BesideTurns()) == 24.5
    assert once._tile(2, 12.0, BesideTurns()) == 2 + 4 + 6 + 1
    at_once = tiles_of(tiles.passes, MovedCycles(ahead=False, overlaps=True))
    assert at_once._tile(2, 40.0, BesideTurns()) == 21


@pytest.mark.parametrize("least", [18.0, 30.0, 61.0])
def test_tiles_are_bounded_for_ends_of_any_length(least: float) -> None:
    """Ends that make a tile shortest are between those that are looked at."""
    tiles = tiles_of(((3, 1), (2, 1), (1, 4)), MovedCycles(fixed=9.0))
    one = Fake(**vars(tiles.one), cores=6, query_tiles=6)
    tiles = replace(tiles, one=one)
    waits = 6 / tiles.largest
    most = (least - tiles._lowest) / waits
    every = [most * i / 1000 for i in range(1001)]
    times = [
        [tiles._tile(p, least - waits * e, BesideTurns()) + e for p in (3, 2, 1)] for e in every
    ]
    assert tiles._given(least, None) <= min(map(max, times)) + 1e-9


def test_tiles_of_one_pass_where_nothing_may_come_again() -> None:
    """Three passes would see all keys, no tile makes more than one: 20 cycles, 3 of steps and 1."""
    kept = KeptInput(own=20.0, all=80.0, beside=0.0, grows=False, runs=1)
    shares = Shares(count=4, passes=4, single=4, whole=3)
    tiles = tiles_of(((1, 4),), MovedCycles(kept=(kept,), shares=shares))
    tiles = replace(tiles, one=Fake(**vars(tiles.one), cores=2, query_tiles=4))
    some = np.array([50.0])
    for one in (tiles, tiles.knowing([frozenset({""})], some), tiles.knowing([frozenset()], some)):
        assert one.cycles(50.0, BesideTurns(), {""}) == 2 * 24
        assert one.line(some) == 2 * 24


def test_all_tiles_beside_those_that_see_all_keys() -> None:
    """Of two passes half of a first one of 4 and 3 cycles, of one pass all of it; each a cycle."""
    tiles = tiles_of(((3, 1), (2, 2), (1, 4)), MovedCycles(fixed=4.0))  # which is as long as turns
    assert tiles.largest == 1 + 2 * 0.5
    assert tiles.short == 2 * 0.5 + 4
    assert tiles.beside == (2 * 0.5 + 4) * 7 + 7


def test_an_einsum_that_runs_in_every_pass_has_the_loops_of_all_passes() -> None:
    """Rank P of 12 in tiles of 4: three passes."""
    solution: Any = Fake(
        dram_order=(0, 1),
        tile=(4, 2),
        problem=Fake(ranks=[Fake(members=("P",), size=12), Fake(members=("M",), size=6)]),
    )
    assert list(_passes(solution, ("P",))) == [Loop("P", 3)]
    assert list(_passes(solution, ("M", "P"))) == [Loop("M", 3), Loop("P", 3)]


def test_every_choice_of_what_stays_is_tried() -> None:
    """Of two tensors that run on, both, one, the other and none; of a third nothing changes."""
    tried: list[tuple[bool, ...]] = []
    outer = Outer(
        tile=(1,), dram_order=(), shared_order=(), roles=("stream",) * 3, stay=(True, True, False)
    )
    part: Any = Fake(source=None, outers=[outer])
    whole: Any = Fake(
        mask=lambda at: None, positions=lambda source: None, space=Fake(tensors="abc")
    )
    fused: Any = Fake(_priced=lambda whole, mask, outer, layout: tried.append(outer.stay))
    where: Any = Fake(layout=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flat_mapper.mapper.cost.turns.runs_on", lambda *_: True)
        patch.setattr(PricedCandidates, "joined", lambda parts: parts)
        assert len(Fused._variants(fused, where, whole, part, outer)) == 4  # type: ignore[arg-type]
    assert tried == [(True, False, False), (False, True, False), (False, False, False)]


def test_a_weighted_sum_counts_the_cycles_that_a_candidate_adds() -> None:
    """3 cycles at 4 pJ, 5 pJ and 6 of the others: 23, where 22 are known; and 24."""
    for known, good in ((22.0, False), (24.0, True)):
        incumbent = GoalIncumbent.of((Goal(kind="weighted", weight=4.0),), ((0.0, known),))
        chance: Any = Chance(
            incumbent=incumbent,
            one=Fake(cycles=np.array([1.0]), energy=np.array([1.0])),  # type: ignore[arg-type]
            adds=1,
            slopes=[4.0],
            rests=[0.0, 6.0],
            slack=0.0,
            streamed=0.0,
        )
        assert chance.of(np.array([3.0]), np.array([5.0])).tolist() == [good]


def test_what_a_mask_leaves_of_a_tensor_that_lacks_one_of_its_ranks() -> None:
    """Keys: in place over queries where no loop over keys stands between, and they are spared."""
    relevant, masked = (False, True), (0, 1)
    still, dram = np.ones(2, np.bool_), np.array([[2, 2], [2, 1]])
    keys_inside = mask_leaves(relevant, still, dram, (1, 0), masked, 0.75)[0]
    queries_inside = mask_leaves(relevant, still, dram, (0, 1), masked, 0.75)[0]
    assert np.asarray(keys_inside).tolist() == [0.75, 1.0]
    assert np.asarray(queries_inside).tolist() == [1.0, 1.0]


def test_a_replay_begins_with_nothing() -> None:
    assert asdict(Row()) == dict.fromkeys(("cut", "named", "replayed", "mappings", "refused"), 0)


def test_tiles_that_are_left_out_are_counted() -> None:
    count = Counters()
    assert count.of() == {}
    assert (count.size, count.evaluated, count.in_vain) == (0, 0, 0)


def networks(seed: int) -> EinsumSpace:
    """The first Einsum of a question on a chip whose networks have a price."""
    case = network_case(seed)
    (group, *_), *_ = partitions(case.workload, case.mapspace)
    problem = group_problem(case.workload, case.platform, case.ert, case.mapspace, group)
    return problem.spaces[0]


@pytest.mark.parametrize("seed", [10, 12])
def test_all_candidates_at_once_cost_what_each_does(seed: int) -> None:
    """Staged tensors, one order, the candidate's own tile; networks among it."""
    space = networks(seed)
    roles: tuple[Role, ...] = tuple("staged" for _ in space.tensors)
    blocks = [b for b in inner_candidates(space, Wanted()) if b.count]
    part = CandidateSet(space=space, blocks=blocks, roles=dict.fromkeys(space.tensors, ("staged",)))
    order = tuple(range(len(space.ranks)))
    tile = (0,) * len(order)
    outer = Outer(tile=tile, dram_order=order, shared_order=order, roles=roles)
    each = [candidate_costs(space, b, outer) for b in blocks]
    every, tiles = np.arange(part.count), np.zeros((len(order), part.count), np.int64)
    found = DenseLayout.of(part).costs(every, tiles, order, order, roles)
    assert found.energy == pytest.approx(np.concatenate([costs.energy for costs in each]))
    assert found.weights.keys() == each[0].weights.keys() == set(space.tensors)
    assert space.priced_networks


@pytest.mark.parametrize("seed", [10, 12])
def test_a_candidate_made_again_crosses_the_same_networks(seed: int) -> None:
    space = networks(seed)
    for block in inner_candidates(space, Wanted()):
        for i in range(min(block.count, 3)):
            again = candidate(space, candidate_item(block, i))
            for tensor, transfers in block.transfers.items():
                for one, other in zip(transfers, again.transfers[tensor], strict=True):
                    assert one.network is not None
                    assert other.network is not None
                    assert float(other.network[0]) == pytest.approx(float(one.network[i]))


def test_an_intermediate_may_bypass_dram(monkeypatch: pytest.MonkeyPatch) -> None:
    """T stays inside; A and Y cross DRAM, and can not do without it."""
    levels = [Fake(name="DRAM"), Fake(name="GLB")]
    monkeypatch.setattr(outer_choices, "_ruled_stagings", lambda problem: (set(), set()))
    monkeypatch.setattr(outer_choices, "shared_level", lambda platform: levels[1])
    for bypassed, wrong in ((("T",), False), (("Y",), True)):
        rule = Fake(keep=(), bypass=bypassed)
        space = Fake(tensors=("A", "T", "Y"), einsum=Fake(name="Y"), arch=Fake(levels=levels))
        problem: Any = Fake(
            external=("A", "Y"),
            platform=None,
            spaces=[space],
            mapspace=Fake(keep_rules=lambda name, at, rule=rule: [rule] * (at == "DRAM")),
        )
        assert contradicts(problem) is wrong


def test_a_partition_that_is_as_good_as_the_bound_ends_the_search() -> None:
    form = Fake(groups=[Fake(exact=set(), stuck=set())], graph=Fake(groups=[("A", "B")]))
    best = Fake(total=10.0)
    asked: list[int] = []
    one: Any = Fake(
        _begin_all=lambda goal: None,
        late=False,
        progress=None,
        _best=lambda goal: best,
        _lowest=lambda goal: Fake(total=10.0, cascade=form, groups=(0,)),
        _search=lambda form, number, goal, budget: asked.append(number),
    )
    assert PartitionSearch.under(one, Goal(kind="latency")) == (best, 10.0)
    assert asked == []


def test_the_bound_of_all_runs() -> None:
    """Of three runs, 2 ns a cycle: 10 cycles, 10 pJ, and 10 cycles times pJ."""
    result: Any = Fake(cycle_seconds=2e-9, repeat=3)
    assert of_all_runs(result, "latency", 10.0) == pytest.approx(60e-9)
    assert of_all_runs(result, "energy", 10.0) == 30.0
    assert of_all_runs(result, "edp", 10.0) == pytest.approx(1e-12 * 2e-9 * 9 * 10, abs=0)


def test_a_quick_answer_of_every_group_is_one_to_stop_with() -> None:
    for warmed in (True, False):
        budget = Budget()
        found: Any = WeightedSumSearch([], Goal(kind="edp"))
        search = Fake(problem=Fake(spaces=()))
        found.pools = {
            0: Fake(warm=lambda goal: 1, search=search),
            1: Fake(warm=lambda goal, yes=warmed: yes, search=search),
        }
        found.searches = [Fake(budget=budget), Fake(budget=budget)]
        assert found._quick(Goal(kind="edp")) is warmed
        assert budget.answered is warmed


def test_a_front_that_is_not_proven_has_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if something had been left out of every group."""
    case = small_case(6)
    monkeypatch.setattr(GroupSearch, "proven", lambda *_: 0.0)
    points = frontier(case.workload, case.platform, case.mapspace, case.ert)
    assert isinstance(points, tuple)
    for point in points:
        proof = point.certificate
        assert not proof.optimal
        assert proof.gap == pytest.approx(point.result.edp_js / proof.proven_bound - 1)


def test_what_improves_under_one_goal_of_two_stays() -> None:
    """Of 9 cycles and 60 pJ, 11 and 40, and 11 and 60, beside 10 cycles and 50 pJ."""
    goals = (Goal(kind="latency"), Goal(kind="energy"))
    now = GoalIncumbent.of(goals, ((10.0, 50.0), (10.0, 50.0)))
    cycles, energy = np.array([9.0, 11.0, 11.0]), np.array([60.0, 40.0, 60.0])
    assert now.can_improve(cycles, energy).tolist() == [True, True, False]


def test_what_runs_in_a_few_passes_counts_as_one_of_them() -> None:
    """12 cycles in 3 passes of 6: 4 in one of them; and 24 as if in all."""
    rounds = Fake(rare=("A",))
    layout: Any = Fake(rounds=rounds, passes=6.0)
    for name, cycles in (("A", 4.0), ("B", 24.0)):
        einsum: Any = Fake(name=name)
        found = CostLayout._column_cycles(layout, einsum, np.array([12.0]), 3.0)
        assert found.tolist() == [cycles]


def test_candidates_that_keep_just_so_much_beside_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a tensor that stays, candidates keep 2 words, 3 and 0: two of them at most 2."""
    kept: list[list[bool]] = []
    part: Any = Fake(keep=lambda few: kept.append(few.tolist()))
    bounds: Any = Fake(_frugal={}, candidate_sets=[part], problem=None)
    monkeypatch.setattr(fused_bounds, "words_beside", lambda *_: np.array([2.0, 3.0, 0.0]))
    monkeypatch.setattr(fused_bounds, "CandidateTiles", lambda part: None)
    found = FusedBounds._within(bounds, None, np.zeros(4), {}, 0, 2)  # type: ignore[arg-type]
    assert np.isinf(found).all()
    assert kept == [[True, False, True]]


def test_the_bound_of_a_group_is_the_least_of_its_outer_choices() -> None:
    roots = Fake(cycles=np.array([5.0, 3.0, 1.0]), energy=np.ones(3))
    one: Any = Fake(bounds=Fake(fits=lambda outers: np.array([True, True, False])))
    one._values = partial(GroupSearch._values, one)
    assert GroupSearch.least(one, Goal(kind="latency"), roots) == 3  # type: ignore[arg-type]
