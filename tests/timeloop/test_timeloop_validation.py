"""The native model against the real timeloop-model; `make test-timeloop` runs it.

Random mappings that both sides accept, and the best mappings of shipped mapspaces: edge and cloud,
all four models, N = 512 to 4096, fused and not, with the softmax charged and without. Every count
and all cycles must be equal, every energy within 1e-6 and Timeloop's printed digits. What was
compared are properties of the tests; `make -C tools validation` adds them up in docs/validation.md.
FLAT_MAPPER_FULL_ARRAY=1 adds four mappings that fill the 65536 PEs of cloud.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from execution import random_fused as fused
from execution.random_inside import random_inside_case
from oracles.small_cases import prices
from random_mappings import random_mapping

from flat_mapper.arch.reader import load_platform
from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
from flat_mapper.backends.agreement import compare_backends, comparisons
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.hwcomponents import price_with_hwcomponents
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapper.solve.driver import search
from flat_mapper.mapping.space_reader import load_mapspace
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.timeloop.backend import TimeloopBackend
from flat_mapper.timeloop.run import command_of
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.reader import load_workload

MODELS = ("bert-base", "t5-small", "trxl", "xlm")
LENGTHS = (512, 1024, 2048, 4096)
# Random mappings of each of 16 combinations: 208 in all. Timeloop takes seconds for a mapping on
# 65536 PEs, however few of them work.
EACH = {"edge": 10, "cloud": 3}
PROBLEMS = Path(__file__).parents[2] / "problems"
TOLD = Counter[str]()

pytestmark = pytest.mark.needs_timeloop


@pytest.fixture(scope="module")
def timeloop() -> TimeloopBackend:
    """The real binary; without it a skip that says why, or a failure where it was demanded."""
    backend = TimeloopBackend(command=command_of())
    missing = backend.missing()
    if missing and os.environ.get("FLAT_MAPPER_REQUIRE_TIMELOOP"):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    return backend


@pytest.fixture(autouse=True)
def _tally(record_property: Callable[[str, object], None]) -> object:
    TOLD.clear()
    yield
    for name, count in TOLD.items():
        record_property(name, count)


@cache
def priced(name: str) -> tuple[Platform, Ert]:
    platform = load_platform(name)
    return platform, price_with_hwcomponents(platform)[0]


def problem(model: str, length: int) -> Workload:
    return load_workload(PROBLEMS / f"{model}.yaml", sizes={"P": length, "M": length})


def check(
    timeloop: TimeloopBackend, arch: str, workload: Workload, mapping: FusedMapping, how: str
) -> None:
    """Hold every count, cycle and energy of both against each other; how: it was chosen."""
    platform, ert = priced(arch)
    report = compare_backends(workload, platform, mapping, ert, [timeloop])
    assert isinstance(report.native, Result)
    bad = [str(d) for d in report.differences if d.exceeds]
    assert not bad, bad[:5]
    answer = report.answers["timeloop"]
    assert isinstance(answer, Result)
    TOLD[f"{how} | {arch}"] += 1
    TOLD["whole mappings"] += 1
    TOLD["whole mappings, with a deeper shared level for an Einsum"] += any(
        "deeper" in n for n in answer.notes
    )
    TOLD["whole mappings, Einsums"] += len(report.native.einsums)
    pairs = comparisons(workload, platform, report.native, answer, ert, "timeloop")
    for pair in pairs:
        kind = (
            "energies, within the tolerance"
            if pair.quantity == "energy_pj"
            else "counts and cycles, equal"
        )
        TOLD[f"whole mappings, {kind}"] += 1


@pytest.mark.parametrize("free", [False, True], ids=["charged", "free"])
@pytest.mark.parametrize("fused", [False, True], ids=["unfused", "fused"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("arch", ["edge", "cloud"])
def test_random_mappings(
    timeloop: TimeloopBackend, arch: str, model: str, fused: bool, free: bool
) -> None:
    platform, ert = priced(arch)
    rng = random.Random(f"{arch} {model} {fused} {free}")
    done = 0
    while done < EACH[arch]:
        workload = problem(model, rng.choice(LENGTHS))
        mapping = random_mapping(rng, workload, platform, fused=fused, free=free)
        if isinstance(evaluate(workload, platform, mapping, ert), Result):
            softmax = "free" if free else "charged"
            how = f"random, {'fused' if fused else 'unfused'}, softmax {softmax}"
            check(timeloop, arch, workload, mapping, how)
            done += 1


@pytest.mark.parametrize("space", ["naive", "flat"])
@pytest.mark.parametrize("length", [512, 1024, 4096])
@pytest.mark.parametrize("model", MODELS)
def test_best_mappings(timeloop: TimeloopBackend, model: str, length: int, space: str) -> None:
    how = f"the best of {space}, N = 512, 1024, 4096"
    check(timeloop, "edge", *best("edge", model, length, Path(space)), how)


# Timeloop takes minutes for a mapping that fills 256 x 256 PEs, and longer the more ranks share
# them: so the best of mapspaces that use a part of them. Without `fusion`: unfused.
LEAN = """
mapspace:
  description: at most 16 x 64 lanes
  source: chosen, for Timeloop's sake
  policy: {buffering: 2, in_place: true, softmax: charged}
  constraints:
  - {einsum: QK, target: PE, type: spatial, factors: [B=1, H=1, P=1, M<=16]}
  - {einsum: AV, target: PE, type: spatial, factors: [B=1, H=1, P=1, M<=16]}
