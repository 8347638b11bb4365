"""Small parts of the search, each with an answer that can be worked out by hand."""

from __future__ import annotations

from math import inf
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from flat_mapper.arch.reader import load_platform
from flat_mapper.base.budget import Limits
from flat_mapper.cost_model.schedule import ideal_latency
from flat_mapper.mapper.bounds.border import BorderBounds
from flat_mapper.mapper.bounds.dominance import _rounded, _Sums
from flat_mapper.mapper.bounds.stays import Conflict, StayBounds
from flat_mapper.mapper.cost.outside import rounded
from flat_mapper.mapper.group.cost_layout import CostLayout
from flat_mapper.mapper.group.fused_bounds import PAIRS, FusedBounds
from flat_mapper.mapper.group.incumbent import KnownGroup
from flat_mapper.mapper.group.objective import Goal, better_pair
from flat_mapper.mapper.solve.front_search import _kept
from flat_mapper.mapper.solve.limits import is_over
from flat_mapper.mapper.solve.symmetry import _question
from flat_mapper.mapper.solve.weighted_sum import WeightedSumSearch, weight_between
from flat_mapper.mapper.space.rules import obeyed


def test_an_answer_at_its_limits_keeps_them() -> None:
    result = SimpleNamespace(latency_s=2.0, energy_pj=3e12)
    assert not is_over(result, Limits(latency_s=2.0, energy_j=3.0))  # type: ignore[arg-type]
    assert is_over(result, Limits(latency_s=1.9, energy_j=3.0))  # type: ignore[arg-type]
    assert is_over(result, Limits(latency_s=2.0, energy_j=2.9))  # type: ignore[arg-type]


def test_a_front_keeps_what_no_other_dominates() -> None:
    """The third is slower and dearer than the first, the fourth its equal, the fifth slowest."""
    costs = [(1.0, 5.0), (4.0, 2.0), (2.0, 6.0), (1.0, 5.0), (5.0, 2.5), (3.0, 4.0)]
    assert _kept(costs, Goal(kind="edp")) == [0, 5, 1]
    assert _kept([], Goal(kind="edp")) == []


def test_a_corner_is_looked_for_where_the_box_below_two_others_has_room() -> None:
    """Between 1 cycle of 9 pJ and 3 cycles of 1 pJ: the box's corner is 1 x 1."""
    fast, lean = (1.0, 9.0), (3.0, 1.0)
    assert weight_between(fast, lean, top=1.1) == 4.0
    assert weight_between(fast, lean, top=1.0) is None
    assert weight_between((6.0, 9.0), (8.0, 4.0), top=25.0) == 2.5
    assert weight_between((6.0, 9.0), (8.0, 4.0), top=24.0) is None
    # 4 c + e >= 33 and c + e >= 12: nothing is below 7 x 5.
    lines = (4.0, 1.0)
    assert weight_between((6.0, 9.0), (8.0, 4.0), top=35.0, weights=lines) is None
    assert weight_between((6.0, 9.0), (8.0, 4.0), top=35.1, weights=lines) == 2.5
    for other in (lean[0], fast[1]), (fast[0], lean[1]), fast:
        assert weight_between(fast, other, top=100.0) is None


def test_what_a_group_takes_under_other_weights_bounds_it_under_one() -> None:
    """Four mappings, 0.5 pJ leak in a cycle: beside a weight, and between two, no bound is above.

    Where one mapping is the best under a lighter and under a heavier weight, it is known between.
    """
    points = np.array([[1.0, 9.0], [2.0, 4.0], [4.0, 2.0], [9.0, 0.5]])

    def best(goal: Goal) -> float:
        return float(goal.first(points[:, 0], points[:, 1]).min())

    goals = [Goal(kind="weighted", weight=float(w), leak=0.5) for w in np.geomspace(0.3, 10, 60)]
    group = KnownGroup(least=np.array([[1.0, 0.5]]))
    for number, weight in enumerate((0.8, 1.2, 3.0)):
        solved = Goal(kind="weighted", weight=weight, leak=0.5)
        group.over[solved] = best(solved)
        bounds = [group.lower(goal) / best(goal) for goal in goals]
        assert max(bounds) <= 1 + 1e-12
        assert min(bounds) > (0.4, 0.4, 0.55)[number]
    known = [g for g in goals if 0.8 <= g.weight <= 1.2]
    assert all(group.lower(goal) >= best(goal) * (1 - 1e-12) for goal in known)


def test_leakage_is_added_to_the_energy_of_groups_in_sequence() -> None:
    own = WeightedSumSearch([], Goal(kind="edp", leak=0.5))
    assert own._whole((4.0, 10.0)) == (4.0, 12.0)


