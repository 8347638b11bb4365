"""A port of a level for what is filled from above: the model has to say what is executed."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from execution.random_cores import random_cores_case
from execution.random_fused import random_case
from execution.tiny import chip, fused, products

from flat_mapper.arch.values import MemoryLevel, Platform
from flat_mapper.backends.agreement import compare_run
from flat_mapper.backends.ports import overdrawn_in_run
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.tables import unpriced
from flat_mapper.execution.run import execute
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.workload.graph import Workload


def with_fill_ports(
    platform: Platform, rates: dict[str, float | None], **others: float | None
) -> Platform:
    """The chip, with ports of so many words a cycle for fills, by level; others: of the same."""

    def node[T](one: T) -> T:
        fills = isinstance(one, MemoryLevel) and one.name in rates
        return replace(one, fill_words_per_cycle=rates[one.name], **others) if fills else one

    return platform.changed(lambda arch: replace(arch, nodes=tuple(map(node, arch.nodes))))


def agree(workload: Workload, platform: Platform, mapping: FusedMapping, seed: int) -> bool:
    """Nothing differs between an execution and the model; whether the ports change the latency."""
    rng = random.Random(seed)
    names = dict.fromkeys(lv.name for path in platform.paths for lv in path.levels[1:])
    narrow = with_fill_ports(platform, {n: rng.choice((None, 0.25, 0.5, 2.0)) for n in names})
    executed = execute(workload, narrow, mapping)
    assert executed.right, f"seed {seed}: {executed.errors}"
    result = evaluate(workload, narrow, mapping, unpriced(narrow))
    assert isinstance(result, Result), f"seed {seed}: {result}"
    assert compare_run(executed, result) == (), f"seed {seed}"
    assert overdrawn_in_run(executed, result, narrow) == (), f"seed {seed}"
    return executed.cycles != execute(workload, platform, mapping).cycles


@pytest.mark.parametrize("cores", [False, True])
def test_the_model_says_what_ports_of_fills_do(cores: bool) -> None:
    case = random_cores_case if cores else random_case
    assert sum(agree(*case(seed), seed) for seed in range(30)) > 5


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(30, 430))
def test_ports_of_fills_hundreds_of_times(seed: int) -> None:
    agree(*random_case(seed), seed)
    agree(*random_cores_case(seed), seed)


@pytest.mark.parametrize(("fill", "cycles"), [(None, 40), (0.5, 24), (8.0, 16)])
def test_fills_pass_a_port_of_their_own(fill: float | None, cycles: int) -> None:
    """B's four words come to RF in both turns of Y; turns of Z, and the computes, take 4 cycles."""
    narrow = with_fill_ports(chip(None), {"RF": fill}, write_words_per_cycle=0.25)
    assert execute(products(), narrow, fused()).cycles == cycles
    result = evaluate(products(), narrow, fused(), unpriced(narrow))
    assert isinstance(result, Result)
    assert result.cycles == cycles