"""
FUSED = """\
  fusion:
    groups: [[QK, softmax, AV]]
    granularity: any
    staging: any
    schedule: interleaved
"""


@pytest.mark.parametrize("fusion", ["", FUSED], ids=["unfused", "fused"])
@pytest.mark.parametrize("length", [1024, 4096])
@pytest.mark.parametrize("model", MODELS)
def test_best_mappings_of_cloud(
    timeloop: TimeloopBackend, model: str, length: int, fusion: str, tmp_path: Path
) -> None:
    space = tmp_path / "lean.yaml"
    space.write_text(LEAN + fusion)
    workload, mapping = best("cloud", model, length, space)
    assert any(len(group.einsums) > 4 for group in mapping.groups) == bool(fusion)
    how = f"the best {'fused' if fusion else 'unfused'}, at most 16 x 64 lanes, N = 1024, 4096"
    check(timeloop, "cloud", workload, mapping, how)


@pytest.mark.skipif("FLAT_MAPPER_FULL_ARRAY" not in os.environ, reason="takes minutes")
@pytest.mark.parametrize("model", MODELS)
def test_a_best_mapping_that_fills_the_array_of_cloud(
    timeloop: TimeloopBackend, model: str
) -> None:
    how = "the best of naive, all 256 x 256 lanes, N = 1024"
    check(timeloop, "cloud", *best("cloud", model, 1024, Path("naive")), how)


def best(arch: str, model: str, length: int, space: Path) -> tuple[Workload, FusedMapping]:
    """The best mapping of a mapspace by energy-delay product."""
    platform, ert = priced(arch)
    workload = problem(model, length)
    found = search(workload, platform, load_mapspace(str(space)), ert)
    assert isinstance(found, Solution)
    return workload, found.result.mapping


def spelled_out(arch: Architecture) -> Architecture:
    """A chip made of values, with the attributes and the instances that Timeloop is told of it."""
    instances, nodes = 1, list[MemoryLevel | Fanout]()
    for node in arch.nodes:
        if isinstance(node, Fanout):
            instances *= node.fanout_x * node.fanout_y
            nodes.append(node)
            continue
        rates = {
            f"{port}_bandwidth": rate
            for port in ("read", "write", "shared")
            if (rate := getattr(node, f"{port}_words_per_cycle")) is not None
        }
        sizes = {"width": 16, "datawidth": 16, "block_size": 1}
        sizes |= {} if node.name == "DRAM" else {"depth": 4096}
        named = "DRAM" if node.name == "DRAM" else "SRAM"
        attributes = sizes | rates
        nodes.append(
            replace(node, instances=instances, attributes=attributes, component_class=named)
        )
    compute = replace(
        arch.compute,
        name=arch.compute.name.replace(".", "-"),
        instances=instances,
        attributes={"datawidth": 16},
    )
    return replace(arch, nodes=tuple(nodes), compute=compute)


def returning_case(seed: int) -> tuple[Workload, Platform, FusedMapping, Ert]:
    """A random small group on a chip of two to five levels, most of whose tiles return."""
    rng = random.Random(seed)
    workload = replace(fused.random_workload(rng), mask=None)
    platform = fused.random_platform(rng)
    mapping = fused.random_mapping(rng, workload, platform)
    return for_comparison(seed, workload, platform, mapping)


def for_comparison(
    seed: int, workload: Workload, platform: Platform, mapping: FusedMapping
) -> tuple[Workload, Platform, FusedMapping, Ert]:
    """A case with what Timeloop asks of a chip, without a mask."""
    workload = replace(workload, mask=None)
    assert platform.vector is not None
    paths = {"matrix": spelled_out(platform.matrix), "vector": spelled_out(platform.vector)}
    platform = replace(platform, **paths)  # type: ignore[arg-type]
    return workload, platform, mapping, prices(np.random.default_rng(seed), platform)


# Those that Timeloop can say: one factor for a rank and node.
@pytest.mark.parametrize("seed", [12, 16, 17, 20, 37, 50, 62, 71, 75, 76])
def test_one_pass_times_the_passes(timeloop: TimeloopBackend, seed: int) -> None:
    workload, platform, mapping, ert = returning_case(seed)
    found = compare_backends(workload, platform, mapping, ert, [timeloop])
    assert not found.absent, found.absent
    assert found.one_pass > 0
    assert [str(d) for d in found.differences if d.exceeds] == []
    TOLD["random groups whose tiles return"] += 1
    TOLD["random groups whose tiles return, counts of one pass, equal"] += found.one_pass


# Of `random_inside_case`, those that Timeloop can say.
@pytest.mark.parametrize("seed", [n for n in range(24) if n not in (2, 21)])
def test_what_is_handed_over_inside(timeloop: TimeloopBackend, seed: int) -> None:
    """What passes by the two outermost levels of an Einsum counts there as we have it."""
    workload, platform, mapping, ert = for_comparison(seed, *random_inside_case(seed))
    found = compare_backends(workload, platform, mapping, ert, [timeloop])
    assert not found.absent, found.absent
    assert [str(d) for d in found.differences if d.exceeds] == []
    TOLD["random groups with a handover inside the shared level"] += 1
    TOLD["random groups with a handover inside the shared level, quantities"] += found.compared
