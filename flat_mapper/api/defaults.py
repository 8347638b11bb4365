"""The mapspaces of who names none: all that a chip and a problem leave open."""

from __future__ import annotations

from dataclasses import replace

from flat_mapper.api.questions import DEFAULT
from flat_mapper.arch.cores import CoreFacts, core_facts
from flat_mapper.arch.values import Platform
from flat_mapper.mapper.chip.assignments import fusion_levels
from flat_mapper.mapping.cores import core_count
from flat_mapper.mapping.space import AnyGroups, Fusion, Mapspace
from flat_mapper.workload.graph import Workload

_ATTENTION = (("QK", "softmax", "AV"),)  # of the short form


def derived_mapspace(word: str, workload: Workload, platform: Platform) -> Mapspace:
    """The mapspace that a word stands for; its description says what that came to.

    Of `default`: fused or not, at any level, on the cores of a chip that has them. A cascade that
    is written out is cut into any groups; of the short form attention is one group or none, which
    takes a fraction of the time. Of `unfused`: the same without fusion.
    """
    fuses = word == DEFAULT
    listed = _ATTENTION if fuses and workload.core else ()
    anything = AnyGroups() if fuses and not workload.core else None
    space = Mapspace(
        name=word,
        fusion=Fusion(
            groups=listed,
            anything=anything,
            optional=bool(listed),
            schedule="any",
            if_present=True,
        ),
    )
    whole = replace(space, fusion=replace(space.fusion, level="any", cores="any"))
    levels, arch = fusion_levels(platform, whole), platform.matrix
    cores = max(core_count(arch, level) for level in levels)
    if levels != [arch.levels[1].name] or cores > 1 or core_facts(arch) != CoreFacts():
        space = whole
    groups = "unfused"
    if fuses:
        names = ", ".join(_ATTENTION[0])
        groups = f"{names} fused or not" if listed else "any partition into fused groups"
    tiles = f", tiles on {cores} cores" if cores > 1 else ""
    return replace(space, description=f"{groups}, at {' or '.join(levels)}{tiles}", derived=True)
