"""Energies for tests: round numbers by level, of the small platform and of edge."""

from __future__ import annotations

from flat_mapper.energy.tables import Ert

PRICES = Ert(
    levels={
        name: {"read": pj, "write": pj, "update": pj, "compute": pj}
        for name, pj in (("DRAM", 512), ("GLB", 64), ("RF", 1), ("VRF", 1), ("MAC", 2), ("VALU", 1))
    },
    source="chosen",
)
# A table for the edge platform, as its file has it.
EDGE_ERT = """\
DRAM: {read: 512, write: 512}
GLB: {read: 70, write: 80}
RF: {read: 0.1, write: 0.1}
LREG: {read: 0.1, write: 0.1}
MAC: {compute: 1.1}
VALU: {compute: 1.1}
"""
