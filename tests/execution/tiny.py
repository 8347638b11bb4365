"""Two products in one group on one MAC, small enough to follow by hand."""

from __future__ import annotations

from dataclasses import replace

from flat_mapper.arch.values import Architecture, ComputeUnit, Fanout, MemoryLevel, Platform
from flat_mapper.execution.result import Executed, MovedValues
from flat_mapper.mapping.values import (
    EinsumMapping,
    FusedMapping,
    GroupMapping,
    Loop,
    Policy,
    Schedule,
    Slot,
)
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.einsum import Unit
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask
from flat_mapper.workload.notation import parse_einsum

ALL = (Slot("DRAM", "temporal"), Slot("GLB", "temporal"), Slot("RF", "temporal"))


def moved(done: Executed, einsum: str, level: str, tensor: str) -> MovedValues:
    """The counts of one tensor at one level under one Einsum."""
    place = (einsum, level, tensor)
    return next(m for m in done.counts if (m.einsum, m.level, m.tensor) == place)


def memory(
    name: str, words: int | None = None, rate: float | None = None, copies: int = 1
) -> MemoryLevel:
    """A level of so many words in each of its copies, one a row, and words a cycle."""
    return MemoryLevel(
        name=name,
        component_class="SRAM",
        capacity_words=words,
        word_bits=16,
        row_words=1,
        instances=copies,
        shared_words_per_cycle=rate,
    )


def chip(rate: float | None = 1.0) -> Platform:
    """DRAM of `rate` words a cycle, a buffer of 100 words, registers of 10, one unit a path."""

    def path(name: str) -> Architecture:
        return Architecture(
            name=name,
            nodes=(memory("DRAM", None, rate), memory("GLB", 100), memory("RF", 10)),
            compute=ComputeUnit(name="MAC", component_class="intmac", instances=1),
            cycle_seconds=1e-9,
        )

    return Platform(name="tiny", matrix=path("tiny"), vector=path("tiny.sfu"))


def many(alone: Platform, cores: int) -> Platform:
    """A chip with so many of another's cores on its DRAM; nothing is multicast."""

    def around(arch: Architecture) -> Architecture:
        dram, *inside = arch.nodes
        deaf = {"spatial": {"no_multicast_no_reduction": ["*"]}}
        own = [
            replace(n, instances=cores * n.instances) if isinstance(n, MemoryLevel) else n
            for n in inside
        ]
        unit = replace(arch.compute, instances=cores * arch.compute.instances)
        fanout = Fanout(name="core", fanout_x=cores, constraints=deaf)
        return replace(arch, nodes=(dram, fanout, *own), compute=unit)

    vector = alone.vector
    return replace(
        alone, matrix=around(alone.matrix), vector=around(vector) if vector is not None else None
    )


def products(second: Unit = "matrix") -> Workload:
    """Y = A B, Z = Y C; all ranks of two."""
    einsums = (
        parse_einsum("Y[i,j] = A[i,k] * B[k,j]", unit="matrix"),
        parse_einsum("Z[i,l] = Y[i,j] * C[j,l]", unit=second),
    )
    return Workload(name="tiny", rank_sizes=dict.fromkeys("IJKL", 2), einsums=einsums)


def nest(
    einsum: str, keep: dict[str, tuple[str, ...]], *loops: str, stay: tuple[str, ...] = ()
) -> EinsumMapping:
    """A nest; `loops` are those of DRAM, GLB and RF, as `I2 J2`."""
    at = [tuple(Loop(word[0], int(word[1:])) for word in text.split()) for text in loops]
    return EinsumMapping(
        einsum=einsum,
        loops=tuple(zip(ALL, at, strict=False)),
        keep=tuple(keep.items()),
        stay=stay,
    )


def fused(
    schedule: Schedule = "interleaved", buffering: float = 2.0, stay: tuple[str, ...] = ()
) -> FusedMapping:
    """A row of Y and of Z a pass; B's tile in the registers is all of it."""
    y = nest(
        "Y",
        {"DRAM": ("A", "B"), "GLB": ("A", "B", "Y"), "RF": ("B",)},
        *("I2", "", "J2 K2"),
        stay=stay,
    )
    z = nest("Z", {"DRAM": ("C", "Z"), "GLB": ("Y", "C", "Z"), "RF": ()}, "I2", "L2 J2")
    group = GroupMapping(
        einsums=(y, z),
        shared=(Loop("I", 2),),
        staged=("A", "B", "C", "Y", "Z"),
        schedule=schedule,
    )
    return FusedMapping(groups=(group,), policy=Policy(buffering=buffering))


def with_group(mapping: FusedMapping, **changes: object) -> FusedMapping:
    """The mapping with its one group changed."""
    return replace(mapping, groups=(replace(mapping.groups[0], **changes),))  # type: ignore[arg-type]


def two_rows() -> tuple[Workload, Platform, FusedMapping]:
    """Two queries that see three keys and two, a query and a key a pass, of turns of a cycle each.

    DRAM takes five cycles for an output, and none for what it reads; the softmax is free.
    """
    workload = attention(B=1, H=1, P=2, M=4, E=1, F=1, softmax="online")
    plain = chip(None)
    slow = replace(plain.matrix.nodes[0], write_words_per_cycle=0.2)
    paths = {
        name: replace(path, nodes=(slow, *path.nodes[1:]))
        for name, path in (("matrix", plain.matrix), ("vector", plain.vector))
        if path is not None
    }
    nests = (
        nest("QK", {"DRAM": ("Q", "K"), "GLB": ("Q", "QK"), "RF": ()}, "P2 M4"),
        nest("AV", {"DRAM": ("V", "AV"), "GLB": ("QK_exp", "AV"), "RF": ()}, "P2 M4"),
    )
    group = GroupMapping(
        einsums=nests,
        shared=(Loop("P", 2), Loop("M", 4)),
        staged=("Q", "QK", "QK_exp", "AV"),
        schedule="interleaved",
    )
    policy = Policy(buffering=2.0, softmax="free")
    mapping = FusedMapping(groups=(group,), policy=policy)
    return replace(workload, mask=Mask(window=2)), replace(plain, **paths), mapping
