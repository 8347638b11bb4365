"""A fused mapping run on real numbers, tile by tile.

Einsums that a free softmax leaves out of a mapping are done in no time, on whole tiles: their
numbers are needed all the same. Each runs at its place in the execution order, on as many units as
its tile has points, and nothing of it is counted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from flat_mapper.arch.values import Architecture, Fanout, Platform
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.energy.tables import operation_cycles
from flat_mapper.execution.clock import timeline
from flat_mapper.execution.cores import CoresRun, steps_of
from flat_mapper.execution.group import GroupRun
from flat_mapper.execution.link import FlatNest, Place, flat_nest, new_place
from flat_mapper.execution.real_numbers import Values
from flat_mapper.execution.reference import evaluated, inputs_of
from flat_mapper.execution.result import Error, Executed, ExecutedGroup
from flat_mapper.execution.shared import GroupFacts
from flat_mapper.mapping.values import EinsumMapping, FusedMapping, GroupMapping, Loop, Slot
from flat_mapper.workload.graph import Workload

_UNITS = "free"


def left_out(workload: Workload, mapped: Sequence[str]) -> tuple[str, ...]:
    """Einsums that a mapping lacks, in execution order, as far as something mapped needs them.

    A result that is corrected in the passes of a loop is kept up even where only what is left out
    after that loop reads it: the sum of a row.
    """
    needed = {a for n in mapped for a in workload.ancestors[n]}
    corrected = {e.output.tensor for e in workload.einsums if e.updates}
    needed |= {e.name for e in workload.einsums if e.output.tensor in corrected}
    return tuple(n for n in workload.ancestors if n in needed and n not in mapped)


def inside(workload: Workload, group: GroupMapping, lacking: Sequence[str]) -> tuple[str, ...]:
    """Those of them that stand between Einsums of a group: its own, in execution order."""
    if len(group.einsums) == 1:
        return ()
    corrected = {e.output.tensor for e in workload.einsums if e.updates}
    before = {a for n in group.names for a in workload.ancestors[n]}
    before |= {e.name for e in workload.einsums if e.output.tensor in corrected}
    cut = {p.rank for p in group.shared if p.factor > 1}
    return tuple(
        n
        for n in lacking
        if n in before
        and any(a in group.names for a in workload.ancestors[n])
        and all(r in cut for r in workload.einsum(n).each)
    )


def free_nest(
    workload: Workload, platform: Platform, name: str, group: GroupMapping | None
) -> FlatNest:
    """The nest of an Einsum left out: a tile of the group at once, or all of it without one."""
    einsum = workload.einsum(name)
    dram, level = platform.matrix.levels[:2]
    shared = group.shared if group else ()
    outer = tuple(p for p in shared if p.rank in einsum.ranks)
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
    tensors = tuple(a.tensor for a in einsum.accesses)
    mapping = EinsumMapping(
        einsum=name,
        loops=((Slot(dram.name, "temporal"), outer), (Slot(_UNITS, "x"), inner)),
        keep=((level.name if group else dram.name, tensors),),
    )
    return flat_nest(arch, einsum, mapping, workload.rank_sizes)


MAX_STEPS = 2_000_000  # chosen: some minutes of Python


def execute(
    workload: Workload, platform: Platform, mapping: FusedMapping, *, seed: int = 0
) -> Executed:
    """The mapping executed: numbers, counts, words alive, and a timeline.

    seed:   of the random inputs.
    raises: SpecError where it takes more than `MAX_STEPS` temporal steps.
    """
    split = [group for group in mapping.groups if group.on_cores]
    ordinary = replace(mapping, groups=tuple(g for g in mapping.groups if not g.on_cores))
    nests = _nests(workload, platform, ordinary)
    steps = sum(prod(s.factor for s in nest.temporal) for nest in nests.values())
    steps += sum(steps_of(workload, platform, group) for group in split)
    if steps > MAX_STEPS:
        condition = f"at most {MAX_STEPS:,} steps of temporal loops"
        raise SpecError(expected("execute", condition, f"{steps:,}", "use --shrink"))
    inputs = inputs_of(workload, seed)
    with np.errstate(all="ignore"):  # words that do not exist are computed on and thrown away
        whole = evaluated(workload, inputs)
        work = _groups(workload, platform, mapping, nests)
        flat = [n for facts in work if isinstance(facts, GroupFacts) for n in facts.nests.values()]
        dram = _dram(workload, flat, inputs)
        runs = [_run(facts, workload, platform, mapping, dram) for facts in work]
    mapped = [r for r in runs if isinstance(r, CoresRun) or r.group.einsums]
    ran = {name: run for run in mapped for name in run.group.names}
    kept = {
        workload.einsum(nest.einsum).output.tensor
        for nest in mapping.einsum_mappings.values()
        if workload.einsum(nest.einsum).output.tensor in nest.kept_at(platform.dram.name)
    }
    return Executed(
        workload=workload.name,
        arch=platform.name,
        seed=seed,
        steps=sum(int(run.steps(name)) for name, run in ran.items()),
        errors=_errors(workload, kept, dram, whole),
        counts=tuple(m for r in mapped for m in r.counts()),
        groups=tuple(r.executed() if isinstance(r, CoresRun) else _executed(r) for r in mapped),
        compute_cycles={
            e.name: ran[e.name].steps(
                e.name, operation_cycles(platform.path(e.unit), e, workload.widths)
            )
            for e in map(workload.einsum, ran)
        },
        shrunk={},
    )


def _nests(workload: Workload, platform: Platform, mapping: FusedMapping) -> dict[str, FlatNest]:
    found = {}
    for name, nest in mapping.einsum_mappings.items():
        einsum = workload.einsum(name)
        found[name] = flat_nest(platform.path(einsum.unit), einsum, nest, workload.rank_sizes)
    return found


def _groups(
    workload: Workload,
    platform: Platform,
    mapping: FusedMapping,
    nests: Mapping[str, FlatNest],
) -> list[GroupFacts | GroupMapping]:
    """The groups in execution order, with what a free softmax leaves out of them or of all.

    Those on many cores are as they are mapped.
    """
    lacking = left_out(workload, list(mapping.einsum_mappings))
    if lacking and mapping.policy.softmax != "free":
        lacking = tuple(n for n in lacking if not workload.einsum(n).each)
        if lacking:
            condition = "a nest for every Einsum where the softmax is charged"
            raise SpecError(expected("execute", condition, f"none for {', '.join(lacking)}"))
    found: list[GroupFacts | GroupMapping] = []
    done: set[str] = set()
    for group in mapping.groups:
        if group.on_cores:
            found.append(group)
            continue
        own = inside(workload, group, lacking)
        before = {a for n in group.names for a in workload.ancestors[n]}
        for name in lacking:
            if name in before and name not in (*own, *done) and not workload.einsum(name).each:
                nest = {name: free_nest(workload, platform, name, None)}
                found.append(_facts(workload, GroupMapping(einsums=()), nest))
                done.add(name)
        done.update(own)
        members = {n: nests[n] for n in group.names}
        members |= {n: free_nest(workload, platform, n, group) for n in own}
        ordered = {n: members[n] for n in (*_order(workload, group, own),)}
        found.append(_facts(workload, group, ordered))
    return found


def _order(workload: Workload, group: GroupMapping, own: Sequence[str]) -> list[str]:
    """A group's execution order with what is left out of it: each before what waits for it."""
    found: list[str] = []
    for name in group.names:
        found += [n for n in own if n in workload.ancestors[name] and n not in found]
        found.append(name)
    return [*found, *(n for n in own if n not in found)]


