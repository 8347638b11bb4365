"""The search against brute force: the same best value, or both find that nothing fits."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module

import pytest
from agreement import agree
from execution.test_fill_ports import with_fill_ports
from oracles.brute_force import Case, chosen, front, judged
from oracles.small_cases import (
    idle_keeps_case,
    masked_case,
    online_case,
    readers_case,
    small_case,
    turns_case,
)

from flat_mapper.arch.values import Fanout
from flat_mapper.backends.agreement import compare_run
from flat_mapper.execution.run import execute
from flat_mapper.mapper.solve.driver import frontier
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.workload.mask import Mask

# Those of the first twenty that take a second or less, and two that once found less than the best.
SEEDS = (1, 4, 5, 6, 8, 9, 10, 11, 16, 17, 18, 26, 1901, 1981)


@pytest.mark.parametrize("seed", SEEDS)
def test_search_finds_what_brute_force_finds(seed: int) -> None:
    agree(small_case(seed), seed)


ONLINE_SEEDS = (1, 5, 9)  # keys in shared loops; the quickest
# Private levels in turn, also four levels; ports that bind; a tile that had better return.
TURNS_SEEDS = (4, 5, 6, 7, 10, 11, 1690)


@pytest.mark.parametrize("seed", ONLINE_SEEDS)
def test_search_finds_what_brute_force_finds_where_keys_are_cut(seed: int) -> None:
    agree(online_case(seed), seed)


@pytest.mark.parametrize("seed", TURNS_SEEDS)
def test_search_finds_what_brute_force_finds_where_einsums_take_turns(seed: int) -> None:
    agree(turns_case(seed), seed)


@pytest.mark.parametrize(
    ("draw", "seed"),
    [*((small_case, n) for n in (1, 4, 5, 8)), *((turns_case, n) for n in (4, 5, 6, 7, 10, 11))],
)
def test_search_finds_what_brute_force_finds_where_fills_have_a_port(
    draw: Callable[[int], Case], seed: int
) -> None:
    case, rng = draw(seed), random.Random(seed)
    levels = dict.fromkeys(lv.name for path in case.platform.paths for lv in path.levels[1:])
    rates = {name: rng.choice((None, 0.125, 0.25, 1.0)) for name in levels}
    agree(replace(case, platform=with_fill_ports(case.platform, rates)), seed)


def test_no_bound_takes_fills_for_writes_where_they_have_a_port() -> None:
    """A buffer that is filled fast and updated slowly, and ports of nothing else."""
    case, none = small_case(26), {"read_words_per_cycle": None, "shared_words_per_cycle": None}
    names = dict.fromkeys(lv.name for path in case.platform.paths for lv in path.levels)
    free = with_fill_ports(case.platform, names, write_words_per_cycle=None, **none)
    slow = with_fill_ports(free, {"GLB": 64.0}, write_words_per_cycle=0.1)
    agree(replace(case, platform=slow), 26)


@pytest.mark.parametrize("most", [None, 0])
def test_search_finds_what_brute_force_finds_where_a_keep_makes_turns_alike(
    most: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """60 cycles, where a level keeps what it fetches as often as it passes it on; 61 without."""
    if most is not None:  # rows thinned on the way
        monkeypatch.setattr(
            import_module("flat_mapper.mapper.group.group"), "MOST_CANDIDATES", most
        )
    agree(idle_keeps_case(12), 12)


READERS_SEEDS = (1, 2, 3, 4, 6, 7, 8)  # in place, with several readers
MASKED_SEEDS = (0, 3, 4)


@pytest.mark.parametrize("seed", READERS_SEEDS)
def test_search_finds_what_brute_force_finds_where_tensors_share_a_place(seed: int) -> None:
    agree(readers_case(seed), seed)


@pytest.mark.parametrize("seed", MASKED_SEEDS)
def test_search_finds_what_brute_force_finds_under_a_mask(seed: int) -> None:
    agree(masked_case(seed), seed)


@pytest.mark.parametrize(("draw", "seed"), [(small_case, 4), (small_case, 6), (turns_case, 5)])
def test_search_finds_what_brute_force_finds_where_what_passes_takes_no_room(
    draw: Callable[[int], Case], seed: int
) -> None:
    case = draw(seed)
    policy = replace(case.mapspace.policy, passing="free")
    agree(replace(case, mapspace=replace(case.mapspace, policy=policy)), seed)


def held_against_execution(case: Case, seed: int) -> None:
    """The best mappings by brute force do what it says: numbers, counts, words alive, cycles."""
    done: list[FusedMapping] = []
    for cascade, points in chosen(case):
        truth = judged(cascade, points)
        if truth.mapping not in done:
            done.append(truth.mapping)
            executed = execute(cascade.workload, case.platform, truth.mapping)
            assert executed.right, f"seed {seed}"
            assert compare_run(executed, truth) == (), f"seed {seed}"


def one_place_case(words: int) -> Case:
    """A row of seven keys whose exponentials overwrite the scores in so many words of buffer."""
    case = small_case(3)
    fusion = replace(
        case.mapspace.fusion,
        groups=(("QK", "softmax", "AV"),),
        optional=False,
        staging="none",
        schedule="interleaved",
    )
    policy = replace(case.mapspace.policy, buffering=1.0, in_place=True)
    paths = {
        side: replace(
            arch,
            nodes=tuple(
                replace(n, capacity_words=words) if n.name == "GLB" else n for n in arch.nodes
            ),
        )
        for side in ("matrix", "vector")
        if (arch := getattr(case.platform, side))
    }
    return replace(
        case,
        workload=case.workload.with_ranks({"B": 1, "P": 1, "M": 7, "E": 1, "F": 1}),
        platform=replace(case.platform, **paths),
        mapspace=replace(case.mapspace, fusion=fusion, policy=policy),
    )


@pytest.mark.parametrize(("words", "fits"), [(12, False), (13, True), (14, True), (15, True)])
def test_what_overwrites_its_input_takes_one_place(words: int, fits: bool) -> None:
    """7 scores, a maximum, a sum, and a word each of Q, K, V and AV: 13, not 20."""
    case = one_place_case(words)
    truths = agree(case, words)
    assert all((truth is not None) == fits for truth in truths.values())
    held_against_execution(case, words)


def one_pass_of_a_row(_seed: int) -> Case:
    """Two tiles of queries whose first sees one tile of keys: the second begins with it again."""
    case = online_case(16)
    workload = case.workload.with_ranks({"P": 2, "M": 2, "E": 1, "F": 1})
    return replace(case, workload=replace(workload, mask=Mask(causal=True)))


EXECUTED = (
    (one_pass_of_a_row, 0),
    *((readers_case, seed) for seed in READERS_SEEDS),
    *((masked_case, seed) for seed in MASKED_SEEDS),
    *((online_case, seed) for seed in ONLINE_SEEDS),
    *((turns_case, seed) for seed in TURNS_SEEDS),
)


@pytest.mark.parametrize(("draw", "seed"), EXECUTED)
def test_brute_force_says_what_happens(draw: Callable[[int], Case], seed: int) -> None:
    held_against_execution(draw(seed), seed)


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Einsum counts as one with too many rows to keep."""
    monkeypatch.setattr(import_module("flat_mapper.mapper.group.group"), "MOST_CANDIDATES", 0)
    monkeypatch.setattr(import_module("flat_mapper.mapper.group.incremental"), "BEAM", 2)


