"""Tiles that are parts of sums: what a level outside the cores adds up, executed and by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from cost_model.test_chip import many
from execution.random_cores import random_cores_case

from flat_mapper.arch.values import Platform
from flat_mapper.backends.agreement import compare_run
from flat_mapper.base.errors import MappingError
from flat_mapper.base.formats import DEFAULT, TensorWidth
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.tables import unpriced
from flat_mapper.execution.run import execute
from flat_mapper.mapping.cores import merged
from flat_mapper.mapping.values import EinsumMapping, FusedMapping, GroupMapping, Loop, Slot
from flat_mapper.running.source import program
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.notation import parse_einsum


def agree(seed: int, bits: Mapping[str, TensorWidth] | None = None) -> str:
    """Nothing differs; the level that adds up what cores send, empty if they send no parts."""
    workload, platform, mapping = random_cores_case(seed, windows=True, sums=True)
    workload = replace(workload, tensor_bits=bits or {})
    if not merged(workload, mapping.groups[0]):
        return ""
    try:
        result = evaluate(workload, platform, mapping, unpriced(platform))
    except MappingError:  # a window of tiles of unlike length
        return ""
    assert isinstance(result, Result), result
    executed = execute(workload, platform, mapping)
    assert executed.right, f"seed {seed}: {executed.errors}"
    assert compare_run(executed, result) == (), f"seed {seed}"
    return str(platform.matrix.variables["core_sums_at"])


def test_a_level_adds_as_much_as_the_model_says() -> None:
    levels = [agree(seed) for seed in range(400)]
    assert levels.count("DRAM") > 10
    assert "MID" in levels


def test_parts_are_as_wide_as_sums() -> None:
    """A width of all levels, and one of some: DRAM and the level between keep words alike."""
    widths: dict[str, TensorWidth] = {DEFAULT: 16, "GLB": 32}
    for wide in (32, widths):
        levels = [agree(seed, {"+": wide}) for seed in range(400, 700)]
        assert levels.count("DRAM") > 5
        assert "MID" in levels


@pytest.mark.nightly
def test_parts_are_as_wide_as_sums_hundreds_of_times() -> None:
    assert sum(bool(agree(seed, {"+": 32})) for seed in range(700, 8000)) > 300


@pytest.mark.nightly
def test_a_level_adds_as_much_hundreds_of_times() -> None:
    assert sum(bool(agree(seed)) for seed in range(400, 8000)) > 400


def product(
    parts: int, *, network: bool = False, **facts: object
) -> tuple[Workload, Platform, FusedMapping]:
    """Y[i,j] = A[i,k] * B[k,j] of 2 x 2 x 12, k in so many tiles, one to a core."""
    einsum = parse_einsum("Y[i,j] = A[i,k] * B[k,j]", unit="matrix")
    workload = Workload(
        name="product", rank_sizes={"I": 2, "J": 2, "K": 12}, einsums=(einsum,), softmax="row"
    )
    loops = (("GLB", (Loop("I", 2), Loop("J", 2), Loop("K", 12 // parts))),)
    nest = EinsumMapping(
        einsum=einsum.name,
        loops=tuple((Slot(node, "temporal"), own) for node, own in loops),
        keep=(("DRAM", ("A", "B", "Y")), ("GLB", ("A", "B", "Y")), ("RF", ())),
    )
    group = GroupMapping(einsums=(nest,), level="GLB", cores=(("DRAM", (Loop("K", parts),)),))
    chip = many(parts, multicast=network)
    chip = chip.changed(lambda arch: replace(arch, variables={**arch.variables, **facts}))
    return workload, chip, FusedMapping(groups=(group,))


@pytest.mark.parametrize("parts", [2, 3])
def test_a_product_in_parts(parts: int) -> None:
    """Each part of Y but the first is added to what is there: as many words are read."""
    workload, chip, mapping = product(parts, core_sums_at="DRAM")
    result = evaluate(workload, chip, mapping, unpriced(chip))
    assert isinstance(result, Result), result
    (level,) = [lv for lv in result.einsums[0].levels if lv.level == "DRAM"]
    (made,) = [t for t in level.tensors if t.tensor == "Y"]
    assert (made.scalar_reads, made.scalar_updates) == (4 * (parts - 1), 4 * parts)
    executed = execute(workload, chip, mapping)
    assert executed.right
    assert compare_run(executed, result) == ()


def test_a_network_that_adds_needs_no_level_that_does() -> None:
    workload, chip, mapping = product(3, network=True)
    result = evaluate(workload, chip, mapping, unpriced(chip))
    assert isinstance(result, Result), result
    (level,) = [lv for lv in result.einsums[0].levels if lv.level == "DRAM"]
    (made,) = [t for t in level.tensors if t.tensor == "Y"]
    assert (made.scalar_reads, made.scalar_updates) == (0, 4)
    executed = execute(workload, chip, mapping)
    assert executed.right
    assert compare_run(executed, result) == ()


def test_what_cannot_be_added_up_is_refused() -> None:
    workload, chip, mapping = product(2)
    with pytest.raises(MappingError, match="Y: expected a level, or a network"):
        evaluate(workload, chip, mapping, unpriced(chip))
    workload, chip, mapping = product(2, core_sums_at="DRAM")


def test_no_part_is_ever_done() -> None:
    """Four values of Y in two parts of two words: sixteen come, eight are read to be added to."""
    workload, chip, mapping = product(2, core_sums_at="DRAM")
    wide = replace(workload, tensor_bits={"+": 32})
    result = evaluate(wide, chip, mapping, unpriced(chip))
    assert isinstance(result, Result), result
    (level,) = [lv for lv in result.einsums[0].levels if lv.level == "DRAM"]
    (made,) = [t for t in level.tensors if t.tensor == "Y"]
    assert (made.moved.reads, made.moved.writes) == (8, 16)
    executed = execute(wide, chip, mapping)
    assert executed.right
    assert compare_run(executed, result) == ()


def test_a_program_has_results_whole() -> None:
    workload, chip, mapping = product(2, core_sums_at="DRAM")
    with pytest.raises(MappingError, match="expected results of which one tile has all"):
        program(workload, chip, mapping)