def _facts(workload: Workload, group: GroupMapping, nests: Mapping[str, FlatNest]) -> GroupFacts:
    free = frozenset(n for n in nests if n not in group.names)
    return GroupFacts(workload=workload, group=group, nests=nests, free=free)


def _run(
    facts: GroupFacts | GroupMapping,
    workload: Workload,
    platform: Platform,
    mapping: FusedMapping,
    dram: Mapping[str, Place],
) -> GroupRun | CoresRun:
    run: GroupRun | CoresRun
    if isinstance(facts, GroupMapping):
        run = CoresRun(
            workload=workload, platform=platform, group=facts, policy=mapping.policy, dram=dram
        )
    else:
        run = GroupRun(facts=facts, platform=platform, policy=mapping.policy, dram=dram)
    run.run()
    return run


def _dram(
    workload: Workload, nests: Sequence[FlatNest], inputs: Mapping[str, Values]
) -> dict[str, Place]:
    """Every tensor whole at DRAM, with room for the coordinates that loops reach in vain."""
    places: dict[str, Place] = {}
    for tensor, ranks in workload.tensor_ranks.items():
        extents = {r: workload.rank_sizes[r] for r in ranks}
        for nest in nests:
            if nest.einsum.touches(tensor):
                extents = {r: max(n, nest.extent(r, 0)) for r, n in extents.items()}
        places[tensor] = new_place(tensor, extents, 1)
        if tensor in inputs:
            _part(places[tensor], extents, inputs[tensor].shape)[...] = inputs[tensor]
    return places


def _part(place: Place, extents: Mapping[str, int], shape: tuple[int, ...]) -> Values:
    whole = place.data.reshape(tuple(extents.values()))
    return whole[tuple(slice(n) for n in shape)]


def _errors(
    workload: Workload,
    kept: Collection[str],
    dram: Mapping[str, Place],
    whole: Mapping[str, Values],
) -> tuple[Error, ...]:
    """Every tensor that an Einsum leaves at DRAM against its plain value."""
    found = []
    for tensor, right in whole.items():
        if tensor not in kept:
            continue
        ranks = workload.tensor_ranks[tensor]
        extents = {r: dram[tensor].strides[r] for r in ranks}
        got = np.lib.stride_tricks.as_strided(
            dram[tensor].data, right.shape, [8 * extents[r] for r in ranks], writeable=False
        )
        found.append(_error(tensor, got, right))
    return tuple(found)


def _error(tensor: str, got: Values, right: Values) -> Error:
    same = got == right  # infinities of masked scores too
    gap = np.where(same, 0.0, np.abs(np.where(same, 0.0, got) - np.where(same, 0.0, right)))
    absolute = float(np.max(np.where(np.isnan(gap), np.inf, gap), initial=0.0))
    finite = np.abs(right[np.isfinite(right)])
    scale = float(finite.max(initial=0.0)) or 1.0
    return Error(tensor=tensor, absolute=absolute, relative=absolute / scale)


def _executed(run: GroupRun) -> ExecutedGroup:
    cycles, turns = timeline(run)
    group = run.group
    return ExecutedGroup(
        names=group.names,
        schedule=group.schedule,
        passes=run.turns[-1].pass_number + 1,
        cycles=cycles,
        turns=turns,
        alive=run.alive(),
    )
