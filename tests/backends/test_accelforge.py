"""Backend `accelforge`; what runs AccelForge itself is `make test-accelforge`."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from typing import Any

import cases
import pytest
import small_platform as small
from random_mappings import random_mapping

from flat_mapper.arch.values import Fanout, Platform
from flat_mapper.backends.accelforge import (
    AccelforgeBackend,
    NotExpressibleError,
    accelforge_documents,
)
from flat_mapper.backends.agreement import compare_backends
from flat_mapper.base.errors import SpecError
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.workload.cascade import attention

WANTED = 20  # mappings legal in both


@pytest.fixture(scope="module")
def accelforge() -> AccelforgeBackend:
    """AccelForge; without it a skip that says why, or a failure where it was demanded."""
    backend = AccelforgeBackend()
    missing = backend.missing()
    if missing and os.environ.get("FLAT_MAPPER_REQUIRE_ACCELFORGE"):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    return backend


def test_each_einsum_is_one_path_with_its_shared_loops() -> None:
    for name, nest in small.fused().einsum_mappings.items():
        arch, workload, mapping = accelforge_documents(
            small.workload(), small.platform(), nest, cases.ERT
        )
        assert [e["name"] for e in workload["einsums"]] == [name]  # type: ignore[attr-defined]
        nodes: Any = mapping["nodes"]
        loops = [n for n in nodes if n["type"] == "Temporal"]
        shared = [(n["rank_variable"], n["tile_shape"]) for n in loops[:2]]
        assert shared == [("h", 1), ("p", 64)]
        assert nodes[-1]["einsum"] == name
        path: Any = arch["nodes"]
        own = small.platform().path(small.workload().einsum(name).unit)
        wide = [c.name for c in own.nodes if not isinstance(c, Fanout) or c.copies > 1]
        assert [n["name"] for n in path] == [*wide, own.compute.name]


def test_remainders_have_no_counterpart() -> None:
    workload, nest = cases.remainder()
    message = r"QK: GLB\.P: expected factors that divide the rank, got 2,1; AccelForge averages"
    with pytest.raises(NotExpressibleError, match=message):
        accelforge_documents(workload, small.platform(), nest, cases.ERT)


def test_an_absent_accelforge_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flat_mapper.backends.accelforge.find_spec", lambda name: None)
    line = "accelforge is not installed: pip install 'flat-mapper[accelforge]'"
    assert AccelforgeBackend().missing() == line


def test_instances_that_read_for_themselves_have_no_counterpart() -> None:
    chip = small.platform()
    rule = {"spatial": {"no_reuse": ["K"]}}
    nodes = [replace(n, constraints=rule) if n.name == "PE" else n for n in chip.matrix.nodes]
    apart = replace(chip, matrix=replace(chip.matrix, nodes=tuple(nodes)))
    with pytest.raises(SpecError, match="PE: expected a fanout that multicasts, where accelforge"):
        AccelforgeBackend().evaluate(small.workload(), apart, small.fused(), cases.ERT)


@pytest.mark.needs_accelforge
def test_the_recorded_mapping(accelforge: AccelforgeBackend) -> None:
    report = compare_backends(
        small.workload(), small.platform(), small.fused(), cases.ERT, [accelforge]
    )
    assert [str(d) for d in report.differences if d.exceeds] == []
    answer = report.answers["accelforge"]
    assert isinstance(answer, Result)
    assert answer.backend == "accelforge"
    assert any("double buffering" in note for note in answer.notes)


@pytest.mark.needs_accelforge
def test_random_mappings(accelforge: AccelforgeBackend) -> None:
    platform, rng = _roomy(), random.Random(11)
    done = refused = 0
    while done < WANTED:
        workload = attention(
            B=rng.choice([1, 2]), H=rng.choice([1, 2, 3]), P=rng.choice([8, 16, 24]),
            M=rng.choice([8, 12, 16]), E=8, F=8,
        )  # fmt: skip
        fused, free = rng.random() < 0.7, rng.random() < 0.7
        mapping = random_mapping(rng, workload, platform, fused=fused, free=free)
        if not isinstance(evaluate(workload, platform, mapping, cases.ERT), Result):
            continue
        report = compare_backends(workload, platform, mapping, cases.ERT, [accelforge])
        if report.absent:
            refused += 1
            continue
        assert [str(d) for d in report.differences if d.exceeds] == []
        assert report.compared > 20
        done += 1
    assert refused <= WANTED // 2


def _roomy() -> Platform:
    """The small platform with registers for any small tile."""
    platform = small.platform()
    assert platform.vector is not None
    paths = [
        replace(
            path,
            nodes=tuple(
                replace(n, capacity_words=4096) if n.name in ("RF", "VRF") else n
                for n in path.nodes
            ),
        )
        for path in (platform.matrix, platform.vector)
    ]
    return Platform(name=platform.name, matrix=paths[0], vector=paths[1])
