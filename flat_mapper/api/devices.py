"""Questions about a cluster: each device's part is a question to its one chip."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import ceil, inf

from flat_mapper.arch.words import fitted
from flat_mapper.base.budget import Budget, Limits
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.devices.answer import NeededDevices, Parallelisms, Sharded
from flat_mapper.devices.cluster import WHOLE, Cluster, Placement
from flat_mapper.devices.path import DevicePath, PartSeconds, Paths
from flat_mapper.devices.ways import Sharding, Work, units_of, unnamed
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.solve.certificate import Solution, floor, turns_note
from flat_mapper.mapper.solve.driver import search
from flat_mapper.mapping.space import Mapspace
from flat_mapper.spec.document import did_you_mean
from flat_mapper.workload.graph import Workload

SHARES = 3  # chosen: of the seconds that are left, what one part may take
ANY = 10.0  # chosen: a gap that the first mapping keeps
MOST_UNITS = 6  # chosen: placements of a layer's tensors on two axes are too many to go through
Spaces = Callable[[Workload], Mapspace]
Allowed = Callable[[Sharding], bool]


class Devices:
    """One problem on one cluster, whose parts are remembered over its searches."""

    def __init__(
        self,
        workload: Workload,
        cluster: Cluster,
        spaces: Spaces,
        ert: Ert,
        budget: Budget,
        notes: tuple[str, ...] = (),
    ) -> None:
        fit = fitted(cluster.chip, workload)
        self.workload, self.cluster = fit.workload, replace(cluster, chip=fit.platform)
        self.spaces, self.ert, self.budget = spaces, ert, budget
        row = "a row softmax: keys are not divided; --softmax online or any lets them be"
        said = [row] if workload.core and workload.softmax == "row" else []
        units = len(list(units_of(workload)))
        if len(cluster.axes) > 1 and units > MOST_UNITS:
            where = f"{workload.name} on {cluster.name}"
            got = f"{units} on {len(cluster.axes)} axes"
            condition = f"at most {MOST_UNITS} operators on a mesh of several axes"
            raise SpecError(expected(where, condition, got, "take a mesh of one axis"))
        self.notes = (*fit.notes, *notes, *said)
        self.parts: dict[Work, Solution] = {}
        self.solved: dict[Work, PartSeconds] = {}
        self.alike: dict[object, Work] = {}  # of parts that differ in names alone, the first
        self.refused: Infeasible | None = None
        self.late: set[Work] = set()  # of which time ended the search
        self.one_s: float | None = None  # of one device at most, in the runs of the first path

    def _best(
        self, cluster: Cluster, fixed: Mapping[str, Placement], allowed: Allowed = lambda _: True
    ) -> DevicePath | None:
        """The best path of those that are allowed."""
        return Paths(
            workload=self.workload,
            cluster=cluster,
            low=self._low,
            solve=self._solve,
            allowed=allowed,
            fixed=fixed,
            budget=self.budget,
            solved=self.solved,
        ).best()

    def answer(
        self, placement: Mapping[str, object] | None = None, allowed: Allowed = lambda _: True
    ) -> Sharded | Infeasible:
        """The best path, beside what one device would take.

        placement: of tensors, in words. raises: SpecError where no way leads to them.
        """
        fixed = placements_of(placement or {}, self.cluster, self.workload)
        plan = self._best(self.cluster, fixed, allowed)
        if plan is None:
            return self._refusal(fixed, allowed)
        if (late := self._too_long(plan)) is not None:
            return late
        if self.one_s is None and not self.budget.over:
            axes = self.cluster.axes if self.cluster.single else ()
            alone = replace(self.cluster, axes=axes, dram_bytes=inf)
            runs = {step.way.names for step in plan.steps}
            one = self._best(alone, {}, lambda way: way.names in runs)
            self.one_s = one.seconds if one else None
        space = self.spaces(self.workload)
        results = [self.parts[work].result for s in plan.steps for work in s.way.works]
        return Sharded(
            workload=self.workload,
            cluster=self.cluster,
            plan=plan,
            parts=self.parts,
            ideal_s=self.one_s and self.one_s / self.cluster.devices,
            notes=(*self.notes, *turns_note(space, self.cluster.chip, results)),
            stopped=self.budget.stopped or ("time" if self.budget.late else ""),
        )

    def compared(self) -> Parallelisms:
        """The best of each kind of parallelism, each with its share of the seconds that are left.

        Of attention alone its positions are dealt out from the start, unless it is tensor
        parallelism or the best.
        """
        rows: dict[str, Sharded | Infeasible | str] = {}
        kinds, whole = parallel(self), self.budget
        for number, (name, allowed) in enumerate(kinds.items()):
            self.budget = whole.part(len(kinds) - number)
            try:
                rows[name] = self.answer(None, allowed)
            except SpecError as error:
                rows[name] = str(error)
        return Parallelisms(workload=self.workload, cluster=self.cluster, rows=rows)

    def needed(self, latency_s: float) -> NeededDevices:
        """The fewest devices of the one axis that reach a latency, each number tried in turn."""
        if len(self.cluster.axes) > 1:
            got = ", ".join(axis.name for axis in self.cluster.axes)
            raise SpecError(expected(f"need devices: {self.cluster.name}", "one axis", got))
        (axis,), rows = self.cluster.axes, dict[int, DevicePath | None]()
        found = NeededDevices(
            workload=self.workload, cluster=self.cluster, latency_s=latency_s, rows=rows
        )
        for count in range(1, axis.size + 1):
            rows[count] = self._best(replace(self.cluster, axes=(axis.of(count),)), {})
            if found:
                break
        return found

    def _refusal(self, fixed: Mapping[str, Placement], allowed: Allowed) -> Infeasible:
        """Reason for no path: a part that does not fit, or what the least path needs of room."""
        found = self._best(replace(self.cluster, dram_bytes=inf), fixed, allowed)
        if found is None and self.refused is not None:
            return self.refused
        if found is None:
            where = f"{self.workload.name} on {self.cluster.name}: placement"
            raise SpecError(expected(where, "placements that some way leads to", "none"))
        static, live = int(found.static), int(found.peak)
        return Infeasible(
            level="DRAM of a device",
            needs=static + live,
            has=int(self.cluster.dram_bytes),
            terms=(("weights and caches", static), ("live at the worst moment", live)),
            hint="take more devices, or fewer layers",
            unit="bytes",
        )

    def _too_long(self, plan: DevicePath) -> Infeasible | None:
        """Reason why a path takes longer than is allowed; None where it does not."""
        layers, most = self.workload.all_layers, self.budget.limits.latency_s
        if plan.seconds * layers <= most:
            return None
        near = "" if plan.bound * layers > most else ", or take --gap 0: a nearer one may keep it"
        return Infeasible(
            level="--max-latency",
            needs=ceil(plan.seconds * layers * 1e9),
            has=int(most * 1e9),
            terms=(),
            hint=f"allow more{near}",
            unit="ns",
        )

    def _low(self, work: Work) -> float:
        part, chip = work.workload(self.workload), self.cluster.chip
        return floor(part, chip, self.spaces(part), self.ert).cycles * chip.matrix.cycle_seconds

    def _solve(self, work: Work, near: bool) -> PartSeconds:
        """A work's mapping, near its best or any; what differs in names alone is answered once."""
        part, chip, budget = work.workload(self.workload), self.cluster.chip, self.budget
        space = self.spaces(part)
        known = self.alike.setdefault(unnamed(part) if space.derived else work, work)
        old = self.solved.get(known)
        if old and old.near >= near:  # a named mapspace may say more of one than of the other
            if known in self.parts:  # it has a mapping
                self.parts[work] = self.parts[known]
            return old
        room = Limits(buffer_bytes=budget.limits.buffer_bytes)  # of a chip; seconds are of all
        gap = budget.gap if near else max(budget.gap, ANY)
        own = replace(budget.part(1 if known in self.late else SHARES), limits=room, gap=gap)
        found = search(part, chip, space, self.ert, objective="latency", budget=own)
        if own.stopped == "time":
            self.late.add(known)
        else:  # what else ends one search ends all
            budget.stopped = own.stopped
        if isinstance(found, Infeasible):
            self.refused = found
            return PartSeconds(inf, inf)
        seconds, bound = found.result.latency_s, found.certificate.proven_bound
        if old is None or seconds <= old.seconds:
            self.parts[known] = found
        else:
            seconds, bound = old.seconds, max(old.bound, bound)
        self.parts[work] = self.parts[known]
        self.solved[known] = PartSeconds(seconds, bound, near and own.stopped != "time")
        return self.solved[known]


