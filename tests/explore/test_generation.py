"""Prefill and decode: what every step costs, and that the sum is the sum."""

from __future__ import annotations

import json
from functools import cache

import pytest
from execution.tiny import chip, many
from hypothesis import given, settings
from hypothesis import strategies as st
from prices import PRICES
from small_platform import platform

from flat_mapper.base.errors import SpecError
from flat_mapper.cli.main import main
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.explore.generation import Generation, Scenario, at_length, generate, segment_end
from flat_mapper.mapping.resize import resized_mapping
from flat_mapper.mapping.values import rank_extent
from flat_mapper.workload.reader import load_workload

TEXT = """
problem:
  name: small
  ranks: {B: 1, H: 4, P: 8, M: P, E: 2, F: 2}
  layers: 3
  attention: {kv_heads: 2}
"""


@cache
def generated(softmax: str = "") -> Generation:
    found = generate(
        TEXT,
        platform(),
        "flat",
        PRICES,
        prefill=24,
        decode=4,
        page=1,
        objective="energy",
        softmax=softmax,
    )
    assert isinstance(found, Generation)
    return found


def test_every_step_runs_at_its_own_length():
    assert Scenario(prefill=21, decode=10, page=2).lengths() == {
        22: 1,
        24: 2,
        26: 2,
        28: 2,
        30: 2,
        32: 1,
    }
    assert Scenario(prefill=8, decode=3, page=1).lengths() == {9: 1, 10: 1, 11: 1}
    assert Scenario(prefill=8, decode=7, new=4, page=4).lengths() == {12: 1, 16: 1}
    assert sum(Scenario(prefill=100, decode=1000).lengths().values()) == 1000


@given(st.integers(1, 10**6))
def test_segments_are_eight_to_a_factor_of_two(length: int):
    end = segment_end(length)
    assert length <= end <= length * 9 / 8
    assert segment_end(end) == end
    assert segment_end(2 * length) <= 2 * end


def test_totals_are_sums_over_the_steps():
    found = generated()
    assert found.decode.steps == 4
    cycles = energy = 0.0
    for segment in found.segments:
        for length, (steps, _) in segment.results.items():
            mapping = resized_mapping(segment.mapped.mapping, segment.mapped.workload, "M", length)
            workload = load_workload(TEXT, sizes={"P": 1, "M": length})  # one layer of three
            result = evaluate(workload, platform(), mapping, PRICES)
            assert isinstance(result, Result)
            cycles, energy = (
                cycles + 3 * steps * result.cycles,
                energy + 3 * steps * result.energy_pj,
            )
    assert found.decode.cycles == cycles
    assert found.decode.energy_pj == pytest.approx(energy)
    assert found.total.energy_pj == pytest.approx(energy + found.prefill.result.energy_pj)
    macs = sum(4 * 2 * 2 * m * n for m, n in found.scenario.lengths().items())
    assert found.decode.macs == 3 * macs
    assert found.to_dict()["layers"] == 3
    assert "counted: QK, QK_max, QK_exp, QK_sum, A, AV, of each of 3 layers" in str(found)


@pytest.mark.parametrize("softmax", ["row", "online"])
def test_a_step_at_the_end_of_its_segment_is_the_best_there(softmax: str):
    for segment in generated(softmax).segments:
        assert at_length(segment.mapped, PRICES, segment.end) == segment.mapped.result


@pytest.mark.parametrize("softmax", ["row", "online"])
def test_a_longer_cache_costs_more(softmax: str):
    for segment in generated(softmax).segments:
        results = [r for _, (_, r) in sorted(segment.results.items())]
        assert [r.energy_pj for r in results] == sorted(r.energy_pj for r in results)
        assert [r.offchip_bytes for r in results] == sorted(r.offchip_bytes for r in results)


