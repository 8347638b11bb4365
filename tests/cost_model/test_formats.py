"""Number formats: what values take, what a unit does with them, in model, search and execution."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from agreement import agree
from execution.random_cores import random_cores_case
from execution.random_fused import random_case
from oracles.brute_force import Case
from oracles.small_cases import online_case, small_case
from prices import PRICES
from small_platform import fused, platform, workload

from flat_mapper.api import calls as api
from flat_mapper.arch.reader import architecture_of
from flat_mapper.arch.values import Architecture, Platform
from flat_mapper.arch.words import fitted
from flat_mapper.backends.agreement import compare_run
from flat_mapper.base.errors import BackendError, SpecError
from flat_mapper.base.formats import NUMBER_FORMATS
from flat_mapper.cli.main import main
from flat_mapper.cost_model.backend import refuse_operations
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import EinsumStats, Result
from flat_mapper.energy.tables import Ert, Multiplier, unpriced
from flat_mapper.execution.run import execute
from flat_mapper.mapping.record import read_record
from flat_mapper.timeloop.write import lower_einsum
from flat_mapper.workload.graph import Workload

# Bytes of 32x32 values. Source: Tenstorrent polaris, ttsim/perf/roofline_sdpa.py at 0334f829; of
# mxfp4 by hand: 32 blocks of 16 bytes and a scale.
TILES = {"bfp4_b": 576, "bfp8_b": 1088, "bf16": 2048, "fp32": 4096, "mxfp4": 32 * 17}
RATES = (0.25, 0.5, 1.5, 2, 35 / 16)


def with_rates(place: Platform, **variables: float) -> Platform:
    def own(arch: Architecture) -> Architecture:
        return replace(arch, variables={**arch.variables, **variables})

    return replace(place, matrix=own(place.matrix), vector=place.vector and own(place.vector))


def drawn(seed: int, cascade: Workload, place: Platform) -> tuple[Workload, Platform]:
    """Formats of some tensors, and the cycles of their operations, by chance."""
    rng = np.random.default_rng(seed)
    some = [t for t in cascade.tensor_ranks if rng.random() < 0.7]
    bits = {t: str(rng.choice(list(NUMBER_FORMATS))) for t in some}
    keys = [f"{form}_mul_cycles" for form in dict.fromkeys(bits.values()) if rng.random() < 0.7]
    keys += [key for key in ("exp_cycles", "mul_cycles") if rng.random() < 0.5]
    rates = {key: float(rng.choice(RATES)) for key in keys}
    return replace(cascade, tensor_bits=bits), with_rates(place, **rates)


def cost(cascade: Workload, place: Platform, ert: Ert = PRICES) -> Result:
    result = evaluate(cascade, place, fused(), ert)
    assert isinstance(result, Result), str(result)
    return result


def of(result: Result, name: str) -> EinsumStats:
    return next(e for e in result.einsums if e.einsum == name)


@pytest.mark.parametrize("name", TILES)
def test_a_tile_of_32_by_32_takes_the_published_bytes(name: str) -> None:
    assert 1024 * NUMBER_FORMATS[name].stored_bits == 8 * TILES[name]


def test_a_block_format_moves_its_scales() -> None:
    plain = cost(workload(), platform())
    block = cost(replace(workload(), tensor_bits={"K": "bfp8_b", "V": "bfp8_b"}), platform())
    moved = {t.tensor: t for e in block.einsums for t in e.levels[0].tensors}
    for tensor in ("K", "V"):
        assert moved[tensor].share == 1088 / 2048
        assert moved[tensor].moved_words == moved[tensor].scalar_reads * 1088 / 2048
    saved = sum(moved[t].scalar_reads for t in ("K", "V")) * (2048 - 1088) / 1024
    assert block.offchip_bytes == plain.offchip_bytes - saved


@pytest.mark.parametrize("seed", [1, 4, 5, 8])
def test_search_finds_what_brute_force_finds(seed: int) -> None:
    _agree(seed)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(100, 300))
def test_search_finds_what_brute_force_finds_hundreds_of_times(seed: int) -> None:
    _agree(seed)


def _agree(seed: int) -> None:
    case: Case = online_case(seed) if seed % 3 == 0 else small_case(seed)
    cascade, place = drawn(seed, case.workload, case.platform)
    agree(replace(case, workload=cascade, platform=place), seed)


@pytest.mark.parametrize("seed", range(20))
def test_an_execution_takes_as_long(seed: int) -> None:
    cascade, place, mapping = random_case(seed)
    _executed(*drawn(seed, cascade, place), mapping, seed)


@pytest.mark.parametrize("seed", range(20))
def test_an_execution_on_cores_takes_as_long(seed: int) -> None:
    cascade, place, mapping = random_cores_case(seed)
    _executed(*drawn(seed, cascade, place), mapping, seed)


def _executed(cascade: Workload, place: Platform, mapping, seed: int) -> None:  # type: ignore[no-untyped-def]
    executed = execute(cascade, place, mapping)
    result = evaluate(cascade, place, mapping, unpriced(place))
    if isinstance(result, Result):  # else wider values than it was drawn for
        assert compare_run(executed, result) == (), f"seed {seed}"


def test_a_product_takes_as_long_as_its_slowest_operand() -> None:
    place = with_rates(platform(), fp8_e4m3_mul_cycles=0.5)
    both = cost(replace(workload(), tensor_bits={"Q": "fp8_e4m3", "K": "fp8_e4m3"}), place)
    one = cost(replace(workload(), tensor_bits={"K": "fp8_e4m3"}), place)
    bits = cost(replace(workload(), tensor_bits={"Q": 8, "K": 8}), place)
    steps = of(one, "QK").compute_cycles
    assert of(both, "QK").compute_cycles == steps / 2
    assert of(both, "AV").compute_cycles == of(one, "AV").compute_cycles
    # Eight bits alone take the rate that the chip gives at eight bits, where it gives one.
    assert of(bits, "QK").compute_cycles == steps / 2
    other = with_rates(place, int8_mul_cycles=0.25)
    unknown = cost(replace(workload(), tensor_bits={"Q": 8, "K": 8}), other)
    assert of(unknown, "QK").compute_cycles == steps
    assert both.bound.cycles < one.bound.cycles


def test_a_format_has_the_energy_that_the_chip_says() -> None:
    cascade = replace(workload(), tensor_bits={"Q": "bfp8_b", "K": "bfp8_b"})
    unit = Multiplier(bits=16, pj=PRICES.energy("MAC", "compute") / 2)
    wide = replace(PRICES, multipliers={"MAC": unit})
    pj = PRICES.energy("MAC", "compute")
    computes = of(cost(workload(), platform()), "QK").computes
    said = cost(cascade, with_rates(platform(), bfp8_b_mul_energy=0.6), wide)
    assert of(said, "QK").compute_energy_pj == pytest.approx(0.6 * pj * computes)
    unsaid = of(cost(cascade, platform(), wide), "QK")  # products of 8 x 8 bits: a quarter
    assert unsaid.compute_energy_pj == pytest.approx((pj / 2 + pj / 8) * computes)


def test_a_rate_that_nobody_says_is_mentioned() -> None:
    cascade = replace(workload(), tensor_bits={"K": "bfp8_b", "Q": "bf16"})
    note, sums = fitted(platform(), cascade).notes
    assert note.startswith("bfp8_b: MAC takes as long for a product as for other values")
    assert fitted(with_rates(platform(), bfp8_b_mul_cycles=1), cascade).notes == (sums,)


def test_timeloop_is_told_what_it_cannot_count() -> None:
    place = with_rates(platform(), fp8_e4m3_mul_cycles=0.5)
    cascade = replace(workload(), tensor_bits={"Q": "fp8_e4m3", "K": "fp8_e4m3"})
    nest = fused().einsum_mappings["QK"]
    said = " ".join(lower_einsum(cascade, place.matrix, nest)["problem.yaml"].comment)
    assert "not 16 bits wide: Q fp8_e4m3 (8), K fp8_e4m3 (8)." in said
    assert "Timeloop counts a cycle an operation; it takes 0.5 here." in said
    with pytest.raises(BackendError, match=r"QK: expected operations of one cycle.*mul of 0\.5"):
        refuse_operations(cascade, place, fused(), "timeloop")


COMMAND = ["map", "--arch", "edge", "--problem", "tiny", "--mapspace", "naive", "--set", "B=1"]


def test_the_command_line_and_files_know_formats(capsys, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out = str(tmp_path / "out")
    assert main([*COMMAND, "--bits", "K=bfp8_b", "--bits", "V=8", "-o", out]) == 0
    record = tmp_path / "out" / "fused-mapping.yaml"
    assert read_record(record).workload.tensor_bits == {"K": "bfp8_b", "V": 8}
    assert main(["evaluate", str(record)]) == 0
    assert "bfp8_b: MAC takes as long" in capsys.readouterr().out
    assert main([*COMMAND, "--bits", "K=bfp8"]) == 2
    message = "--bits K: expected bits, or one of bfp8_b, fp32, "
    assert message in capsys.readouterr().err


def test_a_problem_file_knows_formats() -> None:
    text = """problem:
  ranks: {B: 1, H: 2, P: 16, M: P, E: 8, F: E}
  tensor_bits: {K: mxfp8}
  attention: {}
"""
    found = api.load_problem(text)
    assert (found.bits("K"), found.share("K", "DRAM")) == (8.25, 8.25 / 16)
    with pytest.raises(SpecError, match=r"text:3: problem.tensor_bits.K: expected bits, or one of"):
        api.load_problem(text.replace("mxfp8", "mx8"))


def test_a_misspelt_rate_of_a_format_is_refused() -> None:
    document = {
        "variables": {"fp8_mul_cycles": 0.5},
        "architecture": {"version": 0.4, "nodes": []},
    }
    with pytest.raises(SpecError, match="fp8_mul_cycles"):
        architecture_of(document)
