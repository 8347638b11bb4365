"""The best mapping of a row: found by searches under the model's rules, chosen by AccelForge's.

The search is exact under our rules, so its answers are candidates under AccelForge's: the least of
the objective, and the least energy without leakage. What tells the rules apart is looked at here:
where a fanout gives nothing by multicast, Einsums take nests from the other answers, and the
shared level keeps or passes on a tensor, as long as AccelForge's objective improves.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import flat_mapper as fm
from flat_mapper.values import (
    EinsumMapping,
    Ert,
    FusedMapping,
    GroupMapping,
    Loop,
    MappingRecord,
    Platform,
    Policy,
    Result,
    Slot,
    Workload,
)
from studies.accelforge.chips import CHIPS, NAMES, Chip, platforms_of, prices_of, space_of
from studies.accelforge.rules import Counted, counted
from studies.common import evaluated

Objective = Literal["edp", "energy"]

WHOLE = "whole tensors on chip"
LONGEST_S = 90.0  # chosen: of one search, which says the best so far then
GAP = 5e-6  # half of what verdicts take for the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The best mapping of a row, in the row's units and s."""

    energy: float
    latency: float
    by_component: Mapping[str, float]  # by AccelForge's names
    own_energy: float  # by the model's rules
    own_latency: float
    seconds: float  # CPU time of the searches
    mapspace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """A mapping under both rules."""

    mapping: FusedMapping
    result: Result
    said: Counted
    cost: float  # by AccelForge's
    mapspace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """A row's question."""

    chip: Chip
    workload: Workload
    platforms: list[Platform]
    prices: Ert
    objective: Objective

    @property
    def outer(self) -> tuple[str, str]:
        """DRAM, and the level that fused Einsums share."""
        dram, shared, *_ = self.platforms[0].matrix.levels
        return dram.name, shared.name

    def answers(self, fused: bool) -> Iterator[_Answer]:
        """Answers of the searches."""
        levels = self.prices.levels
        moved = {k: {a: e for a, e in v.items() if a != "leak"} for k, v in levels.items()}
        tables = {"energy": replace(self.prices, levels=moved), self.objective: self.prices}
        space = space_of(self.chip, fused)
        for platform, (objective, table) in product(self.platforms, tables.items()):
            question = (self.workload, platform, space, table)
            found = fm.search(*question, objective=objective, time_limit=LONGEST_S, gap=GAP)
            if isinstance(found, fm.Infeasible):
                continue
            if (answer := self.priced(found.mapping, space.name)) is not None:
                yield answer

    def priced(self, mapping: FusedMapping, mapspace: str) -> _Answer | None:
        """A mapping under both rules; None where it is none or does not fit."""
        platform = self.platforms[0]
        record = MappingRecord(workload=self.workload, platform=platform, mapping=mapping)
        try:
            result = evaluated(record, self.prices)
        except fm.MappingError:
            return None
        if not isinstance(result, Result):
            return None
        said = counted(self.workload, platform, result, self.prices, self.chip.alone)
        cost = cost_to_lower(self.objective, said.energy, said.latency)
        return _Answer(mapping=mapping, result=result, said=said, cost=cost, mapspace=mapspace)

    def whole(self) -> _Answer | None:
        """Every Einsum for itself with its tensors whole in the shared level, which has no end."""
        groups = []
        for einsum in self.workload.ordered:
            loops = tuple(Loop(rank=r, factor=self.workload.rank_sizes[r]) for r in einsum.ranks)
            tensors = tuple(a.tensor for a in einsum.accesses)
            keep = tuple((name, tensors) for name in self.outer)
            at = ((Slot(node=self.outer[1], axis="temporal"), loops),)
            nest = EinsumMapping(einsum=einsum.name, loops=at, keep=keep)
            groups.append(GroupMapping(einsums=(nest,), staged=tensors))
        return self.priced(FusedMapping(groups=tuple(groups), policy=Policy(buffering=1)), WHOLE)

    def improved(self, first: _Answer, others: list[_Answer]) -> _Answer:
        """The last of a row of better answers, each a change of one Einsum or tensor away."""
        for mapping in _neighbours(first.mapping, others, self.outer):
            found = self.priced(mapping, first.mapspace)
            if found is not None and found.cost < first.cost:
                return self.improved(found, others)
        return first


def cost_to_lower(objective: Objective, energy: float, latency: float) -> float:
    """Cost that an objective of the file asks to be least: energy, or its product with latency."""
    return energy if objective == "energy" else energy * latency


