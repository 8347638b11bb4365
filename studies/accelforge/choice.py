"""The best mapping of a row: found by searches under the model's rules, chosen by AccelForge's.

Chips are files of ours, workloads AccelForge's, by the words of its rows.

The mapspace and the prices say AccelForge's rules to the search: each Einsum's transfers run beside
its own computes (`prefetch: own`), and an update has with it the read of what drains.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import flat_mapper as fm
import flat_mapper.values as v
from studies.accelforge.rules import Counted, counted, with_drains
from studies.accelforge.workloads import read_workload
from studies.common import ROOT, Columns, evaluated

Objective = Literal["edp", "energy", "latency"]

WHOLE = "whole tensors on chip"
LONGEST_S = 300.0  # chosen: of one search, which says the best so far then
GAP = 5e-6  # half of what verdicts take for the same
HERE = "accelforge"  # the folder of its files among ours
PJ_PER_J = 1e12
PARTS = 1000  # of a cycle, so that whole ones are as good as the fractions that AccelForge counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """Facts of a chip that its name does not say.

    mapspace: the space that is searched.
    per:      pJ of what its energies are counted in.
    lanes:    its component that does what the vector unit does here.
    """

    mapspace: str
    per: float = 1.0
    timeless: bool = False
    lanes: str = "MAC"


# AccelForge's components by ours.
NAMES: Mapping[str, str] = {
    **{"DRAM": "MainMemory", "GLB": "GlobalBuffer", "REG": "Register", "RF": "Register"},
    **{"ISPAD": "InputScratchpad", "WSPAD": "WeightScratchpad", "OSPAD": "OutputScratchpad"},
    **{"IBUF": "InputBuffer", "WBUF": "WeightBuffer", "ABUF": "AccumulationBuffer"},
    **{"LB": "LocalBuffer", "MAC": "MAC"},
}
CHIPS: Mapping[str, Chip] = {
    "simple": Chip(mapspace="simple"),
    "snowcat": Chip(mapspace="snowcat", timeless=True),
    "eyeriss": Chip(mapspace="cells", per=PJ_PER_J),
    "simba": Chip(mapspace="simba", per=PJ_PER_J),
    "tpu_v4i": Chip(mapspace="cells", per=PJ_PER_J, lanes="ScalarUnit"),
}


def workload_of(row: Columns, folder: Path) -> v.Workload | str:
    """The workload of a row, from the file of its name in a folder, or why there is none."""
    name = row["workload"]
    path = next((at for at in sorted(folder.rglob("*.yaml")) if at.stem == name), None)
    if path is None:
        return f"no file {name}.yaml stands in {folder}"
    try:
        found = read_workload(path, parameters_of(row))
    except (ValueError, fm.SpecError) as error:
        return str(error)
    if any(e.windowed for e in found.einsums) and not CHIPS[row["arch"]].timeless:
        return f"{name} has convolutions, which are priced where a buffer has no end: snowcat"
    return found


def parameters_of(row: Columns) -> dict[str, str]:
    """The parameters of a row by name."""
    words = (part.partition("=") for part in row.get("parameters", "").split(",") if part)
    return {name.strip(): value.strip() for name, _, value in words}


def platform_of(chip: str, workload: v.Workload) -> v.Platform:
    """A chip of words as wide as a workload's values."""
    said = {"variables.element_bits": workload.word_bits, "variables.parts": PARTS}
    return v.edit_platform(_file("arch", chip), said, {})


def prices_of(chip: str, platform: v.Platform, workload: v.Workload) -> v.Ert:
    """The energies of a chip's words, as wide as a workload's values."""
    bits = workload.word_bits
    prices = v.energies(platform, _file("arch", f"{chip}.ert"))[0]
    memories = {level.name for path in platform.paths for level in path.levels}
    words = {
        name: {
            action: pj / PARTS if action == "leak" else pj * (bits if name in memories else 1)
            for action, pj in actions.items()
        }
        for name, actions in prices.levels.items()
    }
    return replace(prices, levels=words)


def space_of(chip: Chip, fused: bool) -> v.Mapspace:
    """The mapspace of a chip; unfused: with every Einsum for itself."""
    space = fm.load_mapspace(_file("mapspaces", chip.mapspace))
    alone = v.Fusion(staging="any", schedule="sequential", level=space.fusion.level)
    own = replace(space.policy, prefetch="own")
    return replace(space, policy=own, fusion=space.fusion if fused else alone)


def _file(kind: str, name: str) -> Path:
    return ROOT / kind / HERE / f"{name}.yaml"


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

    result: v.Result
    said: Counted
    cost: float  # by AccelForge's
    mapspace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A row's question."""

    chip: Chip
    workload: v.Workload
    platform: v.Platform
    prices: v.Ert
    objective: Objective

    def answers(self, fused: bool) -> Iterator[_Answer]:
        """Answers of the searches."""
        space = space_of(self.chip, fused)
        for table in with_drains(self.platform, self.prices):
            question = (self.workload, self.platform, space, table)
            found = fm.search(*question, objective=self.objective, time_limit=LONGEST_S, gap=GAP)
            if isinstance(found, fm.Infeasible):
                continue
            if (answer := self.priced(found.mapping, space.name)) is not None:
                yield answer

    def priced(self, mapping: v.FusedMapping, mapspace: str) -> _Answer | None:
        """A mapping under both rules; None where it is none or does not fit."""
        record = v.MappingRecord(workload=self.workload, platform=self.platform, mapping=mapping)
        try:
            result = evaluated(record, self.prices)
        except fm.MappingError:
            return None
        if not isinstance(result, v.Result):
            return None
        said = counted(self.workload, self.platform, result, self.prices)
        cost = cost_to_lower(self.objective, said.energy, said.latency)
        return _Answer(result=result, said=said, cost=cost, mapspace=mapspace)

    def whole(self) -> _Answer | None:
        """Every Einsum for itself with its tensors whole in the shared level, which has no end."""
        groups, outer = [], [level.name for level in self.platform.matrix.levels[:2]]
        for einsum in self.workload.ordered:
            loops = tuple(v.Loop(rank=r, factor=self.workload.rank_sizes[r]) for r in einsum.ranks)
            tensors = tuple(a.tensor for a in einsum.accesses)
            keep = tuple((name, tensors) for name in outer)
            at = ((v.Slot(node=outer[1], axis="temporal"), loops),)
            nest = v.EinsumMapping(einsum=einsum.name, loops=at, keep=keep)
            groups.append(v.GroupMapping(einsums=(nest,), staged=tensors))
        return self.priced(
            v.FusedMapping(groups=tuple(groups), policy=v.Policy(buffering=1)), WHOLE
        )


def cost_to_lower(objective: Objective, energy: float, latency: float) -> float:
    """Cost that an objective asks to be least."""
    return {"energy": energy, "latency": latency, "edp": energy * latency}[objective]


def best(arch: str, workload: v.Workload, fused: bool, objective: Objective) -> Found | None:
    """The best by AccelForge's rules of what the searches find; None where that is nothing."""
    chip, begin = CHIPS[arch], time.process_time()
    platform = platform_of(arch, workload)
    prices = prices_of(arch, platform, workload)
    question = Question(
        chip=chip, workload=workload, platform=platform, prices=prices, objective=objective
    )
    if any(einsum.windowed for einsum in workload.einsums):
        found = question.whole()
    else:
        found = min(question.answers(fused), key=lambda answer: answer.cost, default=None)
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
