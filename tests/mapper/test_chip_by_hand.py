"""Steps of the search on many cores, each on numbers small enough to work out by hand."""

from __future__ import annotations

import random
from collections.abc import Sequence, Set
from dataclasses import replace
from functools import cached_property
from itertools import permutations, product
from types import SimpleNamespace as Fake
from typing import Any

import pytest
from execution.tiny import chip, many
from prices import PRICES

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.base.budget import Budget, Stopped
from flat_mapper.cost_model.chip.cores import Round
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.bounds.energy import drawn_energy
from flat_mapper.mapper.chip import floors
from flat_mapper.mapper.chip.assignments import _core_workload, _of_level
from flat_mapper.mapper.chip.moved import KeptInput, MovedCycles, Shares
from flat_mapper.mapper.chip.question import Counters
from flat_mapper.mapper.chip.ways import Way
from flat_mapper.mapper.solve.tile_search import GroupOnTiles
from flat_mapper.mapper.space.orders import MayStay, needed_orders
from flat_mapper.mapping.space import GroupSpace
from flat_mapper.mapping.space_reader import load_mapspace
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.mask import Mask


@pytest.mark.parametrize(
    ("reads", "keys", "paid", "once"),
    [(1.0, 0, {}, 0.0), (0.25, 0, {"A": 2.0}, 0.0), (0.25, 2, {"A": 0.0}, 3 * 8.0)],
)
def test_a_read_that_serves_all_cores_is_shared_among_them(
    reads: float,
    keys: int,
    paid: dict[str, float],
    once: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """8 pJ, of which each of four cores pays a fourth; of unequal tiles all pay every word once."""
    levels = {"DRAM": {"read": 8.0, "write": 8.0, "update": 8.0}}
    one: Any = Fake(level="GLB", workload=None, group=Fake(names=()), keys=keys, dram="DRAM")
    monkeypatch.setattr(floors, "levels_between", lambda arch, level: [])
    monkeypatch.setattr(floors, "inputs_of", lambda one: ("A",))
    monkeypatch.setattr(floors, "least_reads", lambda *_: reads)
    monkeypatch.setattr(floors, "_words_of_all", lambda *_: 12.0)
    monkeypatch.setattr(floors, "_border", lambda *_: [("A", 3.0, False), ("Z", 5.0, True)])
    ert = Ert(levels=levels, source="by hand")
    assert floors.core_energies(ert, chip(), one).levels["DRAM"] == levels["DRAM"]
    rows = floors.core_rows(ert, chip(), one)
    assert {tensor: own.read_pj for tensor, own in rows.items()} == paid
    assert floors.shared_pj(chip(), ert, one) == once


@pytest.mark.parametrize(
    ("keys", "tile", "reads"),
    [
        (0, {"H": 1, "P": 2}, {"Q": 1.0, "K": 0.5}),  # 2 heads, each in 2 tiles
        (0, {"H": 2, "P": 1}, {"Q": 1.0, "K": 0.25}),  # 4 tiles of all heads
        (0, {"H": 1, "P": 4}, {"Q": 1.0, "K": 1.0}),  # a head each
        (2, {"H": 1, "P": 2}, {"Q": 0.25, "K": 0.25}),  # of unequal tiles nothing is known
    ],
)
def test_one_read_serves_no_more_tiles_than_need_the_same(
    keys: int, tile: dict[str, int], reads: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heads and queries over four cores: tiles of one head need the same keys."""
    workload = attention(B=1, H=2, P=4, M=4, E=2, F=2)
    monkeypatch.setattr(floors, "multicasts", lambda *_: True)
    count = 8 // (tile["H"] * tile["P"])
    one: Any = Fake(
        workload=workload,
        level="GLB",
        tile=tuple(tile.items()),
        keys=keys,
        at_work=min(4, count),
        count=count,
    )
    found = {t: floors.least_reads(chip(), one, t) for t in reads}
    assert found == {t: max(n, 1 / one.at_work) for t, n in reads.items()}


SHARES = Shares(count=4, passes=10, single=1, whole=4)  # tiles of 4, 3, 2 and 1 passes


@pytest.mark.parametrize(
    ("grows", "again", "runs", "passes", "alone", "cycles"),
    [
        (False, False, 1, 4, False, 10),  # stays in all tiles: a quarter of the 40
        (False, False, 1, 1, True, 10),
        (False, False, 2, 1, True, 40 / 7),  # once where the others bring it twice
        (False, True, 1, 2, False, 8),  # comes with every pass: 2 of 10
        (False, True, 1, 1, True, 4),
        (False, True, 2, 1, True, 40 / 19),  # once where the others bring it twice a pass
        (False, True, 1, 4, False, 16),
        (True, False, 1, 3, False, 12),
        (True, False, 1, 1, True, 4),
        (True, False, 20, 1, True, 0.5),  # for a tile's words at the port of a level between
    ],
)
def test_an_input_that_is_kept_outside_is_paid_for_by_who_reads_it(
    grows: bool, again: bool, runs: int, passes: int, alone: bool, cycles: float
) -> None:
    kept = KeptInput(own=24.0, all=40.0, beside=2.0, grows=grows, runs=runs)
    assert kept.cycles(passes, SHARES, alone=alone, again=again) == pytest.approx(cycles)


def test_no_input_comes_with_every_pass_if_that_takes_longer_than_all_do() -> None:
    """4 passes of 3 cycles at a level between, beside 1: then one pass takes 4 cycles, else 11."""
    kept = KeptInput(own=24.0, all=40.0, beside=3.0, grows=False, runs=1)
    stays, again = MovedCycles(fixed=1.0, kept=(kept,), shares=SHARES).forms
    assert (stays.cycles(1, 0.0), again.cycles(1, 0.0)) == (11.0, 5.0)
    assert (stays.floor, again.floor) == (0.0, 17.0)


def test_an_input_that_may_come_from_dram_is_no_longer_than_it_takes_there() -> None:
    """6 cycles for all passes; beside them 3 of other inputs, and 5 of outputs."""
    kept = KeptInput(own=6.0, all=40.0, beside=0.0, grows=True, runs=1)
    assert kept.cycles(2, SHARES, alone=False) == 3
    one = MovedCycles(fixed=3.0, sent=1.0, sent_each=2.0, kept=(kept,), shares=SHARES)
    assert one.cycles(2, 0.0) == 3 + 3 + 1 + 4
    assert one.cycles(2, 9.0) == 3 + 9 + 1 + 4
    assert replace(one, apart=True).cycles(2, 0.0) == 6  # outputs leave while inputs come


def test_rows_of_all_tiles_are_whole_and_one_read_serves_several() -> None:
    """Three words in rows of two for four tiles: six rows of 4 pJ, or two where one read serves."""
    dram = MemoryLevel(
        name="DRAM", component_class="DRAM", capacity_words=None, word_bits=16, row_words=2
    )
    ert = Ert(levels={"DRAM": {"read": 16.0, "write": 1.0, "update": 8.0}}, source="by hand")
    on: Any = Fake(
        platform=Fake(dram=dram),
        workload=Fake(einsum=lambda name: Fake(output=Fake(tensor="Z"))),
        group=Fake(names=("Z",)),
        tensors={"A": (), "B": (), "Z": ()},
        between={},
        outer_words={},
        saved_reads={"A": 0, "B": 3, "Z": 0}.__getitem__,
        rounds=[Round(cores=4, distinct=(("B", 1),))],
        rest=(),
        tiles=Fake(count=4),
    )
    way = Way.of(on, ert, 4)
    assert way.weights[0] == {"B": 0.25}
    space: Any = Fake(
        so_far={"DRAM": 1.0},
        output="Z",
        volume_at=lambda *_: 3,
        prices={"DRAM": ert.actions("DRAM")},
    )
    level = replace(dram, rows=way.rows)
    costs = [float(drawn_energy(space, t, level, 3.0)) for t in "ABZ"]
    assert costs == [6 * 4, 2 * 4, 6 * 2]
    none, some = (float(drawn_energy(space, "A", level, n, rounded=False)) for n in (0.0, 0.5))
    assert (none, some) == pytest.approx((0, 4))


def test_tiles_of_some_queries_take_any_part_of_the_keys_at_a_time() -> None:
    """Six keys under a mask: all divisors, where the two of four queries of a tile see some."""
    workload = attention(B=1, H=1, P=4, M=6, E=2, F=2, softmax="online")
    masked = replace(workload, mask=Mask(causal=True))
    names = tuple(e.name for e in masked.einsums)
    group = GroupSpace(names=names, fused=True, schedule="sequential", declared=True)
    space = load_mapspace("any-cores")
    space = replace(space, fusion=replace(space.fusion, cores="any", tiles={}))
    every = list(_of_level(masked, many(chip(), 2), space, group, "GLB"))
    keys = {dict(one.tile)["P"]: set[int]() for one in every}
    for one in every:
        keys[dict(one.tile)["P"]].add(one.keys)
    assert keys[4] == {0}
    assert keys[2] | {6} == {1, 2, 3, 6}


def tiles(monkeypatch: pytest.MonkeyPatch, most: float) -> GroupOnTiles:
    """A search over three tiles of at least 5, 6 and 7, which are bounded."""
    made = (Fake(at_work=2, count=2, level="GLB", tile=n) for n in (5.0, 6.0, 7.0))
    every = [(one.tile, one) for one in made]
    question = Fake(count=Counters(), budget=Budget(), value=lambda cycles, _: cycles)
    monkeypatch.setattr(GroupOnTiles, "_bounded", lambda self, item: item._replace(left=0))
    own: Any = question, None, Fake(tiles=every)
    return GroupOnTiles(*own, below=most, tried=True)


def test_tiles_that_are_left_out_by_their_bound_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """4 is known: none of the three can be better."""
    search = tiles(monkeypatch, most=4.0)
    search.run()
    assert search.question.count.of() == {"tiles": 3}
    assert search.bound == 5


def test_tiles_that_are_left_when_the_time_is_over_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(self: GroupOnTiles, item: object) -> None:
        raise Stopped

    search = tiles(monkeypatch, most=8.0)
    monkeypatch.setattr(GroupOnTiles, "_search", stop)
    search.run()
    assert search.question.count.of() == {"tiles left": 3}
    assert search.bound == 5


def test_a_search_that_is_asked_for_less_goes_on_where_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Below 5.5 is one tile, which has nothing better than 5.75; below 8 are two more."""
    search, seen = tiles(monkeypatch, most=8.0), list[float]()

    def searched(self: GroupOnTiles, item: Any) -> None:
        seen.append(item.least)
        self.searched = min(self.searched, item.least + 0.75)

    monkeypatch.setattr(GroupOnTiles, "_search", searched)
    search.run(until=5.5)
    assert (seen, search.bound) == ([5], 5.75)
    search.run()
    assert (seen, search.bound) == ([5, 6, 7], 5.75)


def test_a_tile_as_a_workload_is_what_a_checked_one_is() -> None:
    """What a workload keeps of its Einsums does not depend on its sizes."""
    whole = replace(attention(B=1, H=2, P=4, M=6, E=2, F=2), repeat=3)
    assert whole.ancestors
    core = _core_workload(whole, {"H": 1, "P": 2})
    checked = replace(whole, rank_sizes={**whole.rank_sizes, "H": 1, "P": 2}, repeat=1)
    assert core == checked
    for name, kept in vars(type(core)).items():
        if isinstance(kept, cached_property):
            own, other = getattr(core, name), getattr(checked, name)
            assert own == other or (name == "graph" and own.edges == other.edges)


def test_computes_cost_what_each_operation_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six of 4 pJ; what runs in each pass is left out."""
    monkeypatch.setattr(floors, "operation_energy", lambda *_: 4.0)
    einsums = {"A": Fake(each=(), unit="matrix"), "B": Fake(each=("P",), unit="matrix")}
    workload: Any = Fake(
        einsum=einsums.__getitem__, unmasked_iterations=lambda einsum: 6, widths=None
    )
    platform: Any = Fake(path=lambda unit: None)
    assert floors.computes_pj(platform, PRICES, workload, ("A", "B")) == 24


def times_brought(order: Sequence[int], factors: Sequence[int], own: Set[int]) -> int:
    """Times that a tile comes anew as loops run, innermost first; own: ranks that a tensor has."""
    real = [r for r in reversed(order) if factors[r] > 1]
    down = max((i for i, r in enumerate(real, 1) if r in own), default=0)
    seen = [at[:down] for at in product(*(range(factors[r]) for r in real))]
    return sum(now != before for now, before in zip(seen, [None, *seen], strict=False))


@pytest.mark.parametrize("seed", range(40))
def test_an_order_that_goes_is_covered_by_one_that_stays(seed: int) -> None:
    """One brings no tile more often, and as often those that come in parts of one whole."""
    rng = random.Random(seed)
    count = rng.choice((3, 3, 4))
    ranks = range(count)
    loops = [{r for r in ranks if rng.random() < 0.9} for _ in range(4)]
    lacks = [{r for r in own if rng.random() < 0.5} for own in loops]
    stays = tuple(
        MayStay(frozenset(own), frozenset(no), rng.random() < 0.5)
        for own, no in zip(loops, lacks, strict=True)
    )
    factors = [rng.choice((1, prime, prime)) for prime in (2, 3, 5, 7)[:count]]
    orders = tuple(permutations(ranks))
    real = frozenset(r for r in ranks if factors[r] > 1)
    stay = needed_orders(orders, real, stays)

    def passes(order: Sequence[int]) -> list[int]:
        return [
            times_brought([r for r in order if r in one.loops], factors, one.loops - one.lacks)
            for one in stays
        ]

    for order in orders:
        mine = passes(order)
        assert any(
            all(
                n == other if one.counted else n <= other
                for one, n, other in zip(stays, passes(orders[i]), mine, strict=True)
            )
            for i in stay
        )
    every = [passes(orders[i]) for i in stay]
    assert len(set(map(tuple, every))) == len(every)
