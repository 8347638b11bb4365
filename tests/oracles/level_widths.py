"""Tensors whose widths differ from level to level, drawn by chance."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import replace

from oracles.brute_force import Case

from flat_mapper.arch.values import Platform
from flat_mapper.base.formats import DEFAULT, SUMS, TensorWidth, Width
from flat_mapper.workload.graph import Workload

WIDTHS = (4, 8, 12, 16, 24, 32)


def with_level_widths(
    workload: Workload, platform: Platform, seed: int, without: Collection[str] = ()
) -> Workload:
    """The workload with such tensors; without: levels that are given no width of their own."""
    rng = random.Random(seed)
    paths = [platform.matrix, *filter(None, [platform.vector])]
    names = list(dict.fromkeys(level.name for arch in paths for level in arch.levels))
    names = [name for name in names if name not in without]
    bits: dict[str, TensorWidth] = {}
    for tensor in sorted(workload.tensor_ranks):
        own: dict[str, Width] = {n: rng.choice(WIDTHS) for n in names if rng.random() < 0.6}
        if rng.random() < 0.5:
            own[DEFAULT] = rng.choice(WIDTHS)
        if own and rng.random() < 0.8:
            bits[tensor] = own
    return replace(workload, tensor_bits=bits)


def widened(case: Case, seed: int) -> Case:
    """A question with such tensors; levels between DRAM and cores have DRAM's."""
    own = with_level_widths(case.workload, case.platform, seed, {"MID"})
    return replace(case, workload=own)


def summed(case: Case, seed: int) -> Case:
    """A question whose sums are wider than what is done, of which some has a width of its own."""
    rng = random.Random(seed)
    bits: dict[str, TensorWidth] = {SUMS: rng.choice((24, 32, 64))}
    for tensor in sorted(case.workload.tensor_ranks):
        if rng.random() < 0.3:
            bits[tensor] = rng.choice(WIDTHS)
    return replace(case, workload=replace(case.workload, tensor_bits=bits))
