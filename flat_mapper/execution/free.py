"""Einsums that a free softmax leaves out of a mapping: their numbers are needed all the same.

They are done in no time, on whole tiles: each at its place in the execution order, on as many units
as its tile has points, and nothing of it is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flat_mapper.arch.values import Architecture, Fanout, Platform
from flat_mapper.execution.link import FlatNest, flat_nest
from flat_mapper.mapping.values import EinsumMapping, GroupMapping, Loop, Slot
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload

_UNITS = "free"


def needed(workload: Workload, mapped: Sequence[str]) -> set[str]:
    """Einsums that mapped ones need.

    A result that is corrected in the passes of a loop is kept up even where only what is left out
    after that loop reads it: the sum of a row.
    """
    corrected = {e.output.tensor for e in workload.einsums if e.updates}
    kept = {e.name for e in workload.einsums if e.output.tensor in corrected}
    return kept.union(*(workload.ancestors[n] for n in mapped))


def inside(workload: Workload, group: GroupMapping, lacking: Sequence[str]) -> tuple[str, ...]:
    """Those that a mapping lacks between Einsums of a group, in execution order."""
    if len(group.einsums) == 1:
        return ()
    before = needed(workload, group.names)
    return tuple(
        n
        for n in lacking
        if n in before
        and any(a in group.names for a in workload.ancestors[n])
        and group.cut.issuperset(workload.einsum(n).each)
    )


def free_nest(
    workload: Workload, platform: Platform, einsum: Einsum, group: GroupMapping
) -> FlatNest:
    """The nest of an Einsum left out: a tile of the group at once."""
    dram, level = platform.matrix.levels[:2]
    outer = tuple(p for p in group.shared if p.rank in einsum.ranks)
    cut = {p.rank: p.factor for p in outer}
    inner = tuple(
        Loop(r, workload.rank_sizes[r] // cut.get(r, 1))
        for r in einsum.ranks
        if r not in einsum.each
    )
    top = platform.matrix
    arch = Architecture(
        name=_UNITS,
        nodes=(dram, level, Fanout(name=_UNITS)),
        compute=replace(top.compute, name=_UNITS),
        cycle_seconds=top.cycle_seconds,
    )
    mapping = EinsumMapping(
        einsum=einsum.name,
        loops=((Slot(dram.name, "temporal"), outer), (Slot(_UNITS, "x"), inner)),
        keep=((level.name, einsum.tensors),),
    )
    return flat_nest(arch, einsum, mapping, workload.rank_sizes)


def with_free(workload: Workload, group: GroupMapping, own: Sequence[str]) -> list[str]:
    """A group's execution order with what is left out of it: each before what waits for it."""
    found: list[str] = []
    for name in group.names:
        found += [n for n in own if n in workload.ancestors[name] and n not in found]
        found.append(name)
    return [*found, *(n for n in own if n not in found)]
