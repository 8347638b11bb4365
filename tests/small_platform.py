"""A small platform and fused mappings of attention, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from flat_mapper.arch.reader import load_architecture
from flat_mapper.arch.values import Platform
from flat_mapper.mapping.values import EinsumMapping, FusedMapping, GroupMapping, Loop, Slot
from flat_mapper.spec.yamlio import write_text
from flat_mapper.timeloop.write import LoweredFile
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Workload

_TOP = """
variables: {technology: "45nm", global_cycle_seconds: 1e-9, rows: 4 * 2048}
architecture:
  version: 0.4
  nodes:
  - !Component
    name: DRAM
    class: DRAM
    attributes: {type: "LPDDR4", width: 64, datawidth: 16, shared_bandwidth: 25}
  - !Component
    name: GLB
    class: SRAM
    attributes: {depth: rows, width: 512, datawidth: 16}
"""
_CONSTRAINTS = """\
    constraints:
      dataspace: {keep: [QK]}
      temporal: {permutation: [P]}
"""
_MATRIX = """
  - !Container {name: PE, spatial: {meshX: 32, meshY: 32}}
  - !Component {name: RF, class: regfile, attributes: {depth: 16, width: 16, datawidth: 16}}
  - !Component {name: MAC, class: intmac, attributes: {datawidth: 16}}
"""
_VECTOR = """
  - !Container {name: lane, spatial: {meshX: 64}}
  - !Component {name: VRF, class: regfile, attributes: {depth: 8, width: 16, datawidth: 16}}
  - !Component {name: VALU, class: compute, subclass: vector_alu, attributes: {datawidth: 16}}
"""


def platform(*, constrained: bool = False, rows: str = "4 * 2048") -> Platform:
    """32x32 PEs with a register file each, 64 vector lanes; one buffer and one DRAM.

    rows: of the buffer, of 32 words each.
    """
    top = _TOP.replace("4 * 2048", rows) + (_CONSTRAINTS if constrained else "")
    matrix = replace(load_architecture(top + _MATRIX), name="small")
    vector = replace(load_architecture(top + _VECTOR), name="small.sfu")
    return Platform(name="small", matrix=matrix, vector=vector)


def write_platform(folder: Path) -> tuple[str, str]:
    """The platform's files in a folder: their names."""
    for name, text in (("small.yaml", _TOP + _MATRIX), ("small.sfu.yaml", _TOP + _VECTOR)):
        (folder / name).write_text(text, encoding="utf-8")
    return "small.yaml", "small.sfu.yaml"


def workload(P: int = 512) -> Workload:
    """Attention of BERT-base's shape, one sequence."""
    return attention(B=1, H=12, P=P, M=512, E=64, F=64)


def loops(text: str) -> tuple[Loop, ...]:
    """`H12 P8,5`: loops outermost first."""
    found = []
    for word in text.split():
        factor, _, last = word[1:].partition(",")
        found.append(Loop(word[0], int(factor), int(last or 0)))
    return tuple(found)


def nest(einsum: str, keep: dict[str, Sequence[str]], **at: str) -> EinsumMapping:
    """A loop nest; `PE_y="P32"` stands at the y axis of PE."""
    slots = []
    for name, text in at.items():
        node, _, axis = name.partition("_")
        slots.append((Slot(node, axis or "temporal"), loops(text)))  # type: ignore[arg-type]
    return EinsumMapping(
        einsum=einsum,
        loops=tuple(slots),
        keep=tuple((level, tuple(tensors)) for level, tensors in keep.items()),
    )


def fused(shared: str = "H12 P8") -> FusedMapping:
    """All six Einsums of attention in one group, tiles of one head and 64 rows.

    QK and AV are the recorded runs of timeloop-model: shared loops over 12 heads and 8 row tiles.
    """
    vector = {"DRAM": shared, "GLB": "P64 M8", "lane_x": "M64"}
    reduced = {"DRAM": shared, "GLB": "M512", "lane_x": "P64"}
    softmax = [
        nest("QK_max", {"DRAM": [], "GLB": ["QK", "QK_max"], "VRF": ["QK_max"]}, **reduced),
        nest(
            "QK_exp",
            {"DRAM": [], "GLB": ["QK", "QK_max", "QK_exp"], "VRF": ["QK_max"]},
            **vector,
        ),
        nest("QK_sum", {"DRAM": [], "GLB": ["QK_exp", "QK_sum"], "VRF": ["QK_sum"]}, **reduced),
        nest("A", {"DRAM": [], "GLB": ["QK_exp", "QK_sum", "A"], "VRF": ["QK_sum"]}, **vector),
    ]
    qk = nest(
        "QK",
        {"DRAM": ["Q", "K"], "GLB": ["Q", "K", "QK"], "RF": ["QK"]},
        DRAM=shared,
        GLB="M16 P2",
        PE_y="P32",
        PE_x="M32",
        RF="E64",
    )
    av = nest(
        "AV",
        {"DRAM": ["V", "AV"], "GLB": ["A", "V", "AV"], "RF": ["A", "V", "AV"]},
        DRAM=shared,
        GLB="P2 F2 M128",
        PE_y="P32",
        PE_x="F32",
        RF="M4",
    )
    group = GroupMapping(
        einsums=(qk, *softmax, av),
        shared=loops(shared),
        staged=("Q", "K", "V", "AV"),
        schedule="interleaved",
        granularity="row",
    )
    return FusedMapping(groups=(group,))


def write_lowered(folder: Path, files: Mapping[str, LoweredFile]) -> None:
    """Write lowered files under a folder."""
    for path, lowered in files.items():
        write_text(folder / path, lowered.text)
