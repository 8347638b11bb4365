"""One test for each finding about inputs that were answered wrongly without a word."""

from __future__ import annotations

from pathlib import Path

import pytest
from renaming import Renaming, nodes_of

from flat_mapper.api import calls as api
from flat_mapper.arch.reader import load_platform
from flat_mapper.mapping.space_reader import load_mapspace
from flat_mapper.reports.answers import Mapped
from flat_mapper.workload.graph import Workload

SMALL = {"B": 2, "H": 4, "P": 6, "E": 4, "F": 4}


def numbers(found: object) -> tuple[float, ...]:
    assert isinstance(found, Mapped)
    result = found.result
    return (result.latency_s, result.energy_pj, result.offchip_bytes, result.macs)


def small(problem: str) -> Workload:
    if problem == "deepseek-v2-mla":
        sizes = {"H": 4, "M": 16, "N": 4, "C": 8, "R": 4, "F": 4}
        return api.load_problem(problem, sizes=sizes)
    if problem == "gemm-gemm":
        return api.load_problem(problem, sizes={"I": 8, "J": 12, "K": 16, "L": 6})
    groups = {"G": 2} if problem == "llama3-8b" else {}
    return api.load_problem(problem, "block", sizes={**SMALL, **groups, "D": 8, "FF": 8})


CASES = [
    *(("bert-base", "edge", space) for space in ("flat", "flex", "naive", "flat-r", "flat-b")),
    ("llama3-8b", "cloud", "flat-h"),
    ("deepseek-v2-mla", "edge", "flat-mla"),
    ("gemm-gemm", "edge", "flat"),
    ("tiny", "eyeriss", "flex-stream"),
]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("problem", "arch", "space"), CASES)
def test_b3_renaming_and_reordering_everything_changes_no_number(
    problem: str, arch: str, space: str, seed: int, tmp_path: Path
) -> None:
    workload, platform = small(problem), load_platform(arch)
    mapspace = load_mapspace(space)
    new = Renaming(workload, nodes_of(platform), seed)
    found = api.search(workload, platform, mapspace)
    again = api.search(new.workload(workload), new.platform(arch, tmp_path), new.mapspace(mapspace))
    assert numbers(again) == pytest.approx(numbers(found), rel=1e-12)
