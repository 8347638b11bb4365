"""The tile of an attention kernel as a first answer of a search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import SpecError
from flat_mapper.kernels.flash_mapping import RANKS, core_levels, flash_groups
from flat_mapper.mapper.solve.known import Known
from flat_mapper.mapping.cores import core_count
from flat_mapper.mapping.space import Mapspace
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.softmax import alternatives

# Chosen, of those that kernels have on chips of many cores: more rows bring the keys less often,
# fewer leave no core idle; fewer keys leave room for more rows, more of them fill wide arrays.
ROWS, KEYS = (256, 192, 128, 64), (128, 64)


def known_tiles(workload: Workload, platform: Platform, mapspace: Mapspace) -> Iterator[Known]:
    """Mappings of attention in the short form, where a mapspace gives tiles out to cores.

    Whether they fit, and are in the mapspace, a search says.
    """
    fusion = mapspace.fusion
    if not (fusion.on_cores and fusion.fuses and workload.core):
        return
    try:
        level, core = core_levels(platform)
    except SpecError:  # a chip whose cores hold nothing gives nothing out
        return
    if core_count(platform.matrix, core) == 1:
        return
    for cascade in (one for one in alternatives(workload) if one.softmax == "online"):
        sizes, names = cascade.rank_sizes, tuple(cascade.ancestors)
        if not {*RANKS} <= sizes.keys():
            continue
        heads = sizes["H"] if "G" in sizes else 1
        room = platform.matrix.level(level).usable_words
        head = mapspace.policy.buffering * sizes["M"] * (sizes["E"] + sizes["F"])
        kept = level != platform.dram.name and (room is None or head <= room)
        held = ("K", "V") if kept else ()
        for rows, keys in product(ROWS, KEYS):
            (group,) = flash_groups(cascade, platform, names, rows, keys, heads, cached=held)
            group = replace(
                group,
                schedule="overlapped" if fusion.schedule == "any" else fusion.schedule,
                granularity="tile" if group.shared else "all",
            )
            yield cascade, FusedMapping(groups=(group,), policy=mapspace.policy)