def test_keys_in_parts_are_fewer_in_each():
    """Four cores share one row: its keys are in two parts, and it costs what the longer does."""
    text = TEXT.replace("H: 4", "H: 1").replace("{kv_heads: 2}", "{softmax: online}")
    asked = {"prefill": 2, "decode": 1, "page": 24, "objective": "latency"}
    found = generate(text, many(chip(), 4), "cores", PRICES, **asked)
    assert isinstance(found, Generation)
    (segment,) = found.segments
    best = segment.mapped.result
    assert (segment.end, segment.mapped.workload.rank_sizes["M"]) == (24, 12)
    assert segment.results == {24: (1, best)}
    assert at_length(segment.mapped, PRICES, 23) == best
    shorter = at_length(segment.mapped, PRICES, 18)
    assert (shorter.macs, shorter.cycles < best.cycles) == (best.macs * 18 // 24, True)


@settings(max_examples=20)
@given(st.integers(1, 28))
def test_a_mapping_covers_every_smaller_size(size: int):
    segment = generated().segments[-1]
    smaller = resized_mapping(segment.mapped.mapping, segment.mapped.workload, "M", size)
    for name, nest in smaller.einsum_mappings.items():
        if "M" in segment.mapped.workload.einsum(name).ranks:
            assert rank_extent(nest, "M") == size
    cut = segment.mapped.workload.with_ranks({"M": size})
    result = evaluate(cut, platform(), smaller, PRICES)
    assert isinstance(result, Result)
    assert result.macs == 3 * 4 * 2 * 2 * size


def test_what_the_cache_holds():
    # keys and values, 2 heads of 2 words of 16 bits, 3 layers
    assert generated().cache_bytes == 2 * 28 * 2 * 2 * 2 * 3


def test_more_positions_of_a_step_take_fewer_steps():
    found = generate(
        TEXT,
        platform(),
        "flat",
        PRICES,
        prefill=8,
        decode=8,
        new=8,
        page=8,
        objective="energy",
    )
    assert isinstance(found, Generation)
    assert found.decode.steps == 1
    assert found.decode.macs == 3 * 4 * 2 * 2 * 8 * 16
    assert found.tokens_per_s == 8 / found.decode.latency_s


@pytest.mark.parametrize("name", ["prefill", "decode", "new", "page"])
def test_a_scenario_that_cannot_be_is_refused(name: str):
    with pytest.raises(SpecError, match=f"generate: {name}: expected an integer > 0, got 0"):
        Scenario(**{"prefill": 1, "decode": 1, name: 0})


def test_the_scenario_sets_the_positions():
    with pytest.raises(SpecError, match="generate: ranks: expected ranks other than P, M, got 'M'"):
        generate(TEXT, platform(), prefill=1, decode=1, sizes={"M": 4})


COMMAND = ["generate", "--arch", "edge", "--problem", "tiny", "--mapspace", "naive"]


def test_the_command(capsys: pytest.CaptureFixture[str]):
    scenario = ["--prefill", "4", "--decode", "3", "--page", "4"]
    assert main([*COMMAND, *scenario]) == 0
    printed = capsys.readouterr().out
    assert "prefill 4, then decode 3 by 1" in printed
    assert "positions per second" in printed
    assert main([*COMMAND, *scenario, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["segments"][0]["steps_at"] == {"8": 3}
    costs = found["costs"]
    assert costs["total"]["cycles"] == costs["prefill"]["cycles"] + costs["decode"]["cycles"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prefill", "4"], "expected --decode, got none"),
        (["--prefill", "4", "--decode", "0"], "--decode: expected int > 0, got 0"),
        (["--prefill", "4", "--decode", "1", "--set", "P=2"], "ranks other than P, M, got 'P'"),
        (["--prefill", "4", "--decode", "1", "--scope", "mdel"], "did you mean 'model'"),
    ],
)
def test_the_command_refuses(capsys, arguments: list[str], message: str):
    assert main([*COMMAND, *arguments]) == 2
    assert message in capsys.readouterr().err
