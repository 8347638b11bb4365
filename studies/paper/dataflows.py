"""The two dataflows of FLAT's simulator as constraints for the ordinary search.

    output-stationary   an output in each PE: rows along y, columns along x, the sum runs in place
    weight-stationary   a word of the second operand in each PE: the sum along y, columns along x

Rows are the ranks of the first operand alone, columns those of the second alone. The projections
and the feed-forward layers are searched under these (they are never fused), and so is attention
where the softmax is charged: its Einsums have the keys along the lanes, as FuseMax (MICRO'24) has.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import flat_mapper as fm
import flat_mapper.values as v
from studies.simulator.array import STATIONARITIES
from studies.simulator.mapping import Stationarity

ChargedSchedule = Literal["interleaved", "overlapped"]

STATIONARY: tuple[Stationarity, ...] = ("output", "weight")


def attention_charged(
    workload: v.Workload,
    platform: v.Platform,
    ert: v.Ert,
    *,
    fused: bool,
    schedule: ChargedSchedule,
) -> v.Result | fm.Infeasible:
    """The fastest mapping of attention whose softmax is charged, unfused or fused by rows."""
    matrix = [e for e in workload.ordered if e.unit == "matrix"]
    groups = ((matrix[0].name, "softmax", matrix[1].name),) if fused else ()
    fusion = v.Fusion(
        groups=groups, granularity="row", schedule=schedule if fused else "sequential"
    )
    spaces = [
        mapspace(platform, dict(zip(matrix, kinds, strict=True)), fusion, workload)
        for kinds in STATIONARITIES
    ]
    return fastest_of(workload, platform, ert, spaces)


def mapspace(
    platform: v.Platform,
    kinds: dict[v.Einsum, Stationarity],
    fusion: v.Fusion,
    workload: v.Workload | None = None,
) -> v.Mapspace:
    """A mapspace in which every Einsum has one dataflow."""
    rules = [_matrix_rules(einsum, kind, platform) for einsum, kind in kinds.items()]
    slots = [slot for own, _ in rules for slot in own]
    for einsum in workload.ordered if workload else ():
        if einsum.unit == "vector":
            slots += _slots(einsum, platform, ("M",), (), einsum.ranks)
    return v.Mapspace(
        name="-".join(kinds.values()),
        fusion=fusion,
        policy=v.Policy(prefetch="ideal"),
        slots=tuple(slots),
        keeps=tuple(keep for _, keep in rules),
    )


def _matrix_rules(
    einsum: v.Einsum, kind: Stationarity, platform: v.Platform
) -> tuple[list[v.SlotRule], v.KeepRule]:
    first, second = einsum.inputs
    outer, summed = einsum.output.ranks, einsum.reduced_ranks
    rows = tuple(r for r in outer if r in first.ranks and r not in second.ranks)
    columns = tuple(r for r in outer if r in second.ranks and r not in first.ranks)
    output = kind == "output"
    fixed = outer if output else (*(r for r in outer if r not in rows), *summed)
    held = einsum.output.tensor if output else second.tensor
    others = tuple(a.tensor for a in einsum.accesses if a.tensor != held)
    registers = platform.matrix.levels[-1].name
    keep = v.KeepRule(level=registers, einsum=einsum.name, keep=(held,), bypass=others)
    return _slots(einsum, platform, columns, rows if output else summed, fixed), keep


def _slots(
    einsum: v.Einsum,
    platform: v.Platform,
    x: tuple[str, ...],
    y: tuple[str, ...],
    fixed: tuple[str, ...],
) -> list[v.SlotRule]:
    """Rules of ranks along the array or the lanes, and of those that registers have one of."""
    arch, name = platform.path(einsum.unit), einsum.name
    ones = dict.fromkeys(fixed, 1)
    return [
        v.SlotRule(node=arch.fanouts[0].name, kind="spatial", einsum=name, x=x, y=y),
        v.SlotRule(node=arch.levels[-1].name, kind="temporal", einsum=name, factors=ones),
    ]


def fastest_of(
    workload: v.Workload, platform: v.Platform, ert: v.Ert, spaces: list[v.Mapspace]
) -> v.Result | fm.Infeasible:
    """The best of several mapspaces: by cycles, then by DRAM bytes."""
    found = [
        fm.search(workload, platform, space, ert, objective="latency", gap=0.0) for space in spaces
    ]
    results = [one.result for one in found if not isinstance(one, fm.Infeasible)]
    if results:
        return min(results, key=lambda result: (result.cycles, result.offchip_bytes))
    return min((one for one in found if isinstance(one, fm.Infeasible)), key=lambda one: one.needs)


def alone(workload: v.Workload, weights: str) -> v.Workload:
    """The product with some weights as a workload of its own, once."""
    (name,) = (e.name for e in workload.einsums if weights in {a.tensor for a in e.inputs})
    return replace(workload.subset((name,)), repeat=1)
