"""Random small loop nests of one Einsum, for property tests."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from hypothesis import settings
from hypothesis import strategies as st

from flat_mapper.arch.values import Architecture, ComputeUnit, Fanout, MemoryLevel
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.values import EinsumMapping, Loop, Slot, slots_of
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.notation import parse_einsum

few = settings(max_examples=60)
EINSUMS = (
    "Y[i,j] = A[i,k] * B[k,j]",
    "Y[i] = max(A[i,k])",
    "Y[i,j] = A[i,j] / B[i]",
)
ERT = Ert(
    levels={
        "DRAM": {"read": 100.0, "write": 110.0, "update": 120.0},
        "GLB": {"read": 10.0, "write": 11.0, "update": 12.0},
        "RF": {"read": 1.0, "write": 1.1, "update": 1.2},
        "MAC": {"compute": 0.5},
    },
    source="chosen",
)


@dataclass(frozen=True)
class Question:
    """A mapping of one Einsum on an architecture."""

    workload: Workload
    arch: Architecture
    mapping: EinsumMapping
    ert: Ert = ERT


def architecture(
    *, rates: tuple[float | None, ...] = (None, None, None), words: int = 10**6
) -> Architecture:
    """DRAM, GLB, 4 x 4 PEs with an RF each; a shared bandwidth for each level."""
    names, instances = ("DRAM", "GLB", "RF"), (1, 1, 16)
    levels = [
        MemoryLevel(
            name=name,
            component_class="DRAM" if name == "DRAM" else "SRAM",
            capacity_words=None if name == "DRAM" else words,
            word_bits=16,
            row_words=2,
            instances=n,
            shared_words_per_cycle=rate,
        )
        for name, n, rate in zip(names, instances, rates, strict=True)
    ]
    return Architecture(
        name="small",
        nodes=(levels[0], levels[1], Fanout(name="PE", fanout_x=4, fanout_y=4), levels[2]),
        compute=ComputeUnit(name="MAC", component_class="intmac", instances=16),
        cycle_seconds=1e-9,
    )


@st.composite
def questions(draw: st.DrawFn) -> Question:
    """A nest with factors up to 3 at every place, orders and keeps drawn by chance."""
    arch = architecture(rates=tuple(draw(st.sampled_from([None, 0.5, 2.0])) for _ in range(3)))
    einsum = parse_einsum(draw(st.sampled_from(EINSUMS)))
    loops: list[tuple[Slot, tuple[Loop, ...]]] = []
    sizes = dict.fromkeys(einsum.ranks, 1)
    for slot in slots_of(arch):
        order = draw(st.permutations(einsum.ranks))
        found = []
        for rank in order:
            factor = draw(st.sampled_from([1, 1, 2, 3]))
            inside = prod(loop.factor for loop in found)
            if (slot.axis != "temporal" and inside * factor > 4) or sizes[rank] * factor > 9:
                factor = 1
            sizes[rank] *= factor
            if factor > 1:
                found.append(Loop(rank, factor))
        loops.append((slot, tuple(found)))
    tensors = [a.tensor for a in einsum.accesses]
    keep = [("DRAM", tuple(tensors))]
    for level in ("GLB", "RF"):
        keep.append((level, tuple(t for t in tensors if draw(st.booleans()))))
    workload = Workload(name="one", rank_sizes=sizes, einsums=(einsum,), word_bits=16)
    mapping = EinsumMapping(einsum=einsum.name, loops=tuple(loops), keep=tuple(keep))
    return Question(workload=workload, arch=arch, mapping=mapping)
