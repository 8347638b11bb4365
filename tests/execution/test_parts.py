"""A part of the shared level: the model has to say what is executed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from execution.random_fused import random_case
from execution.tiny import chip, memory, moved, products

from flat_mapper.arch.values import Architecture, MemoryLevel, Platform
from flat_mapper.backends.agreement import compare_run
from flat_mapper.backends.ports import overdrawn
from flat_mapper.base.errors import MappingError
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.tables import unpriced
from flat_mapper.execution.run import execute
from flat_mapper.mapping.check import check_fused
from flat_mapper.mapping.values import EinsumMapping, FusedMapping, GroupMapping, Loop, Policy, Slot
from flat_mapper.workload.graph import Workload


def with_part(seed: int) -> tuple[Workload, Platform, FusedMapping] | None:
    """A random case whose third level is made a part of the second; None where it has none."""
    workload, platform, mapping = random_case(seed)
    _, glb, inner, *_ = platform.matrix.nodes
    if not isinstance(glb, MemoryLevel) or not isinstance(inner, MemoryLevel):
        return None
    part = replace(glb, name=inner.name, capacity_words=None, part_of=glb.name)

    def path(arch: Architecture) -> Architecture:
        return replace(arch, nodes=tuple(part if n.name == part.name else n for n in arch.nodes))

    def nest(own: EinsumMapping) -> EinsumMapping:
        held = {level: set(tensors) for level, tensors in own.keep}[glb.name]
        return replace(
            own,
            keep=tuple(
                (level, tuple(t for t in kept if level != part.name or t not in held))
                for level, kept in own.keep
            ),
        )

    groups = (replace(g, einsums=tuple(map(nest, g.einsums))) for g in mapping.groups)
    return workload, platform.changed(path), replace(mapping, groups=tuple(groups))


def agree(seed: int) -> bool:
    """Nothing differs between an execution and the model; False: there is no such case."""
    case = with_part(seed)
    if case is None:
        return False
    workload, platform, mapping = case
    executed = execute(workload, platform, mapping)
    assert executed.right, f"seed {seed}: {executed.errors}"
    result = evaluate(workload, platform, mapping, unpriced(platform))
    assert isinstance(result, Result), f"seed {seed}: {result}"
    assert compare_run(executed, result) == (), f"seed {seed}"
    assert overdrawn(result, platform) == (), f"seed {seed}"
    return True


def test_the_model_says_what_is_executed() -> None:
    assert sum(agree(seed) for seed in range(60)) > 15


@pytest.mark.nightly
def test_the_model_says_what_is_executed_hundreds_of_times() -> None:
    assert sum(agree(seed) for seed in range(60, 1060)) > 300


def in_pieces(words: int) -> tuple[Workload, Platform, FusedMapping]:
    """Y stays whole in a buffer of so many words, and C comes in two pieces, each read twice."""

    def path(name: str) -> Architecture:
        dram, glb, _ = chip(None).matrix.levels
        glb = replace(glb, capacity_words=words, shared_words_per_cycle=1.0)
        part = replace(glb, name="part", capacity_words=None, part_of="GLB")
        return replace(chip().matrix, name=name, nodes=(dram, glb, part))

    def nest(einsum: str, keep: dict[str, str], *loops: str) -> EinsumMapping:
        at = [tuple(Loop(rank, 2) for rank in text) for text in loops]
        slots = (Slot("GLB", "temporal"), Slot("part", "temporal"))
        held = tuple((level, tuple(tensors)) for level, tensors in keep.items())
        return EinsumMapping(einsum=einsum, loops=tuple(zip(slots, at, strict=True)), keep=held)

    y = nest("Y", {"DRAM": "AB", "GLB": "ABY"}, "IJK", "")
    z = nest("Z", {"DRAM": "CZ", "GLB": "YZ", "part": "C"}, "L", "IJ")
    group = GroupMapping(einsums=(y, z), staged=tuple("ABYZ"), schedule="interleaved")
    platform = Platform(name="pieces", matrix=path("pieces"), vector=path("pieces.sfu"))
    return products(), platform, FusedMapping(groups=(group,), policy=Policy(buffering=1.0))


def test_a_weight_comes_in_pieces_while_an_intermediate_stays_whole() -> None:
    """C: 4 words from DRAM, 2 at a time, and 8 reads: Z moves Y 8, Z 4 + 8 and C 4 + 8 words."""
    workload, platform, mapping = in_pieces(18)
    done = execute(workload, platform, mapping)
    assert done.right
    whole, piece = moved(done, "Z", "DRAM", "C"), moved(done, "Z", "part", "C")
    assert (whole.reads, piece.fills, piece.reads) == (4, 4, 8)
    assert dict(done.groups[0].alive[0].terms) == {"A": 4, "B": 4, "Y": 4, "C": 2, "Z": 4}
    result = evaluate(workload, platform, mapping, unpriced(platform))
    assert isinstance(result, Result)
    assert compare_run(done, result) == ()
    assert done.groups[0].turns[1].end - done.groups[0].turns[1].start == 8 + 12 + 12
    refused = evaluate(*in_pieces(17), unpriced(platform))
    assert isinstance(refused, Infeasible)
    assert (refused.level, refused.needs, refused.has) == ("GLB", 18, 17)


def test_a_part_keeps_what_streams_past_alone() -> None:
    workload, platform, mapping = in_pieces(18)
    y, z = mapping.groups[0].einsums
    both = replace(y, keep=(*y.keep, ("part", ("A",))))
    group = replace(mapping.groups[0], einsums=(both, z))
    with pytest.raises(MappingError, match="Y: A: expected one level of a memory that keeps it"):
        check_fused(workload, platform, replace(mapping, groups=(group,)))


def test_a_group_is_fused_at_the_memory_that_has_the_part() -> None:
    workload, platform, mapping = in_pieces(18)

    def inner(arch: Architecture) -> Architecture:
        return replace(arch, nodes=(arch.nodes[0], memory("L2", 100), *arch.nodes[1:]))

    with pytest.raises(MappingError, match="a group fused at GLB, a part of which is part, got"):
        check_fused(workload, platform.changed(inner), mapping)