def placements_of(
    said: Mapping[str, object], cluster: Cluster, workload: Workload
) -> dict[str, Placement]:
    """Each tensor's placement, from words such as `P@x,G@y` or `whole`."""
    names, ranks = [axis.name for axis in cluster.axes], workload.tensor_ranks
    found = {}
    for tensor, words in said.items():
        if tensor not in ranks:
            known, hint = f"a tensor among {', '.join(ranks)}", did_you_mean(tensor, ranks)
            raise SpecError(expected("placement", known, tensor, hint))
        at = [WHOLE] * len(names)
        for word in str(words).split(",") if words != "whole" else ():
            rank, _, axis = word.partition("@")
            if axis not in names or rank not in ranks[tensor]:
                of = f"the ranks {', '.join(ranks[tensor])} and the axes {', '.join(names)}"
                where, condition = f"placement: {tensor}", f"whole, or RANK@AXIS of {of}"
                raise SpecError(expected(where, condition, word))
            if cluster.axes[names.index(axis)].size > 1:
                at[names.index(axis)] = rank
        found[tensor] = tuple(at)
    return found


def parallel(devices: Devices) -> dict[str, Allowed]:
    """Kinds that are compared on a cluster: the ways that each kind of parallelism allows."""
    roles, core = devices.workload.roles, set(devices.workload.core)
    along = {roles.batch, roles.queries, roles.keys} - {""}

    def sequence(way: Sharding) -> bool:
        divided = roles.queries in way.division or not core & set(way.names)
        return divided and not set(way.division) - {WHOLE, roles.queries}

    return {
        "best": lambda _: True,
        "tensor": lambda way: not along & set(way.division),
        "sequence": lambda way: sequence(way) and not way.shift,
        "ring": lambda way: sequence(way) and (bool(way.shift) or not core & set(way.names)),
    }
