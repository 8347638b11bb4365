"""The recorded answers of timeloop-model, as values of the package.

Source: tests/data/*.jsonl, runs of NVlabs/timeloop at commit 4cf6d4c made for this project.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from flat_mapper.arch import Architecture, ComputeUnit, Fanout, MemoryLevel
from flat_mapper.document import Tagged
from flat_mapper.workload import Einsum, TensorAccess, Workload

DATA = Path(__file__).parent / "data"


@cache
def cases() -> tuple[dict[str, Any], ...]:
    """All recorded cases: 400 with exact factors, then 120 with remainders."""
    lines = []
    for name in ("timeloop_cases.jsonl", "timeloop_remainder_cases.jsonl"):
        lines += (DATA / name).read_text(encoding="utf-8").splitlines()
    return tuple(json.loads(line) for line in lines)


def document_of(case: dict[str, Any]) -> dict[str, Any]:
    """The architecture of a case as its YAML file would load."""
    nodes = [Tagged(tag, _body(body)) for tag, body in case["architecture"]]
    return {"architecture": {"version": 0.4, "nodes": nodes}}


def _body(body: dict[str, Any]) -> dict[str, Any]:
    if "nodes" not in body:
        return body
    return {**body, "nodes": [Tagged(tag, _body(inner)) for tag, inner in body["nodes"]]}


def architecture_of(case: dict[str, Any]) -> Architecture:
    """The architecture of a case, put together by hand."""
    nodes: list[MemoryLevel | Fanout] = []
    instances, compute = 1, None
    flat = [
        body
        for tag, outer in case["architecture"]
        for _, body in outer.get("nodes", [(tag, outer)])
    ]
    for body in flat[1:]:
        attributes = body.get("attributes", {})
        if "spatial" in body:
            x, y = body["spatial"].get("meshX", 1), body["spatial"].get("meshY", 1)
            nodes.append(Fanout(name=body["name"], fanout_x=x, fanout_y=y))
            instances *= x * y
        elif body["class"] == "intmac":
            compute = ComputeUnit(
                name=body["name"],
                component_class="intmac",
                instances=instances,
                attributes=attributes,
            )
        else:
            row = attributes["width"] // attributes["datawidth"]
            depth = attributes.get("depth")
            nodes.append(
                MemoryLevel(
                    name=body["name"],
                    component_class=body["class"],
                    capacity_words=depth * row if depth else None,
                    word_bits=attributes["datawidth"],
                    row_words=row,
                    instances=instances,
                    multiple_buffering=attributes.get("multiple_buffering", 1),
                    read_words_per_cycle=attributes.get("read_bandwidth"),
                    write_words_per_cycle=attributes.get("write_bandwidth"),
                    shared_words_per_cycle=attributes.get("shared_bandwidth"),
                    attributes=attributes,
                )
            )
    assert compute is not None
    return Architecture(
        name=case["kind"],
        nodes=tuple(nodes),
        compute=compute,
        cycle_seconds=1e-9,
        document=document_of(case),
    )


def workload_of(case: dict[str, Any]) -> Workload:
    """The one Einsum of a case, as a workload."""
    shape = case["problem"]["shape"]
    accesses = [
        TensorAccess(
            tensor=space["name"],
            ranks=tuple(triple[0][0] for triple in space["projection"]),
            is_output=space.get("read_write", False),
        )
        for space in shape["data_spaces"]
    ]
    einsum = Einsum(
        name=shape["name"],
        output=next(a for a in accesses if a.is_output),
        inputs=tuple(a for a in accesses if not a.is_output),
        operation="mul",
        unit="matrix",
    )
    return Workload(
        name=case["id"], rank_sizes=case["problem"]["instance"], einsums=(einsum,), word_bits=16
    )


def with_remainders(case: dict[str, Any]) -> list[dict[str, Any]]:
    """The mapping of a case with its remainders written Timeloop's way: `P=32,5`."""
    lasts = {(level, rank): last for level, rank, _, last in case.get("remainders", [])}
    mapping = []
    for entry in case["mapping"]:
        if "factors" in entry and entry["type"] == "temporal":
            factors = [
                f"{f},{lasts[entry['target'], f.partition('=')[0]]}"
                if (entry["target"], f.partition("=")[0]) in lasts
                else f
                for f in entry["factors"]
            ]
            entry = {**entry, "factors": factors}
        mapping.append(entry)
    return mapping