def test_every_outer_choice_is_refined_once() -> None:
    """Two at once, by staging."""
    tiles = SimpleNamespace(candidate_set=None, count=PAIRS // 2)
    bounds = FusedBounds(None, None, [tiles], None)  # type: ignore[arg-type, list-item]
    outers = SimpleNamespace(staging=np.array([1, 0, 1, 1]))
    parts = [(n, own.tolist()) for n, own in bounds._parts(outers)]  # type: ignore[arg-type]
    assert parts == [(0, [1]), (1, [0, 2]), (1, [3])]


def test_what_is_equal_but_for_the_last_bits_is_decided_by_the_rest() -> None:
    """1e6 cycles and a ten-trillionth more: the cheaper of two, then neither."""
    fast = Goal(kind="latency")
    assert better_pair(fast, (1e6 * (1 + 1e-13), 0.5e-9), (1e6, 1e-9))
    assert not better_pair(fast, (1e6 * (1 + 1e-13), 1e-9), (1e6, 1e-9))
    assert not better_pair(fast, (1e6 * (1 + 1e-11), 0.5e-9), (1e6, 1e-9))
    assert better_pair(fast, (1e6 * (1 - 1e-11), 2e-9), (1e6, 1e-9))
    assert better_pair(Goal(kind="energy"), (5.0, 0.0), (6.0, 0.0))


def test_rows_that_words_do_not_fill() -> None:
    """Of 4 words a row, whole and in two parts; and of 3."""
    words = np.array([8.0, 6.0, 8.5, 12.0])
    assert _rounded(words, 4, 1).tolist() == [False, True, True, False]
    assert _rounded(words, 4, 2).tolist() == [False, True, True, True]
    assert _rounded(words, 4, 6).tolist() == [False, True, True, True]
    assert _rounded(np.array([6.0, 9.0, 7.0]), 3, 1).tolist() == [False, False, True]
    assert _rounded(np.array([6.0, 9.0, 7.0]), 3, 2).tolist() == [False, True, True]


def test_sums_that_are_off_in_the_last_bits_are_whole_cycles() -> None:
    cycles = np.array([10.0, 10 + 1e-12, 10.1, 11 - 1e-12])
    assert rounded(load_platform("edge").dram, cycles).tolist() == [10, 10, 11, 11]


def test_groups_that_a_rule_can_tell_apart_are_questions_of_their_own() -> None:
    """Fused Einsums, rules that name ranks or tensors, and a list of what is staged."""

    def question(count: int, *, slots: bool, staging: object) -> object:
        fusion = SimpleNamespace(tiles={}, staging=staging)
        mapspace = SimpleNamespace(slots=("a rule",) * slots, keeps=(), fusion=fusion)
        problem = SimpleNamespace(mapspace=mapspace, spaces=[None] * count)
        return _question(problem, 7)  # type: ignore[arg-type]

    assert question(2, slots=False, staging="any") == 7
    assert question(1, slots=True, staging="any") == 7
    assert question(1, slots=False, staging=("A",)) == 7


def test_two_tiles_that_cannot_stay_together_cost_what_one_of_them_does() -> None:
    """Of Einsums of 10 and 20 pJ at least: none stays for 5 and 8 more, both for 3 in no room.

    The room beside both: short of a word, none, one (2 and 0 more), six (1 more), too much to ask.
    """
    rooms = np.array([-1.0, 0.0, 1.0, 6.0, 7.0, np.inf])
    every = np.ones(len(rooms), np.bool_)
    bounds = StayBounds(runs=[every, every], conflicts=[Conflict((0, 1), "RF", rooms)])
    stay, none = ([np.full(len(rooms), pj) for pj in pair] for pair in ((10.0, 20.0), (15.0, 28.0)))
    beside = {(0, 0): 12.0, (1, 0): 21.0, (0, 2): 12.0, (1, 2): 20.0, (0, 6): 10.0, (1, 6): 21.0}
    found = bounds.total(stay, none, lambda i, words: np.full(len(rooms), beside[i, words]))
    assert found.tolist() == [35, 33, 32, 31, 30, 30]
    assert bounds.total(stay, none).tolist() == [35, 30, 30, 30, 30, 30]


def test_what_does_not_fit_together_cannot_all_stay() -> None:
    """Two Einsums let 40 words stay at least, and 24, beside each other in 63 and in 64."""
    level = SimpleNamespace(name="RF")

    def crowded(room: int | None, improves: list[bool]) -> bool:
        space = SimpleNamespace(shared=1, arch=SimpleNamespace(levels=["DRAM", "GLB", level]))
        parts: Any = {
            i: SimpleNamespace(
                tiles=SimpleNamespace(space=space),
                chance=SimpleNamespace(of=lambda yes: np.array([False, yes])),
            )
            for i in range(2)
        }
        bounds: Any = SimpleNamespace(
            problem=SimpleNamespace(private_levels={"LREG": 1, "RF": room}),
            log=None,
            _staying={0: np.array([1.0, 40.0, np.inf]), 1: np.array([30.0, 24.0, 99.0])},
            _costs=lambda part, _, stay: [improves[part is parts[1]]] if stay == () else None,
        )
        found = {0: np.array([1, 2]), 1: np.array([0, 1])}
        return FusedBounds._crowded(bounds, parts, found)

    assert crowded(63, [False, False])
    assert not crowded(63, [True, False])
    assert not crowded(63, [False, True])
    assert not crowded(64, [False, False])
    assert not crowded(None, [False, False])


def test_loops_of_one_pass_stand_anywhere_in_an_order() -> None:
    """The first rank is wanted innermost, and stands outside the second."""
    real = np.array([[True, True, False], [True, False, True]])
    assert obeyed((0,), (1, 0), real).tolist() == [False, True, True]
    assert obeyed((0,), (0, 1), real).all()


@pytest.mark.parametrize("kind", ["read", "write"])
def test_a_port_without_a_limit_tells_no_candidates_apart(kind: str) -> None:
    """Only writes have a limit: of words read nothing is compared but their energy."""
    level = SimpleNamespace(
        name="RF",
        row_words=1,
        read_words_per_cycle=None,
        write_words_per_cycle=2.0,
        shared_words_per_cycle=None,
    )
    ports: list[str] = []
    sums: Any = SimpleNamespace(
        _amounts=lambda *given, **_: ports.extend(quantity.port for quantity, _ in given[2])
    )
    at: Any = SimpleNamespace(
        child=level, spread=1.0, copies=1.0, passes=np.ones(1), of_child=lambda passes: passes
    )
    space = SimpleNamespace(volume_at=lambda *_: 4.0)
    one: Any = SimpleNamespace(space=space, tensor="X", cut=1, share=None, beyond=1.0)
    _Sums._end(sums, one, at, at, np.ones(1), kind, 1.0, spared=False)
    assert ports == ["energy", *(["write"] if kind == "write" else [])]


def test_the_unit_that_takes_longest_is_the_bottleneck() -> None:
    found = ideal_latency("overlapped", {"MAC": 3.0, "ALU": 5.0}, {"DRAM": 4.0}, 1.0)
    assert (found.cycles, found.exposed, found.bottleneck) == (5.0, 1.0, "ALU")


def test_sums_are_exact_where_every_group_is() -> None:
    pools = {name: SimpleNamespace(exact=name == "QK") for name in ("QK", "AV")}
    exact: Any = WeightedSumSearch.exact
    assert not exact.fget(SimpleNamespace(pools=pools))


@pytest.mark.parametrize(("room", "visits"), [(2.0, 1.0), (1.0, 4.0)])
def test_a_tensor_stays_at_the_private_levels_of_einsums_that_have_it(
    room: float, visits: float
) -> None:
    """Eight words of X, six at A's registers; B has room without end, and no X."""

    def space(words: int | None, *tensors: str) -> SimpleNamespace:
        room = inf if words is None else 2.0 * words
        arch = SimpleNamespace(levels=["GLB"])
        return SimpleNamespace(tensors=tensors, shared=0, arch=arch, room_inside=lambda *_: room)

    bounds: Any = SimpleNamespace(
        workload=SimpleNamespace(rank_sizes={"P": 8}, tensor_ranks={"X": ("K",)}),
        spaces={"A": space(3, "X"), "B": space(None, "Y")},
        _tile_words=lambda *_: np.array([8.0]),
    )
    found = BorderBounds._visits(bounds, ("A", "B"), "X", ("P",), np.array([[2]]), np.array([room]))
    assert found.tolist() == [visits]


def test_units_that_overlap_take_as_long_as_the_busier() -> None:
    """Turns of 5 and 7 cycles, 1 and 2 of them in one pass; 1 cycle is exposed: 7 + 1 + 1."""
    layout = CostLayout(ports=(), overlapped=True, takes_turns=True)
    vector = np.array([[5.0, 7.0, 1.0, 2.0, 0.0, 1.0, 60.0, 8.0]])
    assert layout.width == vector.shape[1]
    assert layout.latency(vector).tolist() == [9.0]
