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
from flat_mapper.values import (
    Einsum,
    Ert,
    Fusion,
    KeepRule,
    Mapspace,
    Platform,
    Policy,
    Result,
    SlotRule,
    Workload,
)
from studies.simulator.array import STATIONARITIES
from studies.simulator.mapping import Stationarity

Infeasible = fm.Infeasible
ChargedSchedule = Literal["interleaved", "overlapped"]

STATIONARY: tuple[Stationarity, ...] = ("output", "weight")


def attention_charged(
    workload: Workload,
    platform: Platform,
    ert: Ert,
    *,
    fused: bool,
    schedule: ChargedSchedule,
) -> Result | Infeasible:
    """The fastest mapping of attention whose softmax is charged, unfused or fused by rows."""
    matrix = [e for e in workload.ordered if e.unit == "matrix"]
    groups = ((matrix[0].name, "softmax", matrix[1].name),) if fused else ()
    fusion = Fusion(groups=groups, granularity="row", schedule=schedule if fused else "sequential")
    spaces = [
        mapspace(platform, dict(zip(matrix, kinds, strict=True)), fusion, workload)
        for kinds in STATIONARITIES
    ]
    return fastest_of(workload, platform, ert, spaces)


def mapspace(
    platform: Platform,
    kinds: dict[Einsum, Stationarity],
    fusion: Fusion,
    workload: Workload | None = None,
) -> Mapspace:
    """A mapspace in which every Einsum has one dataflow."""
    slots: list[SlotRule] = []
    keeps: list[KeepRule] = []
    for einsum, kind in kinds.items():
        rules, kept = _matrix_rules(einsum, kind, platform)
        slots += rules
        keeps += kept
    for einsum in workload.ordered if workload else ():
        if einsum.unit == "vector":
            slots += _vector_rules(einsum, platform)
    return Mapspace(
        name="-".join(kinds.values()),
        fusion=fusion,
        policy=Policy(prefetch="ideal"),
        slots=tuple(slots),
        keeps=tuple(keeps),
    )


def _matrix_rules(
    einsum: Einsum, kind: Stationarity, platform: Platform
) -> tuple[list[SlotRule], list[KeepRule]]:
    arch = platform.matrix
    array, registers = arch.fanouts[0].name, arch.levels[-1].name
    first, second = einsum.inputs
    outer = einsum.output.ranks
    rows = tuple(r for r in outer if r in first.ranks and r not in second.ranks)
    columns = tuple(r for r in outer if r in second.ranks and r not in first.ranks)
    output = kind == "output"
    fixed = outer if output else (*(r for r in outer if r not in rows), *einsum.reduced_ranks)
    held = einsum.output.tensor if output else second.tensor
    names = tuple(a.tensor for a in einsum.accesses)
    spatial = SlotRule(
        node=array,
        kind="spatial",
        einsum=einsum.name,
        x=columns,
        y=rows if output else einsum.reduced_ranks,
    )
    inside = SlotRule(
        node=registers, kind="temporal", einsum=einsum.name, factors=dict.fromkeys(fixed, 1)
    )
    keep = KeepRule(
        level=registers,
        einsum=einsum.name,
        keep=(held,),
        bypass=tuple(n for n in names if n != held),
    )
    return [spatial, inside], [keep]


def _vector_rules(einsum: Einsum, platform: Platform) -> list[SlotRule]:
    arch = platform.path("vector")
    lanes, registers = arch.fanouts[0].name, arch.levels[-1].name
    spread = SlotRule(node=lanes, kind="spatial", einsum=einsum.name, x=("M",), y=())
    inside = SlotRule(
        node=registers, kind="temporal", einsum=einsum.name, factors=dict.fromkeys(einsum.ranks, 1)
    )
    return [spread, inside]


def fastest_of(
    workload: Workload, platform: Platform, ert: Ert, spaces: list[Mapspace]
) -> Result | Infeasible:
    """The best of several mapspaces: by cycles, then by DRAM bytes."""
    found = [
        fm.search(workload, platform, space, ert, objective="latency", gap=0.0) for space in spaces
    ]
    results = [one.result for one in found if not isinstance(one, Infeasible)]
    if results:
        return min(results, key=lambda result: (result.cycles, result.offchip_bytes))
    return min((one for one in found if isinstance(one, Infeasible)), key=lambda one: one.needs)


def alone(workload: Workload, weights: str) -> Workload:
    """The product with some weights as a workload of its own, once."""
    (name,) = (e.name for e in workload.einsums if weights in {a.tensor for a in e.inputs})
    return replace(workload.subset((name,)), repeat=1)
