"""Kernels of records in Pallas, interpreted, against the plain cascade; and records without one."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from execution.random_fused import random_mapping, random_platform
from execution.tiny import chip, fused, products
from running.random_records import Case

from flat_mapper.base.errors import SpecError
from flat_mapper.execution.reference import evaluated, random_inputs
from flat_mapper.mapping.resize import resized_mapping
from flat_mapper.mapping.values import Loop
from flat_mapper.running.pallas import RUN, pallas_program
from flat_mapper.running.source import program
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.mask import Mask

MASKS = (None, Mask(causal=True), Mask(window=5), Mask(causal=True, window=7))
SIZES = {"B": 2, "H": 4, "P": 12, "M": 24, "E": 8, "F": 4}


def drawn(seed: int, kv_heads: int | None, mask: Mask | None, cut: int) -> Case:
    """A mapping of a small attention, of which a remainder is cut off."""
    workload, rng = attention(**SIZES, kv_heads=kv_heads, softmax="online"), random.Random(seed)
    platform = random_platform(rng)
    mapping = random_mapping(rng, workload, platform)
    for rank in ("P", "M") * cut:
        size = workload.rank_sizes[rank] - 1
        mapping = resized_mapping(mapping, workload, rank, size)
        workload = workload.with_ranks({rank: size})
    return replace(workload, mask=mask), platform, mapping


@pytest.mark.skipif(find_spec("jax") is None, reason="no jax")
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("case", range(6))
def test_a_kernel_computes_the_cascade(case: int, mask: Mask | None, tmp_path: Path) -> None:
    workload, platform, mapping = drawn(case, (None, 2)[case % 2], mask, case // 2 % 2)
    made, inputs = pallas_program(workload, platform, mapping), random_inputs(workload, case)
    for tensor in made.inputs:
        inputs[tensor].astype("<f4").tofile(tmp_path / f"{tensor}.bin")
    (tmp_path / RUN).write_text(made.text, encoding="ascii")
    subprocess.run([sys.executable, RUN, "."], cwd=tmp_path, check=True)
    (output,) = made.outputs
    right = evaluated(workload, inputs)[output]
    got = np.fromfile(tmp_path / "AV.bin", "<f4").reshape(right.shape)
    np.testing.assert_allclose(got, right, atol=1e-4 * np.abs(right).max())


def test_attention_writes_one_file_in_every_form_of_softmax() -> None:
    question = drawn(0, None, None, 0)
    for made in (program(*question), pallas_program(*question)):
        assert list(made.outputs) == ["AV_div"]
        assert '"AV.bin"' in made.text


def test_what_has_no_kernel_is_refused() -> None:
    workload, platform, mapping = drawn(0, None, None, 0)
    (group,) = mapping.groups
    row = attention(**SIZES)
    cores = replace(mapping, groups=(replace(group, cores=(("DRAM", (Loop("B", 2),)),)),))
    for asked, said in (
        ((products(), chip(), fused()), "expected attention in the short form with an online"),
        ((row, platform, mapping), "got 'softmax row'; use --for c"),
        ((workload, platform, cores), "expected all Einsums in one group, on one array"),
    ):
        with pytest.raises(SpecError, match=said):
            pallas_program(*asked)
