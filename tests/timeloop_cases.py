"""The recorded answers of timeloop-model, as values of the package.

Source: tests/data/*.jsonl, runs of NVlabs/timeloop at commit 4cf6d4c made for this project.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from flat_mapper.arch.reader import architecture_of as read_document
from flat_mapper.arch.values import Architecture
from flat_mapper.spec.document import Quoted, Section, Tagged
from flat_mapper.workload.einsum import Einsum, TensorAccess
from flat_mapper.workload.graph import Workload

DATA = Path(__file__).parent / "data"


@cache
def cases() -> tuple[dict[str, Any], ...]:
    """All recorded cases: 400 with exact factors, then 120 with remainders."""
    lines = []
    for name in ("timeloop_cases.jsonl", "timeloop_remainder_cases.jsonl"):
        lines += (DATA / name).read_text(encoding="utf-8").splitlines()
    return tuple(json.loads(line) for line in lines)


def architecture_from_nodes(
    nodes: Sequence[object],
    name: str = "architecture",
) -> Architecture:
    """The architecture of v0.4 nodes given as [tag, body] pairs; strings in them are words."""
    document = Section({"architecture": Section({"version": 0.4, "nodes": _tagged(nodes)})})
    return read_document(document, name)


def _tagged(nodes: Sequence[object]) -> list[object]:
    """[tag, body] pairs as tagged nodes, nested ones included."""
    tagged: list[object] = []
    for node in nodes:
        if not (isinstance(node, list | tuple) and len(node) == 2 and isinstance(node[0], str)):
            tagged.append(node)
            continue
        body = _worded(node[1])
        if isinstance(body, Section) and isinstance(body.get("nodes"), list):
            body = Section({**body, "nodes": _tagged(node[1]["nodes"])})
        tagged.append(Tagged(node[0], body))
    return tagged


def _worded(value: object) -> object:
    """The value with its strings marked as words, not expressions."""
    if isinstance(value, Mapping):
        return Section({str(key): _worded(inner) for key, inner in value.items()})
    if isinstance(value, list | tuple):
        return [_worded(item) for item in value]
    return Quoted(value) if isinstance(value, str) else value


def architecture_of(case: dict[str, Any]) -> Architecture:
    """The architecture of a case."""
    return architecture_from_nodes(case["architecture"], name=case["kind"])


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
