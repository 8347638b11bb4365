"""What is added up has the width of the chip's adders as long as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from prices import PRICES
from small_platform import platform

import flat_mapper as fm
from flat_mapper.arch.values import Architecture, ComputeUnit, Fanout, MemoryLevel, Platform
from flat_mapper.arch.words import fitted, with_sums
from flat_mapper.base.errors import SpecError
from flat_mapper.base.formats import SUMS
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result, TensorStats
from flat_mapper.energy.tables import unpriced
from flat_mapper.mapping.values import EinsumMapping, FusedMapping, GroupMapping, Loop, Slot
from flat_mapper.reports.answers import SearchResult
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.notation import parse_einsum
from flat_mapper.workload.softmax import with_splits

# Y = A B, two rows, two columns and eight terms; words of 8 bits
PRODUCT = Workload(
    name="product",
    rank_sizes={"I": 2, "J": 2, "K": 8},
    einsums=(parse_einsum("Y[i,j] = A[i,k] * B[k,j]"),),
    word_bits=8,
)


def chip(said: int | None = 32, fanout: int = 1) -> Platform:
    """DRAM, a buffer, and registers, of which there are several."""

    def level(name: str, words: int | None, instances: int = 1) -> MemoryLevel:
        return MemoryLevel(
            name=name,
            component_class="SRAM",
            capacity_words=words,
            word_bits=8,
            row_words=1,
            instances=instances,
        )

    arch = Architecture(
        name="chip",
        nodes=(
            level("DRAM", None),
            level("GLB", 128),
            Fanout(name="PE", fanout_x=fanout, fanout_y=1),
            level("RF", 16, fanout),
        ),
        compute=ComputeUnit(name="MAC", component_class="intmac", instances=fanout),
        cycle_seconds=1e-9,
        variables={} if said is None else {"sum_bits": said},
    )
    return Platform(name="chip", matrix=arch)


def nest(*loops: tuple[str, str, tuple[Loop, ...]]) -> FusedMapping:
    """A mapping of the product; everything is kept everywhere but for the inputs at RF."""
    one = EinsumMapping(
        einsum="Y",
        loops=tuple((Slot(node, axis), own) for node, axis, own in loops),
        keep=(("DRAM", ("A", "B", "Y")), ("GLB", ("A", "B", "Y")), ("RF", ("Y",))),
    )
    return FusedMapping(groups=(GroupMapping(einsums=(one,), shared=(), staged=()),))


def tensors(
    workload: Workload, platform: Platform, mapping: FusedMapping
) -> dict[str, TensorStats]:
    """Y at each level."""
    result = evaluate(with_sums(workload, platform), platform, mapping, unpriced(platform))
    assert isinstance(result, Result), result
    return {
        level.level: t
        for level in result.einsums[0].levels
        for t in level.tensors
        if t.tensor == "Y"
    }


OUTSIDE = (Loop("K", 4), Loop("I", 2), Loop("J", 2))  # the sums of a quarter of the terms each


def test_a_value_is_narrowed_once_when_it_is_done() -> None:
    """Four visits of each of four values: three of them leave a sum, and three bring it back."""
    found = tensors(
        PRODUCT, chip(), nest(("GLB", "temporal", OUTSIDE), ("RF", "temporal", (Loop("K", 2),)))
    )
    assert found["GLB"].moved == (3 * 4 * 4, 3 * 4 * 4 + 4, 0)
    # A register is read and written by the unit eight times for a value, and filled for three.
    assert found["RF"].moved[0] == 4 * 4 * 7
    assert found["RF"].moved[2] == 4 * 4 * 3
    assert found["RF"].moved[1] == 4 * (4 * 7 + 1) + 4 * 4 * 3
    assert found["DRAM"].moved == (0, 4, 0)


def test_what_comes_done_is_as_wide_as_its_tensor() -> None:
    loops = ("GLB", "temporal", (Loop("I", 2), Loop("J", 2))), ("RF", "temporal", (Loop("K", 8),))
    found = tensors(PRODUCT, chip(), nest(*loops))
    assert found["GLB"].moved == (0, 4, 0)


def test_parts_that_are_added_on_their_way_are_sums_until_they_meet() -> None:
    """Eight registers have a term of each sum: none of them has one that is done."""
    loops = ("GLB", "temporal", (Loop("I", 2), Loop("J", 2))), ("PE", "x", (Loop("K", 8),))
    found = tensors(PRODUCT, chip(fanout=8), nest(*loops))
    assert found["RF"].moved == (0, 4 * 4, 0)
    assert found["GLB"].moved == (0, 4, 0)


def test_a_maximum_is_as_wide_as_its_operand() -> None:
    most = replace(PRODUCT, einsums=(parse_einsum("Y[i,j] = max(A[i,j,k])", name="Y"),))
    assert with_sums(most, chip()).widths.so_far("Y", "GLB") == 1


def test_a_level_that_holds_sums_has_fewer_of_them() -> None:
    """Four values of 32 bits fill the registers of 16 words, and five do not."""
    loops = (
        ("GLB", "temporal", (Loop("K", 4),)),
        ("RF", "temporal", (Loop("I", 2), Loop("J", 2), Loop("K", 2))),
    )
    assert tensors(PRODUCT, chip(), nest(*loops))["RF"].utilized_capacity == 4
    wider = with_sums(PRODUCT, chip(64))
    found = evaluate(wider, chip(64), nest(*loops), unpriced(chip()))
    assert not isinstance(found, Result)
    assert "RF" in str(found)


@pytest.mark.parametrize(("said", "asked", "bits"), [(32, None, 32), (None, None, 8), (32, 16, 16)])
def test_the_chip_says_how_wide_a_sum_is_unless_the_problem_does(
    said: int | None, asked: int | None, bits: int
) -> None:
    own = PRODUCT if asked is None else replace(PRODUCT, tensor_bits={SUMS: asked})
    fit = fitted(chip(said), own)
    assert fit.workload.bits(SUMS) == bits
    unsaid = "partial sums are taken to be as wide as words (8 bits): chip gives no sum_bits"
    assert (unsaid in fit.notes) is (said is None and asked is None)


def test_words_that_are_no_power_of_two_hold_whole_sums() -> None:
    assert with_sums(replace(PRODUCT, word_bits=12), chip()).widths.so_far("Y", "GLB") == 3


def test_paths_that_do_not_agree_are_refused() -> None:
    one, other = chip(32).matrix, chip(16).matrix
    with pytest.raises(SpecError, match=r"sum_bits: expected 32, as .* has it.*, got 16"):
        with_sums(PRODUCT, replace(chip(), matrix=one, vector=other))


def test_keys_in_parts_leave_sums() -> None:
    from flat_mapper.workload.cascade import attention

    online = attention(B=1, H=1, P=2, M=8, E=2, F=2, softmax="online")
    parts = replace(with_splits(online, 2), word_bits=8)
    wide = with_sums(parts, chip())
    assert {t for t in wide.tensor_ranks if wide.bits(t) == 32} == {"AV", "QK_sum"}
    assert {parts.bits(t) for t in parts.tensor_ranks} == {8}


def test_the_width_of_sums_is_asked_for_and_kept_in_records(tmp_path: Path) -> None:
    plain, wide = (
        fm.search("tiny", platform(), "naive", PRICES, seq=64, objective="energy", bits=bits)
        for bits in ({}, {"+": 32})
    )
    assert isinstance(plain, SearchResult)
    assert isinstance(wide, SearchResult)
    assert wide.result.energy_pj > plain.result.energy_pj
    note = "partial sums are taken to be as wide as words (16 bits): small gives no sum_bits"
    assert note in plain.result.notes
    assert note not in wide.result.notes
    fm.save(wide, tmp_path / "out")
    again = fm.evaluate(tmp_path / "out" / "fused-mapping.yaml", ert=PRICES)
    assert not isinstance(again, fm.Infeasible)
    assert again.result.energy_pj == wide.result.energy_pj
    ran = fm.execute(tmp_path / "out" / "fused-mapping.yaml", check=True, shrink=True)
    assert ran, str(ran)
