"""Ports of a level, and words of ranks that units cut with a remainder."""

from __future__ import annotations

from execution.tiny import memory

from flat_mapper.arch.values import Architecture, ComputeUnit, Fanout
from flat_mapper.cost_model.nest import factors_of, nest_of
from flat_mapper.cost_model.ports import port_loads, transfer_cycles
from flat_mapper.cost_model.reuse import accesses
from flat_mapper.mapping.values import EinsumMapping, Loop, Slot
from flat_mapper.workload.notation import parse_einsum


def test_a_shared_port_passes_what_is_read_and_what_is_written() -> None:
    one = memory("GLB", rate=2.0)
    assert [(p.port, p.words) for p in port_loads(one, 3.0, 5.0)] == [("shared", 8.0)]
    assert transfer_cycles(one, 3.0, 5.0) == 4.0


def test_a_rank_cut_by_an_axis_counts_as_even_where_no_loop_stands_outside() -> None:
    """Three words by two units on Y, of two and one: timeloop-model counts both as having two."""
    nodes = (memory("DRAM"), memory("GLB"), Fanout(name="PE", fanout_x=2, fanout_y=2))
    arch = Architecture(
        name="one",
        nodes=(*nodes, memory("RF", copies=4)),
        compute=ComputeUnit(name="MAC", component_class="intmac", instances=4),
        cycle_seconds=1e-9,
    )
    einsum = parse_einsum("Y[i] = copy(A[i])", unit="matrix")
    loops = (
        (Slot("PE", "y"), (Loop("I", 2),)),
        (Slot("RF", "temporal"), (Loop("I", 2, 1),)),
    )
    keep = (("DRAM", ("A", "Y")), ("GLB", ()), ("RF", ("A", "Y")))
    mapping = EinsumMapping(einsum="Y", loops=loops, keep=keep)
    nest = nest_of(arch, einsum, mapping)
    found = accesses(nest, factors_of(nest, [mapping]), (3,), padded=True)
    assert found.traffic[2, "A"].held.tolist() == [2]
    runs = accesses(nest, factors_of(nest, [mapping]), (3,))
    assert runs.traffic[2, "A"].held.tolist() == [1.5]
