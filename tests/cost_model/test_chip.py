"""Groups on many cores, with numbers that a reader can check by hand."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from random import Random

import pytest
from execution.tiny import chip, fused, products, with_group

from flat_mapper.arch.reader import load_platform
from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
from flat_mapper.base.errors import MappingError
from flat_mapper.cost_model.chip import tile
from flat_mapper.cost_model.chip.cores import GroupOnCores, TimedTiles, given
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.tables import unpriced
from flat_mapper.execution.run import execute
from flat_mapper.kernels.flash_mapping import flash_groups
from flat_mapper.mapping.values import FusedMapping, Loop, Schedule, TileOrder
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask


def many(cores: int, *, multicast: bool = True, **facts: float) -> Platform:
    """The chip of `tiny` with its buffer, its registers and its unit so many times."""
    alone = chip()
    rule = {} if multicast else {"spatial": {"no_multicast_no_reduction": ["*"]}}

    def around(arch: Architecture) -> Architecture:
        dram, *inside = arch.nodes
        fanout = Fanout(name="core", fanout_x=cores, constraints=rule)
        own = [replace(n, instances=cores) for n in inside if isinstance(n, MemoryLevel)]
        unit = replace(arch.compute, instances=cores)
        return replace(arch, nodes=(dram, fanout, *own), compute=unit, variables=facts)

    assert alone.vector is not None
    return Platform(name="many", matrix=around(alone.matrix), vector=around(alone.vector))


def over_rows(rows: int) -> tuple[Workload, FusedMapping]:
    """The two products, rows of Y and Z given out to cores one by one."""
    mapping = fused()
    nests = tuple(
        replace(m, loops=tuple((s, at) for s, at in m.loops if s.node != "DRAM"))
        for m in mapping.groups[0].einsums
    )
    changed = with_group(
        mapping, einsums=nests, shared=(), level="GLB", cores=(("DRAM", (Loop("I", rows),)),)
    )
    return products().with_ranks({"I": rows}), changed


def result_of(workload: Workload, platform: Platform, mapping: FusedMapping) -> Result:
    found = evaluate(workload, platform, mapping, unpriced(platform))
    assert isinstance(found, Result), found
    return found


# A row of A is 2 words, B and C are 4 each, a row of Z is 2; a turn takes 4 cycles of compute.
# One word a cycle from DRAM for both cores. Multicast: A 2 x 2, B 4 and C 4 come in 12 cycles, Z
# 2 x 2 goes in 4; between them the longer of two turns, 8, and of all words, 16. A read a core: A
# 4, B 8 and C 8, in 20, and 24 words in all.
@pytest.mark.parametrize(
    ("multicast", "reads", "cycles", "least"),
    [(True, 4 + 4 + 4, 12 + 16 + 4, 20), (False, 20, 20 + 24 + 4, 28)],
)
def test_two_rows_on_two_cores(multicast: bool, reads: int, cycles: int, least: float) -> None:
    workload, mapping = over_rows(2)
    platform = many(2, multicast=multicast)
    found = result_of(workload, platform, mapping)
    assert found.offchip_words == reads + 4
    (group,) = found.groups
    assert group.cycles == cycles
    (done,) = execute(workload, platform, mapping).groups
    # All words are first inputs or last outputs, which count twice where DRAM binds; and C comes
    # during the first turn.
    assert done.cycles == least <= cycles <= done.cycles + group.slack_cycles
    assert group.cores is not None
    assert (group.cores.rounds, group.cores.idle_share) == (1, 0.0)


def test_three_rows_on_two_cores_take_two_rounds() -> None:
    """The second round has one core, and all of DRAM for it: A 2, B 4, C 4 in, Z 2 out."""
    workload, mapping = over_rows(3)
    (group,) = result_of(workload, many(2), mapping).groups
    assert group.cores is not None
    assert group.cores.rounds == 2
    assert group.cycles == 32 + (10 + 12 + 2)
    assert group.cores.idle_share == pytest.approx(24 / (2 * 56))


def test_what_holds_the_cores_up_longest_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """30 cycles of all cores at DRAM, 20 at the units."""
    share = {"MAC": 20.0, "DRAM": 30.0}
    timed = TimedTiles(longest=25.0, busy=50.0, cold=0.0, slack=0.0, rounds=1, share=share)
    monkeypatch.setattr(GroupOnCores, "timed", lambda on: timed)
    workload, mapping = over_rows(2)
    assert result_of(workload, many(2), mapping).bottleneck == "DRAM"


def test_fixed_costs() -> None:
    workload, mapping = over_rows(3)
    platform = many(2, core_tile_cycles=100, core_step_cycles=10, launch_seconds=1e-6)
    (group,) = result_of(workload, platform, mapping).groups
    assert group.cycles == 32 + 24 + 2 * (100 + 10) + 1000


def test_tiles_go_to_the_core_that_is_free_first() -> None:
    assert given([0.0, 0.0], [(3.0, 1), (2.0, 3)]) == ([5.0, 4.0], 2)
    loads, most = given([0.0] * 3, [(2.0, 100), (1.0, 1)])
    assert (sorted(loads), most) == ([66.0, 67.0, 68.0], 34)


@pytest.mark.parametrize("cores", [1, 3, 7])
@pytest.mark.parametrize("runs", [[(7.0, 50), (2.0, 90)], [(1.0, 500), (10.0, 3)]])
def test_many_equal_tiles_are_given_as_one_by_one(
    cores: int, runs: list[tuple[float, int]]
) -> None:
    singly = [(cycles, 1) for cycles, count in runs for _ in range(count)]
    loads, most = given([0.0] * cores, runs)
    one_by_one, taken = given([0.0] * cores, singly)
    assert (sorted(loads), most) == (sorted(one_by_one), taken)


def one_by_one(loads: list[float], tiles: list[tuple[float, int]]) -> tuple[list[float], list[int]]:
    """Loads of the cores, and how many tiles each was given: one looked for after the other."""
    free, taken = list(loads), [0] * len(loads)
    for cycles in (c for c, count in tiles for _ in range(count)):
        core = free.index(min(free))
        free[core] += cycles
        taken[core] += 1
    return free, taken


@pytest.mark.parametrize("cores", [1, 2, 5, 16, 33, 132])
def test_many_cores_are_given_the_same_as_one_by_one(cores: int) -> None:
    """To the last digit, with loads and tiles that are equal, nothing, or nearly nothing."""
    rng = Random(cores)
    values = (0.0, 1e-3, 0.1, 1.0, 1.0, 2.0, 3.25, 7.0, 1e16)
    for _ in range(60):
        loads = [rng.choice(values) * rng.randrange(2) for _ in range(cores)]
        drawn = [rng.choice(values) if rng.randrange(3) else rng.random() for _ in range(6)]
        longest = sorted(drawn, reverse=True) if rng.randrange(2) else drawn
        tiles = [(cycles, rng.randint(0, min(2 * cores, 60))) for cycles in longest]
        free, taken = one_by_one(loads, tiles)
        assert given(loads, tiles) == (free, max(taken))


def test_a_chip_of_one_core_is_the_chip_without_cores() -> None:
    """To the last digit, whatever the mapping says of a core."""
    workload, mapping = products(), fused()
    alone = result_of(workload, chip(), mapping)
    for changed in (mapping, with_group(mapping, level="GLB")):
        one = result_of(workload, many(1), changed)
        assert one.einsums == alone.einsums
        assert one.cycles == alone.cycles
        assert one.groups[0].slack_cycles == alone.groups[0].slack_cycles


def test_a_sum_that_the_group_reads_is_not_given_out() -> None:
    """Y sums over K and Z reads it: no core has all of it."""
    workload, mapping = over_rows(2)
    cut = with_group(mapping, cores=(("DRAM", (Loop("K", 2),)),))
    with pytest.raises(MappingError, match="cores: expected one loop each over I, J, got 'K'"):
        evaluate(workload, many(2), cut, unpriced(many(2)))


def test_a_fused_group_says_where_it_is_fused() -> None:
    with pytest.raises(MappingError, match="level: expected a fusion level, of which each of 2"):
        evaluate(products(), many(2), fused(), unpriced(many(2)))


def llama(mask: Mask | None = None, batch: int = 1) -> Workload:
    """Llama 3 8B's attention over 4096 positions."""
    found = attention(B=batch, H=32, P=4096, M=4096, E=128, F=128, kv_heads=8, softmax="online")
    return replace(found, mask=mask)


