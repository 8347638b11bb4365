"""A fused mapping run on real numbers, tile by tile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain

import numpy as np

from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.formats import DEFAULT, SUMS
from flat_mapper.energy.tables import operation_cycles
from flat_mapper.execution.cores import CoresRun, parted, steps_of
from flat_mapper.execution.free import inside, needed, with_free
from flat_mapper.execution.link import Place, new_place
from flat_mapper.execution.real_numbers import Values
from flat_mapper.execution.reference import evaluated, random_inputs, whole_of
from flat_mapper.execution.result import Error, Executed
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.workload.graph import Workload

MAX_STEPS = 2_000_000  # chosen: some minutes of Python


def execute(
    workload: Workload, platform: Platform, mapping: FusedMapping, *, seed: int = 0
) -> Executed:
    """The mapping executed: numbers, counts, words alive, and a timeline.

    seed:   of the random inputs.
    raises: SpecError where it takes more than `MAX_STEPS` temporal steps.
    """
    steps = sum(steps_of(platform, group) for group in mapping.groups)
    if steps > MAX_STEPS:
        condition = f"at most {MAX_STEPS:,} steps of temporal loops"
        change = "use --shrink, or map smaller sizes"
        raise SpecError(expected("execute", condition, f"{steps:,}", change))
    workload = _of_parts(workload, platform, mapping)
    inputs, places, dram = random_inputs(workload, seed), dict[str, Place](), dict[str, Values]()
    for tensor, ranks in workload.tensor_ranks.items():
        sizes = {rank: workload.rank_sizes[rank] for rank in ranks}
        places[tensor] = new_place(tensor, sizes, 1)
        dram[tensor] = places[tensor].data.reshape([*sizes.values()])
    for tensor, values in inputs.items():
        dram[tensor][...] = values
    with np.errstate(all="ignore"):  # words that do not exist are computed on and thrown away
        whole = evaluated(workload, inputs)
        runs = list(_runs(workload, platform, mapping, places, dram))
    ran = {name: run for run in runs for name in run.group.names}
    made = ((m, workload.einsum(n).output.tensor) for n, m in mapping.einsum_mappings.items())
    kept = {tensor for nest, tensor in made if tensor in nest.kept_at(platform.dram.name)}
    return Executed(
        workload=workload.name,
        arch=platform.name,
        seed=seed,
        steps=sum(int(run.steps(name)) for name, run in ran.items()),
        errors=tuple(error_of(t, dram[t], right) for t, right in whole.items() if t in kept),
        counts=tuple(m for r in runs for m in r.counts()),
        groups=tuple(r.executed() for r in runs),
        compute_cycles={
            e.name: ran[e.name].steps(
                e.name, operation_cycles(platform.path(e.unit), e, workload.widths)
            )
            for e in map(workload.einsum, ran)
        },
        shrunk={},
    )


def _runs(
    workload: Workload,
    platform: Platform,
    mapping: FusedMapping,
    places: Mapping[str, Place],
    dram: Mapping[str, Values],
) -> Iterator[CoresRun]:
    """A run of each group, done; before it, what it needs of Einsums that are left out."""
    lacking, done = left_over(workload, mapping), set[str]()
    for group in mapping.groups:
        own = inside(workload, group, lacking)
        before = {a for n in group.names for a in workload.ancestors[n]}
        for einsum in workload.named(lacking):
            if einsum.name in before - {*own, *done} and not einsum.each:
                dram[einsum.output.tensor][...] = whole_of(workload, einsum, dram)
                done.add(einsum.name)
        done.update(own)
        order = with_free(workload, group, own)
        run = CoresRun(workload, platform, group, mapping.policy, places, order)
        assert run.runs, "what comes after it reads its results"
        yield run


def _of_parts(workload: Workload, platform: Platform, mapping: FusedMapping) -> Workload:
    """The workload in which what cores have parts of is a sum all the time, as wide as one."""
    own, widths = dict(workload.tensor_bits), workload.widths
    levels = [level.name for path in platform.paths for level in path.levels]
    for tensor in chain.from_iterable(parted(workload, group) for group in mapping.groups):
        if tensor in widths.sums:
            sums = [at for at in levels if widths.so_far(tensor, at) > widths.share(tensor, at)]
            every = {at: workload.width(SUMS if at in sums else tensor, at) for at in levels}
            own[tensor] = {DEFAULT: workload.width(tensor), **every}
    return replace(workload, tensor_bits=own)


def left_over(workload: Workload, mapping: FusedMapping) -> tuple[str, ...]:
    """Einsums that the mapping leaves out, in execution order, as far as those mapped need them."""
    mapped = list(mapping.einsum_mappings)
    wanted = needed(workload, mapped).difference(mapped)
    lacking = tuple(n for n in workload.ancestors if n in wanted)
    if mapping.policy.softmax != "free":
        lacking = tuple(n for n in lacking if not workload.einsum(n).each)
        if lacking:
            condition = "a nest for every Einsum where the softmax is charged"
            raise SpecError(expected("execute", condition, f"none for {', '.join(lacking)}"))
    return lacking


def error_of(tensor: str, got: Values, right: Values) -> Error:
    """A tensor that an Einsum leaves at DRAM against its plain value."""
    same = got == right  # infinities of masked scores too
    gap = np.where(same, 0.0, np.abs(np.where(same, 0.0, got) - np.where(same, 0.0, right)))
    absolute = float(np.max(np.where(np.isnan(gap), np.inf, gap), initial=0.0))
    finite = np.abs(right[np.isfinite(right)])
    scale = float(finite.max(initial=0.0)) or 1.0
    return Error(tensor=tensor, absolute=absolute, relative=absolute / scale)
