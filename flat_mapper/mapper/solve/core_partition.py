"""The best partition of a cascade on a chip of many cores, to which tiles of a group are given out.

As in `flat_mapper.mapper.solve.partition`, partitions are paths over the cuts of a cascade, and
cycles add up over groups. A group is a question of its own to `flat_mapper.mapper.solve.on_cores`,
which answers with a mapping and a bound; before it is asked, computes at peak and the words over
the group's border are its bound. Where every group on the path of least bounds was asked about,
that path is the bound of all partitions, and the certificate has the gap to it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from math import inf

from flat_mapper.arch.values import Platform
from flat_mapper.base.budget import Budget
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.progress import Progress
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.latency import transfer_cycles
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.operations import operation_cycles
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.cost.masks import seen_words
from flat_mapper.mapper.group.objective import Objective
from flat_mapper.mapper.solve.alternatives import least_refused
from flat_mapper.mapper.solve.on_cores import best_on_cores
from flat_mapper.mapper.solve.result import Certificate, Solution
from flat_mapper.mapper.solve.solve import floor_of, of_all_runs
from flat_mapper.mapping.order import overlaps
from flat_mapper.mapping.partitions import (
    FusionGraph,
    forms,
    fusion_graph,
    partition_count,
    shortest,
)
from flat_mapper.mapping.sharing import crosses_dram
from flat_mapper.mapping.space import AnyGroups, Mapspace
from flat_mapper.mapping.values import FusedMapping, GroupMapping
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.softmax import alternatives

ENOUGH = 4000  # chosen: mappings of a group that are priced before the search of tiles may end
TIGHT = 1e-12  # sums that should be equal differ in their last bits


@dataclass(slots=True)
class _Form:
    """One form of a cascade, and what is known of its groups: cycles at least and at most."""

    workload: Workload
    graph: FusionGraph
    least: list[float]
    most: list[float]
    found: dict[int, tuple[GroupMapping, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class _Search:
    """The search over all forms."""

    platform: Platform
    mapspace: Mapspace
    ert: Ert
    budget: Budget
    progress: Progress | None
    deadline: float
    all_forms: list[_Form] = field(default_factory=list)
    evaluated: int = 0
    asked: int = 0
    infeasible: Infeasible | None = None

    def form(self, cascade: Workload, names: list[str]) -> _Form:
        """A form with a bound of each of its groups."""
        limits = self.mapspace.fusion.anything or AnyGroups()
        graph = fusion_graph(cascade, names, limits)
        least = [self.floor(cascade, group) for group in graph.groups]
        return _Form(cascade, graph, least, [inf] * len(least))

    def floor(self, cascade: Workload, names: tuple[str, ...]) -> float:
        """Cycles of a group at least: units at peak on all cores, and the words over its border."""
        part = cascade.subset(names)
        made = {part.einsum(n).output.tensor for n in names}
        reads = writes = 0.0
        for tensor in part.tensor_ranks:
            if crosses_dram(cascade, names, tensor):
                words = part.tensor_words(tensor) * part.share(tensor) * seen_words(part, tensor)
                reads, writes = (
                    (reads, writes + words) if tensor in made else (reads + words, writes)
                )
        border = float(transfer_cycles(self.platform.dram, reads, writes))
        busy: dict[str, float] = {}
        for einsum in (e for e in part.einsums if not e.each):
            arch = self.platform.path(einsum.unit)
            cycles = operation_cycles(arch, einsum, part.widths) / arch.compute.instances
            points = part.unmasked_iterations(einsum) * cycles
            busy[einsum.unit] = busy.get(einsum.unit, 0.0) + points
        schedule = self.mapspace.fusion.schedule
        at_once = schedule == "any" or overlaps(schedule)
        return max(max(busy.values()) if at_once else sum(busy.values()), border)

    def ask(self, form: _Form, number: int) -> None:
        """The best mapping of a group that is found on the cores, and its bound."""
        names = form.graph.groups[number]
        fusion = self.mapspace.fusion
        keys = form.workload.roles.keys
        cores = tuple(r for r in form.workload.rank_sizes if r != keys)
        wanted = cores if fusion.cores == "any" else fusion.cores
        groups = (names,) if len(names) > 1 else ()
        own = replace(fusion, groups=groups, anything=None, cores=wanted, optional=False)
        part = replace(form.workload.subset(names), repeat=1)
        if keys not in part.rank_sizes or not part.roles.masked:
            part = replace(part, mask=None)
        mapspace = replace(self.mapspace, fusion=own)
        what = part, self.platform, mapspace, self.ert
        solved = best_on_cores(*what, objective="latency", enough=ENOUGH)
        self.asked += 1
        if isinstance(solved, Infeasible):
            form.least[number] = inf
            self.infeasible = least_refused(self.infeasible, solved)
            return
        self.evaluated += solved.certificate.evaluated
        cycles = float(solved.result.cycles)
        form.most[number] = cycles
        form.found[number] = solved.result.mapping.groups
        share = 1 / (1 + solved.certificate.gap)
        form.least[number] = min(cycles, max(form.least[number], cycles * share))

    def through(self) -> tuple[_Form | None, tuple[int, ...], float]:
        """The best partition, and what no partition is below."""
        for form in self.all_forms:
            for number, names in enumerate(form.graph.groups):
                if names in form.graph.units:
                    self.ask(form, number)
        while True:
            paths = [(*shortest(f.graph, f.least), f) for f in self.all_forms]
            bound, groups, form = min(paths, key=lambda one: one[0])
            best, chosen, of = min(
                ((*shortest(f.graph, f.most), f) for f in self.all_forms), key=lambda one: one[0]
            )
            doubt = [g for g in groups if g not in form.found and form.least[g] < inf]
            if best == inf or not doubt or bound >= best * (1 - TIGHT):
                return (of if best < inf else None), chosen, min(bound, best)
            if time.perf_counter() > self.deadline:
                self.budget.stopped = "time"
                return of, chosen, bound
            number = max((len(form.graph.groups[g]), g) for g in doubt)[1]
            if self.progress:
                self.progress(bound / best, "+".join(form.graph.groups[number]))
            self.ask(form, number)


def best_core_partition(
    workload: Workload,
    platform: Platform,
    mapspace: Mapspace,
    ert: Ert,
    *,
    objective: Objective = "edp",
    progress: Progress | None = None,
    budget: Budget | None = None,
) -> Solution | Infeasible:
    """The partition of least latency that is found on the cores of a chip, and its bound.

    raises: SpecError for another objective: bounds of a group on cores are cycles.
    """
    if objective != "latency":
        condition = "--objective latency, where groups: any are given out to cores"
        raise SpecError(expected(mapspace.name, condition, objective))
    begin, budget = time.perf_counter(), budget or Budget()
    search = _Search(
        platform=platform,
        mapspace=mapspace,
        ert=ert,
        budget=budget,
        progress=progress,
        deadline=begin + budget.seconds,
    )
    for cascade in alternatives(workload):
        search.all_forms += [search.form(cascade, names) for names in forms(cascade)]
    form, chosen, bound = search.through()
    if form is None:
        assert search.infeasible is not None, "no group has a mapping, and none says why"
        return search.infeasible
    parts = tuple(part for g in chosen for part in form.found[g])
    mapping = FusedMapping(groups=parts, policy=mapspace.policy)
    result = evaluate(form.workload, platform, mapping, ert)
    assert isinstance(result, Result), "groups that fit one by one fit one after another"
    seconds = of_all_runs(result, objective, bound)
    proven = max(floor_of(result, objective), min(seconds, result.latency_s))
    groups = sum(len(f.graph.groups) for f in search.all_forms)
    gap = max(result.latency_s / proven - 1, 0.0)
    return Solution(
        workload=form.workload,
        result=result,
        mapspace=mapspace.name,
        objective=objective,
        certificate=Certificate(
            mapspace_size=sum(partition_count(f.graph) for f in search.all_forms),
            evaluated=search.evaluated,
            pruned={"groups: bound": groups - search.asked},
            optimal=gap < TIGHT,
            lower_bound=floor_of(result, objective),
            proven_bound=proven,
            gap=gap,
            stopped=budget.stopped or ("" if gap < TIGHT else "tiles"),
            seconds=time.perf_counter() - begin,
        ),
    )
