"""The rules matter: an execution that breaks one computes something else."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from execution.random_fused import random_mapping, random_platform
from execution.test_numbers import SIZES
from execution.tiny import chip, fused, products

from flat_mapper.base.errors import MappingError
from flat_mapper.execution import group as group_module
from flat_mapper.execution import shared
from flat_mapper.execution.run import execute
from flat_mapper.execution.shared import GroupFacts
from flat_mapper.execution.turn import EinsumRun
from flat_mapper.mapping.values import Loop
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask
from flat_mapper.workload.notation import parse_einsum

ONLINE = attention(**SIZES, softmax="online")


def wrong(workload: Workload, count: int = 8) -> int:
    """How many of some random mappings compute something else."""
    found = 0
    for seed in range(count):
        rng = random.Random(seed)
        platform = random_platform(rng)
        found += not execute(workload, platform, random_mapping(rng, workload, platform)).right
    return found


def test_carried_results_may_not_stay_in_private_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    assert wrong(ONLINE) == 0
    begin: Callable[[EinsumRun], None] = EinsumRun.__post_init__

    def keeps_all(run: EinsumRun) -> None:
        run.resident = frozenset(a.tensor for a in run.nest.einsum.accesses)
        begin(run)

    monkeypatch.setattr(EinsumRun, "__post_init__", keeps_all)
    assert wrong(ONLINE) > 1


def test_a_mapping_that_says_so_is_refused() -> None:
    with pytest.raises(MappingError, match="Y: stay: expected tensors that no other"):
        execute(products(), chip(), fused(stay=("Y",)))


def test_a_correction_needs_the_old_maximum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_module, "copied", lambda facts, einsum: "")
    assert wrong(ONLINE) > 1


def test_nothing_is_overwritten_that_is_still_read(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ("T[i,j] = A[i,k] * W[k,j]", "G[i,j] = exp(T[i,j])", "Y[i,j] = G[i,j] * T[i,j]")
    einsums = tuple(parse_einsum(line) for line in lines)
    silu = Workload(name="silu", rank_sizes=dict.fromkeys("IJK", 4), einsums=einsums)
    assert wrong(silu) == 0
    monkeypatch.setattr(shared, "_overwritten", lambda facts: {"G": "T"})
    assert wrong(silu) > 1


def test_a_row_softmax_does_not_cut_keys() -> None:
    """What the check refuses, executed all the same: maxima of parts of a row."""
    workload = attention(**SIZES)
    rng = random.Random(3)
    platform = random_platform(rng)
    mapping = random_mapping(rng, workload, platform)
    (group,) = mapping.groups
    nests = []
    for nest in group.einsums:
        loops = {s: tuple(p for p in at if p.rank != "M") for s, at in nest.loops}
        if "M" in workload.einsum(nest.einsum).ranks:
            dram = next((s for s in loops if s.node == "DRAM"), None)
            assert dram is not None
            loops[dram] = (*loops[dram], Loop("M", 8))
        nests.append(replace(nest, loops=tuple(loops.items())))
    cut = replace(group, einsums=tuple(nests), shared=(*group.shared, Loop("M", 8)))
    assert not execute(workload, platform, replace(mapping, groups=(cut,))).right


def test_a_tile_that_is_seen_may_not_be_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    masked = replace(ONLINE, mask=Mask(causal=True))
    assert wrong(masked) == 0
    visited = shared._visited

    def fewer(facts: GroupFacts) -> list[tuple[int, ...]]:
        return list(visited(facts))[:-1] or [()]

    monkeypatch.setattr(shared, "_visited", fewer)
    assert wrong(masked) > 1