@pytest.fixture
def every_other_grows(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of odd seeds candidates are too many to keep, and grow node by node."""
    if seed % 2:
        monkeypatch.setattr(import_module("flat_mapper.mapper.group.group"), "MOST_CANDIDATES", 0)


@pytest.mark.usefixtures("crowded")
@pytest.mark.parametrize("seed", SEEDS)
def test_rows_thinned_on_the_way_lose_nothing(seed: int) -> None:
    agree(small_case(seed), seed)


@pytest.mark.usefixtures("crowded")
@pytest.mark.parametrize("seed", TURNS_SEEDS)
def test_rows_thinned_on_the_way_leave_what_fits_private_levels(seed: int) -> None:
    agree(turns_case(seed), seed)


@pytest.mark.parametrize("seed", [1, 5, 6, 9, 11, 17])
def test_front_is_that_of_brute_force(seed: int) -> None:
    case = small_case(seed)
    found = frontier(case.workload, case.platform, case.mapspace, case.ert)
    truth = front(case)
    if not truth:
        assert not isinstance(found, tuple)
        return
    assert isinstance(found, tuple)
    assert [s.result.cycles for s in found] == [cycles for cycles, _ in truth]
    energies = [energy for _, energy in truth]
    assert [s.result.energy_pj for s in found] == pytest.approx(energies, rel=1e-9)


@pytest.mark.usefixtures("every_other_grows")
@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(1000, 4000))
def test_search_finds_what_brute_force_finds_thousands_of_times(seed: int) -> None:
    agree(small_case(seed), seed)


@pytest.mark.usefixtures("every_other_grows")
@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(60))
def test_search_finds_what_brute_force_finds_where_keeps_make_turns_alike(seed: int) -> None:
    agree(idle_keeps_case(seed), seed)


@pytest.mark.usefixtures("every_other_grows")
@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(1000, 2000))
def test_search_finds_what_brute_force_finds_of_groups_thousands_of_times(seed: int) -> None:
    for draw in (online_case, turns_case, readers_case, masked_case):
        agree(draw(seed), seed)
        held_against_execution(draw(seed), seed)


def test_two_batch_ranks_fill_both_axes() -> None:
    case = small_case(1)
    nodes = tuple(
        replace(n, fanout_x=2, fanout_y=2) if isinstance(n, Fanout) else n
        for n in case.platform.matrix.nodes
    )
    matrix = replace(case.platform.matrix, nodes=nodes)
    agree(replace(case, platform=replace(case.platform, matrix=matrix)), 1)
