"""Answers for the tests of reports: few real ones, and a sweep of many made from them."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from pathlib import Path

import small_platform as small

from flat_mapper.arch.values import Architecture, MemoryLevel, Platform
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.tables import Ert
from flat_mapper.explore.sweep.store import PointRow, Store
from flat_mapper.mapper.solve.certificate import Certificate
from flat_mapper.mapping.values import FusedMapping, GroupMapping
from flat_mapper.reports.answers import Evaluation

STORE = {"read": 1.0, "write": 1.0, "update": 1.0}
ERT = Ert(
    levels={
        "DRAM": {"read": 60.0, "write": 60.0, "update": 60.0},
        "GLB": {"read": 8.0, "write": 8.0, "update": 8.0},
        **dict.fromkeys(("RF", "VRF"), STORE),
        **{unit: {"compute": 0.5} for unit in ("MAC", "VALU")},
    },
    source="chosen for tests",
)


def unfused() -> FusedMapping:
    """The Einsums of `small_platform.fused`, each an operator of its own through DRAM."""
    whole = small.fused().groups[0]
    groups = []
    for nest in whole.einsums:
        tensors = {a.tensor for a in small.workload().einsum(nest.einsum).accesses}
        keep = tuple(
            (level, tuple(sorted(tensors)) if level == "DRAM" else kept)
            for level, kept in nest.keep
        )
        groups.append(GroupMapping(einsums=(replace(nest, keep=keep),)))
    return FusedMapping(groups=tuple(groups))


def priced(mapping: FusedMapping, platform: Platform | None = None) -> Evaluation:
    """A mapping on the small platform."""
    chip = platform or small.platform()
    found = evaluate(small.workload(), chip, mapping, ERT)
    assert isinstance(found, Result), found
    return Evaluation(workload=small.workload(), platform=chip, result=found)


def overlapped() -> FusedMapping:
    """The fused mapping, with the units on different tiles at once."""
    group = replace(small.fused().groups[0], schedule="overlapped")
    return FusedMapping(groups=(group,))


def certificate(mapspace_size: int = 1) -> Certificate:
    """Of a search that priced one mapping of so many and proved it."""
    return Certificate(
        mapspace_size=mapspace_size,
        evaluated=1,
        pruned={},
        optimal=True,
        lower_bound=0.0,
        seconds=0.5,
        proven_bound=1.0,
        gap=0.0,
        stopped="",
    )


@cache
def compared() -> dict[str, object]:
    """What `compare --json` prints: an unfused mapping, a fused one, one that does not fit."""
    refused = Infeasible(
        level="GLB", needs=9, has=8, terms=(("QK", 9),), where="QK + AV", hint="choose less"
    )
    rows = [
        {"mapspace": "naive", "objective": "edp", **priced(unfused()).to_dict()},
        {"mapspace": "flat", "objective": "edp", **priced(small.fused()).to_dict()},
        {"mapspace": "flat-m", **refused.to_dict()},
    ]
    return {"workload": "attention", "arch": "small", "objective": "edp", "rows": rows}


def lengths() -> dict[str, object]:
    """An unfused and a fused mapping at two lengths; the longer one's totals are scaled."""
    rows = []
    for seq in (512, 1024):
        for name, mapping in (("naive", unfused()), ("flat", small.fused())):
            row = _scaled(priced(mapping).to_dict(), 65536, seq)
            ranks = row["ranks"]
            assert isinstance(ranks, dict)
            rows.append({"mapspace": name, "objective": "edp", **row, "ranks": {**ranks, "P": seq}})
    return {"workload": "attention", "arch": "small", "objective": "edp", "rows": rows}


def with_depth(depth: int) -> Platform:
    """The small platform with another depth of its buffer."""

    def deeper(arch: Architecture) -> Architecture:
        nodes = tuple(
            replace(n, capacity_words=depth * n.row_words)
            if isinstance(n, MemoryLevel) and n.name == "GLB"
            else n
            for n in arch.nodes
        )
        return replace(arch, nodes=nodes)

    chip = small.platform()
    assert chip.vector is not None
    return replace(chip, matrix=deeper(chip.matrix), vector=deeper(chip.vector))


def sweep(path: Path, count: int = 1000) -> Path:
    """A sweep's database of `count` points: real answers, with times and energies scaled."""
    bases = {"naive": priced(unfused()).to_dict(), "flat": priced(small.fused()).to_dict()}
    depths = [2**k for k in range(13, 23)]
    rows = []
    for i in range(count):
        mapspace = ("naive", "flat")[i % 2]
        depth = depths[i // 2 % len(depths)]
        seq = 512 * (1 + i // (2 * len(depths)))
        coordinates = {"arch": "small", "arch.GLB.depth": depth, "problem": "attention"}
        coordinates |= {"scope": "attention", "seq": seq, "mapspace": mapspace}
        coordinates |= {"objective": "edp", "backend": "native"}
        place = {"key": f"{i:064x}", "position": i, "coordinates": coordinates, "provenance": {}}
        if i % 50 == 49:
            reason = "QK + AV: GLB: needs 9 words (QK 9), has 8; choose less"
            rows.append(PointRow(**place, status="infeasible", reason=reason))
        else:
            rows.append(
                PointRow(**place, status="done", result=_scaled(bases[mapspace], depth, seq))
            )
    with Store(path) as store:
        store.begin("sample", {"points": str(count), "sweep": "sample.yaml"})
        store.write(*rows)
    return path


def _scaled(base: dict[str, object], depth: int, seq: int) -> dict[str, object]:
    """An answer as another depth and length might have it; only its totals are touched."""
    found = copy.deepcopy(base)
    slower = (seq / 512) ** 2 * (1 + 65536 / depth)
    for key, factor in {"latency_s": slower, "energy_pj": slower * (depth / 65536) ** 0.3}.items():
        found[key] = float(str(found[key])) * factor
    power = found["power_w"]
    assert isinstance(power, dict)
    found["power_w"] = {name: w * (depth / 65536) ** 0.3 for name, w in power.items()}
    parts = found["energy_by_pj"]
    assert isinstance(parts, dict)
    share = float(str(found["energy_pj"])) / float(str(base["energy_pj"]))
    found["energy_by_pj"] = {k: {n: pj * share for n, pj in v.items()} for k, v in parts.items()}
    found["edp_js"] = float(str(found["latency_s"])) * float(str(found["energy_pj"])) * 1e-12
    found["utilization"] = float(str(found["utilization"])) / (1 + 65536 / depth)
    groups = found["groups"]
    assert isinstance(groups, list)
    uses = found["buffer"]
    assert isinstance(uses, dict)
    for use in (uses["GLB"], *(group["buffer"] for group in groups)):
        use["capacity_words"] = depth * 32
    return found
