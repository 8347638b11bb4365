"""Values that questions take and answers hold, by name, for whoever builds them by hand.

    from flat_mapper.values import FusedMapping, GroupMapping, Loop, MappingRecord, Slot

`fm.search` and its like take names and files; a mapping of a kernel as it is, a chip with another
number in it or a table of energies of one's own are made of these.

    Workload, Einsum, Mask, parse_einsum, with_splits                   a problem
    Platform, Architecture, MemoryLevel, Fanout, edit_platform          a chip
    Ert, energies                                                       its energies
    Cluster, load_cluster, MeshAxis, CollectiveCosts                    many of them, a network
    Piece, ring_steps, ring_seconds, merge_seconds                      keys in a ring
    Mapspace, Fusion, SlotRule, KeepRule, Policy                        a mapspace
    MappingRecord, FusedMapping, GroupMapping, EinsumMapping, Loop,
    Slot, flash_groups, windows_tried, spread_group, spread,            a mapping
    record_files
    Result, GroupStats, EinsumStats                                     what it costs
    Kernel, Shape, Tile, Fit, Priced, kernel_named, shape_of, ranked,
    priced, difference, rpa_tile, rpa_tiles                             tiles of a kernel
    einsum_stats, load_document                                         Timeloop's files
"""

from __future__ import annotations

from flat_mapper.api.calls import energies
from flat_mapper.arch.edits import edit_platform
from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
from flat_mapper.cost_model.result import EinsumStats, GroupStats, Result
from flat_mapper.devices.cluster import Cluster, load_cluster
from flat_mapper.devices.network import MEASURED, Collective, CollectiveCosts, MeshAxis
from flat_mapper.devices.ring import ORDERS, Piece, merge_seconds, ring_seconds, ring_steps
from flat_mapper.energy.tables import Ert
from flat_mapper.explore.kernel_tiles import Priced, kernel_named, priced, ranked
from flat_mapper.kernels.accelerators import rpa_tile, rpa_tiles
from flat_mapper.kernels.flash_mapping import (
    Fit,
    Kernel,
    Shape,
    Tile,
    flash_groups,
    shape_of,
    spread,
    spread_group,
    windows_tried,
)
from flat_mapper.mapping.record import MappingRecord
from flat_mapper.mapping.space import Fusion, KeepRule, Mapspace, SlotRule
from flat_mapper.mapping.values import (
    EinsumMapping,
    FusedMapping,
    GroupMapping,
    Loop,
    Policy,
    Slot,
)
from flat_mapper.spec.templating import load_document
from flat_mapper.timeloop.run import einsum_stats
from flat_mapper.timeloop.write import record_files
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask
from flat_mapper.workload.notation import parse_einsum
from flat_mapper.workload.softmax import with_splits

# fmt: off
__all__ = [
    "MEASURED", "ORDERS", "Architecture", "Cluster", "Collective", "CollectiveCosts", "Einsum",
    "EinsumMapping", "EinsumStats", "Ert", "Fanout", "Fit", "FusedMapping", "Fusion",
    "GroupMapping", "GroupStats", "KeepRule", "Kernel", "Loop", "MappingRecord", "Mapspace",
    "Mask", "MemoryLevel", "MeshAxis", "Piece", "Platform", "Policy", "Priced",
    "Result", "Shape", "Slot", "SlotRule", "Tile", "Workload", "edit_platform", "einsum_stats",
    "energies", "flash_groups", "kernel_named", "load_cluster",
    "load_document", "merge_seconds", "parse_einsum", "priced", "ranked", "record_files",
    "ring_seconds", "ring_steps", "rpa_tile", "rpa_tiles", "shape_of", "spread", "spread_group",
    "windows_tried", "with_splits",
]
# fmt: on