def flash(workload: Workload, cached: tuple[str, ...] = (), turns: bool = False) -> FusedMapping:
    """Tiles of 128 queries of a head, 128 keys at a time; all of them stand at L2."""
    names, tile = tuple(workload.ancestors), (128, 128, 1)
    (group,) = flash_groups(
        workload, load_platform("h100"), names, *tile, cached=cached, turns=turns
    )
    return FusedMapping(groups=(replace(group, cores=(("L2", group.given_out),)),))


def test_matmul_and_exponentials_in_turns_on_h100() -> None:
    """1024 tiles of 128 queries: eight rounds of 32 tiles of keys, 3128 cycles each.

    128 x 128 x 128 MACs on 2048 take 1024 cycles, twice; 16384 exponentials at 16 a cycle 1024;
    16384 maxima and sums on 128 lanes, eight a cycle each, 16 each; corrections 8 + 1/8 + 16.
    """
    platform = load_platform("h100")
    mapping = flash(llama(), ("K", "V"))
    (group,) = result_of(llama(), platform, mapping).groups
    step = 2 * 1024 + 1024 + 2 * 16 + 8 + 1 / 8 + 16
    divided = 128 * 128 // 128 * 8
    assert group.cores is not None
    assert group.cores.rounds == 8 == ceil(1024 / 132)
    turns = 8 * (32 * step + divided)
    # Of each round the first keys and values come from L2, queries and quotients from and to DRAM.
    tile, clock = 2 * 132 * 128 * 128 * 2, 1830e6
    assert turns <= group.cycles <= turns + 8 * tile * (clock / 5.5e12 + clock / 3350e9)


