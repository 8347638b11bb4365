"""A tile's life adds up to the result that it is derived from."""

from __future__ import annotations

import pytest
import report_samples as samples
from hypothesis import given
from hypothesis import strategies as st

from flat_mapper.mapping.values import FusedMapping
from flat_mapper.page.facts import Facts, facts_of
from flat_mapper.page.tile import occupancy, run_occupancy, run_timeline, timeline, waits
from flat_mapper.reports.answers import Evaluation
from flat_mapper.spec.document import section_of

MAPPINGS = {
    "fused": samples.small.fused(),
    "other order": samples.small.fused("P8 H12"),
    "unfused": samples.unfused(),
    "overlapped": samples.overlapped(),
}
EVERY = pytest.mark.parametrize("mapping", MAPPINGS.values(), ids=MAPPINGS.keys())


def facts(priced: Evaluation) -> Facts:
    return facts_of(section_of(priced.to_dict(), "answer"), "answer")


@EVERY
def test_tiles_add_up_to_the_cycles_of_each_unit_and_of_dram(mapping: FusedMapping) -> None:
    priced = samples.priced(mapping)
    for totals, stats in zip(facts(priced)["groups"], priced.result.groups, strict=True):
        tile = [s for s in timeline(totals, 1) if s.kind != "cold start"]
        for unit, cycles in stats.compute_cycles.items():
            busy = sum(s.end - s.start for s in tile if s.lane == unit)
            assert busy * totals["tiles"] == pytest.approx(cycles)
        moved = sum(s.end - s.start for s in tile if s.kind == "transfer")
        assert moved * totals["tiles"] == pytest.approx(stats.transfer_cycles["DRAM"])


@EVERY
def test_the_tiles_and_the_cold_start_take_as_long_as_the_result(mapping: FusedMapping) -> None:
    priced = samples.priced(mapping)
    found = facts(priced)
    for totals, stats in zip(found["groups"], priced.result.groups, strict=True):
        cycles = totals["cold_start_cycles"] + totals["tiles"] * totals["tile_cycles"]
        assert stats.cycles - 1 < cycles <= stats.cycles + 1e-6
    run = run_timeline(found["groups"])
    assert max(s.end for s in run) <= priced.result.cycles + 1e-6


@EVERY
def test_dram_moves_each_tensor_in_proportion_to_its_words(mapping: FusedMapping) -> None:
    for totals in facts(samples.priced(mapping))["groups"]:
        words = {t: n for w in totals["works"] for t, n in w["offchip_words"].items() if n}
        spans = [s for s in timeline(totals, 1) if s.kind == "transfer"]
        assert {s.name for s in spans} == words.keys()
        rates = {round(words[s.name] / (s.end - s.start), 6) for s in spans if len(spans) > 1}
        assert len(rates) <= 1 or len(words) < sum(len(w["offchip_words"]) for w in totals["works"])


@EVERY
def test_nothing_on_a_unit_overlaps(mapping: FusedMapping) -> None:
    for totals in facts(samples.priced(mapping))["groups"]:
        lanes: dict[str, float] = {}
        for s in sorted(timeline(totals), key=lambda s: s.start):
            assert s.start >= lanes.get(s.lane, 0.0) - 1e-6
            lanes[s.lane] = s.end


@EVERY
def test_what_a_unit_does_not_work_it_waits_for_something(mapping: FusedMapping) -> None:
    for totals in facts(samples.priced(mapping))["groups"]:
        units = {work["unit"] for work in totals["works"]}
        things = {*totals["einsums"], *totals["transfer_cycles"], *units}
        idle = waits(totals, 1)
        for unit in units:
            spans = [s for s in (*timeline(totals, 1), *idle) if s.lane == unit]
            spans.sort(key=lambda s: s.start)
            ends = [s.end for s in spans]
            assert [s.start for s in spans[1:]] == pytest.approx(ends[:-1])
            whole = totals["cold_start_cycles"] + totals["tile_cycles"]
            assert (spans[0].start, ends[-1]) == pytest.approx((0, whole))
        assert {s.name for s in idle} <= things


def test_what_binds_is_what_units_wait_for() -> None:
    groups = facts(samples.priced(samples.unfused()))["groups"]
    bound = [group for group in groups if group["bottleneck"] == "DRAM"]
    assert bound
    for totals in bound:
        last = waits(totals, 1)[-1]
        assert (last.name, last.end) == ("DRAM", pytest.approx(totals["cycles"]))


@EVERY
def test_the_buffer_never_holds_more_than_it_is_charged(mapping: FusedMapping) -> None:
    priced = samples.priced(mapping)
    for totals, stats in zip(facts(priced)["groups"], priced.result.groups, strict=True):
        assert totals["live_words"] == stats.buffer.live_words
        for moment in moments(totals):
            alive = [a for a in occupancy(totals) if a.start <= moment < a.end]
            assert sum(a.words for a in alive) <= stats.buffer.live_words
            tops = sorted((a.below, a.below + a.words) for a in alive)
            assert [low for low, _ in tops] == [0, *(high for _, high in tops)][: len(tops)]


def moments(group: Facts) -> list[float]:
    starts = sorted({a.start for a in occupancy(group)})
    return [start + 1e-9 for start in starts]


def test_units_that_overlap_keep_everything_alive() -> None:
    for totals in facts(samples.priced(samples.overlapped()))["groups"]:
        area = sum(a.words * (a.end - a.start) for a in occupancy(totals))
        assert area == pytest.approx(totals["live_words"] * totals["tile_cycles"])


def test_scores_live_from_their_einsum_to_their_last_reader() -> None:
    totals = facts(samples.priced(samples.small.fused()))["groups"][0]
    spans = {(a.tensor, a.in_transit): [] for a in occupancy(totals)}
    for a in occupancy(totals):
        spans[a.tensor, a.in_transit].append(a)
    scores = spans["QK", False]
    computes = [s for s in timeline(totals, 1) if s.kind == "compute"]
    cold = totals["cold_start_cycles"]
    assert scores[0].start == pytest.approx(computes[0].start - cold)  # QK
    assert scores[-1].end == pytest.approx(computes[-1].end - cold)  # AV, three Einsums later
    assert ("QK", True) not in spans  # an intermediate has one copy
    assert ("K", True) in spans


@EVERY
def test_a_run_charges_every_group_with_all_that_it_holds(mapping: FusedMapping) -> None:
    found = facts(samples.priced(mapping))
    groups = found["groups"]
    area = sum(a.words * (a.end - a.start) for a in run_occupancy(groups))
    assert area == pytest.approx(sum(g["live_words"] * g["cycles"] for g in groups))


@given(tiles=st.integers(1, 5))
def test_only_tiles_that_there_are_get_drawn(tiles: int) -> None:
    totals = facts(samples.priced(samples.small.fused()))["groups"][0]
    assert totals["tiles"] == 96
    assert max(s.tile for s in timeline(totals, tiles)) == tiles
    whole = facts(samples.priced(samples.unfused()))["groups"][0]
    assert max(s.tile for s in timeline(whole, tiles)) == 1