def best(arch: str, workload: Workload, fused: bool, objective: Objective) -> Found | None:
    """The best by AccelForge's rules of what the searches find; None where that is nothing."""
    chip, begin = CHIPS[arch], time.process_time()
    platforms = platforms_of(arch, workload)
    question = _Question(
        chip=chip,
        workload=workload,
        platforms=platforms,
        prices=prices_of(arch, platforms[0], workload),
        objective=objective,
    )
    if any(einsum.windowed for einsum in workload.einsums):
        found = question.whole()
    else:
        answers = sorted(question.answers(fused), key=lambda answer: answer.cost)
        found = answers[0] if answers else None
        if found and chip.alone:
            others = [*answers[1:], *question.answers(fused=False)]
            found = question.improved(found, others)
    if found is None:
        return None
    said, per = found.said, chip.per
    parts: dict[str, float] = {}
    for ours, pj in said.by_component.items():
        theirs = NAMES.get(ours, chip.lanes)
        parts[theirs] = parts.get(theirs, 0.0) + pj / per
    return Found(
        energy=said.energy / per,
        latency=0.0 if chip.timeless else said.latency,
        by_component=parts,
        own_energy=found.result.energy_pj / per,
        own_latency=0.0 if chip.timeless else found.result.latency_s,
        seconds=time.process_time() - begin,
        mapspace=found.mapspace,
    )


def _neighbours(
    mapping: FusedMapping, others: list[_Answer], levels: tuple[str, str]
) -> Iterator[FusedMapping]:
    """Mappings with one Einsum's nest of another answer, or one tensor kept or passed on."""
    for i, group in enumerate(mapping.groups):
        for changed in (*_toggled(group, levels), *_exchanged(group, others, levels)):
            groups = (*mapping.groups[:i], changed, *mapping.groups[i + 1 :])
            yield replace(mapping, groups=groups)


def _toggled(group: GroupMapping, levels: tuple[str, str]) -> Iterator[GroupMapping]:
    """A group with one tensor kept whole at the shared level that was not, or the other way."""
    holders = [(nest, {t for _, kept in nest.keep for t in kept}) for nest in group.einsums]
    for tensor in sorted(set().union(*(held for _, held in holders))):
        nests = []
        for nest, held in holders:
            here = tuple(t for t in nest.kept_at(levels[1]) if t != tensor)
            there = here if tensor in group.staged else (*here, tensor)
            nests.append(_keeping(nest, levels, there) if tensor in held else nest)
        yield _with(group, nests, levels[1])


def _exchanged(
    group: GroupMapping, others: list[_Answer], levels: tuple[str, str]
) -> Iterator[GroupMapping]:
    """A group with one Einsum as another answer has it."""
    for i, old in enumerate(group.einsums):
        nests = (other.mapping.einsum_mappings[old.einsum] for other in others)
        for new in {_moved_in(nest, old, group, levels) for nest in nests}:
            if new != old:
                nests_now = [*group.einsums[:i], new, *group.einsums[i + 1 :]]
                yield _with(group, nests_now, levels[1])


def _moved_in(
    nest: EinsumMapping, old: EinsumMapping, group: GroupMapping, levels: tuple[str, str]
) -> EinsumMapping:
    """A nest in the place of an old one of a group: outside as that, and DRAM loops inside.

    levels: DRAM and the shared one.
    """
    dram, shared = levels
    tensors = dict.fromkeys(t for _, kept in nest.keep for t in kept)
    outer = dict.fromkeys((*old.kept_at(dram), *(t for t in tensors if t in group.staged)))
    nest = _keeping(nest, levels, tuple(t for t in outer if t in group.staged))
    inner = tuple(pair for pair in nest.keep if pair[0] != dram)
    off_chip = ((dram, old.kept_at(dram)),) if old.kept_at(dram) else ()
    nest = replace(nest, keep=(*off_chip, *inner))
    if group.shared:
        return nest
    slots = Slot(node=dram, axis="temporal"), Slot(node=shared, axis="temporal")
    loops = tuple(loop for slot in slots for loop in nest.at(slot))
    rest = tuple(pair for pair in nest.loops if pair[0] not in slots)
    return replace(nest, loops=(*(((slots[1], loops),) if loops else ()), *rest))


def _keeping(
    nest: EinsumMapping, levels: tuple[str, str], tensors: tuple[str, ...]
) -> EinsumMapping:
    """A nest with other tensors kept at the second of the two outermost levels."""
    outermost = tuple(pair for pair in nest.keep if pair[0] == levels[0])
    inner = tuple(pair for pair in nest.keep if pair[0] not in levels)
    return replace(nest, keep=(*outermost, *(((levels[1], tensors),) if tensors else ()), *inner))


def _with(group: GroupMapping, nests: list[EinsumMapping], shared: str) -> GroupMapping:
    staged = dict.fromkeys(t for nest in nests for t in nest.kept_at(shared))
    return replace(group, einsums=tuple(nests), staged=tuple(staged))