def test_a_causal_mask_takes_half_and_fills_cores_better_in_a_better_order() -> None:
    platform, causal = load_platform("h100"), llama(Mask(causal=True))
    full = result_of(llama(), platform, flash(llama()))
    by_head = flash(causal)
    longest = flash(causal, turns=True)
    one, other = (result_of(causal, platform, m) for m in (by_head, longest))
    # Of 32 x 32 tiles of keys, 32 x 33 / 2 are left.
    macs = one.einsums[0].computes / full.einsums[0].computes
    assert macs == 33 / 64
    assert other.groups[0].cores is not None
    assert one.groups[0].cores is not None
    assert other.groups[0].cores.imbalance < one.groups[0].cores.imbalance
    assert other.cycles < one.cycles < full.cycles


@pytest.mark.parametrize("order", ["largest", "lists"])
@pytest.mark.parametrize("schedule", ["interleaved", "overlapped"])
@pytest.mark.parametrize("slower", [1, 300])
def test_tiles_of_more_passes_cost_what_they_do_one_by_one(
    order: TileOrder, schedule: Schedule, slower: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tiles of queries that see 1 to 32 tiles of keys, two of them priced or each of them."""
    causal, h100 = llama(Mask(causal=True)), load_platform("h100")
    dram = h100.matrix.nodes[0]
    assert isinstance(dram, MemoryLevel)
    slow = dram.slowed(slower)
    platform = h100.changed(lambda arch: replace(arch, nodes=(slow, *arch.nodes[1:])))
    mapping = with_group(flash(causal, ("K", "V")), order=order, schedule=schedule)
    few = result_of(causal, platform, mapping)
    monkeypatch.setattr(tile, "LEVEL", 10**6)
    each = result_of(causal, platform, mapping)
    assert few.einsums == each.einsums
    assert few.groups[0] == each.groups[0]


def test_keys_and_values_in_l2_come_from_dram_once() -> None:
    platform = load_platform("h100")
    kept = result_of(llama(), platform, flash(llama(), ("K", "V")))
    anew = result_of(llama(), platform, flash(llama()))
    kv = 2 * 8 * 4096 * 128
    assert anew.offchip_words - kept.offchip_words == kv * (4 * 32 - 1)  # 4 heads, 32 tiles of rows


def test_a_level_between_has_room_for_what_it_keeps() -> None:
    """Eight sequences' K and V are 67 M words; L2 has 25 M."""
    platform, workload = load_platform("h100"), llama(batch=8)
    found = evaluate(
        workload,
        platform,
        flash(workload, ("K", "V")),
        unpriced(platform),
    )
    assert isinstance(found, Infeasible)
    assert (found.level, found.has) == ("L2", 25_000_000)
