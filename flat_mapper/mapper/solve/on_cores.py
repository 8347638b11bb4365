"""Limits of a chip of many cores: seconds at peak, tiles, and a mapping within some time."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, inf

from flat_mapper.arch.values import Platform
from flat_mapper.base.budget import Budget, Progress
from flat_mapper.base.tolerance import EQUAL
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.chip.assignments import cascades, every_assignment
from flat_mapper.mapper.chip.floors import at_peak
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapper.solve.driver import Question
from flat_mapper.mapping.space import Mapspace, partitions
from flat_mapper.workload.graph import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Within:
    """The fastest mapping of at most so many seconds, and seconds that no other mapping beats."""

    found: Solution | None
    bound_s: float


def fastest_within(
    workload: Workload,
    platform: Platform,
    mapspace: Mapspace,
    ert: Ert,
    seconds: float,
    progress: Progress | None = None,
    budget: Budget | None = None,
) -> Within:
    """A mapping of at most so many seconds, if any is found: slower ones are not looked for."""
    question = Question(workload, platform, mapspace, ert, budget or Budget())
    cycle = platform.matrix.cycle_seconds * workload.repeat
    most = floor(seconds / cycle * (1 + EQUAL)) + 0.5  # cycles are whole
    found = question.within(most, progress)
    if isinstance(found, float):
        return Within(found=None, bound_s=ceil(min(found, most) * (1 - EQUAL)) * cycle)
    return Within(found=found, bound_s=found.certificate.proven_bound)


def least_seconds(workload: Workload, platform: Platform, mapspace: Mapspace) -> float:
    """Seconds that no mapping beats, units of all cores at peak; more cores never need more."""
    least = inf
    for cascade in cascades(workload, platform, mapspace):
        for groups in partitions(cascade, mapspace):
            every = (every_assignment(cascade, platform, mapspace, group) for group in groups)
            cycles = sum(min(at_peak(platform, one) for one in some) for some in every)
            least = min(least, cycles)
    return least * platform.matrix.cycle_seconds * workload.repeat


def most_tiles(workload: Workload, platform: Platform, mapspace: Mapspace) -> int:
    """Cores that can have a tile of their own, at most."""
    return max(
        one.count
        for cascade in cascades(workload, platform, mapspace)
        for groups in partitions(cascade, mapspace)
        for group in groups
        for one in every_assignment(cascade, platform, mapspace, group)
    )
