"""Counts of an execution against a walk of one pass, word by word."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import pytest
from execution.random_fused import random_case
from execution.tiny import moved
from oracles.loop_walk import walk

from flat_mapper.arch.values import Architecture
from flat_mapper.execution.result import Executed
from flat_mapper.execution.run import execute
from flat_mapper.mapping.values import EinsumMapping, GroupMapping
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload

Counts = tuple[int, int, int]


def exact(workload: Workload, groups: tuple[GroupMapping, ...]) -> bool:
    """Whether the walk knows the case: no mask, no remainder."""
    loops = [p for g in groups for m in g.einsums for _, at in m.loops for p in at]
    return workload.mask is None and not any(p.last for p in loops)


def one_pass(mapping: EinsumMapping) -> EinsumMapping:
    """The nest without its DRAM loops."""
    return replace(mapping, loops=tuple((s, at) for s, at in mapping.loops if s.node != "DRAM"))


def wanted(
    workload: Workload, arch: Architecture, einsum: Einsum, nest: EinsumMapping
) -> dict[tuple[str, str], Counts]:
    """What each level counts: what may stay as Timeloop has it, the rest pass by pass.

    In every pass but the first of an accumulation the words so far are read, and filled further in.
    """
    whole, part = walk(arch, einsum, nest), walk(arch, einsum, one_pass(nest))
    loops = [p for slot, at in nest.loops if slot.node == "DRAM" for p in at]
    passes = prod(p.factor for p in loops)
    found = {}
    for (level, tensor), (reads, fills, updates) in whole.items():
        if tensor in nest.stay:
            found[level, tensor] = reads, fills, updates
            continue
        r, f, u = part[level, tensor]
        held = u - r
        own = workload.tensor_ranks[tensor]
        starts = prod(p.factor for p in loops if p.rank in own)
        below = r * passes, u * passes
        if tensor == einsum.output.tensor:
            below = u * passes - held * starts, u * passes
        filled = (
            f * passes + (passes - starts) * held
            if tensor == einsum.output.tensor
            else (f * passes)
        )
        chain = [lv.name for lv in arch.levels if tensor in nest.kept_at(lv.name)]
        if chain[:2] == ["DRAM", "GLB"] and level == "DRAM":
            below = reads, updates
        found[level, tensor] = below[0], fills if level in ("DRAM", "GLB") else filled, below[1]
    return found


def copies(workload: Workload, group: GroupMapping, nest: EinsumMapping, name: str) -> int:
    """Words of the copies of an old maximum: a tile in every pass but the first of a row."""
    einsum = workload.einsum(name)
    if not (einsum.each and einsum.so_far):
        return 0
    ranks = einsum.output.ranks
    loops = [p for slot, at in nest.loops if slot.node == "DRAM" for p in at]
    own = prod(p.factor for p in loops if p.rank in ranks)
    tile = prod(workload.rank_sizes[r] for r in ranks) // own
    return tile * (prod(p.factor for p in loops) - own)


def per_instance(done: Executed, einsum: str, level: str, tensor: str) -> Counts:
    m = moved(done, einsum, level, tensor)
    assert not any(v % m.instances for v in (m.reads, m.fills, m.updates))
    return m.reads // m.instances, m.fills // m.instances, m.updates // m.instances


@pytest.mark.parametrize("seed", range(80))
def test_counts_are_those_of_one_pass_times_the_passes(seed: int) -> None:
    workload, platform, mapping = random_case(seed)
    done = execute(workload, platform, mapping)
    assert done.right, f"seed {seed}: {done.errors}"
    if not exact(workload, mapping.groups):
        return
    for group in mapping.groups:
        if len(group.einsums) == 1:
            continue
        for nest in group.einsums:
            einsum = workload.einsum(nest.einsum)
            arch = platform.path(einsum.unit)
            extra = copies(workload, group, nest, nest.einsum)
            for (level, tensor), want in wanted(workload, arch, einsum, nest).items():
                reads, fills, updates = want
                if level == "GLB" and extra:
                    reads += extra * (tensor != einsum.output.tensor)
                    updates += extra * (tensor == einsum.output.tensor)
                got = per_instance(done, nest.einsum, level, tensor)
                assert got == (reads, fills, updates), f"{seed}: {nest.einsum} {level} {tensor}"
