"""The mappings whose runs are recorded, and the energies they were run with."""

from __future__ import annotations

from dataclasses import replace

import small_platform as small

from flat_mapper.arch.reader import load_architecture
from flat_mapper.arch.values import Platform
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.values import EinsumMapping, FusedMapping
from flat_mapper.timeloop.terms import with_depth
from flat_mapper.workload.graph import Workload

ERT = Ert(
    levels={
        "DRAM": {"read": 512.0, "write": 512.0},
        "GLB": {"read": 346.247, "write": 396.144},
        "RF": {"read": 0.06794, "write": 0.06794},
        "MAC": {"compute": 3.275},
        "VRF": {"read": 0.0431, "write": 0.0497, "update": 0.0501},
        # The runs were recorded with one price for all that a lane does.
        "VALU": dict.fromkeys(("compute", "max", "add", "exp", "div"), 1.1375),
    },
    source="tests/replay/cases.py",
)


# Seeds of `execution.random_cores` whose rounds are recorded. In the last two a level outside the
# cores holds a tensor already: from before, and for another Einsum of the group.
ROUNDS = {"multicast": 4, "apart": 183, "resident": 48, "read_twice": 127}


def overfull() -> tuple[Platform, FusedMapping]:
    """A buffer with room for one tile of scores, and softmax Einsums that overwrite theirs.

    Only intermediates are kept there. QK_exp reads and writes 64 x 512 words each, in one place;
    Timeloop counts both.
    """
    platform, group = small.platform(), small.fused().groups[0]
    vector = platform.vector
    assert vector is not None
    chip = replace(
        platform,
        matrix=with_depth(platform.matrix, "GLB", 2000),
        vector=with_depth(vector, "GLB", 2000),
    )
    streamed = tuple(
        replace(nest, keep=tuple((level, _inner(level, kept)) for level, kept in nest.keep))
        for nest in group.einsums
    )
    return chip, FusedMapping(groups=(replace(group, einsums=streamed, staged=()),))


def _inner(level: str, kept: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(t for t in kept if level != "GLB" or t not in ("Q", "K", "V", "AV"))


def remainder() -> tuple[Workload, EinsumMapping]:
    """480 query rows in 8 tiles of 64, the last of 32."""
    return small.workload(P=480), _qk(["QK"], "M16 P2,1")


def doubled() -> tuple[Workload, EinsumMapping]:
    """Query rows on both axes of the array: 16 x 8 of them, and 4 keys."""
    keep = {"DRAM": ["Q", "K", "QK"], "GLB": ["Q", "K"], "RF": ["QK"]}
    rest = {"DRAM": "H12", "GLB": "M128 P4", "RF": "E64"}
    return small.workload(), small.nest("QK", keep, PE_y="P16", PE_x="P8 M4", **rest)


def refused() -> tuple[Workload, EinsumMapping]:
    """Registers of 16 words asked to hold 129: a row of Q, a column of K and a score."""
    return small.workload(), _qk(["Q", "K", "QK"], "M16 P2")


def _qk(registers: list[str], glb: str) -> EinsumMapping:
    keep = {"DRAM": ["Q", "K"], "GLB": ["Q", "K", "QK"], "RF": registers}
    return small.nest("QK", keep, DRAM="H12 P8", GLB=glb, PE_y="P32", PE_x="M32", RF="E64")


CHIP = """
variables: {{technology: {technology}, global_cycle_seconds: 1e-9}}
components:
  version: 0.4
  classes:
  - name: lane_alu
    attributes: {{technology: "must_specify", width: "must_specify"}}
    subcomponents:
    - {{name: adder, class: aladdin_adder, attributes: {{width: width}}}}
    actions:
    - {{name: compute, subcomponents: [{{name: adder, actions: [{{name: add}}]}}]}}
architecture:
  version: 0.4
  nodes:
  - !Component
    name: DRAM
    class: DRAM
    attributes: {{type: "LPDDR4", width: 64, datawidth: 16}}
  - !Component
    name: GLB
    class: SRAM
    attributes: {{depth: 2048, width: 512, datawidth: 16}}
  - !Container {{name: {fanout}, spatial: {{meshX: 4}}}}
  - !Component
    name: {registers}
    class: storage
    subclass: aladdin_register
    attributes: {{depth: 1, width: 16, datawidth: 16}}
  - !Component {{name: {unit}, class: compute, subclass: lane_alu, attributes: {{width: 16}}}}
"""


def priced_by_accelergy() -> dict[str, Platform]:
    """A platform that Accelergy's plug-ins price, and one that only its placeholder does."""
    paths = {"matrix": ("PE", "RF", "MAC"), "vector": ("lane", "VRF", "VALU")}
    found = {}
    for name, technology in (("priced", '"45nm"'), ("dummy", "-1")):
        texts = {
            path: CHIP.format(technology=technology, fanout=fanout, registers=regs, unit=unit)
            for path, (fanout, regs, unit) in paths.items()
        }
        matrix, vector = (load_architecture(texts[path]) for path in paths)
        found[name] = Platform(name=name, matrix=matrix, vector=vector)
    return found
