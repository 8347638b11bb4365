"""The single file that the raw timeloop-mapper takes to search one Einsum inside a fusion.

The same limits as in `lower_mapper`, in the form that needs no Python front end: constraints with
their lists joined, `bypass` for `dataspace`, and the fanouts' empty levels bypassed.
Source: timeloopfe, common/version_transpilers/v4_to_v3.py; Timeloop, src/mapping/constraints.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel
from flat_mapper.base.errors import MappingError
from flat_mapper.mapper.group.objective import Objective
from flat_mapper.mapping.values import EinsumMapping, sized_workload
from flat_mapper.spec.document import Quoted
from flat_mapper.timeloop.terms import problem_document, rank_letters
from flat_mapper.timeloop.write_arch import unfolded, with_depth
from flat_mapper.timeloop.write_mapper import (
    constraints_document,
    mapper_document,
    remaining_depth,
    replaced_constraints,
    shared_arch_level,
)
from flat_mapper.timeloop.write_processed import empty_level, processed_architecture
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload

Algorithm = Literal["random_pruned", "linear_pruned", "hybrid", "exhaustive", "random"]

_FACTOR = re.compile(r"\s*(\w+?)\s*(<=|==?)\s*(\d+)\s*")
_SAID = ("factors", "permutation", "split", "keep", "bypass")  # constraints that can be handed on
_NAMING = ("type", "target")
_PATIENCE = 2**31 - 1  # invalid mappings in a row; the time limit comes first


def processed_for_mapper(
    workload: Workload,
    arch: Architecture,
    mapping: EinsumMapping,
    held_words: int,
    *,
    objective: Objective = "edp",
    algorithm: Algorithm = "linear_pruned",
    fused: bool = True,
    threads: int = 1,
) -> dict[str, object]:
    """Architecture, problem, constraints and settings of one Einsum in one document.

    algorithm: a fusion leaves few factors free, so that going through them pays; at random the
               mappings that fill the array are hard to hit.
    fused: False for an operator alone, whose tiles and kept tensors are free.
    The search has no end of its own: whoever runs it ends it.
    raises: MappingError where something cannot be said to timeloop-mapper.
    """
    workload = sized_workload(workload, mapping)
    einsum = workload.einsum(mapping.einsum)
    arch, mapping, _ = unfolded(arch, mapping)
    fusion = constraints_document(workload, arch, mapping) if fused else {}
    settings = mapper_document(objective)["mapper"]
    assert isinstance(settings, dict)
    search = {
        "version": Quoted("0.4"),
        "algorithm": algorithm,
        "num_threads": threads,
        "timeout": _PATIENCE,
        "victory_condition": 0,
    }
    return {
        **processed_architecture(_reduced(arch, held_words)),
        **problem_document(workload, einsum),
        "architecture_constraints": {"targets": _targets(arch, einsum, fusion)},
        "mapspace": {"version": Quoted("0.4"), "template": "uber"},
        "mapper": {**settings, **search},
    }


def _reduced(arch: Architecture, held_words: int) -> Architecture:
    """The architecture with what is left of its shared level."""
    shared = shared_arch_level(arch)
    depth = remaining_depth(shared, held_words)
    if depth is None:
        return arch
    return with_depth(arch, shared.name, depth)


def _targets(
    arch: Architecture, einsum: Einsum, fusion: Mapping[str, object]
) -> list[dict[str, object]]:
    """The fusion's constraints, the architecture's own, and the empty levels'."""
    targets: list[dict[str, object]] = []
    inner = fusion.get("constraints")
    for target in inner["targets"] if isinstance(inner, Mapping) else ():
        name, kind = str(target["target"]), str(target["type"])
        targets.append({"target": name, "type": _kind(kind), **_said(einsum, name, kind, target)})
    replaced = replaced_constraints(arch) if fusion else {}
    letters = rank_letters(einsum).values()
    for node in arch.nodes:
        name = node.name if isinstance(node, MemoryLevel) else empty_level(node.name)
        for kind, said in node.constraints.items():
            if kind not in replaced.get(node.name, ()) and isinstance(said, Mapping):
                own = _said(einsum, node.name, kind, said)
                targets.append({"target": name, "type": _kind(kind), **own})
        if isinstance(node, Fanout) and node.fanout_x * node.fanout_y > 1:
            ones = ",".join(f"{letter}=1" for letter in letters)
            tensors = [a.tensor for a in einsum.accesses]
            targets += [
                {"target": name, "type": "temporal", "factors": ones},
                {"target": name, "type": "bypass", "keep": [], "bypass": tensors},
            ]
    return targets


def _kind(kind: str) -> str:
    return "bypass" if kind == "dataspace" else kind


def _said(
    einsum: Einsum, node: str, kind: str, constraint: Mapping[str, object]
) -> dict[str, object]:
    """A constraint in the raw reader's form; ranks and tensors that the Einsum lacks are left out.

    raises: MappingError naming what only Timeloop's Python front end understands.
    """
    where = f"{einsum.name}: {node}: constraints.{kind}"
    unknown = [key for key in constraint if key not in (*_SAID, *_NAMING)]
    if unknown:
        raise MappingError(
            f"{where}: expected {', '.join(_SAID)} for the raw timeloop-mapper, got {unknown[0]}; "
            "search with `flat-mapper lower --for mapper` and Timeloop's Python front end"
        )
    letters = rank_letters(einsum)
    letters |= {letter: letter for letter in letters.values()}
    tensors = {a.tensor for a in einsum.accesses}
    said: dict[str, object] = {}
    for key, value in constraint.items():
        if key == "factors":
            parts = _parts(value, r"[\s,]+")
            said[key] = ",".join(filter(None, (_factor(where, p, letters) for p in parts)))
        elif key == "permutation":
            names = _parts(value, r"[\s,]*")
            said[key] = "".join(letters[name] for name in names if name in letters)
        elif key in ("keep", "bypass") and isinstance(value, list):
            said[key] = [tensor for tensor in value if tensor in tensors]
        elif key == "split":
            said[key] = value
    return said


def _parts(value: object, between: str) -> list[str]:
    """The items of a list, or of a text with something between them."""
    listed = value if isinstance(value, list) else re.split(between, str(value).strip())
    return [str(part) for part in listed]


def _factor(where: str, text: str, letters: Mapping[str, str]) -> str:
    """`P=4` or `P<=4` with the rank's letter; empty where the Einsum has no such rank."""
    found = _FACTOR.fullmatch(text)
    if found is None:
        raise MappingError(f"{where}.factors: expected RANK=N or RANK<=N, got {text!r}")
    sign = "<=" if found[2] == "<=" else "="
    return f"{letters[found[1]]}{sign}{found[3]}" if found[1] in letters else ""
