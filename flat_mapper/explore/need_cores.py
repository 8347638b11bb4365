"""The least number of cores with which a mapping reaches a target.

Nothing proves that more cores are never slower: with the same tiles each has a smaller share of
DRAM while it works, and a last round may fill fewer of them. So nothing is bisected but a bound
that more cores only lower (units of all cores at peak); from the least number that it allows, every
number is searched in turn, for mappings that reach the target and no others, until one does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import ceil, prod

from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.progress import Progress
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.tables import Ert
from flat_mapper.explore.need_result import Need, Target, Trial, Unreached
from flat_mapper.mapper.chip.assignments import fusion_levels
from flat_mapper.mapper.solve.on_cores import (
    best_on_cores,
    fastest_within,
    least_seconds,
    most_tiles,
)
from flat_mapper.mapping.space import Mapspace
from flat_mapper.workload.graph import Workload


def least_cores(
    workload: Workload,
    platform: Platform,
    mapspace: Mapspace,
    ert: Ert,
    target: Target,
    progress: Progress | None = None,
) -> Need | Unreached:
    """The least number of cores that reaches a target, or the fastest mapping on the most.

    raises: SpecError for a mapspace that gives no tiles out, and for a chip without one fanout
            of cores.
    """
    fanout = fanout_of_cores(platform, mapspace)
    every = with_cores(platform, fanout.name, prod(workload.rank_sizes.values()))
    trials = _Trials(
        what=(workload, mapspace, ert),
        turned=lambda cores: with_cores(platform, fanout.name, cores),
        target=target,
        most=most_tiles(workload, every, mapspace),
        progress=progress,
    )
    first = trials.first()
    high = trials.some(first) if first is not None else None
    if first is None or high is None:
        return trials.unreached(fanout.name)
    reached = next(t for n in range(first, high + 1) if trials.reaches(t := trials.at(n)))
    return Need(
        workload=workload.name,
        arch=platform.name,
        mapspace=mapspace.name,
        quantity="cores",
        node=fanout.name,
        target=target,
        step=1.0,
        present=fanout.copies,
        reached=reached,
        below=trials.known.get((reached.steps or 1) - 1),
        trials=len(trials.known),
        ceiling=trials.ceiling(),
        unproven=tuple(n for n in range(first, reached.steps or 0) if trials.open(n)),
        left_out=workload.left_out,
        wider=workload.wider,
        mask=workload.mask,
        other_layers=workload.other_layers,
    )


def fanout_of_cores(platform: Platform, mapspace: Mapspace) -> Fanout:
    """The one fanout outside a level at which a mapspace may fuse."""
    if not mapspace.fusion.on_cores or mapspace.fusion.anything is not None:
        condition = "a mapspace with fusion.cores that lists its groups, such as cores"
        raise SpecError(expected("need cores: --mapspace", condition, mapspace.name))
    arch = platform.matrix
    inmost = arch.level(fusion_levels(platform, mapspace)[-1])
    found = [n for n in arch.nodes[: arch.nodes.index(inmost)] if isinstance(n, Fanout)]
    if len(found) != 1:
        condition = f"one fanout (spatial) outside {inmost.name}, the cores"
        got = ", ".join(n.name for n in found) or "none"
        change = "give a chip of cores, such as h100; of several fanouts ask by a sweep"
        raise SpecError(expected(f"need cores: {platform.name}", condition, got, change))
    return found[0]


def with_cores(platform: Platform, fanout: str, cores: int) -> Platform:
    """A platform with another number of cores, in a row; what stands outside them stays."""

    def turned(arch: Architecture) -> Architecture:
        at = next(i for i, n in enumerate(arch.nodes) if n.name == fanout)
        old = arch.nodes[at]
        assert isinstance(old, Fanout)
        inside = tuple(
            replace(n, instances=n.instances // old.copies * cores)
            if isinstance(n, MemoryLevel)
            else n
            for n in arch.nodes[at + 1 :]
        )
        unit = replace(arch.compute, instances=arch.compute.instances // old.copies * cores)
        row = replace(old, fanout_x=cores, fanout_y=1)
        return replace(arch, nodes=(*arch.nodes[:at], row, *inside), compute=unit)

    vector = platform.vector
    return replace(
        platform,
        matrix=turned(platform.matrix),
        vector=None if vector is None else turned(vector),
    )


@dataclass(slots=True, kw_only=True)
class _Trials:
    """The searches made so far, by number of cores."""

    what: tuple[Workload, Mapspace, Ert]
    turned: Callable[[int], Platform]
    target: Target
    most: int  # cores that can have a tile
    progress: Progress | None
    known: dict[int, Trial] = field(default_factory=dict)

    def first(self) -> int | None:
        """The least number that units at peak allow; None: no number does."""
        if not self.target.latency:
            return 1
        if not self._allowed(self.most):
            return None
        # All cores together do at least what one does.
        low, high = max(0, ceil(self._peak(1) / self.target.value * (1 - 1e-9)) - 1), self.most
        while high - low > 1:
            middle = min((low + high) // 2, max(2 * low, low + 1))
            low, high = (low, middle) if self._allowed(middle) else (middle, high)
        return high

    def _peak(self, cores: int) -> float:
        workload, mapspace, _ = self.what
        return least_seconds(workload, self.turned(cores), mapspace)

    def _allowed(self, cores: int) -> bool:
        return self.target.reached(self._peak(cores))

    def some(self, first: int) -> int | None:
        """A number that reaches the target, from the first on in steps that double."""
        cores, step = first, 1
        while not self.reaches(self.at(cores)):
            if cores == self.most:
                return None
            cores, step = min(cores + step, self.most), 2 * step
        return cores

    def at(self, cores: int) -> Trial:
        """The fastest mapping on so many cores, as far as it reaches the target."""
        if cores not in self.known:
            if self.progress:
                self.progress(min(len(self.known) / 24, 0.99), f"{cores} cores")
            workload, mapspace, ert = self.what
            chip = self.turned(cores)
            if not self.target.latency:
                self.known[cores] = self._best(cores)
            else:
                within = fastest_within(workload, chip, mapspace, ert, self.target.value)
                result = within.found.result if within.found else None
                self.known[cores] = Trial(steps=cores, found=result, bound_s=within.bound_s)
        return self.known[cores]

    def _best(self, cores: int) -> Trial:
        workload, mapspace, ert = self.what
        found = best_on_cores(workload, self.turned(cores), mapspace, ert, objective="latency")
        if isinstance(found, Infeasible):
            return Trial(steps=cores, found=found)
        bound = found.certificate.proven_bound
        return Trial(steps=cores, found=found.result, bound_s=bound)

    def reaches(self, trial: Trial) -> bool:
        """True if its mapping reaches the target."""
        return self.target.reached(self.target.of(trial.result))

    def open(self, cores: int) -> bool:
        """True if no bound says that so many cores cannot reach the target."""
        return not self.target.excluded(self.known[cores])

    def ceiling(self) -> float:
        """The most that units at peak allow on the most cores; of a share, all of it."""
        return self._peak(self.most) if self.target.latency else 1.0

    def unreached(self, node: str) -> Unreached:
        """The fastest mapping on the most cores."""
        found = self._best(self.most).found
        assert isinstance(found, (Result, Infeasible))
        return Unreached("cores", node, self.target, found, self.ceiling(), self.most)
