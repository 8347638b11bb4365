"""The problem of one core, whether a group's tiles are given out or not."""

from __future__ import annotations

from flat_mapper.arch.values import Platform
from flat_mapper.mapping.cores.view import CoreQuestion
from flat_mapper.mapping.values import GroupMapping
from flat_mapper.workload.graph import Workload


def one_core(workload: Workload, platform: Platform, group: GroupMapping) -> CoreQuestion:
    """The problem of a core with the largest tile; of a group on one core, all of it."""
    if not group.on_cores:
        return CoreQuestion(workload=workload, platform=platform, group=group)
    from flat_mapper.mapping.cores.tiles import fullest_core  # most mappings give out nothing

    return fullest_core(workload, platform, group)
