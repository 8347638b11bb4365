"""A part of the shared level: the search against brute force."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from agreement import agree
from oracles.brute_force import Case
from oracles.small_cases import prices, turns_case

from flat_mapper.arch.values import Architecture, MemoryLevel


def part_case(seed: int) -> Case:
    """Two products in one group on a small buffer with a part, and nothing else on chip.

    Ports bind anywhere, and in half of the cases what streams past the buffer takes no room.
    """
    rng, case = np.random.default_rng([seed, 9]), turns_case(seed)
    dram, glb, *inner = case.platform.matrix.nodes
    assert isinstance(glb, MemoryLevel)
    glb = replace(glb, capacity_words=int(rng.integers(6, 20)))
    part = replace(glb, name="part", capacity_words=None, part_of=glb.name)
    rest = tuple(node for node in inner if not isinstance(node, MemoryLevel))
    matrix: Architecture = replace(case.platform.matrix, nodes=(dram, glb, part, *rest))
    platform = replace(case.platform, matrix=matrix)
    ert = prices(rng, platform)
    policy = replace(case.mapspace.policy, passing=("held", "free")[int(rng.integers(2))])
    return Case(
        workload=case.workload.with_ranks({r: int(rng.choice((2, 2, 3))) for r in "IJKL"}),
        platform=platform,
        ert=replace(ert, levels=ert.levels | {"part": ert.levels["GLB"]}),
        mapspace=replace(case.mapspace, policy=policy),
    )


@pytest.mark.parametrize("seed", [1, 5, 11, 12, 13, 20])  # whose best mappings use the part
def test_search_finds_what_brute_force_finds_where_a_memory_has_a_part(seed: int) -> None:
    agree(part_case(seed), seed)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(100, 300))
def test_parts_hundreds_of_times(seed: int) -> None:
    agree(part_case(seed), seed)
